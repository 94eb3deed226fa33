"""Optimizers by their registered names.

An optimizer is a class of torch, or a function, ``(parameters, lr, weight_decay, **arguments)``, registered in the
entry point group ``lipbench.optimizers`` or given in a recipe in Python. ``[training] optimizer`` names it,
``optimizer_args`` are its further arguments. The learning rate of every parameter group follows the schedule.
"""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lipbench._internal.registry import OPTIMIZERS
from lipbench.errors import LipbenchError
from lipbench.training.recipes import Training


def adam(
    parameters: Iterable[Tensor], lr: float, weight_decay: float, *, betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Optimizer:  # fmt: skip
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101)."""
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, betas=(betas[0], betas[1]), eps=eps)


def sgd(
    parameters: Iterable[Tensor], lr: float, weight_decay: float, *, momentum: float = 0.9, nesterov: bool = True
) -> Optimizer:
    """Stochastic gradient descent with Nesterov's momentum (Sutskever et al., ICML 2013)."""
    return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov)


def build(how: Training, parameters: Iterable[Tensor]) -> Optimizer:
    """The optimizer of [training].

    Raises LipbenchError for an unknown name, for arguments that it does not take, and for a plugin that fails.
    """
    name, args = how.optimizer, how.optimizer_args or {}
    factory = OPTIMIZERS.get(name)
    with OPTIMIZERS.calling(name, "has no signature"):
        taken = inspect.signature(factory).parameters
    given: dict[str, Any] = {"lr": how.learning_rate, "weight_decay": how.weight_decay, **args}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        if how.weight_decay == 0 and "weight_decay" not in taken:
            del given["weight_decay"]
        unknown = sorted(set(given) - set(taken))
        if unknown:
            known = [key for key in taken if key not in ("lr", "weight_decay")][1:]
            raise LipbenchError(
                f"optimizer {name!r} has no argument {unknown[0]!r}: it takes {', '.join(known) or 'none'}"
            )
    try:
        with OPTIMIZERS.calling(name):
            found = factory(parameters, **given)
    except (TypeError, ValueError) as error:
        raise LipbenchError(f"optimizer {name!r} cannot be made with {given}: {error}") from error
    if not isinstance(found, Optimizer):
        raise LipbenchError(f"{OPTIMIZERS.said(name)} must make a torch.optim.Optimizer, got {type(found).__name__}")
    return found
