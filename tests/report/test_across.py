"""Two runs side by side, and the text of the command."""

import os

import numpy as np
import pandas as pd
import pytest

from lipbench import cli
from lipbench._internal import files
from lipbench.errors import LipbenchError
from lipbench.report import Results, across, columns, comparisons, run_names, side_by_side
from lipbench.report.resampling import RESAMPLES, SEED, TAILS

EPS = 0.2
N = 60


def bounds(shift=0.0, n=N, seed=0):
    """Bounds of n samples, the same for the same seed; ``shift``: added to radii and distances."""
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.1, 0.4, n)
    return {
        "correct": [1] * n,
        "real": list(radius + shift),
        "distance": list(radius + shift + rng.uniform(0, 0.2, n)),
    }


@pytest.fixture
def two(make_run, make_model):
    """The run of three seeds of one setting, and of one more model; and another run of models, changed as asked for."""
    first = Results.load(make_run([make_model(**bounds(seed=k), name=f"m{k}", seed=k) for k in range(3)]))

    def make(models, **how):
        return first, Results.load(make_run(models, **how))

    return make


def row(frame, metric, name=None, eps=EPS):
    part = frame[(frame["metric"] == metric) & (frame["eps"] == eps)]
    (found,) = (part if name is None else part[part["first_name"] == name]).to_dict("records")
    return found


def weights(name):
    return files.sha256_bytes(name.encode())


def test_the_same_networks_under_other_names_are_found_by_their_weights(two, make_model):
    order = (2, 0, 1)
    others = [make_model(**bounds(seed=k), name=f"other{k}", seed=k, weights=weights(f"m{k}")) for k in order]
    found = across.compare_runs(*two(others, changed={"dtype": "float32"}))
    models = found.frame[found.frame["kind"] == "model"]
    pairs = models[["first_name", "second_name"]].drop_duplicates()
    assert list(pairs.itertuples(index=False, name=None)) == [(f"m{k}", f"other{k}") for k in range(3)]
    assert found.frame["same_weights"].all()
    # the seeds of both settings are one draw, as they are the same networks: nothing is left of a difference
    settings = found.frame[found.frame["kind"] == "setting"]
    assert set(settings["first_models"]) == {3}
    assert (settings[["difference", "difference_lo", "difference_hi"]] == 0).all(axis=None)
    assert found.alone == (0, 0)
    assert ("dtype", "float64", "float32") in found.differences
    assert "equal in every number: 1 setting and 3 models" in str(found)


def test_other_networks_of_one_setting_vary_from_seed_to_seed(two, make_model):
    others = [make_model(**bounds(seed=k), name=f"m{k}", seed=k, weights=weights(f"x{k}")) for k in range(3)]
    found = across.compare_runs(*two(others))
    assert not found.frame["same_weights"].any()
    setting = row(found.frame[found.frame["kind"] == "setting"], "certified")
    assert setting["difference"] == 0
    assert setting["difference_lo"] < 0 < setting["difference_hi"]
    model = row(found.frame, "certified", "m1")  # by its name: the same bounds, sample by sample
    assert (model["difference_lo"], model["difference_hi"]) == (0, 0)


def test_equal_weights_count_before_equal_names(make_run, make_model):
    first = Results.load(make_run([make_model(**bounds(seed=k), name=name) for k, name in enumerate("ab")]))
    swapped = [
        make_model(**bounds(seed=k), name=name, weights=weights(of)) for k, (name, of) in enumerate(["ba", "ab"])
    ]
    second = Results.load(make_run(swapped))
    assert across.same_models(first.items, second.items) == [("a", "b"), ("b", "a")]
    one = Results.load(make_run([make_model(**bounds(), name="b", weights=weights("a"))]))
    assert across.same_models(first.items, one.items) == [("a", "b")]  # the name b is taken
    copies = [make_model(**bounds(seed=k), name=name, weights=weights("a")) for k, name in enumerate(["x", "a"])]
    assert across.same_models(first.items, Results.load(make_run(copies)).items) == [("a", "a")]


