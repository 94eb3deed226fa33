"""Data sets by name or as the caller gives them: inputs as float32 (n, ...) in [0, 1], labels as int64 (n,)."""

from lipbench.data.datasets import Dataset, Split, load, load_once
from lipbench.data.given import Data, dataset_of

__all__ = ["Data", "Dataset", "Split", "dataset_of", "load", "load_once"]
