"""What a run knows of each model under each suite, read back from its run folder."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lipbench._internal import files, schema
from lipbench._internal.arrays import Bools, Floats, Ints
from lipbench.attacks.suites import Suite
from lipbench.certification.grades import GRADES
from lipbench.models.cards import Card
from lipbench.runs import folder as records
from lipbench.runs.bounds import Bounds
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import ModelEntry, Run, Shard, SuitePlan, Unit
from lipbench.runs.records import Known

Records = tuple[pd.DataFrame, dict[str, Any]]  # of a unit, and its info


@dataclass(frozen=True)
class AttackRecords:
    """What one attack of a suite did to a model, at every eps and on every shard."""

    name: str  # ``backend/attack``, numbered where a suite runs the same one twice
    frame: pd.DataFrame  # columns records.ATTACK and ``group``, one row per attacked sample and eps
    groups: tuple[tuple[float, ...], ...]  # of eps; the rows of -1 are of no group

    def at(self, eps: float) -> pd.DataFrame:
        """The rows that answer for ``eps``: those of a minimal-norm attack answer for every eps of their group."""
        answering = [place for place, group in enumerate(self.groups) if eps in group]
        ours = self.frame["group"].isin([-1, *answering])
        return self.frame[(self.frame["eps"] == eps) | (self.frame["eps"].isna() & ours)]

    def broken(self, eps: float) -> set[int]:
        """The samples that it broke within ``eps``, whichever eps it was given; audited ones are left out."""
        hits = ~self.frame["audit"].astype(bool) & (self.frame["adversarial_distance"] <= eps)
        return set(self.frame.loc[hits, "sample"])


@dataclass(frozen=True)
class Strength:
    """What a check of strength found: AutoAttack standard alone, and the indicators. n is the number of samples."""

    broken: dict[float, Bools]  # by eps, (n,): misclassified, or broken by AutoAttack alone
    adversarial_distance: Floats  # (n,), of the smallest perturbation that AutoAttack alone found, inf where none
    evaluations: dict[float, int]  # by eps, forward and backward, that AutoAttack alone took
    zero_gradients: Bools  # (n,), see records.INDICATORS
    loss_stuck: Bools  # (n,)


@dataclass(frozen=True)
class Evidence:
    """A model under a suite, after all of the suite's attacks. n is the number of samples."""

    model: str
    card: Card
    suite: Suite
    samples: Ints  # (n,) rows of the test set
    grade: str  # of the headline numbers: float, or real where no error analysis is known
    ledgers: dict[str, Bounds]  # by grade, those that the model has, in the suite's norm, after every attack
    mcr: float  # mean signed margin, in the suite's norm
    answers: str | None  # digest of all predictions and signed margins; None where the latter tell nothing
    certificate: dict[str, Any]  # the certify unit's info, see ``evaluation``
    attacks: tuple[AttackRecords, ...]  # in the order of work, the opening one first
    minimal_norm: bool  # an attack on every sample minimises the norm: distances between the grid's eps mean something
    strength: Strength | None = None

    def tested(self, grade: str) -> Bounds:
        """The ledger of a grade as violations are read off it: what AutoAttack alone found counts as well."""
        ledger = self.ledgers[grade].copy()
        if self.strength is not None:
            ledger.attacked(np.arange(self.n), self.strength.adversarial_distance)
        return ledger

    @property
    def ledger(self) -> Bounds:
        """The ledger of the headline numbers."""
        return self.ledgers[self.grade]

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.ledger.correct)


def load(run_folder: RunFolder) -> list[Evidence]:
    """All of a finished run, model by model in the order of the run, suite by suite.

    Raises LipbenchError if a unit is missing or damaged.
    """
    run, found = run_folder.read(), []
    labels: dict[Shard, Known] = {}  # of the first model: all were evaluated on the same samples
    for entry in run.models:
        card, certified = _card(entry), []
        for shard in run.shards:
            certified.append(run_folder.load(run.certify_unit(entry, shard), labels.get(shard)))
            labels.setdefault(shard, Known(certified[-1][0]["label"].to_numpy()))
        found += [_read(run_folder, run, entry, plan, card, certified) for plan in run.suites]
    return found


def _card(entry: ModelEntry) -> Card:
    return schema.parse(Card, entry.card, f"the card of {entry.name} in run.json", "card")


