"""What a run consists of: models, shards of samples and suites; and the units of work that follow."""

import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lipbench._internal import arguments, files
from lipbench.errors import LipbenchError
from lipbench.models.cards import digest_of
from lipbench.runs.suite_plans import REFERENCE_ATTACKS, SuitePlan, whole_number
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
        whole_number(settings.get("samples", 0), "samples")
        whole_number(settings.get("shard", 1), "shard", least=1)
        if not isinstance(settings.get("prune", True), bool) or not 0 <= settings.get("audit", 0) <= 1:
            raise ValueError("prune is true or false, and audit a share in [0, 1]")
        return cls(settings, models, suites, dict(content["provenance"]))


def _hash(key: dict[str, Any]) -> str:
    return files.sha256_json(key)[:24]
