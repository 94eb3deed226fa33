"""Data sets by name: images as float32 (n, c, h, w) in [0, 1], labels as int64 (n,)."""

from lipbench.data.datasets import Dataset, Split, load, load_once

__all__ = ["Dataset", "Split", "load", "load_once"]
