"""What a run consists of: models, shards of samples, suites and their stages; and the units of work that follow.

The first minimal-norm attack of a suite sees every correct sample, whatever the grid. The others run once for each
group of eps, on the samples that are open at some eps of it; a grid that is extended later is a further group, and the
units of the first stay as they are.
"""

import functools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lipbench._internal import arguments, files
from lipbench.attacks.eps import Eps
from lipbench.attacks.suites import AttackSpec, Suite
from lipbench.errors import LipbenchError
from lipbench.models.cards import digest_of
from lipbench.runs.units import (
    AttackUnit,
    BoxUnit,
    CertifyUnit,
    FactorUnit,
    IndicatorUnit,
    ReferenceUnit,
    Shard,
    Stage,
    SuiteUnit,
    Unit,
)

FORMAT = 4
BOXED = 50  # samples of a model, shard and suite whose distance is also found without the input range
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
        seeds = tuple(_count(seed, "a seed", most=2**32 - 1) for seed in content["seeds"])
        suite, reference = Suite.model_validate(content["suite"]), content["reference_attack"]
        counts = [(_count(many, "grown"), _count(times, "grown")) for many, times in content.get("grown", [])]
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


@dataclass(frozen=True)
class ModelEntry:
    """A model of the run: its card as plain data, and the digest of card and weights."""

    name: str
    card: dict[str, Any]
    digest: str

    def check(self) -> None:
        """Raise ValueError if the card is not the one that the digest is of, or that of another model."""
        if self.card.get("name") != self.name:
            raise ValueError(f"the card of the model {self.name!r} names {self.card.get('name')!r}")
        if digest_of(self.card) != self.digest:
            raise ValueError(f"the card of the model {self.name!r} is not the one that its digest was made of")


