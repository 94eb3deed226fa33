import numpy as np
import pytest
from hand_made import SQUARE

from lipbench.report import Results, document


@pytest.mark.parametrize(
    ("sign", "most", "said"),
    [
        ("zero_gradient", 10, "1.1 % have no gradient of cross-entropy to follow"),
        ("loss_stuck", 10, "1.1 % have a loss that gradient ascent does not raise"),
        ("autoattack/square", 2, "0.3 % were broken only by Square, which follows no gradient"),
        ("alone", 0, "0.1 % were broken by AutoAttack standard alone and not by the suite"),
        ("gradient/minimal", 0, "0.1 % were broken by no attack at any size"),
    ],
)
def test_how_many_samples_of_1000_are_worth_a_remark(make_run, make_model, suite, sign, most, said):
    def remarks(count):
        far = np.arange(1000) < count
        found = {
            "art/PGD": [np.inf] * 1000,
            "autoattack/square": np.where(far & (sign == "autoattack/square"), 0.05, np.inf),
            "alone": np.where(far & (sign == "alone"), 0.05, np.inf),
            "gradient/minimal": np.where(far & (sign == "gradient/minimal"), np.inf, 0.5),
        }
        signs = {sign: list(range(count))} if "_" in sign else {}
        model = make_model([1] * 1000, [0.0] * 1000, [0.5] * 1000, found=found, **signs)
        run = make_run(model, [suite(attacks=SQUARE, eps=[0.1])], reference_attack="autoattack")
        return document.build(Results.load(run)).sections[0].remarks

    assert remarks(most) == ()
    assert remarks(most + 1) == (f"model: robust accuracy may be too high. Of the samples, {said}.",)
