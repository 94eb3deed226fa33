"""What a run makes of a suite: its stages, and how it grows when more is asked for later.

The first minimal-norm attack of a suite sees every correct sample, whatever the grid. The others run once for each
group of eps, on the samples that are open at some eps of it; a grid that is extended later is a further group, and the
units of the first stay as they are.
"""

import math
from dataclasses import dataclass
from typing import Any

from lipbench.attacks.eps import Eps
from lipbench.attacks.suites import AttackSpec, Suite
from lipbench.errors import LipbenchError
from lipbench.runs.units import Stage

REFERENCE_ATTACKS = {"autoattack": AttackSpec(name="autoattack/standard")}


@dataclass(frozen=True)
class SuitePlan:
    """A suite, split into what its stages are made of."""

    suite: Suite
    opening: tuple[AttackSpec, ...]  # the first minimal-norm attack, or nothing
    attacks: tuple[AttackSpec, ...]  # the others, in the order of the suite
    groups: tuple[tuple[float, ...], ...]  # of eps, each ascending, in the order in which they were asked for
    seeds: tuple[int, ...]  # of the attacks, likewise
    reference_attack: str | None = None  # key of REFERENCE_ATTACKS: what is run beside the suite
    grown: tuple[tuple[int, int], ...] = ()  # how many attacks and seeds there were before each time some were added

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Every stage, in the order of work: a stage without eps comes before those of any group."""
        stages = [Stage(attack, (), self.seeds[0]) for attack in self.opening]
        stages += [
            Stage(self.attacks[place], eps, seed, place) for eps in self.groups for seed, place in self._searches()
        ]
        return tuple(stages)

    def _searches(self) -> list[tuple[int, int]]:
        """Seed and place of each attack: seed by seed; but what was added later comes later, for the chain to hold."""
        found: dict[tuple[int, int], None] = {}
        for attacks, seeds in (*self.grown, (len(self.attacks), len(self.seeds))):
            found |= dict.fromkeys((seed, place) for seed in self.seeds[:seeds] for place in range(attacks))
        return list(found)

    def merged(self, other: "SuitePlan") -> "SuitePlan":
        """What both say, this one first: new eps and seeds of ``other``, and attacks at the end of the list.

        Raises LipbenchError for suites of one name that differ in the norm or in the attacks that both have.
        """
        attacks = max(self.attacks, other.attacks, key=len)
        fits = self.attacks == attacks[: len(self.attacks)] and other.attacks == attacks[: len(other.attacks)]
        if self.suite.norm is not other.suite.norm or self.opening != other.opening or not fits:
            raise LipbenchError(
                f"the run holds another suite of the name {self.suite.name!r}: only eps, seeds, and attacks at the end "
                "of its list can be added; choose another folder with -o, or another name"
            )
        known = {eps for group in self.groups for eps in group}
        fresh = tuple(eps for group in other.groups for eps in group if eps not in known)
        given: dict[float, Eps] = {
            eps: eps for eps in (*other.suite.eps, *self.suite.eps)
        }  # as the run has them, where both do
        grid = sorted(given[eps] for eps in known.union(fresh))
        longer = self.suite if len(self.attacks) == len(attacks) else other.suite
        seeds = (*self.seeds, *(seed for seed in other.seeds if seed not in self.seeds))
        before = (len(self.attacks), len(self.seeds))
        return SuitePlan(
            longer.with_grid(grid),
            self.opening,
            attacks,
            (*self.groups, tuple(sorted(fresh))) if fresh else self.groups,
            seeds,
            self.reference_attack or other.reference_attack,
            self.grown if before == (len(attacks), len(seeds)) else (*self.grown, before),
        )

    def plain(self) -> dict[str, Any]:
        """The plan as ``run.json`` has it."""
        return {
            "suite": self.suite.plain(),
            "opening": [attack.model_dump() for attack in self.opening],
            "attacks": [attack.model_dump() for attack in self.attacks],
            "groups": [list(group) for group in self.groups],
            "seeds": list(self.seeds),
            "reference_attack": self.reference_attack,
            "grown": [list(counts) for counts in self.grown],
        }

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "SuitePlan":
        """The inverse of ``plain``."""
        opening, attacks = (
            tuple(AttackSpec.model_validate(attack) for attack in content[name]) for name in ("opening", "attacks")
        )
        groups = tuple(tuple(float(eps) for eps in group) for group in content["groups"])
        if not groups or not content["seeds"]:
            raise ValueError("a suite has no eps or no seed")
        seeds = tuple(whole_number(seed, "a seed", most=2**32 - 1) for seed in content["seeds"])
        suite, reference = Suite.model_validate(content["suite"]), content["reference_attack"]
        counts = [
            (whole_number(many, "grown"), whole_number(times, "grown")) for many, times in content.get("grown", [])
        ]
        plan = cls(suite, opening, attacks, groups, seeds, reference, tuple(counts))
        plan._check(tuple(map(Eps, content["suite"]["eps"])))
        return plan

    def _check(self, grid: tuple[float, ...]) -> None:
        """Raise ValueError if parts of the plan contradict each other. ``grid``: the suite's eps as they were read."""
        name, every = self.suite.name, sorted(eps for group in self.groups for eps in group)
        if grid != self.suite.eps or every != list(grid) or any(list(group) != sorted(group) for group in self.groups):
            raise ValueError(f"the eps of the suite {name!r} are not ascending, or not those of its groups")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"the suite {name!r} names a seed twice")
        if self.reference_attack not in (None, *REFERENCE_ATTACKS):
            known = ", ".join(REFERENCE_ATTACKS)
            raise ValueError(f"reference_attack of the suite {name!r} is {self.reference_attack!r}, expected {known}")
        rest = list(self.suite.attacks)
        for attack in self.opening:
            if attack not in rest:
                raise ValueError(f"the suite {name!r} opens with {attack}, an attack that it does not have")
            rest.remove(attack)
        if rest != list(self.attacks) or len(self.opening) > 1:
            raise ValueError(f"the attacks of the suite {name!r} are not those of its stages")
        if any(many > len(self.attacks) or times > len(self.seeds) for many, times in self.grown):
            raise ValueError(f"the suite {name!r} grew from more attacks or seeds than it has")


def whole_number(value: Any, name: str, least: int = 0, most: float = math.inf) -> int:
    """A whole number; raises ValueError for what is none, or out of range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
    return value
