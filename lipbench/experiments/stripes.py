"""Samples in two dimensions on which the highest mean certifiable robustness comes with a low accuracy."""

from typing import Any

import numpy as np

STRIPES = 3  # of each class
FAR = 0.3  # share of each class that lies far away: more than that of a stripe, (1 - FAR) / STRIPES


def stripes(n: int, random: np.random.Generator) -> tuple[Any, Any]:
    """Two classes whose best discriminator is blind to most samples: float32 (2 n, 2) in [0, 1], labels (2 n,).

    1 - FAR of each class lie in alternate stripes, the first of class 1, between x = .25 and .75. FAR of class 0 lie at
    the left edge and FAR of class 1 at the right edge. To the left of any x between the edges there is more of class 0
    than of class 1, as FAR > (1 - FAR) / STRIPES: all transport goes to the right, and the best f is f(x) = x, whose
    best threshold is right for (1 + FAR) / 2 of the samples. Gaps between stripes let another 1-Lipschitz f be right
    for all.
    """
    far, pitch = round(FAR * n), 0.25 / STRIPES
    parts = []
    for label, edge in ((0, 0.0), (1, 0.95)):
        place = 2 * (np.arange(n - far) % STRIPES) + (1 - label)
        inner = 0.25 + (place + 0.25 + 0.5 * random.random(n - far)) * pitch
        parts.append(np.concatenate([inner, edge + 0.05 * random.random(far)]))
    x = np.stack([np.concatenate(parts), 0.5 * random.random(2 * n)], axis=1).astype(np.float32)
    return x, np.repeat([0, 1], n)
