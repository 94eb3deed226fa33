"""lipbench: provable against empirical adversarial robustness, sample by sample.

    import lipbench
    summary = lipbench.evaluate("digits", suite="quick")       # pandas frame, one row per model, norm and eps
    radii = lipbench.certify(network, x)                       # pandas frame, one row per sample
    bound = lipbench.lipschitz_bound(network, (1, 28, 28))     # float, never below the true constant

The names below are imported on first use, so that ``import lipbench`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipbench.api import certify, evaluate, lipschitz_bound, verify

__version__ = "0.1.0"
__all__ = ["__version__", "certify", "evaluate", "lipschitz_bound", "verify"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from lipbench import api

        return getattr(api, name)
    raise AttributeError(f"module 'lipbench' has no attribute {name!r}")
