"""factors.csv, and the factor that says most of a setting, on runs whose factors are worked out by hand."""

import io
import math

import numpy as np
import pandas as pd
import pytest

from lipbench.report import definitions, document, factors, writer
from lipbench.report.factors import FACTORS, PARTS
from lipbench.report.results import Results

# radius / (margin / L) = .8; blocks keep .25; head 1; distances 1, of which the box leaves .5: a radius r is
# .8 * .25 * .5 * rest, so that the rest is 10 r
RADII = [0.05, 0.1, 0.2, 0.4]
KEPT = {"conv1 1->8": 0.5, "relu1": 1.0, "dense1 8->4": 0.5}


def models(make_model, *kept, **how) -> list:
    """Models of one setting, a seed for each dict of blocks; the last sample is misclassified."""
    return [
        make_model(
            correct=[1, 1, 1, 1, 0],
            real=[*RADII, 0.0],
            distance=[1.0, 1.0, 1.0, 1.0, 0.0],
            kept=blocks,
            grade_factor=0.8,
            name=f"m{seed}{how.get('hyperparameters', '')}",
            seed=seed,
            box=0.5,
            **how,
        )
        for seed, blocks in enumerate(kept)
    ]


def frame_of(folder) -> pd.DataFrame:
    return Results.load(folder).factors()


def test_every_row(make_run, make_model):
    frame = frame_of(make_run(models(make_model, KEPT)))
    assert list(frame) == [column.name for column in FACTORS]
    assert set(frame["part"]) == set(PARTS)
    assert frame["place"].tolist() == list(range(len(PARTS) + 2))
    assert (frame["n"] == 4).all()
    assert set(frame["model"]) == {"m0"}
    rows = frame.set_index("factor")
    expected = {
        "grade": [0.8] * 3,
        "conv1 1->8": [0.5] * 3,
        "relu1": [1.0] * 3,
        "dense1 8->4": [0.5] * 3,
        "head": [1.0] * 3,
        "norm": [1.0] * 3,
        "box": [0.5] * 3,
        "rest": list(10 * np.quantile(RADII, [0.5, 0.25, 0.75])),  # r = .8 * .25 * .5 * rest
        "kept product": [0.25] * 3,
        "box and rest": list(5 * np.quantile(RADII, [0.5, 0.25, 0.75])),
        "tightness": list(np.quantile(RADII, [0.5, 0.25, 0.75])),
    }
    for name, values in expected.items():
        assert rows.loc[name, ["median", "low", "high"]].tolist() == pytest.approx(values, rel=1e-12), name


def test_in_linf_the_norm_is_a_factor(make_run, make_model, suite):
    """|grad|_1 = 6 |grad|_2 of at most sqrt(64) = 8: .75 of the L2 radius is left."""
    frame = frame_of(make_run(models(make_model, KEPT), [suite(norm="Linf")])).set_index("factor")
    assert frame.loc["norm", "median"] == pytest.approx(0.75)
    assert frame.loc["tightness", "median"] == pytest.approx(0.15 / 8)
    assert frame.loc["box and rest", "median"] == pytest.approx(0.15 / 8 / (0.8 * 0.25 * 0.75))
    assert set(frame["norm"]) == {"Linf"}


def test_samples_without_an_adversarial_input_count_nowhere(make_run, make_model):
    model = make_model(correct=[1, 1, 1, 0], real=[0.1, 0.2, 0.4, 0], distance=[0.5, np.inf, np.inf, 0], kept=KEPT)
    rows = frame_of(make_run(model)).set_index("factor")
    assert (rows["n"] == 1).all()
    assert rows.loc["tightness", "median"] == pytest.approx(0.2)
    item = Results.load(make_run(model)).items[0]
    assert item.factors.grade.tolist() == pytest.approx([1, 1, 1, math.nan], nan_ok=True)
    assert np.isnan(item.factors.box_and_rest).tolist() == [False, True, True, True]


def test_nothing_is_known_of_any_sample(make_run, make_model):
    model = make_model(correct=[1, 0], real=[0.0, 0.0], distance=[0.5, 0.0])
    frame = frame_of(make_run(model))
    assert frame["median"].isna().all()
    assert (frame["n"] == 0).all()
    assert factors.leading(frame, frame["setting"][0], "quick") is None


def test_the_leading_factor_is_a_mean_over_seeds(make_run, make_model):
    """Of conv1: sqrt(.5 * .32) = .4, against .8 of the grade, .5 of dense1 and .5 of the box; a copy does not count."""
    few = models(make_model, {**KEPT, "conv1 1->8": 0.5}, {**KEPT, "conv1 1->8": 0.32})
    copy = models(make_model, {**KEPT, "conv1 1->8": 0.001})[0]
    copy.name, copy.seed, copy.weights = "copy", 2, few[0].card()["weights_sha256"]
    frame = frame_of(make_run([*few, copy]))
    (setting,) = frame["setting"].unique()
    found = factors.leading(frame, setting, "quick")
    assert (found.part, found.factor) == ("kept", "conv1 1->8")
    assert found.value == pytest.approx(0.4)
    rest = [10 * 0.15, 10 * 0.15 * 0.5 / 0.32]
    below = [0.8, 0.4, 0.5, 0.5]
    assert all(each > 1 for each in rest)
    assert found.share == pytest.approx(math.log(0.4) / sum(map(math.log, below)))
    assert found.tightness == pytest.approx(0.15)
    assert factors.of_setting(frame, setting, "quick")[("kept product", "kept product")] == pytest.approx(0.2)


def test_the_box_counts_with_the_rest_where_it_is_unknown(make_run, make_model):
    frame = frame_of(make_run(models(make_model, {"dense1 8->4": 0.95})))
    (setting,) = frame["setting"].unique()
    assert factors.leading(frame, setting, "quick").factor == "rest"
    unknown = frame.assign(median=frame["median"].mask(frame["part"].isin(["box", "rest"])))
    assert factors.leading(unknown, setting, "quick").factor == "box and rest"


def test_sentences(make_run, make_model):
    small, large = {"tau": 4.0}, {"tau": 64.0}
    folder = make_run(
        [
            *models(make_model, {**KEPT, "conv1 1->8": 0.3}, hyperparameters=small),
            *models(make_model, {**KEPT, "conv1 1->8": 0.95}, hyperparameters=large),
        ]
    )
    frame = frame_of(folder)
    first, second = frame["setting"].unique()
    found = factors.leading(frame, first, "quick")
    assert factors.sentence(found) == "conv1 1->8 lets 30 % of the gradient back"
    other = factors.of_setting(frame, second, "quick")[(found.part, found.factor)]
    assert factors.sentence(found, {"tau = 64": other}) == (
        "conv1 1->8 lets 30 % of the gradient back (at tau = 64: 95 %)"
    )
    for part in set(PARTS) - set(factors.SUMMARIES) | {"box and rest"}:
        said = factors.sentence(factors.Leading(part, part, 0.5, 0.9, 0.4))
        assert "50 %" in said
        assert "{" not in said


def test_the_file_of_the_report(make_run, make_model):
    results = Results.load(make_run(models(make_model, KEPT, KEPT)))
    text = writer.texts(document.build(results))["factors.csv"]
    read = pd.read_csv(io.StringIO(text), keep_default_na=False)
    pd.testing.assert_frame_equal(read, results.factors(), check_exact=True)


def test_every_factor_is_defined():
    words = {one.word for one in definitions.definitions()}
    assert words >= {f"{part} factor" for part in ("grade", "kept", "head", "norm", "box", "rest")}