@pytest.fixture
def shifted(two, make_model):
    """The other run has the same models, each radius and distance smaller by .1."""

    def make(**how):
        models = [make_model(**bounds(-0.1, seed=k), name=f"m{k}", seed=k, weights=weights(f"m{k}")) for k in range(3)]
        return two(models, **how)

    return make


def drawn(values, seed=SEED):
    random = np.random.RandomState(seed)
    return np.array([values[random.randint(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])


def test_differences_are_paired_on_the_same_samples_and_else_not(shifted):
    first, second = shifted()
    frame = across.compare_runs(first, second).frame
    assert frame["paired"].all()
    distances = [np.array(bounds(shift, seed=1)["distance"]) > EPS for shift in (0.0, -0.1)]
    robust = row(frame, "robust", "m1")
    assert robust["first"] == distances[0].mean()
    assert robust["second"] == distances[1].mean()
    ends = np.percentile(drawn(distances[1] * 1.0 - distances[0]), TAILS)
    assert (robust["difference_lo"], robust["difference_hi"]) == pytest.approx(tuple(ends), abs=1e-7)
    assert robust["only_first"] == (distances[0] & ~distances[1]).sum()
    assert robust["only_second"] == 0
    assert robust["p_value"] == pytest.approx(2 / 2 ** robust["only_first"])

    first, second = shifted(changed={"data_sha256": "e" * 64})
    found = across.compare_runs(first, second)
    assert not found.frame["paired"].any()
    other = row(found.frame, "robust", "m1")
    assert other["difference"] == robust["difference"]
    ends = np.percentile(np.roll(drawn(distances[1] * 1.0), 1) - drawn(distances[0] * 1.0), TAILS)
    assert (other["difference_lo"], other["difference_hi"]) == pytest.approx(tuple(ends), abs=1e-7)
    widths = [one["difference_hi"] - one["difference_lo"] for one in (robust, other)]
    assert widths[1] > 1.2 * widths[0]
    assert found.frame[["only_first", "only_second", "p_value"]].isna().all(axis=None)
    assert "not paired: other samples (60)" in str(found)
    assert "McNemar" not in str(found)


def test_other_samples_of_the_same_data_are_not_paired(two, make_model):
    models = [make_model(**bounds(n=40, seed=k), name=f"m{k}", seed=k) for k in range(3)]
    found = across.compare_runs(*two(models))  # the same hash by mistake: the rows tell
    assert not found.frame["paired"].any()
    assert set(found.frame["second_n"]) == {40}
    assert "not paired: other samples (60 and 40)" in str(found)
    assert ("samples", "60", "40") in found.differences


def test_suites_of_one_name_come_first_then_the_only_others_of_a_norm(make_run, make_model, suite):
    def run(*suites):
        return Results.load(make_run(make_model(**bounds(), name="m"), list(suites)))

    def names(*runs):
        shared = across.shared_suites(*runs)
        return [(one.first.suite.name, one.second.suite.name, list(one.eps)) for one in shared]

    quick, standard = suite(), suite("standard", eps=[0.2, 0.3])
    linf = suite("quick-linf", "Linf")
    assert names(run(quick, linf), run(linf, standard)) == [
        ("quick", "standard", [0.2]),
        ("quick-linf", "quick-linf", [0.1, 0.2, 0.4]),
    ]
    assert names(run(quick, standard), run(standard, suite("x"))) == [
        ("quick", "x", [0.1, 0.2, 0.4]),
        ("standard", "standard", [0.2, 0.3]),
    ]
    assert names(run(quick), run(standard, suite("x"))) == []  # which of the two?
    found = across.compare_runs(run(quick), run(standard))
    assert (found.frame["eps_max"] == 0.2).all()  # what both reach to
    assert {("suite", "quick", "standard"), ("suite quick: eps", "0.1, 0.2, 0.4", "0.2, 0.3")} <= set(found.differences)


def test_what_differs_is_printed_first(shifted):
    first, second = shifted(
        title="B\x1b[31m\n| run",
        changed={"dtype": "float32", "device": "cuda", "versions": {"lipbench": "0.1.0", "torch": "9"}},
    )
    text = str(across.compare_runs(first, second))
    lines = text.splitlines()
    assert lines[0] == f"A: run0, {first.run_folder.path}"[: len(lines[0])]
    assert lines[1].startswith("B: B?[31m?| run, ")
    assert [line.split() for line in lines[3:7]] == [
        ["what", "differs", "A", "B"],
        ["dtype", "float64", "float32"],
        ["device", "cpu", "cuda"],
        ["versions:", "torch", "2.13.0", "9"],
    ]
    assert lines[8].startswith("suite quick, eps ")
    assert max(map(len, lines)) <= 110
    assert all(line.isprintable() for line in lines)


def test_one_name_is_compared_in_both_runs_and_two_across_them(shifted):
    first, second = shifted()
    one = across.compare_runs(first, second, models="m1").frame
    assert set(zip(one["first_name"], one["second_name"], strict=True)) == {("m1", "m1")}
    two_ = across.compare_runs(first, second, models=["m0", "m2"], eps=EPS).frame
    assert set(zip(two_["first_name"], two_["second_name"], strict=True)) == {("m0", "m2")}
    assert set(two_["eps"]) == {EPS}
    setting = across.compare_runs(first, second, settings="tau_cross_entropy, tau 4").frame
    assert set(setting["kind"]) == {"setting"}
    mixed = across.compare_runs(first, second, models="m0", settings="tau_cross_entropy, tau 4").frame
    assert set(mixed["kind"]) == {"model and setting"}


def test_a_model_and_a_setting_of_one_name_are_chosen_by_their_kind(make_run, make_model):
    label = "tau_cross_entropy, tau 4"
    models = [make_model(**bounds(), name=label), make_model(**bounds(0.1), name="b", hyperparameters={"tau": 1.0})]
    results = Results.load(make_run(models))
    assert set(across.compare_runs(results, models=[label, "b"]).frame["kind"]) == {"model"}
    settings = [label, "tau_cross_entropy, tau 1"]
    assert set(across.compare_runs(results, settings=settings).frame["kind"]) == {"setting"}
    with pytest.raises(LipbenchError, match="unknown setting 'b'"):
        across.compare_runs(results, settings=["b", label])


def test_runs_with_nothing_in_common_are_an_error(two, make_model, suite):
    other = make_model(**bounds(), name="other", hyperparameters={"tau": 9.0})
    first, second = two(other)
    with pytest.raises(LipbenchError, match=r"have nothing in common: no setting, and no model .*--model A --model B"):
        across.compare_runs(first, second)
    assert set(across.compare_runs(first, second, models=["m0", "other"]).frame["second_name"]) == {"other"}
    first, second = two(other, suites=[suite("quick", "Linf")])
    with pytest.raises(LipbenchError, match=r"no norm and eps in common: L2 0.1, 0.2, 0.4 against Linf 0.1, 0.2, 0.4"):
        across.compare_runs(first, second, models=["m0", "other"])


def test_wrong_uses_are_errors(shifted, tmp_path):
    first, second = shifted()
    (tmp_path / "there.csv").write_text("mine")
    for wrong, said in (
        ((first,), "one run needs two names .* got 0; or give a second run"),
        ((first, first), "is there twice: name another run"),
        ((first, "nowhere"), "no run at nowhere/run.json"),
        ((first, 3), "the run folder must be a path, got 3"),
    ):
        with pytest.raises(LipbenchError, match=said):
            across.compare_runs(*wrong)
    for wrong, said in (
        ({"models": ["m0", "m1", "m2"]}, "two names .* got 3"),
        ({"models": ["m0", 3]}, "each of models must be a string, got 3"),
        ({"models": "m"}, "unknown model 'm': "),
        ({"eps": "8/255"}, "not both runs have the eps 8/255; both have 0.1, 0.2, 0.4"),
        ({"csv": tmp_path / "a.txt"}, "csv must be a file that ends in .csv"),
        ({"csv": tmp_path / "there.csv"}, "there.csv exists: choose another name, or delete it"),
    ):
        with pytest.raises(LipbenchError, match=said):
            across.compare_runs(first, second, **wrong)
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_the_command_prints_the_comparison_and_writes_every_number(shifted, tmp_path, capsys):
    first, second = shifted()
    places = [str(one.run_folder.path) for one in (first, second)]
    assert cli.run(["compare", *places, "--csv", str(tmp_path / "out.csv")]) == 0
    printed = capsys.readouterr().out
    found = across.compare_runs(first, second)
    assert printed == f"{found}\n"
    read = pd.read_csv(tmp_path / "out.csv", keep_default_na=True)
    assert read.columns.tolist() == [column.name for column in comparisons.PAIRS]
    expected = columns.typed(found.frame, comparisons.PAIRS)
    pd.testing.assert_frame_equal(columns.typed(read, comparisons.PAIRS), expected, check_exact=True)
    assert cli.run(["compare", places[0], "--model", "m0", "--model", "m1", "--eps", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("A: m0 (1 model)\nB: m1 (1 model)\n\nsuite quick, eps 0.1 (L2")
    assert max(map(len, printed.splitlines())) <= 110
    (certified,) = [line.split() for line in printed.splitlines() if line.startswith("certified")]
    shown = row(first.compare("m0", "m1"), "certified", eps=0.1)
    assert certified[1:3] == [f"{100 * shown[side]:.1f}" for side in ("first", "second")]
    assert certified[-3:-1] == [str(shown["only_first"]), str(shown["only_second"])]


@pytest.mark.parametrize("long", ["x" * 90, "α" * 50, "a|b<script>_*`"])
def test_long_and_odd_names_stay_whole_and_the_table_narrow(make_run, make_model, long):
    def run(shift):
        return Results.load(
            make_run([make_model(**bounds(shift, seed=k), name=f"{long}{k}", seed=k) for k in range(2)])
        )

    lines = str(across.compare_runs(run(0.0), run(0.1))).splitlines()
    assert max(map(len, lines)) <= 110
    for k in range(2):
        assert sum(line.startswith(f"{long}{k}") for line in lines) == 1


def test_small_p_values_are_not_printed_as_zero():
    assert [side_by_side.p_value(value) for value in (0.0, 0.0009, 0.001, 0.25, 1.0, np.nan)] == [
        *("<.001", "<.001", "0.001", "0.250", "1.000", "n/a")
    ]


@pytest.mark.parametrize(
    ("titles", "expected"),
    [
        (["", ""], ["run0", "run1"]),
        (["A", ""], ["A", "run1"]),
        (["A", "A"], ["A (1)", "A (2)"]),
        (["A", "A", "A (1)"], ["A (2)", "A (3)", "A (1)"]),
        (["x" * 90, "two\nlines\x00"], ["x" * 15 + "..." + "x" * 14, "two?lines?"]),
    ],
)
def test_runs_have_short_distinct_names(make_run, make_model, titles, expected):
    runs = [Results.load(make_run(make_model(**bounds(), name="m"), title=title)) for title in titles]
    assert run_names.called(runs) == expected


def test_folders_of_one_name_are_called_with_the_folder_above(make_run, make_model, tmp_path):
    runs = [make_run(make_model(**bounds(), name="m")) for _ in range(2)]
    for run, name in zip(runs, "ab", strict=True):
        (tmp_path / name).mkdir()
        os.rename(run.path, tmp_path / name / "run")
    folders = [across.load_run(tmp_path / name / "run") for name in "ab"]
    assert run_names.called(folders) == ["a/run", "b/run"]
