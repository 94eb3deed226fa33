"""The versions of lipbench and of the libraries that it computes with."""

import importlib.metadata

VERSIONED = ("lipbench", "torch", "numpy", "adversarial-robustness-toolbox", "pyautoattack", "deel-torchlip")


def versions() -> dict[str, str]:
    """By distribution."""
    return {name: importlib.metadata.version(name) for name in VERSIONED}
