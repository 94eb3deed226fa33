"""A linter of robustness claims: reads a model and its card, attacks nothing, and says what does not fit.

    table.py        the table of checks, findings, and what a check looks at
    constants.py    L1: the claimed constant against the computed bound      layers.py     L2: layers behind the excess
    units.py        L3: units of inputs, eps, margins and hyperparameters    behaviour.py  L4: modes, state, randomness
    arithmetic.py   L5: precision of the weights and of the forward

An error means that radii read off the claim are not justified, or belong to another function or another scale of the
input; a warning is true and worth knowing, but breaks no certificate by itself. A new check is one decorated function.
"""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from lipbench.cards import Card
from lipbench.certificates import Certificate
from lipbench.linter import arithmetic, behaviour, constants, layers, units  # noqa: F401  they register their checks
from lipbench.linter.layers import unsupported
from lipbench.linter.table import TABLE, Finding, Severity, Subject

__all__ = ["CHECKS", "Finding", "Severity", "lint", "unsupported"]

CHECKS: dict[str, str] = {code: TABLE[code].summary for code in sorted(TABLE)}


def lint(
    module: nn.Module,
    card: Card,
    proof: Certificate | None,
    *,
    x: Tensor | None = None,
    labels: Tensor | None = None,
    eps: Sequence[float] = (),
) -> list[Finding]:
    """What does not fit in a model and its claim, by code. Nothing is attacked, and ``module`` is never changed.

    module: as given, parametrised or not, in its own mode; proof: ``certificates.certificate`` of it, or None if it
    could not be bounded (the finding then names what has no rule; ``unsupported`` makes it from an error at hand);
    x: float (n, c, h, w), samples that the claim is meant for; labels: int64 (n,); eps: L2 radii that will be
    reported. Checks that need what is not given are left out.
    """
    if proof is not None:  # the claim is the card's, whatever the proof was made with
        proof = replace(proof, claimed=None if card.claimed is None else card.claimed.constant)
    subject = Subject(module, card, proof, x, labels, tuple(eps))
    return [
        Finding(code, sentence, TABLE[code].reference, severity)
        for code in sorted(TABLE)
        for severity, sentence in TABLE[code].run(subject)
    ]
