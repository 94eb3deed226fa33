"""The subject of the checks: a model, its card, its certificate, and samples."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from lipbench.attacks.network import class_logits
from lipbench.certification.certificate import Certificate
from lipbench.certification.lipschitz.graph import Step
from lipbench.models.cards import Card
from lipbench.verification.linter.observation import Behaviour, observed

PROBES = 8  # samples that a model is run on
BATCH = 1000
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Subject:
    """The arguments of ``lint``, and values that are computed from them once."""

    module: nn.Module
    card: Card
    proof: Certificate | None
    x: Tensor | None
    labels: Tensor | None
    eps: tuple[float, ...]
    no_certificate: str | None = None  # why ``proof`` is None, where that is known

    @property
    def claimed(self) -> float | None:
        """The constant on the card."""
        return None if self.card.claimed is None else self.card.claimed.constant

    @property
    def grave(self) -> Severity:
        """The severity of a fault that only a claim turns into an error."""
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
        """The steps of the bounded graph, with the names that a user knows, such as "features.0 (Conv2d)"."""
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
        """The behaviour of the model; None where it cannot be copied or does not run on its inputs."""
        given = self.x is not None and len(self.x) >= 2
        generator = torch.Generator().manual_seed(0)
        x = self.x[:PROBES] if given else torch.rand(PROBES, *self.card.input_shape, generator=generator)  # type: ignore[index]
        try:
            return observed(self.module, x.to(self.weight))
        except Exception:  # a user's forward may raise anything; that no bound exists is a finding of its own
            return None

    @cached_property
    @torch.no_grad()
    def logits(self) -> Tensor | None:
        """Float64 logits (n, classes) of x by the bounded network; a single logit f as (-f/2, f/2)."""
        if self.x is None or self.proof is None or tuple(self.x.shape[1:]) != self.card.input_shape:
            return None
        served = self.proof.graph.module  # in the dtype and on the device of the proof, not of the model as given
        reference = next(served.parameters(), self.weight)
        out = torch.cat([served(part.to(reference)).double().cpu() for part in self.x.split(BATCH)])
        return class_logits(out)
