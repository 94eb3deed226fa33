"""CPU time and memory of a report, on a run of any size.

    python benchmarks/report_scale.py [--models 60] [--samples 10000] [--eps 4] [--shard 1000] [--run FOLDER]

A finished run folder is written with lipbench's own record classes: a sweep over tau, alpha, m and temperatures with
three seeds a setting under the suite ``standard``. Its records are drawn at random; which samples are open, audited or
closed follows from the bounds as in ``lipbench evaluate``. The shares resemble those of CIFAR-10: about 60 % clean,
40 % certified at 8/255. Then two processes measure what the run costs: one loads it and computes every frame, part by
part; the other makes the whole report. Memory is the peak of the process so far. With ``--run`` the folder is kept,
and used again if it is there and of this size.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lipbench._internal import files
from lipbench._internal.arrays import Floats
from lipbench.models.cards import Card, digest_of
from lipbench.runs.chains import Chains
from lipbench.runs.folder import RUN, RunFolder
from lipbench.runs.plans import ModelEntry, Run
from lipbench.runs.records import AttackFacts, AttackRecord, CertifyFacts, CertifyRecord
from lipbench.runs.units import AttackUnit, CertifyUnit

SEEDS = 3
SHAPE = (3, 32, 32)
CLASSES = 10
TAU = "tau_cross_entropy", "tau"
SETTINGS = (  # loss, hyperparameters, and how far it trades accuracy for radius, from 0 to 1
    *((*TAU, value) for value in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)),
    *(("hkr_multiclass", "alpha", "min_margin", a, m) for a in (0.67, 0.91, 0.98) for m in (0.14, 0.5, 1.0)),
    *(("hinge_multiclass", "min_margin", m) for m in (0.05, 0.1, 0.3, 0.6)),
)
LARGEST = 108  # 255ths
COST = {"gradient/bisection": (110, 100), "autoattack/fab-t": (900, 800), "autoattack/square": (5000, 0)}
OTHER_COST = (100, 100)  # forward and backward evaluations of a row


def cards(models: int) -> list[Card]:
    """A sweep: settings in turn, ``SEEDS`` seeds each; further rounds differ in the learning rate."""
    found = []
    for place in range(models):
        rounds, setting = divmod(place // SEEDS, len(SETTINGS))
        loss, *rest = SETTINGS[setting]
        names, values = rest[: len(rest) // 2], rest[len(rest) // 2 :]
        hyperparameters = dict(zip(names, values, strict=True))
        seed, rate = place % SEEDS, 0.001 * 2**rounds
        words = "-".join(f"{name}{value:g}" for name, value in hyperparameters.items())
        name = f"vgg-{loss}-{words}-rate{rate:g}-seed{seed}"
        found.append(
            Card.model_validate(
                {
                    "name": name.replace(".", "_"),
                    "data": "cifar10",
                    "input_shape": list(SHAPE),
                    "num_classes": CLASSES,
                    "seed": seed,
                    "weights_sha256": files.sha256_bytes(name.encode()),
                    "architecture": {"name": "vgg", "constrained": True},
                    "loss": {"name": loss, "hyperparameters": hyperparameters},
                    "training": {"epochs": 100, "learning_rate": rate},
                    "claimed": {"constant": 1.0},
                }
            )
        )
    return found


def planned(models: int, samples: int, eps: int, shard: int) -> Run:
    """The plan of the run. ``eps``: how many, evenly spaced up to ``LARGEST`` / 255."""
    from lipbench.attacks import suites
    from lipbench.attacks.eps import Eps
    from lipbench.evaluation.evaluate import plan_suite

    suite = suites.load("standard").with_grid([Eps(f"{LARGEST * (place + 1) / eps:g}/255") for place in range(eps)])
    settings = {
        "data": "cifar10",
        "data_sha256": "d" * 64,
        "samples": samples,
        "shard": shard,
        "audit": 0.01,
        "prune": True,
        "dtype": "float64",
        "device": "cpu",
        "threads": 1,
        "versions": {"lipbench": "0.1.0"},
    }
    entries = tuple(ModelEntry(card.name, card.plain(), digest_of(card.plain())) for card in cards(models))
    return Run(settings, entries, (plan_suite(suite),), {"zoo": "zoo", "hardware": {"machine": "x86_64"}})


class Drawn:
    """The truth about a model: which samples are correct, their distances to the boundary, and proved radii."""

    def __init__(self, place: int, samples: int) -> None:
        self.rng = np.random.default_rng([place, samples])
        trade = (place // SEEDS % len(SETTINGS)) / len(SETTINGS)
        seed = self.rng.standard_normal(3)
        self.label = np.random.default_rng(samples).integers(0, CLASSES, samples)  # equal for all models
        self.correct = self.rng.random(samples) < 0.72 - 0.22 * trade + 0.005 * seed[0]
        self.distance = np.where(self.correct, self.rng.gamma(2.0, 0.12 + 0.15 * trade + 0.004 * seed[1], samples), 0.0)
        kept = np.clip(0.35 + 0.2 * trade + 0.01 * seed[2] + 0.08 * self.rng.standard_normal(samples), 0.01, 0.99)
        self.radius = self.distance * kept

    def certify(self, unit: CertifyUnit) -> CertifyRecord:
        """The record of a shard: a little below the true radii in grade float."""
        rows = np.arange(unit.shard.start, unit.shard.stop)
        label, correct, radius = self.label[rows], self.correct[rows], self.radius[rows]
        return CertifyRecord(
            sample=rows,
            label=label,
            prediction=np.where(correct, label, (label + 1) % CLASSES),
            signed_margin=np.where(correct, radius, -0.1 * self.rng.random(len(rows))),
            certified_radius_float=radius * (1 - 1e-9),
            certified_radius_real=radius,
            certified_radius_nominal=radius,
            facts=CertifyFacts(
                lipschitz_bound=1.0,
                claimed=1.0,
                claim_confirmed=True,
                not_analysed=None,
                dtype="float64",
                dimension=int(np.prod(SHAPE)),
                forward=len(rows),
            ),
        )

    def attack(self, unit: AttackUnit, sample: Any, eps: Floats, audit: Any) -> AttackRecord:
        """A minimal-norm attack comes within some per cent of the distance; another one mostly finds what is there."""
        forward, backward = COST.get(unit.kind, OTHER_COST)
        distance, chance = self.distance[sample], self.rng.random(len(sample))
        found = np.where(
            np.isnan(eps),
            distance * (1 + 0.05 * chance),
            np.where((distance <= eps) & (chance < 0.95), distance + (eps - distance) * chance, np.inf),
        )
        hit = np.isfinite(found)
        return AttackRecord(
            sample=sample,
            eps=eps,
            audit=audit,
            adversarial_distance=found,
            adversarial_label=np.where(hit, (self.label[sample] + 1) % CLASSES, -1),
            forward=np.full(len(sample), forward),
            backward=np.full(len(sample), backward),
            facts=AttackFacts(forward * len(sample), backward * len(sample), len(sample), int(audit.sum())),
        )


def write_run(path: Path, run: Run) -> None:
    """Every record of the run, as ``evaluate`` would leave them, but without adversarial inputs."""
    from lipbench.attacks import base
    from lipbench.evaluation.selection import Selection

    RunFolder(path).open(run)
    for place, model in enumerate(run.models):
        folder = RunFolder(path)  # which keeps what it wrote
        drawn = Drawn(place, run.settings["samples"])
        for shard in run.shards:
            certify = folder.write(run.certify_unit(model, shard), drawn.certify(run.certify_unit(model, shard)))
            chains = Chains.of(run, model, shard, run.suites[0], certify)
            for unit in chains.units:
                known = chains.known(unit)
                calls = Selection(unit, known.bounds.copy(), run.settings).calls(base.named(unit.stage.attack.name))
                pairs = list(calls)
                sample = np.concatenate([part.samples for part in pairs]) + shard.start
                eps, audit = (np.concatenate([getattr(part, name) for part in pairs]) for name in ("eps", "audit"))
                chains.add(unit, folder.write(unit, drawn.attack(unit, sample, eps, audit)))


def measured(path: Path) -> Iterator[tuple[str, float, float]]:
    """What loading and each frame take: name, CPU seconds, and the peak of this process in MB."""
    started = time.process_time()
    from lipbench.report import remarks, verification
    from lipbench.report.results import Results
    from lipbench.report.tables import groups

    def lap(name: str) -> tuple[str, float, float]:
        nonlocal started
        seconds, started = time.process_time() - started, time.process_time()
        return name, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000

    yield lap("imports")
    results = Results.load(RunFolder(path))
    yield lap("load")
    results.summary()
    yield lap("summary")
    _ = results.samples
    yield lap("samples")
    results.warnings()
    yield lap("warnings")
    results.hyperparameters()
    yield lap("hyperparameters")
    results.comparisons()
    yield lap("comparisons")
    results.effects()
    yield lap("effects")
    for group in groups(results.summary(), results.hyperparameters(), results.eps):
        remarks.remarks(group)
    yield lap("remarks")
    verification.section(results.run_folder, results.run, results.failures)
    yield lap("verification")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=60)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--eps", type=int, default=4)
    parser.add_argument("--shard", type=int, default=1000)
    parser.add_argument("--run", type=Path, metavar="FOLDER")
    parser.add_argument("--no-report", action="store_true", help="measure loading and the frames only")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # the process that measures
    args = parser.parse_args()
    if min(args.models, args.samples, args.eps, args.shard) < 1:
        parser.error("expected at least one model, sample, eps and sample per shard")
    if args.measure is not None:
        print(json.dumps(list(measured(args.measure))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        path, run = args.run or Path(temporary) / "run", planned(args.models, args.samples, args.eps, args.shard)
        if not (path / RUN).is_file():
            write_run(path, run)
        elif RunFolder(path).read() != run or RunFolder(path).missing(run):
            parser.error(f"{path} holds another run, or one that is not finished; delete it or choose another folder")
        command = [sys.executable, __file__, "--measure", str(path)]
        parts = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        parts.append(("sum", sum(seconds for _, seconds, _ in parts), max(peak for _, _, peak in parts)))
        if not args.no_report:
            command = [sys.executable, "-m", "lipbench", "report", str(path), "-o", str(Path(temporary) / "report")]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)  # what this child used, and no other
            if status:
                parser.error("lipbench report failed")
            parts.append(("lipbench report", used.ru_utime + used.ru_stime, used.ru_maxrss / 1000))
    print(f"{args.models} models, {args.samples} samples, {args.eps} eps, shards of {args.shard}\n")
    print(f"{'part':<18}{'CPU s':>8}{'peak MB':>10}")
    for name, seconds, peak in parts:
        print(f"{name:<18}{seconds:>8.2f}{peak:>10.0f}")


if __name__ == "__main__":
    main()
