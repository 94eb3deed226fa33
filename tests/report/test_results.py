import math

import numpy as np
import pytest
from hand_made import FAILING, HAND, SQUARE

from lipbench.attacks.eps import Eps
from lipbench.errors import LipbenchError
from lipbench.report import (
    Results,
    columns,
    comparisons,
    document,
    effects,
    hyperparameters,
    metrics,
    samples,
    writer,
)
from lipbench.report import results as results_of_a_run
from lipbench.runs.folder import RunFolder

EPS = (0.1, 36 / 255, 0.4)


@pytest.fixture
def results(make_run, make_model, suite):
    models = [
        make_model(**HAND, name="a", card_has={"training": {"epochs": 2}}),
        make_model(**HAND, name="b", seed=1, hyperparameters={"tau": 1.0}, claimed=None),
    ]
    return Results.load(make_run(models, [suite(eps=EPS), suite("second", "Linf", eps=[0.1])], title="a title"))


def test_a_sample_has_both_bounds_in_the_norm_of_the_suite(results):
    frame = results.samples
    assert len(frame) == 2 * 2 * 5
    first = frame[(frame["model"] == "a") & (frame["suite"] == "quick")]
    assert first["sample"].tolist() == [0, 1, 2, 3, 4]
    assert first["correct"].tolist() == [True] * 4 + [False]
    assert (first["label"] == 0).all()
    assert first["prediction"].tolist() == [0, 0, 0, 0, 1]
    assert first["certified_radius_float"].tolist() == HAND["floating"]
    assert first["certified_radius_nominal"].tolist() == HAND["nominal"]
    assert first["adversarial_distance"].tolist() == HAND["distance"]
    second = frame[(frame["model"] == "b") & (frame["suite"] == "second")]
    np.testing.assert_allclose(second["certified_radius_real"], np.array(HAND["real"]) / 8)  # 64 pixels
    assert second["certified_radius_nominal"].isna().all()
    assert set(second["norm"]) == {"Linf"}


def test_a_sample_names_the_attack_that_found_its_smallest_distance(make_run, make_model, suite):
    found = {**FAILING["found"], "gradient/minimal": [0.05, 0.3, np.inf, np.inf, 0.0]}
    run = make_run(
        make_model(**FAILING | {"found": found}), [suite(attacks=SQUARE)], reference_attack="autoattack", shard=2
    )
    frame = Results.load(run).samples
    # the last but one only AutoAttack alone breaks, which is not of the suite; the last is misclassified
    assert frame["attack"].tolist() == ["gradient/minimal", "autoattack/square", "art/PGD", "", ""]
    assert frame["adversarial_distance"].tolist() == [0.05, 0.09, 0.15, math.inf, 0.0]


def test_models_have_facts_of_their_card_and_certificate(results):
    frame = results.models
    assert frame["model"].tolist() == ["a", "b"]
    assert frame["loss.tau"].tolist() == [4.0, 1.0]
    assert frame["claimed"].isna().tolist() == [False, True]
    assert frame["claim_confirmed"].tolist()[0] is True
    assert frame["lipschitz_bound"].tolist() == [1.0, 1.0]
    assert frame["seed"].tolist() == [0, 1]


def test_provenance_is_what_run_json_says(results):
    assert results.provenance["title"] == "a title"
    assert results.provenance["dtype"] == "float64"


@pytest.mark.parametrize(
    ("eps", "found"),
    [
        (None, [*EPS, 0.1] * 2),
        (0.1, [0.1, 0.1] * 2),
        ("36/255", [36 / 255] * 2),
        (["36/255", 0.4], [36 / 255, 0.4] * 2),
        (0.14117647, [36 / 255] * 2),  # as a suite may give it
    ],
)
def test_a_summary_is_of_the_eps_asked_for(results, eps, found):
    assert results.summary(eps)["eps"].tolist() == found


