"""The progress of an evaluation: units done, the processes at work, and the time left."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from lipbench._internal.processes import machine
from lipbench.errors import left_out
from lipbench.runs.folder import RunFolder
from lipbench.runs.journal import Entry
from lipbench.runs.units import Unit
from lipbench.work.lease import owner_of


@dataclass(frozen=True)
class Worker:
    """A process at work on one model and shard."""

    place: str  # where it runs
    pid: int
    model: str
    rows: tuple[int, int]  # of the shard
    left: int  # units of its task that are not there yet


@dataclass(frozen=True)
class RunStatus:
    """A run folder at one moment. ``kinds``: (done, all) units of each kind, in the order of work.

    Units of models that failed are not counted.
    """

    path: str
    done: int
    total: int
    kinds: dict[str, tuple[int, int]]
    workers: tuple[Worker, ...]
    seconds: float | None  # until everything is done, with as many workers; None before any unit was timed
    last: float | None  # seconds since a unit was finished
    failures: Mapping[str, str] = field(default_factory=dict)  # models that failed, with the reason


def status_of(run_folder: RunFolder) -> RunStatus:
    """Look at a run folder; raises LipbenchError if it holds no run."""
    failures = {name: failure.reason for name, failure in run_folder.failures.read().items()}
    run = run_folder.read().without(failures)
    units = list({unit.name: unit for unit in run.units()}.values())  # suites that begin alike share units
    missing = [unit for unit in units if not run_folder.has(unit)]
    done, everything = Counter(unit.kind for unit in units), Counter(unit.kind for unit in units)
    done.subtract(unit.kind for unit in missing)
    tasks = {run.certify_unit(model, shard).name: (model.name, shard) for model in run.models for shard in run.shards}
    open_units = Counter((unit.model, unit.shard) for unit in missing)
    workers = []
    for name, path in run_folder.leases.running().items():
        owner = owner_of(path)
        if name in tasks and owner is not None:
            model, shard = tasks[name]
            place = "here" if owner.machine == machine() else f"machine {owner.machine}"
            rows = (shard.start, shard.stop)
            workers.append(Worker(place, owner.pid, model, rows, open_units[(model, shard)]))
    entries = run_folder.journal.entries()
    return RunStatus(
        str(run_folder.path),
        len(units) - len(missing),
        len(units),
        {kind: (done[kind], everything[kind]) for kind in everything},
        tuple(workers),
        expected(missing, entries, max(1, len(workers))),
        time.time() - entries[-1].at if entries else None,
        failures,
    )


def expected(missing: list[Unit], entries: list[Entry], workers: int) -> float | None:
    """Seconds for the missing units: each as long as the mean of its kind so far, by sample, of its model if known.

    None where something is missing and nothing of any kind has been timed.
    """
    if not missing:
        return 0.0
    if not entries:
        return None
    spent: dict[object, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for entry in entries:
        for key in (entry.kind, (entry.model, entry.kind), None):
            spent[key][0] += entry.seconds
            spent[key][1] += entry.samples
    rate = {key: seconds / max(1.0, samples) for key, (seconds, samples) in spent.items()}
    total = 0.0
    for unit in missing:
        known = next(key for key in ((unit.model, unit.kind), unit.kind, None) if key in rate)
        total += rate[known] * unit.shard.size
    return total / workers


def show(status: RunStatus) -> str:
    """The status as lines for a terminal."""
    percent = 100 * status.done // status.total if status.total else 100  # 100 only if nothing is left
    lines = [f"{status.path}: {status.done} of {status.total} units done ({percent} %)"]
    width = max((len(kind) for kind in status.kinds), default=0)
    lines += [f"  {kind.ljust(width)}  {done:>6} of {total}" for kind, (done, total) in status.kinds.items()]
    lines += [left_out(name, why) for name, why in status.failures.items()]
    ago = "" if status.last is None else f"; the last unit was finished {_duration(status.last)} ago"
    lines.append(f"running: {len(status.workers) or 'no process'}{ago}")
    lines += [
        f"  {worker.model}, samples {worker.rows[0]}-{worker.rows[1] - 1}: {_units(worker.left)} left "
        f"(process {worker.pid}, {worker.place})"
        for worker in status.workers
    ]
    left = status.total - status.done
    if not left:
        again = "; rerun `lipbench evaluate` to try again what was left out" if status.failures else ""
        return "\n".join([*lines, f"nothing is left: `lipbench report` writes the report{again}"])
    lines.append(f"left: {_units(left)}, {'no estimate yet' if status.seconds is None else _duration(status.seconds)}")
    if not status.workers:
        lines.append(
            "no process works on this run, or workers are just starting: rerun the same `lipbench evaluate` to resume"
        )
    return "\n".join(lines)


def _units(count: int) -> str:
    return f"{count} unit" if count == 1 else f"{count} units"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} minutes" if seconds < 5400 else f"about {seconds / 3600:.1f} hours"
