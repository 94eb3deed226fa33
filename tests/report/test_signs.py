import numpy as np
import pytest
from hand_made import NOTHING, SIGNS, SQUARE

from lipbench.certification.grades import GRADES
from lipbench.report import Results


@pytest.mark.parametrize("shard", [1000, 3, 1])
def test_signs_of_failure_and_autoattack_alone_by_hand(make_run, make_model, suite, shard):
    run = make_run(make_model(**SIGNS), [suite(attacks=SQUARE)], reference_attack="autoattack", shard=shard)
    frame = Results.load(run).summary()
    # within 0.1 and 0.2 the second sample is broken by Square's 0.09 only; within 0.4 by 0.3 as well
    assert list(frame["square_only"]) == [0.2, 0.2, 0.0]
    assert list(frame["unreached"]) == [0.2] * 3  # the fourth; the fifth is misclassified
    assert list(frame["zero_gradients"]) == [0.4] * 3
    assert list(frame["loss_stuck"]) == [0.2] * 3
    assert list(frame["robust"]) == [0.4, 0.2, 0.2]  # what breaks a sample counts at every larger eps
    assert list(frame["robust_alone"]) == [0.6, 0.6, 0.0]  # each eps by itself
    assert list(frame["only_suite"]) == [1, 2, 0]
    assert list(frame["only_alone"]) == [0, 0, 1]
    assert list(frame["evaluations_alone"]) == [4 * 300] * 3
    assert list(frame["forward"]) == [4 * 3 * 20] * 3  # the suite's


def test_what_is_audited_is_not_broken_by_square_only(make_run, make_model, suite):
    model = make_model(**SIGNS | {"real": [0.0, 0.2, 0.0, 0.0, 0.0]}, audit=[(1, 0.1)])
    run = make_run(model, [suite(attacks=SQUARE)])
    assert list(Results.load(run).summary()["square_only"]) == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("attacks", "known"),
    [
        (["art/PGD"], set()),
        (["gradient/minimal", "art/PGD"], {"unreached"}),
        (["autoattack/square"], set()),
        (["art/PGD", "art/square"], {"square_only"}),
        (["gradient/minimal", "art/square"], {"square_only", "unreached"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_signs_that_a_suite_cannot_show_are_not_a_number(make_run, make_model, suite, attacks, known):
    names = ("square_only", "unreached", "zero_gradients", "loss_stuck", "robust_alone", "evaluations_alone")
    model = make_model(correct=[1, 0], real=[0.0, 0.0], distance=[0.05, 0.0])
    frame = Results.load(make_run(model, [suite(attacks=attacks)])).summary()
    assert {name for name in (*names, "only_alone", "only_suite") if frame[name].notna().any()} == known
    assert (frame[list(known)] == 0).all().all()


def test_a_certificate_that_only_autoattack_alone_breaks_is_false(make_run, make_model):
    found = {"alone": [0.25, np.inf], ("alone", 0.1): NOTHING}
    radii = {"floating": [0.25, 0.1], "real": [0.3, 0.1], "nominal": [0.35, 0.1]}
    model = make_model(correct=[1, 1], distance=NOTHING, found=found, **radii)
    frame = Results.load(make_run(model, reference_attack="autoattack")).summary()
    assert [list(frame[f"violations_{grade}"]) for grade in GRADES] == [[0] * 3, [1] * 3, [1] * 3]
    assert list(frame["robust"]) == [1.0] * 3  # stays the suite's
    assert list(frame["robust_alone"]) == [1.0, 1.0, 0.5]
