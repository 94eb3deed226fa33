"""Computed Lipschitz bounds against the dense SVD of random small networks without activations.

    python benchmarks/bounds.py [--networks 200] [--seed 0]

Networks are chains of convolutions (every padding mode, strides, dilations, groups), transposed convolutions, pools,
batch norms, dense layers, and branches (residual sums, averages, concatenations), so that the constant of each is the
norm of one matrix. A bound of a chain is the product of its layers' bounds: its excess is mostly the product's, so that
the excess of each single layer over its own dense SVD is printed beside it, for convolutions also with the method that
large ones get (a Fourier transform on a torus), which small ones do not need. Then the same method on convolutions of
common sizes, against the largest singular value that ARPACK finds.
"""

import argparse
import math
import statistics
from collections import defaultdict
from unittest import mock

import torch
from deel import torchlip
from scipy.sparse.linalg import LinearOperator, svds
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import layer_effect, norms, trace
from lipbench.certification.lipschitz.graph import Graph, Step

MODES = ["zeros", "zeros", "circular", "reflect", "replicate", "symmetric"]
ROUNDING = 1e-13  # of the dense SVD itself
COMMON = [  # channels in and out, size of the image, kernel, stride, padding
    (3, 32, 32, 3, 1, 1), (16, 32, 32, 3, 2, 1), (32, 32, 16, 3, 1, 1), (32, 64, 16, 3, 2, 1), (64, 64, 8, 3, 1, 1),
    (1, 16, 28, 5, 1, 2), (16, 32, 14, 3, 1, 1),
]  # fmt: skip


class Branch(nn.Module):
    """A residual sum, an average of two branches, or their concatenation."""

    def __init__(self, kind: str, first: nn.Module, second: nn.Module):
        super().__init__()
        self.kind, self.first, self.second = kind, first, second

    def forward(self, x):
        """x: (n, c, h, w), to the same or twice the channels."""
        if self.kind == "residual":
            return x + self.first(x)
        if self.kind == "average":
            return 0.5 * self.first(x) + 0.5 * self.second(x)
        return torch.cat([self.first(x), self.second(x)], dim=1)


def dense_norm(module: nn.Module, shape: tuple[int, ...]) -> float:
    """The norm of an affine map by SVD of its dense matrix, float64."""
    size = math.prod(shape)
    with torch.no_grad():
        images = module(torch.eye(size, dtype=torch.float64).view(size, *shape))
        origin = module(torch.zeros(1, *shape, dtype=torch.float64))
    return torch.linalg.matrix_norm((images - origin).reshape(size, -1), ord=2).item()


