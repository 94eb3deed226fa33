"""The versions of lipbench and of the libraries that it computes with."""

import importlib.metadata
from collections.abc import Iterable

COMPUTING = ("lipbench", "torch", "numpy", "adversarial-robustness-toolbox", "pyautoattack", "deel-torchlip")


def versions(names: Iterable[str] = COMPUTING) -> dict[str, str]:
    """The installed version of each distribution in ``names``, by its name."""
    return {name: importlib.metadata.version(name) for name in names}
