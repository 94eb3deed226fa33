"""Five networks of one's own on 8x8 digits: each is evaluated, verified, stored in a zoo and compared with its copy.

    python examples/own_networks.py [--samples 100] [--zoo zoo] [NAME ...]

Needs the extra ``orthogonium``. Every network is trained for a few seconds first; lipbench sees only the module.
"""

import argparse
import time
from pathlib import Path

import torch
from deel import torchlip
from orthogonium.layers import AdaptiveOrthoConv2d, OrthoLinear
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

import lipbench

images, labels = load_digits(return_X_y=True)
X, Y = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8), torch.tensor(labels)
TRAINING = 1500  # samples; the others are for the evaluation


class Residual(nn.Module):
    """A residual network with a forward of its own: sums, halves of tensors, maxima and minima."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, 1, 8, 8); logits (n, 10)."""
        x = F.relu(self.stem(x))
        x = x + 0.5 * self.first(F.relu(x))
        one, other = x.chunk(2, dim=1)
        x = torch.cat([torch.maximum(one, other), torch.minimum(one, other)], dim=1) + self.second(x)
        return self.head(F.avg_pool2d(x, 2).flatten(1))


class VisionTransformer(nn.Module):
    """One block of a vision transformer on patches of 2x2 pixels."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.embed = nn.Conv2d(1, dim, 2, stride=2)
        self.position = nn.Parameter(torch.zeros(1, 16, dim))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 64), nn.GELU(), nn.Linear(64, dim))
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        """x: (n, 1, 8, 8); logits (n, 10)."""
        x = self.embed(x).flatten(2).transpose(1, 2) + self.position
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1))


def torchlip_chain() -> nn.Module:
    """A chain of deel-torchlip."""
    return torchlip.Sequential(
        nn.Flatten(),
        torchlip.SpectralLinear(64, 128),
        torchlip.GroupSort2(),
        torchlip.SpectralLinear(128, 64),
        torchlip.GroupSort2(),
        torchlip.SpectralLinear(64, 10),
    )


def orthogonium_network() -> nn.Module:
    """Orthogonal convolutions of orthogonium."""
    return nn.Sequential(
        AdaptiveOrthoConv2d(1, 16, 3, padding=1, padding_mode="circular"),
        torchlip.GroupSort2(),
        AdaptiveOrthoConv2d(16, 16, 3, padding=1, padding_mode="circular"),
        torchlip.GroupSort2(),
        nn.Flatten(),
        OrthoLinear(1024, 10),
    )


def batch_norm() -> nn.Module:
    """An unconstrained network with batch norm."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


NETWORKS = {
    "torchlip_chain": torchlip_chain,
    "orthogonium_network": orthogonium_network,
    "residual": Residual,
    "batch_norm": batch_norm,
    "vision_transformer": VisionTransformer,
}
CONSTRAINED = {"torchlip_chain", "orthogonium_network"}


def trained(name: str, steps: int = 150) -> nn.Module:
    """The network after a few seconds of training."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    tau = 16 if name in CONSTRAINED else 1  # the temperature: margins of 1-Lipschitz networks are small
    for _ in range(steps):
        batch = torch.randint(TRAINING, (256,))
        optimizer.zero_grad()
        F.cross_entropy(tau * network(X[batch]), Y[batch]).backward()
        optimizer.step()
    network(X[:256])  # deel-torchlip serves in eval mode what the last forward in train mode computed
    return network.eval()


@torch.no_grad()
def compared(network: nn.Module, copy: nn.Module, x: Tensor) -> str:
    """How the outputs of a stored network compare with those of the original."""
    if torch.equal(copy(x), network(x)):
        return "is equal to the bit"
    if torch.equal(network(x), network(x)):
        return "differs"
    return "is one of its states: each forward of the network changes its weights in the last bits"


def main() -> None:
    """Print one block for each network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--zoo", type=Path, default=Path("zoo"))
    given = parser.parse_args()
    test = slice(TRAINING, TRAINING + given.samples)
    for name in given.names or NETWORKS:
        network, x, y = trained(name), X[test], Y[test]
        model = lipbench.Model(network, name=name, claimed=1.0 if name in CONSTRAINED else None)
        start = time.perf_counter()
        print(lipbench.evaluate(model, data=(x, y), eps=[0.1, 0.3], show_eps=0.1))
        try:
            print(lipbench.verify(model, data=(x, y), out=f"{given.zoo}-verify/{name}"))
        except lipbench.LipbenchError as error:  # no bound and no claim: there is nothing to verify
            print(error)
        seconds = time.perf_counter() - start
        factory = "own_networks:VisionTransformer" if name == "vision_transformer" else None
        print(lipbench.save(model, given.zoo / name, data=(x, y), factory=factory))
        copy = lipbench.Model.load(given.zoo / name, trust=["own_networks"]).module
        print(f"{name}: evaluated and verified in {seconds:.0f} s; its copy {compared(network, copy, x)}\n", flush=True)


if __name__ == "__main__":
    main()
