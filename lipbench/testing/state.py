"""What code may not leave behind, and names of objects that are checked."""

import contextlib
import pickle
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from lipbench._internal.registry import Registry
from lipbench.errors import LipbenchError


def named(registry: Registry, given: Any) -> str:
    """The registered name of an object, or the name itself; raises LipbenchError for an object without one."""
    try:
        name: str = registry.name_of(given)
    except ValueError as error:
        raise LipbenchError(str(error)) from error
    return name


def random_numbers() -> tuple[bytes, bytes, bytes]:
    """The states of the global generators of torch, NumPy and Python."""
    states = torch.get_rng_state().tolist(), np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002
    torchs, numpys, pythons = (pickle.dumps(state) for state in states)
    return torchs, numpys, pythons


def settings() -> dict[str, object]:
    """Settings of torch that belong to the whole process."""
    return {
        "whether gradients are recorded": torch.is_grad_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "the use of deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the number of threads": torch.get_num_threads(),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
    }


@contextlib.contextmanager
def leaves_settings(said: str) -> Iterator[None]:
    """Raise AssertionError, which begins with ``said``, if settings of torch change in here; they are put back."""
    before = settings()
    yield
    after = settings()
    torch.set_grad_enabled(bool(before["whether gradients are recorded"]))
    torch.set_default_dtype(before["the default dtype"])  # type: ignore[arg-type]
    for name, value in before.items():
        assert after[name] == value, f"{said} changes {name}, from {value} to {after[name]}"


@contextlib.contextmanager
def leaves_network(network: nn.Module, said: str) -> Iterator[None]:
    """Raise AssertionError if modes, weights, gradients or ``requires_grad`` of a network change in here."""
    modes = [module.training for module in network.modules()]
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learning = [parameter.requires_grad for parameter in network.parameters()]
    yield
    assert [module.training for module in network.modules()] == modes, f"{said} changes the network's training mode"
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, tensors[name]), f"{said} changes {name} of the network"
    assert [parameter.requires_grad for parameter in network.parameters()] == learning, f"{said} changes requires_grad"
    left = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert not left, f"{said} leaves a gradient behind, of {left[0]}: use torch.autograd.grad, not backward"
