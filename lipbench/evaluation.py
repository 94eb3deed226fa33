"""Evaluating a zoo under suites of attacks: predict, certify, then attack what the certificate leaves open."""

import importlib.metadata
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from tqdm import tqdm

from lipbench import backends, cards, files, records, zoo
from lipbench.certificates import certificate
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError, unknown_name
from lipbench.ledger import Bools, Ledger
from lipbench.network import Network
from lipbench.records import ModelEntry, Run, RunFolder, Stage, SuitePlan, Unit
from lipbench.rounding import ARITHMETIC
from lipbench.suites import Suite

VERSIONED = ("lipbench", "torch", "numpy", "adversarial-robustness-toolbox", "pyautoattack", "deel-torchlip")


@dataclass(frozen=True)
class Options:
    """What a user chooses about an evaluation; all of it determines the records."""

    samples: int | None = None  # the first so many test samples; for None as many as the suites say, else all
    seed: int = 0
    audit: float = 0.01  # share of the certified samples that is attacked all the same, at each attack and eps
    prune: bool = True  # False: attack every correct sample at every eps
    arithmetic: str = "float64"  # what the networks compute in, whoever runs them; or "float32"

    def __post_init__(self) -> None:
        if self.samples is not None and self.samples < 1:
            raise LipbenchError(f"samples must be at least 1, got {self.samples}")
        if not 0 <= self.audit <= 1:
            raise LipbenchError(f"audit is a share in [0, 1], got {self.audit}")
        if not 0 <= self.seed < 2**32:
            raise LipbenchError(f"seed must be in 0 .. 2^32 - 1, got {self.seed}")
        if self.arithmetic not in ARITHMETIC:
            raise unknown_name("arithmetic", self.arithmetic, ARITHMETIC)


def evaluate(
    zoo_folder: Path,
    suites: Sequence[Suite],
    dataset: Dataset,
    out: Path,
    *,
    options: Options = Options(),
    device: torch.device,
    progress: bool = True,
) -> RunFolder:
    """Evaluate every model of a zoo and leave the records in ``out``; what is there already is not computed again.

    Raises LipbenchError before any work if a model, a suite and the data do not fit together.
    """
    folders = cards.model_folders(zoo_folder)
    plans = tuple(plan(suite) for suite in suites)
    split = dataset.test.first(options.samples or _samples(suites))
    entries = tuple(_entry(folder, dataset, plans) for folder in folders)
    distinct("model", [entry.name for entry in entries])
    distinct("suite", [plan.suite.name for plan in plans])
    run = Run(_settings(dataset, split, options, device), entries, plans, _provenance(zoo_folder))
    run_folder = RunFolder(out)
    run_folder.open(run)
    missing = [unit for unit in run.units() if not run_folder.has(unit)]
    with tqdm(total=len(missing), unit="unit", disable=not progress or not missing) as bar:
        for folder, entry in zip(folders, entries, strict=True):
            bar.set_description(entry.name)
            job = _Job(run_folder, run, entry, folder, split, options, device, bar)
            job.evaluate()
    return run_folder


def plan(suite: Suite) -> SuitePlan:
    """The stages of a suite: minimal-norm attacks once, then for each eps, ascending, the others in their order."""
    minimal = [spec for spec in suite.attacks if backends.describe(spec).minimal_norm]
    bounded = [spec for spec in suite.attacks if not backends.describe(spec).minimal_norm]
    stages = [Stage(spec, None) for spec in minimal]
    stages += [Stage(spec, eps) for eps in suite.eps for spec in bounded]
    return SuitePlan(suite, tuple(stages))


def _samples(suites: Sequence[Suite]) -> int | None:
    wanted = {suite.samples for suite in suites}
    if len(wanted) > 1:
        raise LipbenchError(
            f"the suites {', '.join(suite.name for suite in suites)} are made for different numbers of samples; "
            "choose one with --samples"
        )
    return wanted.pop()


