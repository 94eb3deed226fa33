"""Attacks of optional libraries: always listed; where the library is missing, refused with the extra to install."""

import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

from lipbench.attacks.base import ANY_RANK, Attack
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import Parameter


def missing(modules: tuple[str, ...]) -> str | None:
    """The first of the modules that is not installed; None where all are. None of them is imported."""
    return next((module for module in modules if importlib.util.find_spec(module) is None), None)


class OptionalAttack(Attack):
    """An attack of an optional library. A subclass writes ``run``.

    extra: the extra of lipbench that installs the library, whose module is ``modules[0]``; modules: all that it needs;
    minimal_norm, norms, parameters: as of ``Attack``; fixed: further arguments for the library.
    """

    extra: str
    modules: tuple[str, ...]
    ranks = ANY_RANK  # they look at norms and gradients alone

    def __init__(
        self,
        name: str,
        summary: str,
        parameters: Mapping[str, Parameter],
        *,
        norms: frozenset[Norm] = frozenset(Norm),
        minimal_norm: bool = True,
        min_classes: int = 2,
        also_needs: tuple[str, ...] = (),
        fixed: Mapping[str, Any] | None = None,
    ):
        self.name, self.summary, self.norms = name, summary, norms
        self.minimal_norm, self.min_classes = minimal_norm, min_classes
        self.fixed = dict(fixed or {})
        self._parameters, self._also_needs = dict(parameters), also_needs

    @functools.cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Those that were declared."""
        return self._parameters

    @property
    def absent(self) -> str | None:
        """What is not installed, and how to install it; None where all is there."""
        if missing(self.modules):
            return f"needs {self.modules[0]}: pip install 'lipbench[{self.extra}]'"
        also = missing(self._also_needs)
        return f"needs {also}: pip install {also}" if also else None

    def obstacle(
        self, arguments: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
    ) -> str | None:
        """See ``absent``."""
        return self.absent
