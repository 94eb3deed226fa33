"""One report of several runs: a part for each, and what they share side by side."""

import io
import itertools
import shutil

import numpy as np
import pandas as pd
import pytest

import lipbench
from lipbench import cli
from lipbench._internal import files
from lipbench.errors import LipbenchError
from lipbench.report import Results, across, document, style, writer


@pytest.fixture
def unsaved(monkeypatch):
    """Figures are drawn but not saved, which takes most of the time of a report."""
    monkeypatch.setattr(style, "encode", lambda figure, kind: b"a picture")


@pytest.fixture
def undrawn(unsaved, monkeypatch):
    """Figures are not drawn either."""

    def draw(report):
        names = [name for section in report.sections for name in section.files.values()]
        return dict.fromkeys(f"{name}{size}" for name in names for size in ("", "-column"))

    monkeypatch.setattr(writer, "draw", draw)


@pytest.fixture
def runs(make_run, make_model, suite):
    """Two seeds of two settings; the other run has one of the settings, a suite more, and a column that is its own."""

    def model(tau, seed, shift=0.0, **more):
        radius = np.random.default_rng([int(tau), seed]).uniform(0.05, 0.4, 30)
        named = {"name": f"tau{tau:g}-{seed}", "hyperparameters": {"tau": tau}, "seed": seed}
        return make_model([1] * 30, list(radius + shift), list(radius * 1.5 + shift), **named | more)

    first = [model(tau, seed) for tau in (1.0, 4.0) for seed in range(2)]
    other = [model(4.0, seed, 0.02) for seed in range(2)]
    other.append(model(3.0, 0, name="own", loss="hkr_multiclass", hyperparameters={"alpha": 0.5, "min_margin": 0.1}))
    return [
        Results.load(make_run(first, [suite()], title="Fast | [run]")),
        Results.load(make_run(other, [suite(), suite("quick-linf", "Linf")], changed={"dtype": "float32"})),
    ]


def read(text: str) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(text), keep_default_na=True)


def test_every_frame_has_the_run_first_and_the_rows_of_each(runs):
    text = writer.texts(document.build(*runs))
    one = [writer.texts(document.build(run)) for run in runs]
    for name in writer.FRAMES:
        whole, parts = read(text[name]), [read(each[name]) for each in one]
        assert whole.columns[0] == "run"
        assert set(whole.columns) == {"run", *parts[0].columns, *parts[1].columns}
        for label, part in zip(("Fast | [run]", "run1"), parts, strict=True):
            held = whole[whole["run"] == label].reset_index(drop=True)
            # what is read back are the numbers of the run alone, letter by letter
            pd.testing.assert_frame_equal(held[list(part)], part, check_dtype=False, check_exact=True)
            assert held[[column for column in whole if column not in {"run", *part}]].isna().all(axis=None)
    assert "loss.alpha" in read(text["summary.csv"])


def test_a_single_run_has_no_column_and_no_file_more(runs):
    report = document.build(runs[0])
    text = writer.texts(report)
    assert list(text) == [*writer.FRAMES, "report.md", "tables.tex"]
    assert read(text["summary.csv"]).columns.tolist() == runs[0].summary().columns.tolist()
    assert report.pairs is None
    assert report.shared == ()
    assert [section.files["sandwich"] for section in report.sections] == ["sandwich"]
    assert "side by side" not in text["report.md"]
    assert [(run.label, run.results) for run in report.runs] == [("Fast | [run]", runs[0])]


def test_the_comparison_of_what_runs_share_comes_first(runs):
    report = document.build(*runs)
    found = across.compare_runs(*runs)
    text = writer.texts(report)
    pd.testing.assert_frame_equal(report.pairs, found.frame)
    assert set(report.pairs["first_name"]) == {"tau_cross_entropy, tau 4", "tau4-0", "tau4-1"}
    assert len(read(text[writer.PAIRS])) == len(found.frame)
    differing, settings, models = report.shared
    assert ("dtype", "float64", "float32") in differing.rows
    assert [row[0] for row in settings.rows] == ["tau_cross_entropy, tau 4"]
    assert [row[0] for row in models.rows] == ["tau4-0", "tau4-1"]
    shown = found.shown[(found.shown["kind"] == "setting") & (found.shown["metric"] == "robust")].iloc[0]
    place = settings.columns.index("A") + 3 * 2  # clean, certified, robust
    assert settings.rows[0][place : place + 2] == (f"{100 * shown['first']:.1f}", f"{100 * shown['second']:.1f}")
    page = text["report.md"]
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings[0] == "## The runs side by side"
    assert headings[1:3] == [r"## Fast \| \[run\]: Findings", r"## Fast \| \[run\]: The run"]
    assert sum(line.startswith("## run1: Settings at eps") for line in headings) == 2
    for run in runs:
        assert f"| {writer.markdown(str(run.run_folder.path))} |" in page


