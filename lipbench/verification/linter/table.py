"""The table of checks, what a check looks at, and how a model behaves when it is run."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lipbench.certification.certificate import Certificate
from lipbench.certification.lipschitz.graph import Step
from lipbench.models.cards import Card

PROBES = 8  # samples that a model is run on
BATCH = 1000
Severity = Literal["error", "warning"]
Remarks = Iterator[tuple[Severity, str]]


@dataclass(frozen=True)
class Finding:
    """What one check found: a stable code, one sentence with the numbers, and where the fact behind it is written."""

    code: str
    sentence: str
    reference: str
    severity: Severity


Run = Callable[["Subject"], Remarks]


@dataclass(frozen=True)
class Check:
    """A row of the table."""

    summary: str
    reference: str
    run: Run


TABLE: dict[str, Check] = {}


def check(code: str, summary: str, reference: str) -> Callable[[Run], Run]:
    """Register the decorated generator of (severity, sentence) under a code. Raises ValueError if it is taken."""

    def register(function: Run) -> Run:
        if code in TABLE:
            raise ValueError(f"the code {code} is taken by {TABLE[code].summary!r}")
        TABLE[code] = Check(summary, reference, function)
        return function

    return register


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


@dataclass(frozen=True)
class Subject:
    """What a check looks at: the arguments of ``lint``, and what is computed from them once."""

    module: nn.Module
    card: Card
    proof: Certificate | None
    x: Tensor | None
    labels: Tensor | None
    eps: tuple[float, ...]

    @property
    def claimed(self) -> float | None:
        """The constant on the card."""
        return None if self.card.claimed is None else self.card.claimed.constant

    @property
    def grave(self) -> Severity:
        """The severity of what only a claim makes an error."""
        return "warning" if self.claimed is None else "error"

    @property
    def excess(self) -> float | None:
        """Bound / claim where the bound does not confirm the claim, else None."""
        if self.proof is None or self.claimed is None or self.proof.claim_confirmed:
            return None
        return self.proof.bound / self.claimed

    @property
    def diameter(self) -> float:
        """sqrt(d): no two inputs in [0, 1]^d lie further apart."""
        return math.sqrt(math.prod(self.card.input_shape))

    @property
    def weight(self) -> Tensor:
        """A tensor of the type and on the device that the model computes with."""
        tensors = (*self.module.parameters(), *self.module.buffers())
        return next((tensor for tensor in tensors if tensor.is_floating_point()), torch.zeros(()))

    @cached_property
    def steps(self) -> list[tuple[str, Step]]:
        """The steps of the bounded graph with the names that a user knows, such as "features.0 (Conv2d)"."""
        if self.proof is None:
            return []
        graph = self.proof.graph
        called = {graph.nodes.get(node.name): node for node in graph.module.graph.nodes if node.op == "call_module"}
        return [
            (f"{str(called[i].target).removeprefix('0.')} ({step.name})" if i in called else f"{step.name} {i}", step)
            for i, step in enumerate(graph.steps)
        ]

    @cached_property
    def behaviour(self) -> Behaviour | None:
        """The model, run; None where it cannot be copied or does not run on its inputs."""
        given = self.x is not None and len(self.x) >= 2
        generator = torch.Generator().manual_seed(0)
        x = self.x[:PROBES] if given else torch.rand(PROBES, *self.card.input_shape, generator=generator)  # type: ignore[index]
        try:
            return _observed(self.module, x.to(self.weight))
        except Exception:  # a user's forward may raise anything; that no bound exists is a finding of its own
            return None

    @cached_property
    @torch.no_grad()
    def logits(self) -> Tensor | None:
        """Float64 logits (n, classes) of x by the bounded network; a single logit f as (-f/2, f/2)."""
        if self.x is None or self.proof is None or tuple(self.x.shape[1:]) != self.card.input_shape:
            return None
        served = self.proof.graph.module  # in the arithmetic and on the device of the proof, not of the model as given
        reference = next(served.parameters(), self.weight)
        out = torch.cat([served(part.to(reference)).double().cpu() for part in self.x.split(BATCH)])
        return torch.cat([-out / 2, out / 2], dim=1) if out.shape[1] == 1 else out


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|, in float64; inf where either holds a number that is not finite: those are never close."""
    a, b = a.double(), b.double()
    distance = ((a - b).norm() / b.norm().clamp_min(1e-300)).item()
    return distance if math.isfinite(distance) else math.inf


def count(number: int, noun: str) -> str:
    """As in "1 layer" and "2 layers"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shown(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


class _Recorder(TorchDispatchMode):
    """Notes the operations that draw random numbers, and the types below float32: also under autocast, in functions,
    and in forwards that cannot be traced.
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
def _observed(module: nn.Module, x: Tensor) -> Behaviour:
    """Run copies of a module; the global random state and the module stay as they are."""
    running, fresh, evaluated = (copy.deepcopy(module) for _ in range(3))
    before = {name: tensor.clone() for name, tensor in _state(running)}
    recorder, seed = _Recorder(), _random_state(x.device)
    # autocast around the call is a setting, which has a check of its own; here only what the forward itself does counts
    with keeping_random_state(x), torch.autocast(x.device.type, enabled=False):
        with recorder:
            first = running(x.clone())
        drew = not torch.equal(seed, _random_state(x.device))
        second = running(x.clone())
        part = fresh(x[: len(x) // 2].clone())
        calm = evaluated.eval()(x.clone())
    moved = [name for name, tensor in _state(running) if name in before and not _same(tensor, before[name])]
    # the tag alone says that an operation may draw: attention carries it with dropout 0 too
    drawn = sorted(recorder.drawn) if drew or relative(second, first) > 0 else []
    return Behaviour(first, second, part, calm, tuple(moved), tuple(drawn), tuple(sorted(recorder.reduced)))


def keeping_random_state(tensor: Tensor) -> contextlib.AbstractContextManager[None]:
    """What is run inside leaves the global random state of the tensor's device as it was."""
    return torch.random.fork_rng([tensor.device] if tensor.is_cuda else [])


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _state(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())  # NaN equals NaN here
