"""How many numbers a network holds, from its card alone: the weights themselves are not part of a run folder."""

import json
from functools import lru_cache
from typing import Any

from lipbench.errors import LipbenchError
from lipbench.models import architectures
from lipbench.models.cards import Card


def count(card: Card) -> int | None:
    """The parameters of the stored network; None for one that only its own code or graph can build."""
    architecture = card.architecture
    if architecture.form != "registered":
        return None
    outputs = architecture.args.get("outputs", card.num_classes)
    args = {key: value for key, value in architecture.args.items() if key != "outputs"}
    key = json.dumps([architecture.name, architecture.stored_as, architecture.constrained, args], sort_keys=True)
    return _count(key, card.input_shape, outputs)


@lru_cache(maxsize=256)  # the models of a sweep share a few architectures
def _count(key: str, input_shape: Any, outputs: int) -> int | None:
    name, stored_as, constrained, args = json.loads(key)
    try:
        layers = architectures.stored_layers(stored_as, constrained)
        network = architectures.plain_form(
            architectures.build(name, layers, input_shape, outputs, args), layers.plain_forms
        )
    except LipbenchError:  # a plugin's, which is not installed here
        return None
    return sum(parameter.numel() for parameter in network.parameters())
