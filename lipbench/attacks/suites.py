"""Attack suites: TOML files that name a norm, a grid of eps and a list of attacks."""

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator

from lipbench._internal import arguments, files, resources, schema
from lipbench._internal.registry import ATTACKS
from lipbench._internal.schema import Name, Public
from lipbench.attacks.eps import Eps, EpsField, parse_grid
from lipbench.attacks.norm import Norm

SMALLEST_EPS = 1e-6  # a float32 pixel near 1 moves in steps of 6e-8
LARGEST_EPS = 1e6  # no two images lie further apart; the square of a larger radius may overflow float32


def _plain(value: Any) -> Any:
    """A NumPy number as a Python number, which can be written to files."""
    return value.item() if isinstance(value, np.generic) else value


def _number(value: Any) -> Any:
    """A number, unchanged: pydantic would also accept True as 1 and "3" as 3."""
    value = _plain(value)
    if isinstance(value, bool | str | bytes):
        raise ValueError("input should be a number")
    return value


class AttackSpec(Public):
    """One attack of a suite: its name, "library/attack", and the arguments that differ from their defaults.

    In Python, ``name`` may be an attack object or a function ``(model, x, labels, eps)``, or the object may stand for
    the whole AttackSpec: it is registered under its own name.
    """

    name: Annotated[str, BeforeValidator(ATTACKS.name_of)]
    args: dict[str, Annotated[Any, BeforeValidator(_plain)]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _object(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) or callable(value) or hasattr(value, "run") else value

    def __str__(self) -> str:
        return self.name


class Suite(Public):
    """A named list of attacks, run from the first to the last at every eps of the grid, in ascending order."""

    name: Name
    description: str = ""
    norm: Norm
    # ascending, in units of the input range [0, 1]; "8/255" stays so
    eps: Annotated[tuple[EpsField, ...], Field(min_length=1)]
    samples: Annotated[int, BeforeValidator(_number), Field(ge=1)] | None = (
        None  # how many test samples, from the first one; the user may choose another number
    )
    attacks: Annotated[tuple[AttackSpec, ...], Field(min_length=1, alias="attack")]

    @field_validator("norm", mode="before")
    @classmethod
    def _norm(cls, value: Any) -> Norm:
        return Norm.of_a_file(value)

    @field_validator("eps", mode="before")
    @classmethod
    def _single(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float | str) and not isinstance(value, bool) else value

    @field_validator("eps")
    @classmethod
    def _grid(cls, value: tuple[Eps, ...]) -> tuple[Eps, ...]:
        if any(not math.isfinite(eps) or eps <= 0 for eps in value):
            raise ValueError("every eps must be a finite number above 0")
        if min(value) < SMALLEST_EPS:
            raise ValueError(f"every eps must be at least {SMALLEST_EPS:g}: float32 inputs are too coarse below")
        if max(value) > LARGEST_EPS:
            raise ValueError(f"every eps must be at most {LARGEST_EPS:g}, and is in units of the input range [0, 1]")
        return tuple(sorted(set(value)))

    def with_grid(self, eps: Any) -> "Suite":
        """The same suite on another grid of eps, see ``parse_grid``; raises LipbenchError for an invalid grid."""
        grid = parse_grid(eps)
        for radius in grid:
            arguments.real_number("eps", float(radius), SMALLEST_EPS, LARGEST_EPS)
        return parse({**self.plain(), "eps": grid}, f"the suite {self.name!r}")

    def plain(self) -> dict[str, Any]:
        """The suite as plain data, in the keys of the file."""
        return self.model_dump(mode="json", by_alias=True)


def parse(content: dict[str, Any], where: str) -> Suite:
    """Check the content of a suite file; ``where`` names it in errors."""
    return schema.parse(Suite, content, where, "suite")


def names() -> list[str]:
    """The bundled suites."""
    return resources.toml_names("attacks")


def load(name_or_path: str) -> Suite:
    """A suite by its name (``standard``) or by the path of a file (``attacks/standard.toml``).

    Raises LipbenchError for an unknown name, a missing file, malformed TOML, a misspelt key or an empty grid.
    """
    path = resources.find_toml("suite", "attacks", name_or_path)
    return parse(files.read_toml(path, "suite"), str(path))
