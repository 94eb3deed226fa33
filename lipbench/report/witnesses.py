"""The adversarial inputs of a run as arrays: of each model, suite and sample the closest one that was found."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from lipbench._internal.arrays import Floats, Ints
from lipbench.errors import LipbenchError, one_line
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import Run
from lipbench.runs.units import AttackUnit

Texts = NDArray[np.str_]
KEY = ["model", "suite", "sample"]


@dataclass(frozen=True, eq=False, repr=False)
class Witnesses:
    """Adversarial inputs: m of them, the closest one found for each model, suite and sample that has one.

    ``x[i]`` is the input that belongs to entry i of the other arrays, each (m,). They are in the order of
    ``Results.samples``, and ``adversarial_distance`` and ``attack`` are those of its rows.
    """

    x: NDArray[np.float32]  # float32 (m, c, h, w) in [0, 1]
    model: Texts
    suite: Texts
    norm: Texts  # of the suite
    sample: Ints  # row of the test set
    label: Ints  # true class
    adversarial_label: Ints  # class that the network predicts at x
    adversarial_distance: Floats  # of x from the test set's input, in the suite's norm, in units of the input range
    attack: Texts

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"<{len(self)} adversarial inputs of shape {self.x.shape[1:]}, of {len(set(self.model))} models>"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def frame(self) -> pd.DataFrame:
        """All but ``x``, one row each."""
        return pd.DataFrame({name: values for name, values in self.arrays().items() if name != "x"})


def load(run_folder: RunFolder, run: Run, samples: pd.DataFrame, models: Sequence[str]) -> Witnesses:
    """The adversarial inputs of some models; ``samples``: the frame ``Results.samples``.

    Raises LipbenchError if the run folder lacks them, or if they are not those of its records.
    """
    rows = samples[samples["model"].isin(models) & (samples["attack"] != "")].reset_index(drop=True)
    x, classes = at_distances(run_folder, run, rows)
    texts = {name: rows[name].to_numpy(dtype=np.str_) for name in ("model", "suite", "norm", "attack")}
    numbers = {name: rows[name].to_numpy() for name in ("sample", "label", "adversarial_distance")}
    return Witnesses(x=x, adversarial_label=classes, **texts, **numbers)


def at_distances(
    run_folder: RunFolder, run: Run, rows: pd.DataFrame, *, partial: bool = False
) -> tuple[NDArray[np.float32], Ints]:
    """The first adversarial input at the distance that each of m rows names, and the class that the network predicts.

    rows: with the columns ``model``, ``suite``, ``sample`` and ``adversarial_distance``; partial: the run folder may
    lack adversarial inputs of some units. Returns float32 (m, ...), NaN where there is none, and int (m,), -1 there.
    Raises LipbenchError as ``load`` does.
    """
    place = {key: row for row, key in enumerate(rows[KEY].itertuples(index=False, name=None))}
    models, distance = set(rows["model"]), rows["adversarial_distance"].to_numpy()
    shape = next((tuple(entry.card["input_shape"]) for entry in run.models if entry.name in models), (1, 1, 1))
    x, classes = np.full((len(rows), *shape), np.nan, np.float32), np.full(len(rows), -1)
    open_rows = np.ones(len(rows), dtype=bool)
    for unit in run.units():
        if not isinstance(unit, AttackUnit) or unit.model not in models:
            continue
        if partial and not run_folder.witness_path(unit).is_file():
            continue
        found, inputs = _read(run_folder, unit, shape)
        for hit, one in zip(found.to_dict("records"), inputs, strict=True):
            row = place.get((unit.model, unit.suite, hit["sample"]))
            if row is not None and open_rows[row] and hit["adversarial_distance"] == distance[row]:
                x[row], classes[row], open_rows[row] = one, hit["adversarial_label"], False
    return x, classes


def _read(run_folder: RunFolder, unit: AttackUnit, shape: tuple[int, ...]) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """The rows of a unit's record that have an adversarial input, and these."""
    record = run_folder.load_whole(unit).frame()
    hits = record[np.isfinite(record["adversarial_distance"])]
    if hits.empty:
        return hits, np.empty((0, *shape), np.float32)
    path = run_folder.witness_path(unit)
    if not path.is_file():
        raise LipbenchError(
            f"{run_folder.path} holds no adversarial inputs of {unit.model} ({path.name} is missing): they were "
            "deleted, or left out when the run was published; evaluate again, into another folder"
        )
    try:
        stored = safetensors.numpy.load(path.read_bytes())
        x, sample = stored["x"], stored["sample"]
        if x.shape != (len(hits), *shape) or x.dtype != np.float32 or not (sample == hits["sample"].to_numpy()).all():
            raise ValueError("they are not those of its record")
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise LipbenchError(f"cannot read the adversarial inputs {path}: {one_line(error)}") from error
    return hits, x
