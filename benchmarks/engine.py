"""What the engine saves against AutoAttack standard, how it scales, and whether it loses anything when it is killed.

    python benchmarks/engine.py digits  [--models '*-seed0'] [--jobs 2]      pruned cascade against AutoAttack alone
    python benchmarks/engine.py nets ZOO [--samples 1000] [--alone 1000] [--timed 100]      the same, against the limit
    python benchmarks/engine.py plot                 saving against median tightness, over all nets measured so far
    python benchmarks/engine.py workers [--executors local,ray]      two workers against one, on this machine and on Ray
    python benchmarks/engine.py kills [--kills 20]   SIGKILLs at random moments, then a rerun
    python benchmarks/engine.py memory               peak memory of 100,000 samples against 10,000
    python benchmarks/engine.py growth               evaluations against samples, eps and models

AutoAttack runs as a user would run it: pyautoattack's version='standard', batches of 250, on the network in float32,
every sample at every eps, with the seed 0; its word on what is robust is taken. It has the layers that the network was
stored with, except where ``nets`` only counts: there it has the same faster forms of GroupSort2 and the L2 pool as the
cascade's attacks, which saves hours and changes no count. Both use one thread. Evaluations are exact counts of samples
through the network, forward plus backward. ``cpu`` is the time of the process itself, which other processes on the
machine disturb less than ``wall``.

What is measured is kept in build/engine and not measured again; delete it after a change of the code.
"""

import argparse
import fnmatch
import json
import logging
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pyautoattack import AutoAttack

from lipbench import data
from lipbench._internal import files
from lipbench.attacks import suites
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import Suite
from lipbench.evaluation.evaluate import evaluate_models
from lipbench.evaluation.options import EvaluateOptions
from lipbench.models import cards
from lipbench.models.fast_layers import quickened
from lipbench.models.sources import data_of, stored_sources
from lipbench.models.stored import load_model, serialize
from lipbench.models.zoo import find_zoo, model_folders
from lipbench.runs.bounds import Bounds
from lipbench.runs.folder import RunFolder
from lipbench.runs.records import CertifyRecord
from lipbench.work.execution import Execution, resolve_device

OUT = Path("build/engine")
BLOCK = 500  # samples that AutoAttack alone takes at a time, where it takes hours
CIFAR_EPS = [k / 255 for k in (8, 36, 72, 108)]


