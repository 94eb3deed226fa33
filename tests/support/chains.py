"""Chains of all architectures, and how they are trained for a moment."""

import torch
from torch import nn

from lipbench.models.architectures import (
    Layers,
    build,
)

SETS = ("torchlip", "orthogonium")


SHAPE = (1, 8, 8)


CASES = [
    ("mlp", {"widths": [16, 8]}),
    ("cnn", {"channels": [4, 6], "widths": [8]}),
    ("cnn", {"channels": [4, 6], "pool": "average", "padding": "circular"}),
    ("vgg", {"blocks": [[4, 4], [6, 6]], "widths": [8]}),
    ("resnet", {"channels": [4, 6], "blocks": 2, "widths": [8]}),
    ("resnet", {"channels": [4], "widths": [], "pool": "average", "padding": "circular"}),
]


def trained(name, layers: Layers, args, num_classes: int = 10, shape=SHAPE) -> nn.Sequential:
    """A network after three steps, in training mode: without them, its weights in both modes would be the same."""
    torch.manual_seed(0)
    model, x = build(name, layers, shape, num_classes, args), torch.rand(32, *shape)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x) - torch.randn(32, num_classes)).square().mean().backward()
        optimizer.step()
    return model