def distinct(kind: str, names: list[str]) -> None:
    """Raise LipbenchError if a name is there twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LipbenchError(f"the {kind} name {twice[0]!r} is there twice; names must differ within a run")


def _entry(folder: Path, dataset: Dataset, plans: Iterable[SuitePlan]) -> ModelEntry:
    model = zoo.load(folder)
    card = model.card
    zoo.check_fits(card, dataset)
    for suite_plan in plans:
        for spec in suite_plan.suite.attacks:
            backends.check(spec, card.num_classes, card.input_shape, suite_plan.suite.norm)
    return ModelEntry(card.name, card.plain(), model.digest)


def _settings(dataset: Dataset, split: Split, options: Options, device: torch.device) -> dict[str, Any]:
    return {
        "data": dataset.spec,
        "data_sha256": split.sha256,
        "samples": len(split.labels),
        "seed": options.seed,
        "audit": options.audit,
        "prune": options.prune,
        "arithmetic": options.arithmetic,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
    }


def _provenance(zoo_folder: Path) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "zoo": zoo_folder.resolve().name if zoo_folder.name != "zoo" else zoo_folder.resolve().parent.name,
        "hardware": {"machine": platform.machine(), "gpu": gpu},
        "python": platform.python_version(),
    }


@dataclass
class _Job:
    """The evaluation of one model."""

    run_folder: RunFolder
    run: Run
    entry: ModelEntry
    folder: Path
    split: Split
    options: Options
    device: torch.device
    bar: "tqdm[Any]"

    @cached_property
    def model(self) -> zoo.Model:
        model = zoo.load(self.folder)
        if model.digest != self.entry.digest:
            raise LipbenchError(f"{self.folder} was changed while it was evaluated; run the same command again")
        return model

    @cached_property
    def network(self) -> Network:  # only built if there is something to compute
        return Network(self.model.module, self.model.card.input_shape, self.device, self.options.arithmetic)

    @cached_property
    def x(self) -> torch.Tensor:
        return torch.from_numpy(self.split.x)

    @cached_property
    def labels(self) -> torch.Tensor:
        return torch.from_numpy(self.split.labels)

    def evaluate(self) -> None:
        """Compute every unit of the model that is not there yet."""
        unit = self.run.certify_unit(self.entry)
        if not self.run_folder.has(unit):
            self._certify(unit)
        certify, _ = self.run_folder.load(unit)
        for suite_plan in self.run.suites:
            size, grade = self.split.images[0].size, records.grade(certify)
            ledger = records.ledger(certify, suite_plan.suite.norm, size, grade)
            for unit in self.run.attack_units(self.entry, suite_plan):
                if not self.run_folder.has(unit):
                    self._attack(unit, ledger)
                found, _ = self.run_folder.load(unit)
                ledger.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())

    def _certify(self, unit: Unit) -> None:
        card = self.model.card
        claimed = None if card.claimed is None else card.claimed.constant
        proof = certificate(self.network.module, card.input_shape, claimed, self.network.dtype)
        before = self.network.evaluations.forward
        logits = self.network.predict(self.x)
        radii = proof.radii_of(self.x.to(self.device), logits, self.labels)
        if self.options.arithmetic == "float32" and proof.errors is not None:
            self.network.evaluations.forward += len(self.x)  # the analysis of each sample runs the network once more
        columns = {
            "sample": np.arange(len(self.labels)),
            "label": self.split.labels,
            "prediction": logits.argmax(dim=1).numpy(),
            "signed_margin": proof.signed_margins(logits, self.labels).numpy(),
            **{f"certified_radius_{grade}": radius.numpy() for grade, radius in radii.items()},
        }
        info = {
            "lipschitz_bound": proof.bound,
            "claimed": claimed,
            "claim_confirmed": proof.claim_confirmed,
            "not_analysed": proof.not_analysed,
            "arithmetic": self.network.arithmetic,
            "dimension": int(np.prod(card.input_shape)),
            "forward": self.network.evaluations.forward - before,
        }
        self.run_folder.write(unit, columns, info)
        self.bar.update()

    def _attack(self, unit: Unit, ledger: Ledger) -> None:
        assert unit.stage is not None
        assert unit.norm is not None
        spec, eps = unit.stage.attack, unit.stage.eps
        chosen, audit = _choose(ledger, eps, self.options, unit)
        rows = np.flatnonzero(chosen)
        x, labels = self.x[rows].to(self.device), self.labels[rows].to(self.device)
        before = replace(self.network.evaluations)
        candidates = backends.search(spec, self.network, x, labels, norm=unit.norm, eps=eps, seed=self.options.seed)
        adversarial, distance, classes = backends.judge(self.network, x, labels, candidates, unit.norm)
        after = replace(self.network.evaluations)
        if adversarial.any():
            witness = {
                "sample": torch.from_numpy(rows[adversarial]),
                "x": candidates[torch.from_numpy(adversarial)].cpu(),
            }
            files.write_bytes(self.run_folder.witness_path(unit), safetensors.torch.save(witness))
        columns = {
            "sample": rows,
            "audit": audit[rows],
            "adversarial_distance": distance,
            "adversarial_label": classes,
        }
        info = {
            "forward": after.forward - before.forward,
            "backward": after.backward - before.backward,
            "attacked": len(rows),
            "audited": int(audit.sum()),
        }
        self.run_folder.write(unit, columns, info)
        self.bar.update()


def _choose(ledger: Ledger, eps: float | None, options: Options, unit: Unit) -> tuple[Bools, Bools]:
    """Which samples an attack sees, and which of them only for the audit: two bool arrays (n,).

    A minimal-norm attack (eps None) sees every correct sample: it is cheap, and the tightness is read off it.
    """
    none = np.zeros(len(ledger.correct), dtype=bool)
    if eps is None or not options.prune:
        return ledger.correct, none
    closed = np.flatnonzero(ledger.certified(eps) & ~ledger.broken(eps))
    size = int(np.ceil(options.audit * len(closed)))
    generator = np.random.default_rng([options.seed, int(unit.name[:8], 16)])
    audit = none.copy()
    audit[generator.choice(closed, size, replace=False)] = True
    return ledger.open(eps) | audit, audit


def data_of(zoo_folder: Path) -> str:
    """The data set that the cards of a zoo name; raises LipbenchError if they differ."""
    specs = sorted({cards.read(folder).data for folder in cards.model_folders(zoo_folder)})
    if len(specs) > 1:
        raise LipbenchError(
            f"the models of {zoo_folder} name different data sets ({', '.join(specs)}); choose one with --data"
        )
    return specs[0]
