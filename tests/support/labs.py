"""A lab for tests of experiments: one process, on the CPU."""

from pathlib import Path

from lipbench.experiments.lab import Lab


def lab(folder: Path, data_dir: Path | None = None) -> Lab:
    """A lab in an empty folder; data sets in files are not found, unless ``data_dir`` has them."""
    return Lab(folder / "lab", device="cpu", data_dir=folder if data_dir is None else data_dir)
