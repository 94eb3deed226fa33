"""All checks of one model."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from lipbench._internal.discovery import import_modules
from lipbench.certification.certificate import Certificate
from lipbench.certification.uncertified import Proof
from lipbench.models.cards import Card
from lipbench.verification.linter import checks
from lipbench.verification.linter.subject import Subject
from lipbench.verification.linter.table import TABLE, Finding

import_modules(checks)  # each registers its checks


def summaries() -> dict[str, str]:
    """The fault that each check looks for, by code."""
    return {code: TABLE[code].summary for code in sorted(TABLE)}


def lint(
    module: nn.Module,
    card: Card,
    proof: Proof | None,
    *,
    x: Tensor | None = None,
    labels: Tensor | None = None,
    eps: Sequence[float] = (),
) -> list[Finding]:
    """The findings about a model and its claim, sorted by code. Nothing is attacked, and ``module`` is never changed.

    module: as given, parametrised or not, in its own mode; proof: its ``certificate``, or why it has none, or None
    to find out (the finding then names the layer without a rule); x: float (n, ...), samples that the claim is
    meant for; labels: int64 (n,); eps: L2 radii that will be reported. Checks that need a missing argument are left
    out.
    """
    certificate = proof if isinstance(proof, Certificate) else None
    if certificate is not None:  # the claim is the card's, whatever the proof was made with
        certificate = replace(certificate, claimed=None if card.claimed is None else card.claimed.constant)
    reason = None if proof is None else proof.no_certificate
    subject = Subject(module, card, certificate, x, labels, tuple(eps), reason)
    return [
        Finding(code, sentence, TABLE[code].reference, severity)
        for code in sorted(TABLE)
        for severity, sentence in TABLE[code].run(subject)
    ]