def random_network(generator: torch.Generator) -> tuple[nn.Sequential, tuple[int, int, int]]:
    """A network and the shape of its inputs."""

    def pick(*values):
        return values[torch.randint(len(values), (1,), generator=generator).item()]

    def convolution(channels: int, out: int, *, keep: bool) -> nn.Module:
        mode, kernel, dilation = pick(*MODES), pick(1, 3, 3, 5) if keep else pick(2, 3, 4), pick(1, 1, 2)
        groups = pick(1, 1, math.gcd(channels, out))
        kind = torchlip.PadConv2d if mode == "symmetric" else nn.Conv2d
        stride, padding = (1, dilation * (kernel - 1) // 2) if keep else (pick(1, 2, 3), pick(0, 1, 2))
        return kind(channels, out, kernel, stride, padding, dilation, groups, padding_mode=mode)

    def norm(channels: int) -> nn.Module:
        layer = nn.BatchNorm2d(channels)
        layer.running_var.uniform_(0.5, 2, generator=generator)
        return layer

    shape = (pick(1, 2, 3), pick(8, 9, 10), pick(8, 10, 12))
    chain, channels = [], shape[0]
    for _ in range(pick(1, 2, 3)):
        kind = pick("convolution", "convolution", "transposed", "residual", "average", "cat", "norm", "pool")
        out = pick(1, 2, 4)
        if kind == "convolution":
            layer = convolution(channels, out, keep=pick(True, False))
        elif kind == "transposed":
            layer = nn.ConvTranspose2d(channels, out, pick(2, 3), pick(1, 2), pick(0, 1))
        elif kind == "norm":
            layer = norm(channels)
        elif kind == "pool":
            layer = nn.AvgPool2d(pick(2, 3), pick(1, 2), 1, pick(True, False), pick(True, False))
        else:
            layer = Branch(kind, *(convolution(channels, channels, keep=True) for _ in range(2)))
        after = probe(nn.Sequential(*chain, layer), shape)
        if after is not None:
            chain, channels = [*chain, layer], after[0]
    features = math.prod(probe(nn.Sequential(*chain), shape) or shape)
    if pick(True, False):
        width = pick(5, 10)
        chain += [nn.Flatten(), nn.Linear(features, width), nn.Linear(width, 3)]
    return nn.Sequential(*chain).double().eval(), shape


def probe(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """The shape of what it gives, or None where it does not take such inputs or gives too many numbers."""
    try:
        with torch.no_grad():
            out = tuple(network.eval()(torch.zeros(1, *shape)).shape[1:])
    except RuntimeError:
        return None
    return out if math.prod(out) <= 2000 else None


def single_layers(graph: Graph) -> list[tuple[str, Step, tuple[int, ...]]]:
    """Each layer of a graph once: a name to group it by, its step, the shape of its input."""
    found = {}
    for step in graph.steps[1:]:
        if step.layer is not None and not isinstance(step.layer, nn.Flatten):
            name = type(step.layer).__name__
            if isinstance(step.layer, nn.Conv2d):
                mode = "symmetric" if isinstance(step.layer, torchlip.PadConv2d) else step.layer.padding_mode
                name = f"convolution, {mode}"
            found[id(step.layer)] = (name, step, graph.steps[step.inputs[0]].shape)
    return list(found.values())


def operator_norm(layer: nn.Conv2d, size: int) -> float:
    """The largest singular value of a zero-padded convolution of square images, by Lanczos iteration: from below."""
    shape = (1, layer.in_channels, size, size)
    out = layer(torch.zeros(shape, dtype=torch.float64)).shape
    rest = tuple((size + 2 * p - k) % s for p, k, s in zip(layer.padding, layer.kernel_size, layer.stride, strict=True))
    weight, options = layer.weight.detach(), {"stride": layer.stride, "padding": layer.padding}

    def forward(v):
        return F.conv2d(torch.from_numpy(v).reshape(shape), weight, **options).numpy().ravel()

    def transposed(v):
        image = torch.from_numpy(v).reshape(out)
        return F.conv_transpose2d(image, weight, output_padding=rest, **options).numpy().ravel()

    matrix = LinearOperator((out.numel(), math.prod(shape)), matvec=forward, rmatvec=transposed, dtype=float)
    return float(svds(matrix, k=1, return_singular_vectors=False, tol=1e-9, random_state=0)[0])


def common_convolutions() -> None:
    """Prints the excess of convolutions of common sizes."""
    print(f"{'convolution, zeros':<36}{'excess over ARPACK':>22}")
    for channels, out, size, kernel, stride, padding in COMMON:
        layer = nn.Conv2d(channels, out, kernel, stride, padding, bias=False).double()
        with mock.patch.multiple(norms, CHEAP=0, COSTLY=0):
            bound = layer_effect(layer, (channels, size, size)).lipschitz[0]
        name = f"{channels} to {out}, {kernel}x{kernel}, stride {stride}, at {size}x{size}"
        print(f"{name:<36}{bound / operator_norm(layer, size) - 1:>22.3%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    excess: dict[str, list[float]] = defaultdict(list)
    branches = 0

    def compare(name: str, bound: float, true: float) -> None:
        excess[name].append(bound / true - 1 if true > 0 else 0.0 if bound >= 0 else -1.0)

    for _ in range(args.networks):
        network, shape = random_network(generator)
        branches += any(isinstance(layer, Branch) for layer in network)
        graph = trace(network, shape)
        compare("whole network", graph.output.lipschitz, dense_norm(network, shape))
        for name, step, size in single_layers(graph):
            true = dense_norm(step.layer, size)
            compare(name, step.effect.lipschitz[0], true)
            if name.startswith("convolution"):
                compare("convolution, all", step.effect.lipschitz[0], true)
            if name.startswith("convolution") or name == "ConvTranspose2d":
                with mock.patch.multiple(norms, CHEAP=0, COSTLY=0):
                    compare(f"{name}, as large ones", layer_effect(step.layer, size).lipschitz[0], true)
    below = sum(value < -ROUNDING for values in excess.values() for value in values)
    total = sum(map(len, excess.values()))
    print(
        f"{args.networks} random networks ({branches} with branches), seed {args.seed}: "
        f"{below} of {total} bounds below the dense SVD"
    )
    print(f"{'':<36}{'number':>7}{'median excess':>15}{'largest':>11}")
    for name in sorted(excess, key=lambda name: (name != "whole network", name)):
        values = excess[name]
        print(f"{name:<36}{len(values):>7}{statistics.median(values):>15.3%}{max(values):>11.3%}")
    common_convolutions()


if __name__ == "__main__":
    main()
