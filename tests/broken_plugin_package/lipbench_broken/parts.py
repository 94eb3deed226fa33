"""Parts that can be imported and do not work."""

import torch
from torch import nn

import lipbench

NUMBER = 3


def raises(layers, input_shape, num_classes):
    """An architecture whose code fails."""
    return {}["no such key"]


class Forgetful(nn.Module):
    """A layer whose scale is no tensor, and is lost when the network is stored."""

    def __init__(self):
        super().__init__()
        self.scale = float(torch.rand(()))

    def forward(self, x):
        return self.scale * x


def forgets(layers, input_shape, num_classes):
    """An architecture that comes back as another network."""
    return [nn.Flatten(), Forgetful(), layers.linear(input_shape[0] * input_shape[1] * input_shape[2], num_classes)]


def words():
    """A set of layers that is none."""
    return "linear and convolutional"


def per_sample(logits, labels):
    """A loss that is not a mean."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def divides(argument, data_dir):
    """A data set whose code fails."""
    return 1 / 0


def replaces():
    """Rules that count every dense layer as 0."""
    lipbench.rule(nn.Linear)(lambda layer, input_shape: 0.0)


def fails():
    """Rules that fail after the first."""
    lipbench.rule(Forgetful)(lambda layer, input_shape: 1.0)
    raise RuntimeError("no more rules")


def nothing(parameters, lr, weight_decay):
    """An optimizer that is none."""
