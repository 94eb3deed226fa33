"""The network as ART sees it, and what ART's attacks share.

The attacks get the true labels. ART draws from the global random streams, which the guard has seeded.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lipbench.attacks.base import ANY_RANK, Attack, AttackCall
from lipbench.attacks.network import LARGEST_BATCH, Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_RESTARTS, Parameter


class ArtAttack(Attack):
    """An attack of ART. A subclass configures the library's object.

    The library is shown a vector (d,) as an image (1, 1, d), and a series (c, l) as one (c, 1, l). That is the same
    attack where all that it knows of an input are norms over its entries, and gradients.
    """

    ranks = ANY_RANK
    batch_size = Parameter(250, "samples at once", at_least=1, at_most=LARGEST_BATCH)

    def configured(self, call: AttackCall) -> Any:
        """The library's attack object for the call."""
        raise NotImplementedError

    def run(self, call: AttackCall) -> Tensor:
        """The library's candidates: float32 (n, ...)."""
        x = call.x.reshape(len(call.x), *image_shape(call.network.input_shape))
        found = self.configured(call).generate(x=x.cpu().numpy(), y=call.labels.cpu().numpy())
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(call.x.device).reshape(call.x.shape)


class ShownImages(nn.Module):
    """A network whose inputs are shown as images (c, h, w)."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of x: (n, c, h, w)."""
        out: Tensor = self.network(x.reshape(len(x), *self.network.input_shape))
        return out


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """(c, h, w) of inputs as images of one row."""
    rank = len(input_shape)
    return input_shape if rank == 3 else (input_shape[0] if rank == 2 else 1, 1, input_shape[-1])


def random_starts(default: int, meaning: str, *, at_least: int) -> Parameter:
    """The parameter that counts runs from random points."""
    return Parameter(default, meaning, at_least=at_least, at_most=MOST_RESTARTS)


def norm_number(norm: Norm) -> float:
    """The norm under the library's name."""
    return 2 if norm is Norm.L2 else math.inf


def ball(call: AttackCall) -> dict[str, Any]:
    """The norm and the radius, under the library's names."""
    return {"norm": norm_number(call.norm), "eps": call.radius}


def classifier(network: Network, *, probabilities: bool = False) -> Any:
    """The network as an ART ``PyTorchClassifier`` of float32 inputs in [0, 1]; outputs: logits or their softmax."""
    shown = network if len(network.input_shape) == 3 else ShownImages(network)
    module = torch.nn.Sequential(shown, torch.nn.Softmax(dim=1)) if probabilities else shown
    # ART's default 'gpu' falls back to the CPU without a word
    device_type = "cpu" if network.device.type == "cpu" else "gpu"
    return as_classifier(module, image_shape(network.input_shape), network.num_classes, device_type)


def as_classifier(
    module: torch.nn.Module, input_shape: tuple[int, ...], num_classes: int, device_type: str = "cpu"
) -> Any:
    """As ``classifier``, of any module with float32 logits (n, num_classes)."""
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        model=module,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=input_shape,
        nb_classes=num_classes,
        clip_values=(0.0, 1.0),
        device_type=device_type,
    )
