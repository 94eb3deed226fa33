"""The network as ART sees it, and what ART's attacks share.

The attacks get the true labels. ART draws from the global random streams, which the guard has seeded.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipbench.attacks.base import Attack, AttackCall
from lipbench.attacks.network import LARGEST_BATCH, Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_RESTARTS, Parameter


class ArtAttack(Attack):
    """An attack of ART. A subclass configures the library's object."""

    batch_size = Parameter(250, "samples at once", at_least=1, at_most=LARGEST_BATCH)

    def configured(self, call: AttackCall) -> Any:
        """The library's attack object for the call."""
        raise NotImplementedError

    def run(self, call: AttackCall) -> Tensor:
        """The library's candidates: float32 (n, c, h, w)."""
        found = self.configured(call).generate(x=call.x.cpu().numpy(), y=call.labels.cpu().numpy())
        return torch.from_numpy(np.asarray(found, dtype=np.float32)).to(call.x.device)


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
    module = torch.nn.Sequential(network, torch.nn.Softmax(dim=1)) if probabilities else network
    # ART's default 'gpu' falls back to the CPU without a word
    device_type = "cpu" if network.device.type == "cpu" else "gpu"
    return as_classifier(module, network.input_shape, network.num_classes, device_type)


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
