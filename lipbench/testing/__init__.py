"""Checks for authors of losses, layers, architectures, rules, attacks, data sets, optimizers and executors.

    from lipbench.testing import check_loss

    def test_my_loss():
        check_loss("my_loss", {"temperature": [0.1, 1, 10]}, refused=[{"temperature": 0}])

Each check is a function of the object or of its registered name. It raises AssertionError with a message that says what
was expected and what came; what lipbench refuses is its own LipbenchError.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lipbench.testing.architectures import check_architecture, check_layers
    from lipbench.testing.attacks import check_attack
    from lipbench.testing.datasets import check_dataset
    from lipbench.testing.losses import check_loss
    from lipbench.testing.rules import check_rule
    from lipbench.testing.training import check_executor, check_optimizer

PLACES = {
    "architectures": ("check_architecture", "check_layers"), "attacks": ("check_attack",),
    "datasets": ("check_dataset",), "losses": ("check_loss",), "rules": ("check_rule",),
    "training": ("check_executor", "check_optimizer"),
}  # fmt: skip
__all__ = [
    "check_architecture", "check_attack", "check_dataset", "check_executor", "check_layers", "check_loss",
    "check_optimizer", "check_rule",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in PLACES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