@dataclass(frozen=True)
class Run:
    """What ``run.json`` says: enough to name every unit and to rebuild every report."""

    # what determines the records: data and its hash, samples, shard, audit, prune, dtype, device, versions
    settings: dict[str, Any]
    models: tuple[ModelEntry, ...]
    suites: tuple[SuitePlan, ...]
    provenance: dict[str, Any] = field(default_factory=dict)  # what is worth knowing: hardware, zoo, where the data is

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The samples in pieces of the size that the settings say, the last one perhaps smaller."""
        try:
            samples, size = int(self.settings["samples"]), int(self.settings["shard"])
        except KeyError as error:
            raise LipbenchError(f"the settings of the run lack {error}; evaluate again, into another folder") from error
        return tuple(Shard(start, min(start + size, samples)) for start in range(0, samples, size))

    @functools.cached_property
    def _certify_names(self) -> dict[tuple[str, Shard], str]:
        """Names of certify units that were asked for, by the model's digest: every other unit of a shard asks again."""
        return {}

    def certify_unit(self, model: ModelEntry, shard: Shard) -> CertifyUnit:
        """The unit that predicts and certifies the samples of a shard."""
        name = self._certify_names.get((model.digest, shard))
        if name is None:
            rows = [shard.start, shard.stop]
            name = _hash({"format": FORMAT, "settings": self.settings, "model": model.digest, "rows": rows})
            self._certify_names[model.digest, shard] = name
        return CertifyUnit(name=name, model=model.name, shard=shard, card=model.card, settings=self.settings)

    def attack_units(self, model: ModelEntry, shard: Shard, plan: SuitePlan) -> list[AttackUnit]:
        """The attack units of a model and shard under a suite; each group of eps is a chain of its own."""
        common = self._of_suite(model, shard, plan)
        opened: str = common["certify"]
        chains: dict[tuple[float, ...], str] = {}
        units = []
        for stage in plan.stages:
            key = {
                "after": chains.get(stage.eps, opened),
                "norm": plan.suite.norm.value,
                "eps": stage.eps,
                "attack": stage.attack.model_dump(),
                "seed": stage.seed,
            }
            name = _hash(key)
            if stage.eps:
                chains[stage.eps] = name
            else:
                opened = name
            units.append(AttackUnit(name=name, stage=stage, **common))
        return units

    def reference_units(
        self, model: ModelEntry, shard: Shard, plan: SuitePlan
    ) -> "list[ReferenceUnit | IndicatorUnit]":
        """What a reference attack adds, outside the chains: that attack at each eps, then the indicators."""
        if plan.reference_attack is None:
            return []
        common, attack = self._of_suite(model, shard, plan), REFERENCE_ATTACKS[plan.reference_attack]
        seed, grid = plan.seeds[0], plan.suite.eps
        key = {"for": common["certify"], "norm": plan.suite.norm.value, "seed": seed}
        units: list[ReferenceUnit | IndicatorUnit] = []
        for eps in grid:
            name = _hash(key | {"reference": attack.model_dump(), "eps": eps})
            units.append(ReferenceUnit(name=name, stage=Stage(attack, (eps,), seed), **common))
        return [*units, IndicatorUnit(name=_hash(key | {"indicators": True, "eps": grid[-1]}), eps=grid[-1], **common)]

    def suite_units(self, model: ModelEntry, shard: Shard, plan: SuitePlan) -> list[SuiteUnit]:
        """Every unit of a model and shard under a suite, in the order of work."""
        attacks, reference = self.attack_units(model, shard, plan), self.reference_units(model, shard, plan)
        return [*attacks, *reference, self.box_unit(model, shard, plan)]

    def box_unit(self, model: ModelEntry, shard: Shard, plan: SuitePlan) -> BoxUnit:
        """The unit that measures what the input range does to distances in the norm of a suite; outside the chains."""
        common, seed = self._of_suite(model, shard, plan), plan.seeds[0]
        name = _hash({"box": BOXED, "for": common["certify"], "norm": plan.suite.norm.value, "seed": seed})
        return BoxUnit(name=name, most=BOXED, seed=seed, **common)

    def factor_unit(self, model: ModelEntry, shard: Shard) -> FactorUnit:
        """The unit that measures what each block of a network keeps of the margin's gradient."""
        certify = self.certify_unit(model, shard)
        name = _hash({"factors": True, "for": certify.name})
        return FactorUnit(
            name=name, model=model.name, shard=shard, certify=certify.name, card=model.card, settings=self.settings
        )

    def _of_suite(self, model: ModelEntry, shard: Shard, plan: SuitePlan) -> dict[str, Any]:
        """What the units of a model and shard under a suite have in common."""
        return {
            "model": model.name,
            "shard": shard,
            "certify": self.certify_unit(model, shard).name,
            "suite": plan.suite.name,
            "norm": plan.suite.norm,
            "card": model.card,
            "settings": self.settings,
        }

    def units_of(self, model: ModelEntry, shard: Shard) -> Iterator[Unit]:
        """Every unit of a model and shard, in the order of work."""
        yield self.certify_unit(model, shard)
        for plan in self.suites:
            yield from self.suite_units(model, shard, plan)
        yield self.factor_unit(model, shard)

    def units(self) -> Iterator[Unit]:
        """Every unit of the run, in the order of work."""
        for model in self.models:
            for shard in self.shards:
                yield from self.units_of(model, shard)

    def without(self, names: Collection[str]) -> "Run":
        """The run without the models of these names."""
        return replace(self, models=tuple(model for model in self.models if model.name not in names))

    def merged(self, other: "Run", failed: Collection[str] = ()) -> "Run":
        """The models and suites of both runs, which have the same settings.

        failed: names of models of this run that failed: ``other`` may have another one in place of each. Raises
        LipbenchError where both have a model or a suite of one name that do not go together.
        """
        models = {model.name: model for model in self.models}
        suites = {plan.suite.name: plan for plan in self.suites}
        for model in other.models:
            if models.setdefault(model.name, model).digest == model.digest:
                continue
            if model.name in failed:
                models[model.name] = model
            else:
                raise LipbenchError(
                    f"the run holds another model of the name {model.name}; choose another folder with -o"
                )
        for plan in other.suites:
            held = suites.get(plan.suite.name)
            suites[plan.suite.name] = plan if held is None else held.merged(plan)
        title = {key: value for key, value in other.provenance.items() if key == "title"}
        return Run(self.settings, tuple(models.values()), tuple(suites.values()), self.provenance | title)

    def plain(self) -> dict[str, Any]:
        """The content of ``run.json``."""
        return {
            "format": FORMAT,
            "settings": self.settings,
            "provenance": self.provenance,
            "suites": [plan.plain() for plan in self.suites],
            "models": [{"name": m.name, "digest": m.digest, "card": m.card} for m in self.models],
        }

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "Run":
        """The inverse of ``plain``."""
        suites = tuple(SuitePlan.from_plain(plan) for plan in content["suites"])
        models = tuple(ModelEntry(m["name"], dict(m["card"]), m["digest"]) for m in content["models"])
        if not models or not suites:
            raise ValueError("it names no model or no suite")
        for model in models:
            model.check()
        for kind, names in (("model", [m.name for m in models]), ("suite", [plan.suite.name for plan in suites])):
            twice = arguments.repeated(names)
            if twice is not None:
                raise ValueError(f"the {kind} {twice!r} is there twice")
        settings = dict(content["settings"])
        _count(settings.get("samples", 0), "samples")
        _count(settings.get("shard", 1), "shard", least=1)
        if not isinstance(settings.get("prune", True), bool) or not 0 <= settings.get("audit", 0) <= 1:
            raise ValueError("prune is true or false, and audit a share in [0, 1]")
        return cls(settings, models, suites, dict(content["provenance"]))


def _hash(key: dict[str, Any]) -> str:
    return files.sha256_json(key)[:24]


def _count(value: Any, name: str, least: int = 0, most: float = math.inf) -> int:
    """A whole number; raises ValueError for what is none, or out of range."""
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
    return value