@pytest.mark.parametrize("eps", ["a lot", "1/0", float("nan"), [None], "inf"])
def test_an_eps_that_is_no_number_is_an_error(results, eps):
    with pytest.raises(LipbenchError, match="eps must be a number, or text such as '36/255', got"):
        results.summary(eps)


def test_an_eps_that_the_run_lacks_is_an_error_that_names_its_grid(results):
    for asked in (results.summary, results.hyperparameters, results.table):
        with pytest.raises(LipbenchError, match=r"the run has no eps 8/255; it has 0.1, 0.1412, 0.4: choose one of"):
            asked("8/255")


def test_the_table_is_at_the_eps_asked_for_and_says_where_the_records_are(results):
    assert "suite quick, eps 0.4 (L2" in results.table(0.4)
    assert "suite quick, eps 0.1412 (L2" in results.table("36/255")
    assert "suite second, eps 0.1 (L∞" in results.table(0.4)  # the only one that it has
    shown = str(results)
    said = "".join(f"WARNING {line}\n" for line in results.warnings())
    assert "WARNING a: 1 certificates of grade real are false" in said
    assert shown == repr(results) == f"{results.table()}\n{said}\nrecords: {results.run_folder.path}"
    phrases = results.warnings()[0].partition(": ")[2].split("; ")
    assert len(phrases) == len(set(phrases))  # the suites say the same
    chosen = Results.load(results.run_folder, show_eps=Eps("36/255"))
    assert str(chosen).startswith("suite quick, eps 0.1412")


def test_an_eps_is_printed_as_it_was_given(make_run, make_model, suite):
    given = suite(eps=["36/255", 0.1])
    assert given.plain()["eps"] == [0.1, "36/255"]
    results = Results.load(make_run(make_model(**HAND), [given]))
    assert "eps 36/255 (L2" in results.table("36/255")
    assert "eps 36/255 (L2" in results.table(36 / 255)
    report = document.build(results)
    heads = [title for title, _ in report.sections[0].grid.groups]
    assert heads == ["", "eps 0.1", "eps 36/255"]
    assert dict(report.facts)["suite quick"].startswith("L2, eps 0.1, 36/255; ")
    every = "\n".join(writer.texts(report).values())
    assert "0.1412 " not in every.replace(str(36 / 255), "")
    assert results.summary()["eps"].tolist() == [0.1, 36 / 255]


def test_a_summary_may_be_changed_by_its_user(results):
    summary = results.summary()
    summary["robust"] = 0.0
    assert results.summary()["robust"].sum() > 0


@pytest.mark.parametrize(
    ("frame", "declared"),
    [
        (lambda results: results.samples, samples.SAMPLES),
        (lambda results: results.models, results_of_a_run.MODELS),
        (lambda results: results.summary(), metrics.SUMMARY),
        (lambda results: results.hyperparameters(), hyperparameters.SETTINGS),
        (lambda results: results.comparisons(), comparisons.COMPARISONS),
        (lambda results: results.effects(), effects.EFFECTS),
    ],
    ids=["samples", "models", "summary", "hyperparameters", "comparisons", "effects"],
)
def test_every_column_is_declared_once_with_kind_unit_and_words(results, frame, declared):
    found = frame(results)
    assert len(list(found)) == len(set(found))
    for name in found:
        (column,) = [column for column in declared if column.covers(name)]
        assert column.words
        assert column.kind != "share" or column.unit
        if column.dtype is not None and not column.prefix:
            assert str(found[name].dtype) == column.dtype, name
    present = [column for column in declared if any(column.covers(name) for name in found)]
    sometimes = {*metrics.WITHOUT_CERTIFICATE, *(column for column in columns.OF_MODELS if column.prefix)}
    assert set(declared) - set(present) <= sometimes


def test_a_report_is_written_from_what_was_loaded(results, tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "load", None)
    monkeypatch.setattr(RunFolder, "read", None)
    monkeypatch.setattr("lipbench.report.style.encode", lambda figure, kind: b"a picture")
    written = results.report(tmp_path / "out")
    assert {path.name for path in written} >= {"summary.csv", "report.md", "report.html"}
