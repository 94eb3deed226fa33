"""Certified radii of the user's own, as an array or a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lipbench._internal.arrays import Floats
from lipbench.errors import LipbenchError, one_line


def checked(radii: Path | Any, samples: int) -> Floats:
    """Certified L2 radii as float64 (samples,), given as an array or as a file that ``read`` takes.

    Raises LipbenchError unless they are finite real numbers of at least 0, one for each sample.
    """
    if isinstance(radii, Path):
        radii = read(radii, samples)
    try:
        given = np.asarray(radii)
    except (TypeError, ValueError) as error:
        raise LipbenchError(f"certified radii must be numbers: {one_line(error)}") from error
    if given.dtype.kind not in "iuf":
        raise LipbenchError(f"certified radii must be real numbers, got an array of {given.dtype}")
    given = given.astype(np.float64)
    if given.shape != (samples,):
        raise LipbenchError(f"expected {samples} radii, one for each sample, got the shape {given.shape}")
    if not (np.isfinite(given) & (given >= 0)).all():
        raise LipbenchError("certified radii must be finite numbers of at least 0")
    return given


def read(path: Path, samples: int) -> Floats:
    """Certified radii (samples,) by row of the test set, 0 where the file has none.

    path: CSV or parquet, columns sample (row of the test set, from 0) and certified_radius. Raises LipbenchError for
    any other content, or a sample outside 0 .. samples - 1.
    """
    if not path.is_file():
        raise LipbenchError(f"no radii at {path}: the file does not exist")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        rows, values = table["sample"], table["certified_radius"]
    except (OSError, ValueError, KeyError) as error:
        raise LipbenchError(
            f"cannot read radii from {path}: expected CSV or parquet with the columns sample and certified_radius"
        ) from error
    if table.empty or rows.dtype.kind not in "iu" or values.dtype.kind not in "iuf":
        raise LipbenchError(
            f"{path}: expected at least one row, whole numbers for sample and numbers for certified_radius, got "
            f"{len(table)} rows of {rows.dtype} and {values.dtype}"
        )
    if rows.duplicated().any() or rows.min() < 0 or rows.max() >= samples:
        raise LipbenchError(
            f"{path}: samples must be different numbers in 0..{samples - 1} (rows of the test set), got {rows.min()} "
            f"to {rows.max()}{', some of them twice' if rows.duplicated().any() else ''}"
        )
    radii = np.zeros(samples)
    radii[rows.to_numpy(dtype=np.int64)] = values.to_numpy(dtype=np.float64)
    return radii
