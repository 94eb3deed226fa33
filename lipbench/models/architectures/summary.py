"""The summary of an architecture that ``lipbench list architectures`` prints."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipbench._internal.randomness import keeping_random_numbers
from lipbench._internal.registry import ARCHITECTURES, LAYERS
from lipbench.errors import LipbenchError
from lipbench.models.architectures.building import build
from lipbench.models.architectures.exporting import plain_form
from lipbench.models.architectures.layers import EXPORTED, layers_of
from lipbench.models.architectures.parts import Shape

SHAPE: Shape = (3, 32, 32)
CLASSES = 10
SAMPLES = 8


@dataclass(frozen=True)
class Summary:
    """An architecture with its default arguments, for inputs of ``SHAPE`` and ``CLASSES`` classes.

    parameters: of the stored network, which is the same for all sets of layers; gradient_norm: by set of layers, see
    ``gradient_norm``; None where the library is not installed or the architecture takes no such layers.
    """

    parameters: int
    gradient_norm: dict[str, float | None]


def summarize(name: str) -> Summary:
    """Build the architecture called ``name``. Raises LipbenchError if it cannot be built at all."""
    exported = plain_form(build(name, EXPORTED, SHAPE, CLASSES, {}))
    parameters = sum(parameter.numel() for parameter in exported.parameters())
    return Summary(parameters, {layers: _gradient_norm_of(name, layers) for layers in _sets()})


def _sets() -> list[str]:
    """The sets of layers, bundled ones first."""
    return list(dict.fromkeys((*LAYERS.bundled, *LAYERS.names())))


def _gradient_norm_of(name: str, layers: str) -> float | None:
    with keeping_random_numbers():
        torch.manual_seed(0)
        try:
            with ARCHITECTURES.calling(name), LAYERS.calling(layers):
                model = build(name, layers_of(layers, True), SHAPE, CLASSES, {})
                return gradient_norm(model, torch.rand(SAMPLES, *SHAPE))
        except LipbenchError:
            return None


def gradient_norm(model: nn.Module, x: Tensor) -> float:
    """|J^T v| / |v|, with J the Jacobian of the logits at x (n, c, h, w), averaged over the samples and random v.

    At most the Lipschitz constant; 1 where a 1-Lipschitz network preserves the norm of gradients (Anil, Lucas, Grosse,
    ICML 2019, section 3): orthogonal layers with no more outputs than inputs do, sorting activations and L2 norm pools
    do too.
    """
    x = x.clone().requires_grad_()
    logits = model.train()(x)
    v = torch.randn_like(logits)
    (gradient,) = torch.autograd.grad(logits, x, v)
    return float((gradient.flatten(1).norm(dim=1) / v.norm(dim=1)).mean())