class Counting(torch.nn.Module):
    """The network as it is stored, its evaluations counted."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module, self.count = module, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        self.count += len(x)
        out = self.module(x)
        if out.requires_grad:
            out.register_hook(self._back)
        return out

    def _back(self, gradient: torch.Tensor) -> None:
        self.count += len(gradient)


@contextmanager
def clock() -> Iterator[dict]:
    """Wall and CPU seconds of what is inside."""
    spent: dict = {}
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def kept(name: str, compute: Callable[[], dict]) -> dict:
    """A result that is measured once."""
    path = OUT / f"{name}.json"
    if not path.exists():
        files.write_json(path, compute())
    return json.loads(path.read_text())


def alone(folder: Path, norm: str, eps: float, x: torch.Tensor, y: torch.Tensor, quick: bool = False) -> dict:
    """AutoAttack standard on samples x, y at one eps: which of them stay robust, and what it takes."""
    torch.set_num_threads(1)
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    module = load_model(folder).module
    network = Counting(quickened(module) if quick else module)
    attack = AutoAttack(network, norm=norm, eps=eps, seed=0, version="standard", device="cpu")
    with clock() as spent:
        adversarial, _ = attack.run_standard_evaluation(x, y, batch_size=250)
    evaluations = network.count
    with torch.no_grad():
        robust = torch.cat([network.module(part).argmax(1) for part in adversarial.split(250)]) == y
    return {"robust": robust.nonzero()[:, 0].tolist(), "evaluations": evaluations, **spent}


def alone_on(folder: Path, norm: str, eps: float, samples: int) -> dict:
    """The same on the first samples, in blocks that are kept each."""
    x, y = samples_of(folder, samples)
    total: dict = {"robust": [], "evaluations": 0}
    for first in range(0, samples, BLOCK):
        block = slice(first, min(first + BLOCK, samples))
        one = kept(
            f"alone-{folder.name}-{norm}-{eps:g}-{block.start}-{block.stop}",
            lambda block=block: alone(folder, norm, eps, x[block], y[block], quick=True),
        )
        total["robust"] += [first + row for row in one["robust"]]
        total["evaluations"] += one["evaluations"]
    return total


def samples_of(folder: Path, samples: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    split = data.load(cards.read(folder).data).test.first(samples)
    return torch.from_numpy(np.array(split.x)), torch.from_numpy(np.array(split.labels))


@dataclass
class Ours:
    """What an evaluation found and spent, read off its records: arrays over samples (n,) or by eps."""

    certified: dict[float, np.ndarray]
    correct: np.ndarray
    robust: dict[float, np.ndarray]
    spent: pd.DataFrame  # one row per sample and eps (NaN: for every eps), with its evaluations
    violations: int
    tightness: float
    evaluations: int


def read(run_folder: RunFolder, model: str, suite: str) -> Ours:
    run = run_folder.read()
    entry = next(entry for entry in run.models if entry.name == model)
    plan = next(plan for plan in run.suites if plan.suite.name == suite)
    certify = CertifyRecord.joined([run_folder.load(run.certify_unit(entry, shard)) for shard in run.shards])
    bounds, rows = Bounds.certify(certify, plan.suite.norm, certify.grade), []
    for shard in run.shards:
        for unit in run.attack_units(entry, shard, plan):
            record = run_folder.load(unit)
            bounds.replay([record])
            frame, facts = record.frame(), record.facts
            assert facts.forward + facts.backward == int(frame["forward"].sum() + frame["backward"].sum())
            opening = not unit.stage.eps
            rows.append(frame.assign(evaluations=frame["forward"] + frame["backward"], opening=opening))
    spent = pd.concat(rows)
    grid = plan.suite.eps
    return Ours(
        {eps: bounds.certified(eps) for eps in grid},
        bounds.correct,
        {eps: ~bounds.broken(eps) for eps in grid},
        spent,
        int(bounds.violations().sum()),
        float(np.median(bounds.tightness())),
        int(spent["evaluations"].sum()) + certify.facts.forward * len(run.shards),
    )


def cascade(folder: Path, suite: Suite, samples: int | None, out: Path) -> dict:
    """`lipbench evaluate` on one model, from nothing: wall and CPU seconds."""
    shutil.rmtree(out, ignore_errors=True)
    dataset = data.load(cards.read(folder).data)
    options = EvaluateOptions(samples=samples)
    with clock() as spent:
        evaluate_models(stored_sources(folder), [suite], dataset, out, options, Execution("cpu"), progress=False)
    return spent


# --- digits: the pruned cascade against AutoAttack alone


def digits_one(job: tuple[Path, str]) -> dict:
    folder, name = job
    suite = suites.load(name)
    x, y = samples_of(folder, None)
    theirs = [
        kept(f"alone-{folder.name}-{suite.norm}-{eps:g}", lambda eps=eps: alone(folder, suite.norm.value, eps, x, y))
        for eps in suite.eps
    ]
    place = OUT / "runs" / f"{folder.name}-{name}"
    spent = kept(f"cascade-{folder.name}-{name}", lambda: cascade(folder, suite, None, place))
    ours = read(RunFolder(place), folder.name, name)
    card = cards.read(folder)
    return {
        "model": folder.name,
        "norm": suite.norm.value,
        "constrained": card.architecture.constrained,
        "robust": [int(ours.robust[eps].sum()) for eps in suite.eps],
        "robust_alone": [len(one["robust"]) for one in theirs],
        "evaluations": ours.evaluations,
        "evaluations_alone": sum(one["evaluations"] for one in theirs),
        **{key: spent[key] for key in ("wall", "cpu")},
        **{f"{key}_alone": sum(one[key] for one in theirs) for key in ("wall", "cpu")},
        "tightness": ours.tightness,
        "violations": ours.violations,
        "n": len(y),
    }


def ratios(rows: list[dict], what: str) -> str:
    if not rows:
        return f"{what}: none"
    total = {key: sum(row[key] for row in rows) for key in ("evaluations", "wall", "cpu")}
    theirs = {key: sum(row[f"{key}_alone"] for row in rows) for key in total}
    shown = ", ".join(
        f"{key} {theirs[key]:,.0f} / {total[key]:,.0f} = {theirs[key] / total[key]:.1f}x" for key in total
    )
    return f"{what} ({len(rows)}): AutoAttack alone / cascade: {shown}"


def digits(args: argparse.Namespace) -> None:
    folders = [f for f in model_folders(find_zoo("digits")) if fnmatch.fnmatch(f.name, args.models)]
    jobs = [(folder, name) for name in ("standard", "standard-linf") for folder in folders]
    context = multiprocessing.get_context("spawn")
    rows = []
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        for row in pool.map(digits_one, jobs):
            rows.append(row)
            both = " ".join(f"{a}({b})" for a, b in zip(row["robust"], row["robust_alone"], strict=True))
            print(
                f"{row['model']:<54} {row['norm']:<4} {both:<48} evaluations "
                f"{row['evaluations_alone'] / row['evaluations']:6.1f}x  cpu {row['cpu_alone'] / row['cpu']:5.1f}x  "
                f"tightness {row['tightness']:.3f}  violations {row['violations']}",
                flush=True,
            )
    files.write_json(OUT / "digits.json", rows)
    print(f"\nrobust samples at each eps: cascade (AutoAttack alone), of {rows[0]['n']}")
    lipschitz, free = [r for r in rows if r["constrained"]], [r for r in rows if not r["constrained"]]
    print(ratios(lipschitz, "1-Lipschitz, both norms"))
    for norm in Norm:
        print(ratios([r for r in lipschitz if r["norm"] == norm.value], f"1-Lipschitz, {norm}"))
    tight = [r for r in lipschitz if r["tightness"] > 0.93]
    print(ratios(tight, "of median tightness above .93"))
    if tight:
        least = min(tight, key=lambda r: r["evaluations_alone"] / r["evaluations"])
        print(f"  the least of them: {least['model']}, {least['evaluations_alone'] / least['evaluations']:.1f}x")
    for row in free:
        print(ratios([row], f"unconstrained {row['model']}, {row['norm']}"))
    print(ratios(free, "unconstrained"))
    above = [(a - b, r["model"], r["norm"]) for r in rows for a, b in zip(r["robust"], r["robust_alone"], strict=True)]
    counts = Counter(difference for difference, *_ in above)
    print(f"robust samples of the cascade minus AutoAttack's, over {len(above)} comparisons: {sorted(counts.items())}")
    print(f"  mean {statistics.mean(difference for difference, *_ in above):+.3f}, largest {max(above)}")


# --- convolutional nets: against the limit of pruning


def nets(args: argparse.Namespace) -> None:
    resolve_device("cpu")
    suite = suites.load("standard").with_grid(CIFAR_EPS)
    folders = [f for f in model_folders(find_zoo(args.zoo)) if fnmatch.fnmatch(f.name, args.models)]
    out = OUT / "runs" / f"nets-{args.samples}"
    options = EvaluateOptions(samples=args.samples)
    dataset = data.load(data_of([find_zoo(args.zoo)]))
    run_folder = evaluate_models(stored_sources(Path(args.zoo)), [suite], dataset, out, options, Execution("cpu"))
    for folder in folders:
        rows = []
        ours = read(run_folder, folder.name, suite.name)
        first = np.arange(args.alone)
        print(
            f"\n{folder.name}: clean {ours.correct.mean():.3f}, median tightness {ours.tightness:.3f}, "
            f"violations {ours.violations}, {ours.evaluations:,} evaluations for {args.samples} samples at 4 eps"
        )
        for eps in suite.eps:
            theirs = alone_on(folder, suite.norm.value, eps, args.alone)
            some = ours.spent[ours.spent["sample"] < args.alone]
            is_open = ours.correct & ~ours.certified[eps]
            here = some[some["opening"] | (some["eps"] == eps) | (some["eps"].isna() & is_open[some["sample"]])]
            evaluations = int(here["evaluations"].sum()) + args.alone
            survivors = np.zeros(args.samples, dtype=bool)
            survivors[theirs["robust"]] = True
            limit = survivors.sum() / max(1, (survivors & ~ours.certified[eps]).sum())
            saved = theirs["evaluations"] / evaluations
            mine = int(ours.robust[eps][first].sum())
            rows.append({"model": folder.name, "tightness": ours.tightness, "eps": eps, "saved": saved, "limit": limit})
            certified, robust = ours.certified[eps].mean(), ours.robust[eps].mean()
            print(
                f"  eps {eps * 255:3.0f}/255: certified {certified:.3f} robust {robust:.3f} "
                f"(n = {args.samples}); first {args.alone}: robust {mine} (AutoAttack {len(theirs['robust'])}), "
                f"evaluations {theirs['evaluations']:,} / {evaluations:,} = {saved:.2f}x, limit {limit:.2f}x, "
                f"saved / limit {saved / limit:.2f}"
            )
        files.write_json(OUT / f"net-{folder.name}.json", rows)
        if args.timed:
            timed(folder, suite, args.timed)


def timed(folder: Path, suite: Suite, samples: int) -> None:
    """Seconds of the cascade on the first samples, and of AutoAttack on what the certificate leaves open there."""
    place = OUT / "runs" / f"timed-{folder.name}"
    spent = kept(f"timed-{folder.name}-{samples}", lambda: cascade(folder, suite, samples, place))
    ours = read(RunFolder(place), folder.name, suite.name)
    x, y = samples_of(folder, samples)
    total = {"wall": 0.0, "cpu": 0.0, "evaluations": 0}
    for eps in suite.eps:
        rows = torch.from_numpy(np.flatnonzero(ours.correct & ~ours.certified[eps]))
        theirs = kept(
            f"timed-alone-{folder.name}-{eps:g}-{samples}",
            lambda eps=eps, rows=rows: alone(folder, suite.norm.value, eps, x[rows], y[rows]),
        )
        total = {key: total[key] + theirs[key] for key in total}
    print(
        f"  time, first {samples} samples, 4 eps: AutoAttack on the uncertified ones / whole cascade: "
        f"wall {total['wall']:.0f} / {spent['wall']:.0f} s = {total['wall'] / spent['wall']:.1f}x, "
        f"cpu {total['cpu']:.0f} / {spent['cpu']:.0f} s = {total['cpu'] / spent['cpu']:.1f}x, "
        f"evaluations {total['evaluations'] / ours.evaluations:.1f}x"
    )


def plot(args: argparse.Namespace) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    ax = figure.subplots()
    groups = []
    if (OUT / "digits.json").exists():
        for norm, marker in (("L2", "o"), ("Linf", "s")):
            for constrained, color in ((True, "#1f5fa8"), (False, "#b5482a")):
                part = [
                    (r["tightness"], r["evaluations_alone"] / r["evaluations"])
                    for r in json.loads((OUT / "digits.json").read_text())
                    if r["norm"] == norm and r["constrained"] == constrained
                ]
                kind = "1-Lipschitz" if constrained else "unconstrained"
                groups.append((part, marker, color, f"digits, {kind}, {norm}, 5 eps"))
    rows = [row for path in sorted(OUT.glob("net-*.json")) for row in json.loads(path.read_text())]
    part = [(row["tightness"], row["saved"]) for row in rows]
    groups.append((part, "^", "#3a7d44", "convolutional nets, L2, each eps"))
    for part, marker, color, label in groups:
        if part:
            ax.scatter(*zip(*part, strict=True), marker=marker, facecolors="none", edgecolors=color, label=label)
    ax.set_yscale("log")
    ax.set_xlabel("median tightness: certified radius / adversarial distance")
    ax.set_ylabel("evaluations: AutoAttack alone / cascade")
    ax.set_yticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    figure.savefig(OUT / "saving.png", dpi=150)
    print(OUT / "saving.png")


# --- scaling, kills, memory, growth


def command(zoo_folder: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "lipbench", "evaluate", str(zoo_folder), "-o", str(out), "-q", *more]


def decoded(folder: RunFolder) -> dict:
    found = {unit.name: folder.load(unit) for unit in folder.read().units()}
    return {name: (record.frame(), record.facts) for name, record in found.items()}


def equal(a: RunFolder, b: RunFolder) -> bool:
    """Records equal once decoded, witnesses equal to the byte."""
    left, right = decoded(a), decoded(b)
    same = left.keys() == right.keys() and all(
        left[name][0].equals(right[name][0]) and left[name][1] == right[name][1] for name in left
    )
    witnesses = [{path.name: path.read_bytes() for path in folder.witnesses.iterdir()} for folder in (a, b)]
    return same and witnesses[0] == witnesses[1]


def copied(names: str, out: Path) -> Path:
    shutil.rmtree(out, ignore_errors=True)
    for folder in model_folders(find_zoo("digits")):
        if fnmatch.fnmatch(folder.name, names):
            shutil.copytree(folder, out / folder.name)
    return out


def workers(args: argparse.Namespace) -> None:
    """The same work by one worker and by two, from the start of the workers to the last record."""
    place = OUT / "workers"
    zoo_folder, suite, dataset = copied(args.models, place / "zoo"), suites.load("standard"), data.load("digits")
    seconds = {}
    names = args.executors.split(",")
    for name in names:
        for jobs in (1, 2):
            out = place / f"{name}-{jobs}"
            shutil.rmtree(out, ignore_errors=True)
            execution = Execution("cpu", name, jobs)
            options = EvaluateOptions(shard=250)
            with clock() as spent:
                evaluate_models(stored_sources(zoo_folder), [suite], dataset, out, options, execution, progress=False)
            seconds[name, jobs] = spent["wall"]
            same = equal(RunFolder(place / f"{names[0]}-1"), RunFolder(out))
            print(f"{name}, {jobs} workers: {spent['wall']:.1f} s; records equal to the first: {same}", flush=True)
        print(f"two {name} workers {seconds[name, 1] / seconds[name, 2]:.2f} times one")


def processes_below(pid: int) -> list[int]:
    """The process and all its descendants."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        below.setdefault(parent, []).append(int(path.parent.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def kills(args: argparse.Namespace) -> None:
    """Kill coordinators and workers of both executors at random moments; a rerun must end as if nothing had been."""
    place = OUT / "kills"
    zoo_folder = copied(args.models, place / "zoo")
    suite = ["--suite", "standard", "--samples", "100", "--shard", "50", "--jobs", "2"]
    shutil.rmtree(place / "whole", ignore_errors=True)
    start = time.perf_counter()
    subprocess.run(command(zoo_folder, place / "whole", *suite), check=True, stdout=subprocess.DEVNULL)
    length = time.perf_counter() - start
    whole = RunFolder(place / "whole")
    shutil.rmtree(place / "killed", ignore_errors=True)
    killed, moments, inodes, rewritten = RunFolder(place / "killed"), random.Random(args.seed), {}, 0
    hits: Counter[str] = Counter()
    while sum(hits.values()) < args.kills:
        name = ("local", "ray")[sum(hits.values()) % 2]
        process = subprocess.Popen(
            command(zoo_folder, place / "killed", *suite, "--executor", name),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        time.sleep(moments.uniform(3 if name == "local" else 8, max(10, length / 3)))
        family = processes_below(process.pid)
        workers_there = [pid for pid in family[1:] if _is_worker(pid)]
        if process.poll() is None:
            what = moments.choice(["coordinator", "worker"])
            victim = moments.choice(workers_there) if what == "worker" and workers_there else process.pid
            os.kill(victim, signal.SIGKILL)
            hits[f"{name} {'coordinator' if victim == process.pid else 'worker'}"] += 1
        try:
            process.wait(timeout=600)
        except subprocess.TimeoutExpired:
            print("did not end after the kill")
            return
        for pid in workers_there:  # what a killed coordinator left must not work on for ever
            _wait_gone(pid)
        for path in killed.records.glob("*.parquet"):
            rewritten += inodes.setdefault(path.name, path.stat().st_ino) != path.stat().st_ino
        if not killed.missing(killed.read()):
            print(f"  done after {sum(hits.values())} kills: starting over, in a fresh folder", flush=True)
            _verdict(whole, killed, rewritten)
            shutil.rmtree(place / "killed")
            inodes = {}
    print(f"kills: {dict(hits)}")
    subprocess.run(command(zoo_folder, place / "killed", *suite), check=True, stdout=subprocess.DEVNULL)
    _verdict(whole, killed, rewritten)


def _is_worker(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return False
    return "spawn_main" in line or line.startswith(("ray::prepared", "ray::IDLE"))


def _wait_gone(pid: int) -> None:
    from lipbench._internal.processes import exists

    for _ in range(300):
        if not exists(pid):
            return
        time.sleep(0.1)
    print(f"process {pid} outlived its coordinator by 30 s")


def _verdict(whole: RunFolder, killed: RunFolder, rewritten: int) -> None:
    counts = Counter(entry.unit for entry in killed.journal.entries())
    units = list(killed.read().units())
    left = [*killed.path.rglob(f"{files.TEMPORARY}*"), *killed.leases.folder.glob("*")]
    lost, twice = len(killed.missing(killed.read())), sum(n > 1 for n in counts.values())
    print(
        f"{len(units)} units, {lost} lost, {twice} done twice, {rewritten} records rewritten, "
        f"equal to an uninterrupted run: {equal(whole, killed)}, left lying about: {len(left)}"
    )


LINEAR = """
import sys
from pathlib import Path
import torch
from lipbench import data
from lipbench.attacks import suites
from lipbench.evaluation.evaluate import evaluate_models
from lipbench.models.sources import stored_sources
from lipbench.work.execution import Execution
zoo, archive, out = map(Path, sys.argv[1:])
suite = suites.parse({"name": "small", "norm": "L2", "eps": [0.02], "attack": [
    {"name": "autoattack/apgd-ce", "args": {"n_iter": 5}},
    {"name": "autoattack/square", "args": {"n_queries": 5}}]}, "memory")
sources = stored_sources(zoo)
evaluate_models(sources, [suite], data.load(f"npz:{archive}"), out, execution=Execution("cpu"), progress=False)
# not ru_maxrss, which a process inherits from the one that started it
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def memory(args: argparse.Namespace) -> None:
    """Peak memory of an evaluation of a linear model, on synthetic images of CIFAR's shape."""
    from lipbench.models import architectures
    from lipbench.models.cards import Architecture, Card, Loss

    peak = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        torch.manual_seed(0)
        chain = architectures.build("mlp", architectures.UNCONSTRAINED, (3, 32, 32), 10, {"widths": []})
        weights = serialize(chain)
        folder = files.make_folder(place / "zoo" / "linear")
        files.write_bytes(folder / cards.WEIGHTS, weights)
        card = Card(
            name="linear",
            data="npz",
            input_shape=(3, 32, 32),
            num_classes=10,
            seed=0,
            weights_sha256=files.sha256_bytes(weights),
            architecture=Architecture(name="mlp", constrained=False, args={"widths": []}),
            loss=Loss(name="cross_entropy"),
        )
        cards.write(folder, card)
        for n in (10_000, 100_000):
            generator = np.random.default_rng(0)
            x = generator.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
            with torch.no_grad():
                parts = [chain(torch.from_numpy(part / np.float32(255))) for part in np.array_split(x, n // 1000)]
            y = torch.cat(parts).argmax(1).numpy()
            np.savez(place / f"{n}.npz", x_test=x, y_test=y)
            del x, parts
            ran = subprocess.run(
                [sys.executable, "-c", LINEAR, str(place / "zoo"), str(place / f"{n}.npz"), str(place / f"run{n}")],
                check=True,
                capture_output=True,
                text=True,
            )
            peak[n] = int(ran.stdout.split()[-1]) / 1024
            print(f"{n:,} samples: peak {peak[n]:.0f} MB", flush=True)
    print(f"ratio {peak[100_000] / peak[10_000]:.2f}")


def growth(args: argparse.Namespace) -> None:
    """Evaluations of the suite `standard` against the number of samples, of eps in [.1, .5], and of models."""
    place = OUT / "growth"
    model = find_zoo("digits") / args.model
    suite, dataset = suites.load("standard"), data.load("digits")

    def spent(folders: Path, samples: int, eps: list[float]) -> int:
        with tempfile.TemporaryDirectory() as out:
            some = suite.with_grid(eps)
            options = EvaluateOptions(samples=samples, shard=100)
            made = evaluate_models(
                stored_sources(folders), [some], dataset, Path(out), options, Execution("cpu"), progress=False
            )
            return sum(read(made, entry.name, suite.name).evaluations for entry in made.read().models)

    grids = {k: np.linspace(0.1, 0.5, k).tolist() if k > 1 else [0.3] for k in (1, 2, 3, 5, 9, 17)}
    lines = {
        "samples": [(n, spent(model, n, list(suite.eps))) for n in (50, 100, 200, 300, 400, 500)],
        "eps": [(k, spent(model, 200, grid)) for k, grid in grids.items()],
        "models": [],
    }
    for k in (1, 2, 3, 4):
        zoo_folder = files.make_folder(place / f"zoo{k}")
        for number in range(k):  # the same model under other names: as many as one likes, all alike
            shutil.copytree(model, zoo_folder / f"copy{number}", dirs_exist_ok=True)
            path = zoo_folder / f"copy{number}" / cards.CARD
            path.write_text(path.read_text().replace(f'"{model.name}"', f'"copy{number}"'))
        lines["models"].append((k, spent(zoo_folder, 100, list(suite.eps))))
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    for ax, (name, points) in zip(figure.subplots(1, 3), lines.items(), strict=True):
        x, y = (np.array(values, dtype=float) for values in zip(*points, strict=True))
        slope, intercept = np.polyfit(np.log(x), np.log(y), 1)
        print(f"{name}: {points}; evaluations grow with the power {slope:.2f} of {name}")
        ax.plot(x, y / 1e6, "o", color="#1f5fa8")
        ax.plot(x, np.exp(intercept) * x**slope / 1e6, color="#1f5fa8", label=f"fit: {name}^{slope:.2f}")
        ax.plot(x, y[0] * x / x[0] / 1e6, "--", color="grey", label="proportional")
        ax.set_xlabel(f"number of {name}")
        ax.set_ylabel("evaluations, millions")
        ax.legend(fontsize=8)
    figure.savefig(OUT / "growth.png", dpi=150)
    print(OUT / "growth.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    defaults = {
        digits: {"models": "*-seed0", "jobs": 1},
        nets: {"zoo": None, "models": "*", "samples": 1000, "alone": 1000, "timed": 100},
        plot: {},
        workers: {"models": "mlp-*-seed[01]", "executors": "local,ray"},
        kills: {"models": "mlp-tau*-tau[146]*-seed0", "kills": 20, "seed": 0},
        memory: {},
        growth: {"model": "mlp-tau_cross_entropy-tau16-seed0"},
    }
    for function, arguments in defaults.items():
        command_parser = commands.add_parser(function.__name__)
        command_parser.set_defaults(function=function)
        for name, default in arguments.items():
            if default is None:
                command_parser.add_argument(name)
            else:
                command_parser.add_argument(f"--{name}", type=type(default), default=default)
    args = parser.parse_args()
    files.make_folder(OUT)
    args.function(args)


if __name__ == "__main__":
    main()
