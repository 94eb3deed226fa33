"""Verification results made by hand."""

from pathlib import Path
from typing import Any

from lipbench.verification.linter import Finding
from lipbench.verification.result import (
    Constant,
    NotWritten,
    RoundingVerdict,
    Tested,
    Verdict,
    Verification,
)

TESTED = Tested("digits", "d" * 64, 20, 0, "float64", "cpu", 1, {"lipbench": "0.1.0", "torch": "2.13.0"})
HELD = Constant(0.99, True, 1.0, None, 1.0, True, None)


def verdict(grade: str = "float", **changes: Any) -> Verdict:
    fields = {
        "lipschitz": 1.0,
        "samples": 18,
        "attacked": 126,
        "violations": 0,
        "misclassified": 0,
        "closest_approach": 1.0451,
        "witness": None,
    }
    return Verdict(grade, **{**fields, **changes})


def held(model: str = "m", digest: str = "a" * 64, **changes: Any) -> Verification:
    """A model whose certificates hold."""
    fields = {
        "tested": TESTED,
        "constant": HELD,
        "not_analysed": None,
        "findings": (),
        "verdicts": (verdict("float"), verdict("real", closest_approach=float("inf")), verdict("nominal")),
        "rounding": (RoundingVerdict("float", 30, 25, 0, None), RoundingVerdict("nominal", 30, 25, 0, None)),
    }
    return Verification(model, digest, **{**fields, **changes})


def broken(folder: Path, model: str = "b", digest: str = "b" * 64) -> Verification:
    """A model whose claim is refuted, with its witnesses below ``folder``; one of them was not written."""
    place = folder / "witnesses"
    return held(
        model,
        digest,
        constant=Constant(0.99, False, 1.0, None, 0.5, False, place / f"{model}-lipschitz-nominal.safetensors"),
        not_analysed="no error analysis of GELU",
        findings=(Finding("L101", "the claim 0.5 is below the bound 1", "a paper", "error"),),
        verdicts=(
            verdict("real"),
            verdict(
                "nominal",
                lipschitz=0.5,
                violations=7,
                misclassified=1,
                closest_approach=0.0,
                witness=place / f"{model}-radius-nominal.safetensors",
            ),
        ),
        rounding=(RoundingVerdict("nominal", 30, 25, 3, NotWritten("no space left")),),
    )
