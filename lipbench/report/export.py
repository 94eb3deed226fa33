"""A run's frames and adversarial inputs as files for other tools: parquet, CSV, npz."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from lipbench._internal import arguments, files
from lipbench.errors import LipbenchError
from lipbench.report.results import Results, StrPath, load_run

FRAMES, ARRAYS = (".parquet", ".csv"), (".npz",)


def export_run(
    run: StrPath,
    *,
    samples: StrPath | None = None,
    summary: StrPath | None = None,
    witnesses: StrPath | None = None,
    force: bool = False,
) -> list[Path]:
    """Write what a finished run found into files, and return their paths.

    run: the run folder; samples: a file for ``Results.samples``; summary: for ``Results.summary()``, both .parquet or
    .csv by the ending of their names; witnesses: an .npz file for the arrays of ``Results.witnesses()``; force: replace
    files that exist. All files are checked before any is written. Raises LipbenchError if a file exists, for another
    ending, and if the run is not finished or damaged.
    """
    given = {"samples": (samples, FRAMES), "summary": (summary, FRAMES), "witnesses": (witnesses, ARRAYS)}
    arguments.truth("force", force)
    folder = arguments.path("the run folder", run)
    targets = {
        name: _target(name, place, endings, force) for name, (place, endings) in given.items() if place is not None
    }
    if not targets:
        raise LipbenchError("export what? name a file for samples, summary or witnesses, such as samples out.parquet")
    arguments.distinct("file", [str(path.resolve()) for path in targets.values()])
    contents = _contents(load_run(folder))
    made = {path: contents[name](path.suffix) for name, path in targets.items()}
    for path, data in made.items():
        files.write_bytes(path, data)
    return list(made)


def _target(name: str, given: StrPath, endings: tuple[str, ...], force: bool) -> Path:
    path = arguments.path(name, given)
    if path.suffix not in endings:
        raise LipbenchError(f"{name} must be a file that ends in {' or '.join(endings)}, got {path}")
    files.refuse_other(path)
    if path.is_file() and not force:
        raise LipbenchError(f"{path} exists: choose another name, or replace it with --force (force=True)")
    return path


def _contents(results: Results) -> dict[str, Callable[[str], bytes]]:
    """What each file holds, given its ending."""
    return {
        "samples": lambda ending: _encoded(results.samples, ending),
        "summary": lambda ending: _encoded(results.summary(), ending),
        "witnesses": lambda ending: _npz(results),
    }


def _encoded(frame: pd.DataFrame, ending: str) -> bytes:
    if ending == ".csv":
        return frame.to_csv(index=False, lineterminator="\n").encode()
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _npz(results: Results) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **results.witnesses().arrays())
    return buffer.getvalue()
