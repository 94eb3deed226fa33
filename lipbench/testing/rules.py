"""Checks of a Lipschitz rule."""

from collections.abc import Callable

import torch
from torch import nn

from lipbench._internal.randomness import keeping_random_numbers
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.certification.lipschitz.table import find
from lipbench.errors import UnsupportedError
from lipbench.testing.jacobians import SLACK, steepest


def check_rule(
    make: Callable[[], nn.Module],
    input_shape: tuple[int, ...],
    *,
    instances: int = 10,
    tight: float | None = None,
) -> None:
    """Check that a rule is never below the Lipschitz constant of random layers.

    make: a layer with random weights, called ``instances`` times with torch seeded; input_shape: of one input, without
    the batch. The bound of each instance is compared with the largest singular values of Jacobians at random points,
    and with slopes between them, in float64. Weights are also taken 10 times larger and 10 times smaller, and with half
    of them 0. tight: the bound may be at most so many times the largest constant found; None: as loose as it likes.
    Raises AssertionError, and UnsupportedError if there is no rule.
    """
    with keeping_random_numbers():
        for instance in range(instances):
            torch.manual_seed(instance)
            layer = make().eval()
            for factor in (1.0, 10.0, 0.01) if instance % 2 else (1.0, 0.0):  # each on top of those before
                _vary(layer, factor)
                _check_instance(layer, input_shape, instance, tight if factor == 1.0 else None)


@torch.no_grad()
def _vary(layer: nn.Module, factor: float) -> None:
    """All floating-point weights times a factor; 0: half of them are 0."""
    for parameter in layer.parameters():
        if parameter.is_floating_point():
            parameter.mul_((torch.rand_like(parameter) > 0.5).to(parameter.dtype) if factor == 0 else factor)


def _check_instance(layer: nn.Module, input_shape: tuple[int, ...], instance: int, tight: float | None) -> None:
    try:
        bound = lipschitz_bound(layer, input_shape)
    except UnsupportedError as error:
        if find(type(layer)) is None:
            raise
        raise AssertionError(f"the rule of {type(layer).__name__} is refused: {error}") from error
    found = steepest(layer, input_shape, seed=instance)
    said = f"the rule of {type(layer).__name__} gives {bound:.9g} for inputs of shape {input_shape}"
    assert found <= bound * (1 + SLACK), (
        f"{said}, but the layer changes by a factor of {found:.9g} somewhere: the rule is below the Lipschitz constant "
        f"(instance {instance})"
    )
    assert tight is None or bound <= tight * found, (
        f"{said}, {bound / max(found, 1e-300):.3g} times the largest factor found, {found:.9g} (instance {instance})"
    )
