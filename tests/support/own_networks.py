"""Networks as users have them, built by functions, as ``--factory own_networks:NAME`` names them."""

import torch
from deel import torchlip
from torch import nn
from torch.nn import functional as F

SHAPE = (1, 8, 8)


def dense(width: int = 16, outputs: int = 10) -> nn.Sequential:
    """An unconstrained network."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs)).eval()


def batch_norm(x: torch.Tensor | None = None) -> nn.Module:
    """An unconstrained network with batch norm, whose statistics are those of x."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(72, 16), nn.BatchNorm1d(16), nn.LeakyReLU(), nn.Linear(16, 10),
    )  # fmt: skip
    net(torch.rand(32, *SHAPE) if x is None else x)
    return net.eval()


def lip_chain() -> nn.Module:
    """A deel-torchlip chain, not trained."""
    return torchlip.Sequential(
        torchlip.SpectralConv2d(1, 8, 3, padding=1, padding_mode="circular"), torchlip.GroupSort2(),
        torchlip.ScaledL2NormPool2d(2), torchlip.SpectralConv2d(8, 8, 5, padding=2, padding_mode="symmetric"),
        torchlip.MaxMin(1), torchlip.ScaledAvgPool2d(2), nn.Flatten(), torchlip.SpectralLinear(64, 32),
        torchlip.FullSort(), torchlip.FrobeniusLinear(32, 10),
    )  # fmt: skip


def trained_lip_chain(x: torch.Tensor, labels: torch.Tensor, steps: int = 4) -> nn.Module:
    """The same after a few steps on inputs x (n, 1, 8, 8) and labels (n,)."""
    torch.manual_seed(1)
    net = lip_chain()
    optimizer, loss = torch.optim.Adam(net.parameters(), 1e-2), torchlip.TauCrossEntropyLoss(8.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(x), F.one_hot(labels, 10)).backward()
        optimizer.step()
    return net.eval()


def orthogonal_convolutions() -> nn.Module:
    """An AOC network of orthogonium, as it is trained."""
    from orthogonium.layers import AdaptiveOrthoConv2d, MaxMin, OrthoLinear

    torch.manual_seed(2)
    net = nn.Sequential(
        AdaptiveOrthoConv2d(1, 8, 3, padding=1, padding_mode="circular"), MaxMin(),
        AdaptiveOrthoConv2d(8, 16, 4, stride=2, padding=1, padding_mode="circular"), MaxMin(),
        nn.Flatten(), OrthoLinear(256, 10),
    ).eval()  # fmt: skip
    net(torch.rand(4, *SHAPE))
    return net


class Residual(nn.Module):
    """x + f(x), functional calls, keyword arguments, torch.cat, chunk, a maximum and a minimum."""

    def __init__(self, channels: int = 8):
        super().__init__()
        self.conv, self.branch = nn.Conv2d(1, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)
        self.head, self.share = nn.Linear(channels * 16, 10), nn.Parameter(torch.tensor(0.5))
        self.register_buffer("mean", torch.tensor(0.3))

    def forward(self, x):
        h = self.conv((x - self.mean) / 2)
        h = h + self.share * F.relu(input=self.branch(h))
        first, second = h.chunk(2, dim=1)
        h = torch.cat((torch.max(first, second), torch.min(first, second)), dim=1)
        h = F.avg_pool2d(h, kernel_size=2).view(x.size(0), -1)
        return self.head(h)


def residual(channels: int = 8) -> nn.Module:
    """The same, with seeded weights."""
    torch.manual_seed(3)
    return Residual(channels).eval()


class Transformer(nn.Module):
    """A vision transformer of one block: patches, layer norm, attention."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.patches, self.norm = nn.Conv2d(1, width, 2, 2), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        h = self.patches(x).flatten(2).transpose(1, 2)
        n = self.norm(h)
        h = h + self.attention(n, n, n, need_weights=False)[0]
        return self.head(h.mean(dim=1))


def transformer(width: int = 16) -> nn.Module:
    """The same, with seeded weights."""
    torch.manual_seed(4)
    return Transformer(width).eval()


class Remembering(nn.Module):
    """What it computes depends on an attribute that no state_dict holds."""

    def __init__(self):
        super().__init__()
        self.head, self.factor = nn.Linear(64, 10), 1.0

    def forward(self, x):
        return self.factor * F.layer_norm(self.head(x.flatten(1)), (10,))


def remembering() -> nn.Module:
    return Remembering()


def failing(message: str = "no such luck") -> nn.Module:
    raise RuntimeError(f"{message}\nwith a second line")


def stopping() -> nn.Module:
    raise SystemExit(0)


def text() -> str:
    return "not a network"


class Topped(nn.Module):
    """Bright inputs meet a buffer that no state_dict holds, and a factor that none holds either."""

    def __init__(self, top: float = 2.0, factor: float = 1.0):
        super().__init__()
        self.head, self.factor = nn.Linear(64, 10), factor
        self.register_buffer("top", torch.tensor(top), persistent=False)

    def forward(self, x):
        h = F.layer_norm(self.head(x.flatten(1)), (10,))
        h = torch.where(x.flatten(1).amax(dim=1, keepdim=True) > self.top, 0 * h, h)
        return torch.where(x.flatten(1).sum(dim=1, keepdim=True) > 63, self.factor * h, h)


def topped() -> nn.Module:
    return Topped()
