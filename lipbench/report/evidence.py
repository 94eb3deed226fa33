"""What a run knows of each model under each suite, read back from its run folder."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from lipbench import records, schema
from lipbench.cards import Card
from lipbench.errors import LipbenchError
from lipbench.ledger import Floats, Ledger
from lipbench.records import ModelEntry, Run, RunFolder, Stage, SuitePlan
from lipbench.suites import Suite


@dataclass(frozen=True)
class StageRecords:
    """What one attack, at one eps or at none, did to a model."""

    stage: Stage
    frame: pd.DataFrame  # columns records.ATTACK, one row per attacked sample
    forward: int  # forward evaluations of single inputs
    backward: int  # backward evaluations of single inputs


@dataclass(frozen=True)
class Evidence:
    """A model under a suite, after all of the suite's attacks. n is the number of samples."""

    model: str
    card: Card
    suite: Suite
    samples: Floats  # (n,) rows of the test set
    grade: str  # of the headline numbers: float, or real where no error analysis is known
    ledgers: dict[str, Ledger]  # by grade, those that the model has, in the suite's norm, after every attack
    mcr: float  # mean signed margin, in the suite's norm
    certificate: dict[str, Any]  # the certify unit's info, see ``evaluation``
    stages: tuple[StageRecords, ...]

    @property
    def ledger(self) -> Ledger:
        """The ledger of the headline numbers."""
        return self.ledgers[self.grade]

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.ledger.correct)

    def at(self, eps: float) -> list[StageRecords]:
        """The stages that attacked at ``eps``, and those of minimal-norm attacks, which serve every eps."""
        return [stage for stage in self.stages if stage.stage.eps is None or stage.stage.eps == eps]

    @property
    def minimal_norm(self) -> bool:
        """True if an attack minimises the norm, so that distances between the grid's eps mean something."""
        return any(stage.stage.eps is None for stage in self.stages)


def load(run_folder: RunFolder) -> list[Evidence]:
    """All of a finished run, model by model in the order of the run, suite by suite.

    Raises LipbenchError if a unit is missing or damaged.
    """
    run = run_folder.read()
    return [_read(run_folder, run, entry, plan) for entry in run.models for plan in run.suites]


def _card(entry: ModelEntry) -> Card:
    return schema.parse(Card, entry.card, f"the card of {entry.name} in run.json", "card")


def _read(folder: RunFolder, run: Run, entry: ModelEntry, plan: SuitePlan) -> Evidence:
    certify, info = folder.load(run.certify_unit(entry))
    norm, dimension = plan.suite.norm, int(info["dimension"])
    grade = records.grade(certify)
    held = {grade, "real"} | ({"nominal"} if info["claimed"] is not None else set())
    ledgers = {name: records.ledger(certify, norm, dimension, name) for name in records.GRADES if name in held}
    positions = pd.Index(certify["sample"])
    stages = []
    for stage, unit in zip(plan.stages, run.attack_units(entry, plan), strict=True):
        frame, about = folder.load(unit)
        rows = positions.get_indexer(frame["sample"])
        if (rows < 0).any():
            raise LipbenchError(
                f"the records of {entry.name} name attacked samples that were never certified: "
                "delete the run folder and run `lipbench evaluate` again"
            )
        for ledger in ledgers.values():
            ledger.attacked(rows, frame["adversarial_distance"].to_numpy())
        stages.append(StageRecords(stage, frame, int(about["forward"]), int(about["backward"])))
    return Evidence(
        model=entry.name,
        card=_card(entry),
        suite=plan.suite,
        samples=certify["sample"].to_numpy(),
        grade=grade,
        ledgers=ledgers,
        mcr=norm.radius_from_l2(float(certify["signed_margin"].mean()), dimension),
        certificate=info,
        stages=tuple(stages),
    )
