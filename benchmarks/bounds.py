"""Computed Lipschitz bounds against the dense SVD of random small networks' linear parts.

    python benchmarks/bounds.py [--networks 60] [--seed 0]

Each network is a chain of convolutions (strides, zero or circular padding), average pools and dense layers, without
activations, so that its constant is the norm of one matrix. A chain's bound is the product of its layers' bounds: its
excess is mostly the product's, so the excess of each single layer over its own dense SVD is printed beside it.
"""

import argparse
import math
import statistics

import torch
from torch import nn

from lipbench.lipschitz import layer_bound, layers, lipschitz_bound


def dense_norm(module: nn.Module, shape: tuple[int, ...]) -> float:
    """The norm of an affine map by SVD of its dense matrix, float64."""
    size = math.prod(shape)
    with torch.no_grad():
        images = module(torch.eye(size, dtype=torch.float64).view(size, *shape))
        origin = module(torch.zeros(1, *shape, dtype=torch.float64))
    return torch.linalg.matrix_norm((images - origin).reshape(size, -1), ord=2).item()


def random_network(generator: torch.Generator) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """A chain and the shape of its input."""

    def pick(*values):
        return values[torch.randint(len(values), (1,), generator=generator).item()]

    channels, size, chain = pick(1, 2, 3), pick(10, 11, 12, 14), []
    c = channels
    for _ in range(pick(0, 1, 2)):
        out = pick(2, 4, 6)
        padding, mode = pick(0, 1), pick("zeros", "zeros", "circular")
        chain.append(nn.Conv2d(c, out, pick(2, 3), stride=pick(1, 2), padding=padding, padding_mode=mode))
        c = out
    if pick(True, False):
        chain.append(nn.AvgPool2d(2, padding=pick(0, 1)))
    shape = (channels, size, size)
    with torch.no_grad():
        features = nn.Sequential(*chain, nn.Flatten())(torch.zeros(1, *shape)).shape[1]
    width = pick(5, 10)
    return nn.Sequential(*chain, nn.Flatten(), nn.Linear(features, width), nn.Linear(width, 3)).double(), shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    chains, single, below = [], {}, 0
    for _ in range(args.networks):
        network, shape = random_network(generator)
        ratio = lipschitz_bound(network, shape) / dense_norm(network, shape)
        chains.append(ratio - 1)
        below += ratio < 1
        for layer, size in layers(network, shape):
            ratio = layer_bound(layer, size) / dense_norm(layer, size)
            single.setdefault(type(layer).__name__, []).append(ratio - 1)
            below += ratio < 1
    print(f"{args.networks} random networks, seed {args.seed}: {below} bounds below the dense SVD")
    for name, excess in {"whole network": chains, **single}.items():
        values = f"median {statistics.median(excess):.3%}, largest {max(excess):.3%}"
        print(f"{name:<14} {len(excess):>4}   excess over the dense SVD: {values}")


if __name__ == "__main__":
    main()
