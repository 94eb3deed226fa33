"""How figures and TeX tables write a loss. Importing this module does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Notation:
    """The notation of a loss: its class attribute ``notation``. A loss without one appears under its own name.

    word: for the loss, such as "HKR"; symbols: for its hyperparameters, by name, such as {"alpha": "α"}; odds: names of
    those in [0, 1] that stand for a weight alpha / (1 - alpha), on whose scale reports measure and draw their effect.
    """

    word: str = ""
    symbols: Mapping[str, str] = field(default_factory=dict)
    odds: tuple[str, ...] = ()