def test_runs_that_share_nothing_are_said_to(runs, make_run, make_model):
    other = Results.load(make_run(make_model([1], [0.1], [0.3], name="other", hyperparameters={"tau": 9.0})))
    report = document.build(runs[0], other)
    assert report.pairs.empty
    (line,) = report.unshared
    assert "have nothing in common" in line
    assert "--model" not in line
    assert writer.markdown(line) in writer.texts(report)["report.md"]


def test_three_runs_are_each_compared_with_the_first(runs, make_run, make_model):
    model = make_model([1] * 30, [0.1] * 30, [0.3] * 30, name="tau1-0", hyperparameters={"tau": 1.0})
    third = Results.load(make_run(model))
    report = document.build(*runs, third)
    pairs = report.pairs[["first_run", "second_run"]].drop_duplicates()
    assert list(pairs.itertuples(index=False, name=None)) == [("Fast | [run]", "run1"), ("Fast | [run]", "run2")]


@pytest.mark.usefixtures("unsaved")
def test_the_command_writes_and_checks_one_report(runs, tmp_path, capsys):
    places, out = [str(run.run_folder.path) for run in runs], tmp_path / "both"
    assert cli.run(["report", *places, "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert all(f"{place}:\n{run.table()}" in printed for place, run in zip(places, runs, strict=True))
    drawn = itertools.product(("settings", "sandwich", "pareto", "effects"), SUITES, document.PICTURES)
    expected = {*writer.FRAMES, "pairs.csv", "report.md", "report.html", "tables.tex", files.WRITTEN}
    expected |= {f"{figure}-{suite}{ending}" for figure, suite, ending in drawn}
    assert {path.name for path in out.iterdir()} == expected
    page = (out / "report.html").read_text()
    assert page.count("<h2>Fast | [run]: ") == page.count("<h2>run1: ") - 1 == 3
    assert "The runs side by side" in page
    assert cli.run(["report", *places, "-o", str(out), "--check"]) == 0
    assert lipbench.report(places, out, check=True) == []
    changed = (out / "pairs.csv").read_text().replace(",paired,", ",pared,")
    (out / "pairs.csv").write_text(changed)
    capsys.readouterr()
    assert cli.run(["report", *places, "-o", str(out), "--check"]) == 2
    assert "pairs.csv (line 1) differ" in capsys.readouterr().err
    with pytest.raises(LipbenchError, match="is not what the records of"):
        lipbench.report(places[::-1], out, check=True)


SUITES = ("Fast-run-quick", "run1-quick", "run1-quick-linf")


@pytest.mark.parametrize("inside", ["report", "", "records/deep"])
def test_a_report_of_several_runs_is_not_inside_of_one(runs, inside):
    places = [run.run_folder.path for run in runs]
    with pytest.raises(LipbenchError, match=r"is inside of the run .*: choose another folder with -o"):
        lipbench.report(places, places[1] / inside)
    assert not (places[1] / "report").exists()
    with pytest.raises(LipbenchError, match="is inside of the run"):
        writer.write(runs, places[0] / "x" / ".." / "report")


def test_a_run_that_is_there_twice_is_an_error(runs, tmp_path):
    place = runs[0].run_folder.path
    (tmp_path / "link").symlink_to(place)
    with pytest.raises(LipbenchError, match="link is there twice: name another run"):
        lipbench.report([place, tmp_path / "link"], tmp_path / "out")
    with pytest.raises(LipbenchError, match="needs a folder of its own"):
        lipbench.report([place, place])
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("undrawn")
def test_copies_of_a_run_have_the_same_bytes_wherever_the_report_lies(runs, tmp_path):
    copy = tmp_path / "copy" / "run"
    shutil.copytree(runs[0].run_folder.path, copy)
    places = [str(runs[0].run_folder.path), str(copy)]
    for name in ("a", "b"):
        lipbench.report(places, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    frame = pd.read_csv(tmp_path / "a" / "summary.csv")
    assert frame["run"].unique().tolist() == ["Fast | [run] (1)", "Fast | [run] (2)"]


def test_files_of_runs_and_suites_differ_whatever_their_names_hold(make_run, make_model, suite):
    suites = [suite("a b"), suite("a-b", eps=[0.3]), suite("A B", eps=[0.2])]
    runs = [Results.load(make_run(make_model([1], [0.1], [0.2]), suites, title=title)) for title in ("x", "X")]
    names = [section.files["pareto"].lower() for section in document.build(*runs).sections]
    assert len(set(names)) == 6
    assert all(name.replace("-", "").isalnum() for name in names)
