"""Run folders made of arrays whose summary can be worked out by hand."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from running import rewrite

from lipbench._internal import files
from lipbench.attacks.suites import Suite
from lipbench.models.cards import Card, digest_of
from lipbench.runs.factor_checks import boxed
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.suite_plans import SuitePlan
from lipbench.runs.units import AttackUnit, BoxUnit, CertifyUnit, FactorUnit, IndicatorUnit, ReferenceUnit, Unit

DIMENSION = 64
SEED = 7


@dataclass
class Model:
    """A model as its records: every array is (n,), radii and margins in L2, distances in the suite's norm."""

    correct: list
    real: list
    distance: list
    nominal: list | None = None
    floating: list | None = None  # grade float; None: as real
    not_analysed: str | None = None  # why there is no grade float
    margin: list | None = None
    name: str = "model"
    loss: str = "tau_cross_entropy"
    hyperparameters: dict = field(default_factory=lambda: {"tau": 4.0})
    seed: int = 0
    bound: float = 1.0
    claimed: float | None = 1.0
    constrained: bool = True
    adversarial: dict = field(default_factory=dict)
    architecture: str = "mlp"
    layers: str = "torchlip"
    label: str | None = None  # of the architecture
    args: dict = field(default_factory=dict)
    weights: str | None = None  # their digest; None: those of no other model
    card_has: dict = field(default_factory=dict)  # further fields of the card
    audit: list = field(default_factory=list)  # (sample, eps) that are attacked although certified
    # what an attack finds where that is not ``distance``: by "library/name", (that, eps) or (that, eps, seed), where
    # AutoAttack alone is "alone"
    found: dict = field(default_factory=dict)
    zero_gradient: list = field(default_factory=list)  # samples
    loss_stuck: list = field(default_factory=list)  # samples
    no_certificate: str | None = None  # why there is none; ``claimed`` is then None
    failed: dict = field(default_factory=dict)  # why an attack was left out, by "library/name"
    kept: dict = field(default_factory=lambda: {"conv1 1->8": 0.8, "dense1 8->4": 0.9})  # by block, of every sample
    grade_factor: float = 1.0  # radius of the headline grade over margin / L_cj
    box: float = 0.95  # distance without the input range over ``distance``

    def card(self) -> dict:
        card = {
            "name": self.name,
            "data": "digits",
            "input_shape": [1, 8, 8],
            "num_classes": 10,
            "seed": self.seed,
            "weights_sha256": self.weights or files.sha256_bytes(self.name.encode()),
            "architecture": {
                "name": self.architecture,
                "constrained": self.constrained,
                "layers": self.layers,
                "label": self.label,
                "args": self.args,
            },
            "loss": {
                "name": self.loss,
                "hyperparameters": self.hyperparameters,
                "adversarial": self.adversarial,
            },
        }
        if self.claimed is not None:
            card["claimed"] = {"constant": self.claimed}
        return Card.model_validate(card | self.card_has).plain()

    def certify(self, unit: Unit) -> dict:
        rows = np.arange(unit.shard.start, unit.shard.stop)
        correct = np.array(self.correct, dtype=bool)
        nothing = np.full(len(correct), np.nan)
        nominal = self.nominal if self.nominal is not None else self.real
        floating = self.floating if self.floating is not None else self.real
        radius = {
            "float": nothing if self.not_analysed else np.where(correct, floating, 0.0),
            "real": np.where(correct, self.real, 0.0),
            "nominal": nothing if self.claimed is None else np.where(correct, nominal, 0.0),
        }
        if self.no_certificate:
            radius = dict.fromkeys(radius, nothing)
        columns = {
            "label": np.zeros(len(correct), dtype=np.int64),
            "prediction": np.where(correct, 0, 1),
            # no two models with other weights agree on all margins
            "signed_margin": np.array(self.margin if self.margin is not None else radius["real"], dtype=float)
            + np.where(correct, 1e-14, -1e-14) * int(self.card()["weights_sha256"][:2], 16)
            + (np.nan if self.no_certificate else 0.0),
            **{f"certified_radius_{grade}": values for grade, values in radius.items()},
        }
        return {"sample": rows, **{name: values[rows] for name, values in columns.items()}}

    def attack(self, unit: Unit) -> dict:
        """Every correct sample of the shard is attacked, at every eps; there only what lies within it is found."""
        parts = [self._attack(unit, eps) for eps in unit.stage.eps or (np.nan,)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _attack(self, unit: Unit, eps: float) -> dict:
        name = "alone" if isinstance(unit, ReferenceUnit) else str(unit.stage.attack)
        rows = self._correct(unit)[: 0 if name in self.failed else None]
        known = [self.found.get(key) for key in ((name, eps, unit.stage.seed), (name, eps), name)]
        distance = next((values for values in known if values is not None), self.distance)
        distance = np.array(distance, dtype=float)[rows]
        hit = np.where(distance <= (np.inf if np.isnan(eps) else eps), distance, np.inf)
        return {
            "sample": rows,
            "eps": np.full(len(rows), eps),
            "audit": np.array([isinstance(unit, AttackUnit) and (row, eps) in self.audit for row in rows], dtype=bool),
            "adversarial_distance": hit,
            "adversarial_label": np.where(np.isfinite(hit), 1, -1),
            "forward": np.full(len(rows), 200 if isinstance(unit, ReferenceUnit) else 20),
            "backward": np.full(len(rows), 100 if isinstance(unit, ReferenceUnit) else 10),
        }

    def indicators(self, unit: Unit) -> dict:
        rows = self._correct(unit)
        signs = {"zero_gradient": self.zero_gradient, "loss_stuck": self.loss_stuck}
        return {"sample": rows, **{name: np.isin(rows, of) for name, of in signs.items()}}

    def factors(self, unit: Unit) -> dict:
        headline = self.real if self.not_analysed or self.floating is None else self.floating
        rows = self._correct(unit)
        rows = rows[(np.array(headline, dtype=float)[rows] > 0) & (self.no_certificate is None)]
        each, slope = np.ones(len(rows)), 2.0 * np.prod(list(self.kept.values()))
        return {
            "sample": rows,
            "other": np.ones(len(rows), dtype=np.int64),
            "margin": 2.0 * np.array(headline, dtype=float)[rows] / self.grade_factor,
            "pairwise_bound": 2.0 * each,
            **{f"kept.{place}": value * each for place, value in enumerate(self.kept.values())},
            "head": each,
            "gradient_l1": 6.0 * slope * each,  # of at most sqrt(64)
            "gradient_l2": slope * each,
            "gradient_linf": 0.5 * slope * each,
        }

    def boxes(self, unit: Unit) -> dict:
        correct = np.array(self.correct, dtype=bool)[unit.shard.start : unit.shard.stop]
        most = 0 if self.no_certificate else unit.most
        rows = boxed(correct, unit.shard, most, unit.seed) + unit.shard.start
        distance = np.array(self.distance, dtype=float)[rows]
        return {"sample": rows, "distance_within": distance, "distance_without": self.box * distance}

    def _correct(self, unit: Unit) -> np.ndarray:
        rows = np.arange(unit.shard.start, unit.shard.stop)
        return rows[np.array(self.correct, dtype=bool)[rows]]


def suite(name="quick", norm="L2", eps=(0.1, 0.2, 0.4), attacks=("gradient/minimal", "art/PGD")) -> Suite:
    named = [{"name": attack} for attack in attacks]
    return Suite.model_validate({"name": name, "norm": norm, "eps": list(eps), "attack": named})


def plan(what: Suite, groups=None, seeds=(SEED,), reference_attack=None, grown=()) -> SuitePlan:
    """An attack called minimal opens, at no eps; the others follow at every eps, which were asked for in ``groups``."""
    opening = tuple(attack for attack in what.attacks if attack.name == "gradient/minimal")
    others = tuple(attack for attack in what.attacks if attack.name != "gradient/minimal")
    return SuitePlan(what, opening, others, tuple(groups or [what.eps]), tuple(seeds), reference_attack, grown)


def write_run(path: Path, models: list[Model], suites=None, shard=1000, title=None, changed=None, **how) -> RunFolder:
    """``suites``: of Suite; ``changed``: other settings of the run; ``how``: see ``plan``."""
    settings = {
        "data": "digits",
        "data_sha256": "d" * 64,
        "samples": len(models[0].correct),
        "shard": shard,
        "audit": 0.05,
        "prune": True,
        "dtype": "float64",
        "device": "cpu",
        "threads": 1,
        "versions": {"lipbench": "0.1.0", "torch": "2.13.0"},
    } | (changed or {})
    entries = tuple(ModelEntry(m.name, m.card(), digest_of(m.card())) for m in models)
    plans = tuple(plan(what, **how) for what in suites or [suite()])
    run = Run(
        settings, entries, plans, {"zoo": "zoo", "hardware": {"cpu": "x86_64"}} | ({"title": title} if title else {})
    )
    folder = RunFolder(path)
    folder.open(run)
    by_name = {model.name: model for model in models}
    for unit in run.units():
        model = by_name[unit.model]
        made = {
            CertifyUnit: model.certify,
            IndicatorUnit: model.indicators,
            FactorUnit: model.factors,
            BoxUnit: model.boxes,
        }
        columns = made.get(type(unit), model.attack)(unit)
        rewrite(folder, unit, columns, _info(unit, model, columns, settings["dtype"]))
    return folder


def _info(unit: Unit, model: Model, columns: dict, dtype: str) -> dict:
    if isinstance(unit, CertifyUnit):
        return {
            "lipschitz_bound": None if model.no_certificate else model.bound,
            "no_certificate": model.no_certificate,
            "claimed": model.claimed,
            "claim_confirmed": None if model.claimed is None else model.bound <= model.claimed * (1 + 3e-6),
            "not_analysed": model.not_analysed,
            "dtype": dtype,
            "dimension": DIMENSION,
            "forward": unit.shard.size,
        }
    if isinstance(unit, IndicatorUnit):
        return {"eps": unit.eps}
    if isinstance(unit, FactorUnit):
        blocks, rows = list(model.kept), len(columns["sample"])
        return {"blocks": blocks, "constants": [1.0] * len(blocks), "forward": rows, "backward": rows}
    if isinstance(unit, BoxUnit):
        return {"forward": 40 * len(columns["sample"]), "backward": 20 * len(columns["sample"])}
    counts = {name: int(columns[name].sum()) for name in ("forward", "backward")}
    return {
        **counts,
        "attacked": len(columns["sample"]),
        "audited": int(columns["audit"].sum()),
        "witnesses_sha256": None,
        "failed": None if isinstance(unit, ReferenceUnit) else model.failed.get(str(unit.stage.attack)),
    }


def sweep(seeds=3, n=360) -> list[Model]:
    """What a sweep over tau, alpha and min_margin looks like: accuracy at one end, radius at the other."""
    settings = [("tau_cross_entropy", {"tau": tau}, np.log2(tau) / 6) for tau in (1.0, 4.0, 16.0, 64.0)]
    settings += [
        ("hkr_multiclass", {"alpha": a, "min_margin": m}, 0.15 * np.log10(a / (1 - a)) + 0.4 * (1 - m))
        for a in (0.67, 0.91, 0.98)
        for m in (0.14, 0.5)
    ]
    settings += [("hinge_multiclass", {"min_margin": m}, 0.9 - m) for m in (0.1, 0.3, 0.6)]
    settings += [("cross_entropy", {}, 1.5), ("cross_entropy", {}, 1.2)]
    models = []
    for place, (loss, hyperparameters, push) in enumerate(settings):
        free = loss == "cross_entropy"
        for seed in range(seeds):
            rng = np.random.default_rng([place, seed])
            correct = rng.random(n) < 0.86 + 0.12 * min(push, 1.0)
            scale = 0.55 - 0.4 * min(push, 1.0) + 0.02 * rng.standard_normal()
            distance = np.where(correct, rng.gamma(4.0, scale / 3.0, n) + 1e-3, 0.0)
            tightness = np.clip((0.08 if free else 0.95 - 0.2 * push) + 0.05 * rng.standard_normal(n), 0.01, 0.995)
            radius = np.where(correct, distance * tightness, 0.0)
            words = "_".join(f"{k}{v:g}" for k, v in hyperparameters.items())
            adversarial = {"norm": "L2", "eps": 0.3, "steps": 10} if free and push < 1.5 else {}
            models.append(
                Model(
                    correct=list(correct),
                    real=list(radius),
                    floating=list(radius * 0.9999999),
                    distance=list(distance * (2.0 if adversarial else 1.0)),
                    nominal=list(radius * 1.0000002),
                    margin=list(np.where(correct, radius, -0.05)),
                    name=f"{loss}_{words or ('adv' if adversarial else 'free')}_s{seed}",
                    loss=loss,
                    hyperparameters=hyperparameters,
                    seed=seed,
                    bound=41.7 if free else 1.0000002 if place else 1.1,
                    claimed=None if free else 1.0,
                    constrained=not free,
                    adversarial=adversarial,
                )
            )
    return models


@pytest.fixture(name="make_model")
def _make_model():
    return Model


@pytest.fixture(name="suite")
def _suite():
    return suite


@pytest.fixture(name="sweep")
def _sweep():
    return sweep


@pytest.fixture
def make_run(tmp_path):
    """Write models (and suites) into a fresh run folder; ``how``: see ``write_run``."""

    def make(models, suites=None, **how):
        place = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        return write_run(place, models if isinstance(models, list) else [models], suites, **how)

    return make
