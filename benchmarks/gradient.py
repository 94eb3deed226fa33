"""Which layers of 1-Lipschitz networks lose the norm of the margin's gradient.

    python benchmarks/gradient.py ZOO [--models 'vgg*-tau12.75-*'] [--samples 500]

The margin is the logit of the class that a network predicts less the highest other one, at test samples of the data set
on the card, in float64. No 1-Lipschitz layer lets the norm of its gradient grow on the way back (Normalize, of networks
with preprocessing, multiplies it). A column per network: the factor of each layer (median over samples), and below what
is left at the input of the norm at the logits. A certificate is as tight as what is left along the way to the boundary.
"""

import argparse
import fnmatch

import torch
from torch import Tensor, nn

from lipbench import data
from lipbench.attacks.network import class_logits
from lipbench.errors import LipbenchError
from lipbench.models.stored import check_fits, load_model
from lipbench.models.zoo import find_zoo, model_folders


def norms(module: nn.Sequential, x: Tensor) -> Tensor:
    """The norm of the margin's gradient with respect to the input of each layer, and to the logits: (layers + 1, n)."""
    inputs = [x.requires_grad_()]
    for layer in module:
        inputs.append(layer(inputs[-1]))
    first, second = class_logits(inputs[-1]).topk(2, dim=1).values.unbind(1)
    return torch.stack([g.flatten(1).norm(dim=1) for g in torch.autograd.grad((first - second).sum(), inputs)])


def named(layer: nn.Module) -> str:
    weight = getattr(layer, "weight", None)
    return type(layer).__name__ + ("" if weight is None else f" {weight.shape[1]} -> {weight.shape[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zoo")
    parser.add_argument("--models", default="*")
    parser.add_argument("--samples", type=int, default=500)
    args = parser.parse_args()
    if args.samples < 1:
        parser.error(f"argument --samples: expected at least 1, got {args.samples}")
    columns = {}
    try:
        for folder in model_folders(find_zoo(args.zoo)):
            if not fnmatch.fnmatch(folder.name, args.models):
                continue
            model = load_model(folder)
            if not model.card.architecture.constrained:
                continue
            dataset = data.load_once(model.card.data)
            check_fits(model.card, dataset)
            found = norms(model.module.double(), torch.from_numpy(dataset.test.first(args.samples).x).double())
            factors = (found[:-1] / found[1:]).nanmedian(dim=1).values
            columns[folder.name] = [named(layer) for layer in model.module], factors, (found[0] / found[-1]).nanmedian()
    except LipbenchError as error:
        parser.exit(2, f"{error}\n")
    if not columns:
        parser.exit(2, f"{args.zoo}: no 1-Lipschitz network is called {args.models!r}\n")
    for layers in dict.fromkeys(tuple(names) for names, _, _ in columns.values()):
        same = {name: rest for name, (names, *rest) in columns.items() if tuple(names) == layers}
        print("layer" + "".join(f"\t{name}" for name in same))
        for place, layer in enumerate(layers):
            print(layer + "".join(f"\t{factors[place]:.3f}" for factors, _ in same.values()))
        print("left at the input" + "".join(f"\t{left:.3f}" for _, left in same.values()) + "\n", flush=True)


if __name__ == "__main__":
    main()
