"""``art/square``: ART's Square attack (Andriushchenko et al. 2020, arXiv 1912.00049)."""

import math
from collections.abc import Mapping
from typing import Any

from lipbench.attacks.art.classifier import ArtAttack, ball, classifier, random_starts
from lipbench.attacks.base import AttackCall
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import MOST_STEPS, Parameter


class ArtSquare(ArtAttack):
    """Random search."""

    name = "art/square"
    summary = "Square attack: random search, no gradients"
    ranks = frozenset({3})  # it moves square tiles of an image
    max_iter = Parameter(1000, "proposals of each run", at_least=1, at_most=MOST_STEPS)
    p_init = Parameter(0.8, "share of the pixels that the first proposals change, at least one", at_least=1e-3, below=1)
    restarts = random_starts(1, "runs, each from another random point", at_least=1)

    def obstacle(
        self, arguments: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
    ) -> str | None:
        """The first tile must leave room to move: NumPy's randint(0, h - tile) raises otherwise (art's
        square_attack.py). ART silently raises a share of less than a pixel to the smallest tile, and finds nothing.
        """
        share = arguments["p_init"]
        _, height, width = input_shape
        if share * height * width < 1:
            return f"changes less than one pixel of {height} x {width} with p_init {share:g}"
        tile = max(round(math.sqrt(share * height * width)), 3 if norm is Norm.L2 else 1)
        start = 0
        if norm is Norm.L2:
            tile += 1 - tile % 2
            start = height // 5 * 5  # 5 x 5 tiles of h // 5 pixels
        if tile >= min(height, width) or start > width:
            return f"in {norm} cannot place its first tile ({tile} pixels wide) in an image of {height} x {width}"
        return None

    def configured(self, call: AttackCall) -> Any:
        """ART's ``SquareAttack``."""
        from art.attacks.evasion import SquareAttack

        return SquareAttack(
            classifier(call.network),
            max_iter=call.arguments["max_iter"],
            p_init=call.arguments["p_init"],
            nb_restarts=call.arguments["restarts"],
            batch_size=call.arguments["batch_size"],
            verbose=False,
            **ball(call),
        )


ATTACK = ArtSquare()
