"""Backends: one file per attack library, behind one guard.

A backend turns inputs into candidate inputs. It is believed in nothing else: ``search`` checks what goes in, restores
the global state that attack libraries leave changed, and brings the candidates into the input range; ``judge``
re-classifies and measures them in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from lipbench.network import Network
from lipbench.threat import Norm


@dataclass(frozen=True)
class Attack:
    """What a backend declares of one of its attacks."""

    name: str
    summary: str  # one line, for `lipbench list attacks`
    norms: frozenset[Norm]
    minimal_norm: bool = False  # True: searches the smallest perturbation, takes no eps, is run once for every eps
    min_classes: int = 2
    max_classes: int | None = None  # None: any number
    defaults: Mapping[str, Any] = field(default_factory=dict)  # the arguments that it takes, and their defaults


class Backend(Protocol):
    """One attack library."""

    name: str
    attacks: Mapping[str, Attack]

    def run(
        self,
        attack: str,
        network: Network,
        x: Tensor,
        labels: Tensor,
        *,
        norm: Norm,
        eps: float | None,
        seed: int,
        args: Mapping[str, Any],
    ) -> Tensor:
        """Candidate inputs, shaped as x, for x: float32 (n, c, h, w) in [0, 1], labels: int64 (n,), on the network's device."""
        ...
