"""What a result says of itself."""

from dataclasses import replace
from pathlib import Path

import pytest
from verified import HELD, broken, held, verdict

from lipbench.verification.result import NotWritten, RoundingVerdict, VerificationResult

OUT = Path("out")
BOTH = VerificationResult((broken(OUT), held()))
WITNESS = OUT / "witnesses" / "w.safetensors"


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({"verdicts": (verdict(violations=1),)}, False),
        ({"constant": replace(HELD, claim_witness=WITNESS)}, False),
        ({"constant": replace(HELD, bound_witness=NotWritten("full"))}, False),
        ({"constant": replace(HELD, claim_confirmed=False)}, True),
        ({"rounding": (RoundingVerdict("float", 9, 9, 1, WITNESS),)}, False),
        ({"rounding": (RoundingVerdict("real", 9, 9, 1, WITNESS),)}, True),
    ],
)
def test_what_refutes_a_model(changes, holds):
    model = held(**changes)
    assert model.holds is holds
    assert model.plain()["holds"] is holds
    assert VerificationResult((held("other"), model)).passed is holds


def test_a_failure_is_no_pass():
    assert VerificationResult((held(),)).passed
    assert not VerificationResult((held(),), {"x": "no weights"}).passed
    assert "failed: x" in str(VerificationResult((held(),), {"x": "no weights"}))


def test_everything_of_several_models():
    assert not BOTH
    assert BOTH.violations == 7
    assert list(BOTH.lint) == ["b"]
    assert {name: constant.refuted for name, constant in BOTH.constant.items()} == {"b": True, "m": False}
    place = OUT / "witnesses"
    assert BOTH.witnesses == (place / "b-lipschitz-nominal.safetensors", place / "b-radius-nominal.safetensors")
    frame = BOTH.frame()
    assert list(frame.model + " " + frame.grade) == ["b real", "b nominal", "m float", "m real", "m nominal"]
    assert list(frame.holds) == [True, False, True, True, True]
    assert list(frame.rounding_broken.dropna()) == [3, 0, 0]


def test_the_lines_of_the_command():
    assert str(BOTH).splitlines() == [
        "LINT L101 error b: the claim 0.5 is below the bound 1 [a paper]",
        "PASS b real (L = 1): 18 samples, closest approach 1.0451",
        "FAIL b nominal (L = 0.5): 18 samples, closest approach 0.0000, 7 broken (1 of them misclassified or tied: "
        "radius 0), witness out/witnesses/b-radius-nominal.safetensors",
        "NO GRADE float b: no error analysis of GELU",
        "REFUTED b: 0.99 measured, not proven, <= L <= 1 computed; the card claims 0.5, witness "
        "out/witnesses/b-lipschitz-nominal.safetensors",
        "NOTE b: certificates next to the boundary that rounding breaks: grade nominal 3 of 25, witness not written: "
        "no space left (no failure: these grades speak of exact arithmetic)",
        "PASS m float (L = 1): 18 samples, closest approach 1.0451",
        "PASS m real (L = 1): 18 samples, closest approach inf",
        "PASS m nominal (L = 1): 18 samples, closest approach 1.0451",
        "CONSTANT m: 0.99 found <= L <= 1 computed; the claim 1 is confirmed",
        "FAIL: 2 models, 252 attacks on samples, 7 certificates broken; closest approach 0.0000 (adversarial distance "
        "/ certified radius: below 1 the certificate is false); 1 claims refuted",
        "broken by rounding next to the boundary: float 0 of 25, nominal 3 of 50",
    ]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"verdicts": (verdict(samples=0),)}, "NOTHING CERTIFIED m float"),
        ({"verdicts": (verdict("given", lipschitz=None),)}, "PASS m given: 18 samples"),
        ({"constant": replace(HELD, claimed=None, claim_confirmed=None)}, "<= L <= 1 computed; nothing claimed"),
        ({"constant": replace(HELD, claim_confirmed=False)}, "FLAG m: 0.99 found"),
        ({"constant": replace(HELD, bound=1.000002)}, "the claim 1 is confirmed up to 3e-06"),
        (
            {"constant": replace(HELD, bound_witness=WITNESS, claim_witness=WITNESS)},
            f"the computed bound is false, witness {WITNESS}; and the claim 1, {WITNESS}",
        ),
        ({"rounding": (RoundingVerdict("float", 9, 9, 1, WITNESS),)}, "FAIL m: certificates next to the boundary"),
    ],
)
def test_the_lines_of_other_cases(changes, says):
    assert says in str(held(**changes))


def test_the_json_form_has_no_infinities_and_paths_as_text():
    plain = held().plain()
    assert plain["verdicts"][1]["closest_approach"] is None
    assert broken(OUT).plain()["constant"]["claim_witness"] == "out/witnesses/b-lipschitz-nominal.safetensors"
    assert broken(OUT).plain(OUT)["constant"]["claim_witness"] == "witnesses/b-lipschitz-nominal.safetensors"
    assert broken(OUT).plain()["rounding"][0]["witness"] == {"not_written": "no space left"}
