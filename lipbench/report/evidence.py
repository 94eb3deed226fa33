"""What a run knows of each model under each suite, read back from its run folder."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lipbench import records, schema
from lipbench.cards import Card
from lipbench.errors import LipbenchError
from lipbench.ledger import Bools, Floats, Ints, Ledger
from lipbench.plans import ModelEntry, Run, SuitePlan
from lipbench.records import RunFolder
from lipbench.suites import Suite


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
    ledgers: dict[str, Ledger]  # by grade, those that the model has, in the suite's norm, after every attack
    mcr: float  # mean signed margin, in the suite's norm
    certificate: dict[str, Any]  # the certify unit's info, see ``evaluation``
    attacks: tuple[AttackRecords, ...]  # in the order of work, the opening one first
    minimal_norm: bool  # an attack on every sample minimises the norm: distances between the grid's eps mean something
    strength: Strength | None = None

    def tested(self, grade: str) -> Ledger:
        """The ledger of a grade as violations are read off it: what AutoAttack alone found counts as well."""
        ledger = self.ledgers[grade].copy()
        if self.strength is not None:
            ledger.attacked(np.arange(self.n), self.strength.adversarial_distance)
        return ledger

    @property
    def ledger(self) -> Ledger:
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
    run = run_folder.read()
    return [_read(run_folder, run, entry, plan) for entry in run.models for plan in run.suites]


def _card(entry: ModelEntry) -> Card:
    return schema.parse(Card, entry.card, f"the card of {entry.name} in run.json", "card")


def _read(folder: RunFolder, run: Run, entry: ModelEntry, plan: SuitePlan) -> Evidence:
    parts = [folder.load(run.certify_unit(entry, shard)) for shard in run.shards]
    certify, info = pd.concat([frame for frame, _ in parts], ignore_index=True), parts[0][1]
    norm, dimension = plan.suite.norm, int(info["dimension"])
    grade = records.grade(certify)
    held = {grade, "real"} | ({"nominal"} if info["claimed"] is not None else set())
    ledgers = {name: records.ledger(certify, norm, dimension, name) for name in records.GRADES if name in held}
    positions = pd.Index(certify["sample"])
    attacks = _attacks(folder, run, entry, plan)
    for attack in attacks:
        rows = _rows(positions, attack.frame, entry)
        for ledger in ledgers.values():
            ledger.attacked(rows, attack.frame["adversarial_distance"].to_numpy())
    return Evidence(
        model=entry.name,
        card=_card(entry),
        suite=plan.suite,
        samples=certify["sample"].to_numpy(),
        grade=grade,
        ledgers=ledgers,
        mcr=norm.radius_from_l2(float(certify["signed_margin"].mean()), dimension),
        certificate=info,
        attacks=tuple(attacks),
        minimal_norm=bool(plan.opening),
        strength=_strength(folder, run, entry, plan, positions, ledgers[grade].correct) if plan.strength else None,
    )


def _rows(positions: "pd.Index[int]", frame: pd.DataFrame, entry: ModelEntry) -> Ints:
    """Where the samples of attack records stand among the certified ones."""
    rows: Ints = positions.get_indexer(pd.Index(frame["sample"]))
    if (rows < 0).any():
        raise LipbenchError(
            f"the records of {entry.name} name attacked samples that were never certified: "
            "delete the run folder and run `lipbench evaluate` again"
        )
    return rows


def _attacks(folder: RunFolder, run: Run, entry: ModelEntry, plan: SuitePlan) -> list[AttackRecords]:
    """The records of all shards and groups of eps, attack by attack."""
    frames: dict[tuple[int, int], list[pd.DataFrame]] = {}  # by the attack's place in the suite, and its seed
    for shard in run.shards:
        for unit in run.attack_units(entry, shard, plan):
            assert unit.stage is not None
            key = (plan.seeds.index(unit.stage.seed), unit.stage.place)
            group = plan.groups.index(unit.stage.eps) if unit.stage.eps else -1
            frames.setdefault(key, []).append(folder.load(unit)[0].assign(group=group))
    names: Counter[str] = Counter()
    found = []
    for (_, place), parts in sorted(frames.items(), key=lambda item: item[0]):
        name = str(plan.opening[0] if place < 0 else plan.attacks[place])
        names[name] += 1
        shown = name if names[name] == 1 else f"{name}#{names[name]}"
        found.append(AttackRecords(shown, pd.concat(parts, ignore_index=True), plan.groups))
    return found


def _strength(
    folder: RunFolder, run: Run, entry: ModelEntry, plan: SuitePlan, positions: "pd.Index[int]", correct: Bools
) -> Strength:
    broken = dict.fromkeys(plan.suite.eps, ~correct)
    evaluations = dict.fromkeys(plan.suite.eps, 0)
    distance = np.full(len(correct), np.inf)
    signs = {name: np.zeros(len(correct), dtype=bool) for name in ("zero_gradient", "loss_stuck")}
    for shard in run.shards:
        for unit in run.strength_units(entry, shard, plan):
            assert unit.stage is not None
            frame, about = folder.load(unit)
            rows, eps = _rows(positions, frame, entry), unit.stage.eps[0]
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
