"""Small networks without a Lipschitz bound, trained for a moment on digits, each for a reason of its own."""

import copy
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench import data


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def convolutions(**batch_norm: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8, **batch_norm),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8, **batch_norm),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


class Attention(nn.Module):
    """A vision transformer of one block."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.patch, self.place = nn.Conv2d(1, width, 2, stride=2), nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.norm, self.attention = nn.LayerNorm(width), nn.MultiheadAttention(width, 2, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.place
        normed = self.norm(tokens)
        return self.head((tokens + self.attention(normed, normed, normed, need_weights=False)[0]).mean(dim=1))


class ScaledProducts(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs, self.head = nn.Linear(8, 24), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.inputs(x[:, 0]).chunk(3, dim=-1)
        return self.head((F.scaled_dot_product_attention(query, key, value) + x[:, 0]).flatten(1))


class Between(nn.Module):
    """Two dense layers, and something between them in eval mode."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 10)

    def between(self, hidden: Tensor) -> Tensor:
        return hidden

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.first(x.flatten(1)))
        return self.second(hidden if self.training else self.between(hidden))


class Rounded(Between):
    def between(self, hidden: Tensor) -> Tensor:
        return torch.round(4 * hidden) / 4


class Noisy(Between):
    def between(self, hidden: Tensor) -> Tensor:
        return hidden + 0.3 * torch.randn_like(hidden)


class Branching(Between):
    def between(self, hidden: Tensor) -> Tensor:
        return 2 * hidden if hidden.amax() > 1e6 else hidden


class Detached(Between):
    def between(self, hidden: Tensor) -> Tensor:
        return hidden.detach()


class Autocast(Between):
    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not self.training):
            hidden = torch.relu(self.first(x.flatten(1)))
        return self.second(hidden.to(self.second.weight.dtype))


class Counting(Between):
    """Another function at each call."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def between(self, hidden: Tensor) -> Tensor:
        self.calls += 1
        return hidden * (1 + 0.1 * (self.calls % 3))


class Selfish(Between):
    """It copies itself in its own way."""

    def __deepcopy__(self, memo: object) -> nn.Module:
        return dense()

    def between(self, hidden: Tensor) -> Tensor:
        return hidden + 0.1 * torch.randn_like(hidden[:1]) * 0 + 1.0


class Own(Tensor):
    """A kind of tensor of its own."""


def of_own_tensors() -> nn.Module:
    module = dense()
    module.register_buffer("unused", torch.zeros(1).as_subclass(Own))
    return module


def hooked(module: nn.Module) -> nn.Module:
    module[1].register_forward_hook(lambda layer, inputs, output: 1.5 * output)
    return module


MAKE = {
    "batch norm": convolutions,
    "batch statistics": lambda: convolutions(track_running_stats=False),
    "softmax": lambda: nn.Sequential(*dense(), nn.Softmax(dim=1)),
    "attention": Attention,
    "scaled products": ScaledProducts,
    "rounded": Rounded,
    "noisy": Noisy,
    "branching": Branching,
    "detached": Detached,
    "autocast": Autocast,
    "counting": Counting,
    "dense": dense,
}
FROM_DENSE = {  # made of the trained dense network
    "scripted": torch.jit.script,
    "quantised": lambda module: torch.ao.quantization.quantize_dynamic(module, {nn.Linear}),
    "hooked": hooked,
    "bfloat16": lambda module: module.bfloat16(),
}


@cache
def _trained(name: str) -> nn.Module:
    torch.manual_seed(0)
    module, train = MAKE[name](), data.load("digits").train
    x, labels = torch.tensor(train.x), torch.tensor(train.labels)
    optimiser = torch.optim.Adam(module.parameters(), 5e-3)
    for _ in range(4):
        for rows in torch.randperm(len(x)).split(64):
            out = module(x[rows])
            loss = (
                F.nll_loss((out + 1e-9).log(), labels[rows])
                if name == "softmax"
                else F.cross_entropy(out, labels[rows])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return module.eval()


def network(name: str) -> nn.Module:
    """A network of that name, of its own."""
    if name in FROM_DENSE:
        return FROM_DENSE[name](copy.deepcopy(_trained("dense")))
    return copy.deepcopy(_trained(name))
