"""lipbench: provable against empirical adversarial robustness, sample by sample.

    import lipbench
    results = lipbench.evaluate("digits", suite="quick")       # both bounds of every sample; results.summary()
    verdict = lipbench.verify("digits")                        # attacks inside the certified radii
    radii = lipbench.certify(network, x)                       # pandas frame, one row per sample
    results = lipbench.load("lipbench-run")                    # what an earlier evaluation found
    print(lipbench.compare("run-a", "run-b"))                  # what two runs share, side by side
    bound = lipbench.lipschitz_bound(network, (1, 28, 28))     # float, never below the true constant
    lipbench.save(network, "zoo/mine", data="digits")          # a model of a zoo: card, weights, graph

The names below are those of ``lipbench.api``, imported on first use, so that ``import lipbench`` costs nothing.
"""

# ruff: noqa: F403, F405  `__all__` is that of lipbench.api, with the version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipbench.api import *

__version__ = "0.1.0"
__all__ = [
    "Comparison", "LipbenchError", "Model", "Results", "Suite", "VerificationResult", "__version__", "add", "certify",
    "compare", "evaluate", "export", "lipschitz_bound", "load", "replay", "report",
    "reproduce", "rule", "save", "train", "verify",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in (*__all__, "list"):
        from lipbench import api

        return getattr(api, name)
    raise AttributeError(f"module 'lipbench' has no attribute {name!r}")


def __dir__() -> Any:
    return [*__all__, "list"]  # `from lipbench import *` leaves Python's own list as it is
