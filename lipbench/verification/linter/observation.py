"""How a model behaves when it is run: randomness, state that moves, modes, precision. Everything runs on copies."""

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lipbench._internal.precision import without_autocast
from lipbench._internal.randomness import keeping_random_numbers


@dataclass(frozen=True)
class Behaviour:
    """A model that is run, in its own mode, on copies: outputs float (n, ...) of the same n inputs."""

    first: Tensor
    second: Tensor  # of the same copy, once more
    part: Tensor  # of the first half of the inputs alone
    evaluated: Tensor  # in eval mode
    moved: tuple[str, ...]  # parameters and buffers that the forward changes
    drawn: tuple[str, ...]  # operations that draw random numbers
    reduced: tuple[str, ...]  # types below float32 that the forward computes in


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, in float64; inf where either holds a number that is not finite: those are never close."""
    a, b = a.double(), b.double()
    distance = ((a - b).norm() / b.norm().clamp_min(1e-300)).item()
    return distance if math.isfinite(distance) else math.inf


class _Recorder(TorchDispatchMode):
    """Records the operations that draw random numbers, and the types below float32.

    It sees those of autocast, of functions, and of forwards that cannot be traced.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drawn: set[str] = set()
        self.reduced: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.drawn.add(str(func))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, Tensor) and is_reduced(tensor):
                self.reduced.add(str(tensor.dtype))
        return out


def is_reduced(tensor: Tensor) -> bool:
    """True for float16, bfloat16 and float8."""
    return tensor.is_floating_point() and tensor.dtype.itemsize < 4


@torch.no_grad()
def observed(module: nn.Module, x: Tensor) -> Behaviour:
    """The behaviour of a module for x (n, ...). Copies are run: the module and the random numbers do not change."""
    running, fresh, evaluated = (copy.deepcopy(module) for _ in range(3))
    before = {name: tensor.clone() for name, tensor in _state(running)}
    recorder, seed = _Recorder(), _random_state(x.device)
    # autocast around the call is a setting, which has a check of its own; only the forward itself counts here
    with keeping_random_numbers(x.device), without_autocast():
        with recorder:
            first = running(x.clone())
        drew = not torch.equal(seed, _random_state(x.device))
        second = running(x.clone())
        part = fresh(x[: len(x) // 2].clone())
        calm = evaluated.eval()(x.clone())
    moved = [name for name, tensor in _state(running) if name in before and not _same(tensor, before[name])]
    # the tag alone means that an operation may draw: attention carries it with dropout 0 too
    drawn = sorted(recorder.drawn) if drew or relative(second, first) > 0 else []
    return Behaviour(first, second, part, calm, tuple(moved), tuple(drawn), tuple(sorted(recorder.reduced)))


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _state(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())  # NaN equals NaN here