def _read(
    folder: RunFolder, run: Run, entry: ModelEntry, plan: SuitePlan, card: Card, certified: Sequence[Records]
) -> Evidence:
    """``certified``: the records of the certify units, shard by shard, and their info."""
    certify, info = pd.concat([frame for frame, _ in certified], ignore_index=True), certified[0][1]
    shards = zip(run.shards, certified, strict=True)
    units = [found for shard, (frame, _) in shards for found in folder.chain(run, entry, shard, plan, frame)]
    norm, dimension = plan.suite.norm, int(info["dimension"])
    grade = records.grade(certify)
    held = {grade, "real"} | ({"nominal"} if info["claimed"] is not None else set())
    ledgers = {name: records.ledger(certify, norm, dimension, name) for name in GRADES if name in held}
    attacks = _attacks(plan, [(unit, frame) for unit, frame, _ in units if unit.role == "attack"])
    for attack in attacks:
        rows = attack.frame["sample"].to_numpy()  # certified samples are 0 .. n - 1
        for ledger in ledgers.values():
            ledger.attacked(rows, attack.frame["adversarial_distance"].to_numpy())
    checks = [found for found in units if found[0].role != "attack"]
    return Evidence(
        model=entry.name,
        card=card,
        suite=plan.suite,
        samples=certify["sample"].to_numpy(),
        grade=grade,
        ledgers=ledgers,
        mcr=norm.radius_from_l2(float(certify["signed_margin"].mean()), dimension),
        answers=_answers(certify),
        certificate=info,
        attacks=tuple(attacks),
        minimal_norm=bool(plan.opening),
        strength=_strength(plan, checks, ledgers[grade].correct) if plan.strength else None,
    )


def _answers(certify: pd.DataFrame) -> str | None:
    """Equal for two models only if their weights are, but for how these are stored; None for a constant network."""
    margin = certify["signed_margin"].to_numpy()
    if not (np.isfinite(margin) & (margin != 0)).any():
        return None
    return files.sha256_bytes(certify["prediction"].to_numpy().tobytes() + margin.tobytes())


def _attacks(plan: SuitePlan, units: Sequence[tuple[Unit, pd.DataFrame]]) -> list[AttackRecords]:
    """The records of all shards and groups of eps, attack by attack."""
    frames: dict[tuple[int, int], list[pd.DataFrame]] = {}  # by the attack's place in the suite, and its seed
    for unit, frame in units:
        assert unit.stage is not None
        key = (plan.seeds.index(unit.stage.seed), unit.stage.place)
        group = plan.groups.index(unit.stage.eps) if unit.stage.eps else -1
        frames.setdefault(key, []).append(frame.assign(group=group))
    names: dict[str, None] = {}
    found = []
    for (_, place), parts in sorted(frames.items(), key=lambda item: item[0]):
        name = str(plan.opening[0] if place < 0 else plan.attacks[place])
        numbered = (f"{name}#{number}" for number in itertools.count(2))  # an attack may be called so by itself
        shown = next(each for each in itertools.chain([name], numbered) if each not in names)
        names[shown] = None
        found.append(AttackRecords(shown, pd.concat(parts, ignore_index=True), plan.groups))
    return found


def _strength(plan: SuitePlan, units: Sequence[tuple[Unit, pd.DataFrame, dict[str, Any]]], correct: Bools) -> Strength:
    broken = dict.fromkeys(plan.suite.eps, ~correct)
    evaluations = dict.fromkeys(plan.suite.eps, 0)
    distance = np.full(len(correct), np.inf)
    signs = {name: np.zeros(len(correct), dtype=bool) for name in ("zero_gradient", "loss_stuck")}
    for unit, frame, about in units:
        assert unit.stage is not None
        rows, eps = frame["sample"].to_numpy(), unit.stage.eps[0]
        if unit.role == "alone":
            found = frame["adversarial_distance"].to_numpy()
            np.minimum.at(distance, rows, found)
            broken[eps] = broken[eps].copy()
            broken[eps][rows] |= found <= eps
            evaluations[eps] += int(about["forward"]) + int(about["backward"])
        else:
            for name, values in signs.items():
                values[rows] = frame[name].to_numpy()
    return Strength(broken, distance, evaluations, signs["zero_gradient"], signs["loss_stuck"])
