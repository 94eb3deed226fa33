"""Running a module that is somebody else's, and leaving it as it was."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lipbench._internal.randomness import keeping_random_numbers


def equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are plain ones with the same numbers."""
    return a.layout == b.layout == torch.strided and torch.equal(a, b)


@contextlib.contextmanager
def as_it_was(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in eval mode; afterwards its attributes, tensors and the random numbers are as before.

    orthogonium moves parameters of its power iterations in eval mode, torchlip attributes and buffers.
    """
    parts = list(module.modules())
    attributes = [(vars(part), dict(vars(part))) for part in parts]
    containers = [(one, type(one)(one)) for _, held in attributes for one in held.values() if type(one) in _CONTAINERS]
    tensors = [(one, one.detach().clone()) for _, held in attributes for one in _tensors(held)]
    slots = [(table, dict(table)) for part in parts for table in (part._parameters, part._buffers)]
    with keeping_random_numbers(next((one.device for one in module.parameters()), None)), torch.no_grad():
        try:
            for part in parts:
                part.training = False
            yield
        finally:
            for now, before in (*attributes, *slots):
                now.clear()
                now.update(before)
            for one, before in containers:
                one.clear()
                one.extend(before) if isinstance(one, list) else one.update(before)
            for one, values in tensors:
                if not equal(one, values):
                    one.copy_(values)


_CONTAINERS = (list, dict, set)


def _tensors(held: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors that a module holds: weights, buffers, plain attributes."""
    for one in (*held["_parameters"].values(), *held["_buffers"].values(), *held.values()):
        if isinstance(one, Tensor) and one.layout == torch.strided:
            yield one
