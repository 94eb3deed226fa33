"""The job of `lipbench reproduce`: folders, records, verdicts, pages, resuming; with experiments made for the test."""

import json
from dataclasses import dataclass, replace

import pandas as pd
import pytest
import torch

import lipbench
from lipbench import cli
from lipbench.errors import LipbenchError, MissingDataError
from lipbench.experiments import experiment, writing
from lipbench.experiments.experiment import Check, Experiment, verdict
from lipbench.experiments.writing import Result
from lipbench.report import style


@dataclass(frozen=True)
class Settings:
    slope: float
    sizes: tuple[int, ...] = (1, 2, 4)


def measure(lab, settings):
    lab.dataset("mnist", "digits")
    return {"line": pd.DataFrame({"x": settings.sizes, "y": [settings.slope * size for size in settings.sizes]})}


def judge(records):
    rise = records["line"]["y"].iloc[-1] - records["line"]["y"].iloc[0]
    return (
        Check("y rises with x", "the difference is above 0", rise > 0, rise, "points", rise - 1, rise + 1, paper=5.0),
        Check("|y| stays below 10", "its largest value is below 10", rise < 10, records["line"]["y"].max()),
    )


def draw(records):
    figure = style.new(3, 2)
    figure.subplots().plot(records["line"]["x"], records["line"]["y"])
    return figure


RISES = Experiment(
    "rises", "Rising", "accuracy", "y rises.", "section 1", "x to 3.", {"small": "x to 4.", "paper": "As theirs."},
    {"small": Settings(2.0), "paper": Settings(20.0)}, measure, judge, draw, lambda records: "A line.",
    lambda settings: ("mnist", "digits"),
)  # fmt: skip
FALLS = replace(RISES, name="falls", title="Falling", scales={"small": Settings(-2.0), "paper": Settings(-2.0)})


@pytest.fixture(autouse=True)
def known(monkeypatch, tmp_path):
    """Two experiments, and no data folder."""
    two = {one.name: one for one in (RISES, FALLS)}
    monkeypatch.setattr(experiment, "names", lambda: sorted(two))
    monkeypatch.setattr(experiment, "find", lambda name: two[name])
    monkeypatch.setenv("LIPBENCH_DATA", str(tmp_path / "nothing"))
    return two


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_experiment_leaves_verdict_figures_records_and_text(tmp_path):
    (result,) = lipbench.reproduce("rises", tmp_path / "out")
    folder = tmp_path / "out" / "rises"
    assert {"result.json", "figure.png", "figure.pdf", "README.md"} <= {path.name for path in folder.iterdir()}
    assert pd.read_parquet(folder / "records" / "line.parquet")["y"].tolist() == [2, 4, 8]
    written = json.loads((folder / "result.json").read_text())
    assert written == json.loads(writing.json_bytes(result.model_dump(mode="json")))
    assert (written["verdict"], written["claim"], written["scale"]) == ("held", "y rises.", "small")
    assert written["checks"][0] == {
        "statement": "y rises with x", "rule": "the difference is above 0", "holds": True, "ours": 6.0,
        "unit": "points", "lo": 5.0, "hi": 7.0, "over": "", "paper": 5.0,
    }  # fmt: skip
    assert written["settings"] == {"slope": 2.0, "sizes": [1, 2, 4]}
    assert list(written["provenance"]["data"]) == ["digits"]
    assert written["provenance"]["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert written["provenance"]["frames"] == {"line": ["x", "y"]}
    assert written["setup"] == "x to 4."
    assert written["provenance"]["seconds"] >= 0
    assert "torch" in written["provenance"]["versions"]
    text = (folder / "README.md").read_text()
    assert r"| holds | \|y\| stays below 10 |" in text
    assert "| holds | y rises with x | the difference is above 0 | 5 points | 6 [5, 7] points |" in text
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_verdict_follows_from_the_checks():
    good, bad = Check("a", "r", True, 1.0), Check("b", "r", False, 1.0)
    assert [verdict(checks) for checks in ((good, good), (good, bad), (bad, good), (bad, bad))] == [
        "held", "partly", "not", "not",
    ]  # fmt: skip
    with pytest.raises(LipbenchError, match="nothing was measured"):
        Check("a", "r", True, float("nan"))


def test_the_page_shows_all_and_a_failed_claim_is_a_result(tmp_path, capsys):
    assert cli.run(["reproduce", "all", "-o", str(tmp_path), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "rises: HELD (small)" in said
    assert "falls: DID NOT HOLD (small)" in said
    assert "- y rises with x: -6 [-7, -5] points (paper: 5 points)" in said
    page = (tmp_path / "report.md").read_text()
    assert "| [rises](#rises) | y rises. | held | 2 of 2 |" in page
    assert "![Falling](falls/figure.png)" in page
    lipbench.reproduce("rises", tmp_path / "other", scale="paper")
    page = (tmp_path / "other" / "report.md").read_text()
    assert "1 claim: 0 held, 1 held in part, 0 did not hold" in page
    assert "| held in part | 1 of 2 |" in page


def test_a_second_call_measures_nothing_and_gives_the_same_bytes(tmp_path, known):
    (first,) = lipbench.reproduce("rises", tmp_path)
    before = contents(tmp_path)

    def refuse(lab, settings):
        raise AssertionError("measured again")

    known["rises"] = replace(RISES, measure=refuse)
    (second,) = lipbench.reproduce("rises", tmp_path)
    assert second == first
    assert contents(tmp_path) == before
    known["rises"] = replace(RISES, judge=lambda records: judge(records)[:1])  # judged anew, from the records
    assert len(lipbench.reproduce("rises", tmp_path)[0].checks) == 1


def test_an_experiment_that_fails_is_named_and_the_others_go_on(tmp_path, known, capsys):
    def fail(lab, settings):
        raise LipbenchError("no luck")

    known["falls"] = replace(FALLS, measure=fail)
    assert cli.run(["reproduce", "all", "-o", str(tmp_path), "--quiet"]) == 2
    said = capsys.readouterr()
    assert "rises: HELD" in said.out
    assert "lipbench: 1 of 2 experiments failed; rerun the same command to try these again. falls: no luck" in said.err
    known["falls"] = FALLS
    assert [result.verdict for result in lipbench.reproduce("all", tmp_path)] == ["not", "held"]


WRONG = {
    "no name": ([], {}, "which experiment\\? give all, or one of falls, rises"),
    "scale": ("rises", {"scale": "big"}, "unknown scale 'big'"),
    "twice": (["rises", "rises"], {}, "'rises' is there twice"),
    "jobs": ("rises", {"jobs": 0}, "jobs must be a whole number"),
    "device": ("rises", {"device": "tpu"}, "unknown device 'tpu'"),
    "progress": ("rises", {"progress": 1}, "progress must be True or False"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_writes_nothing(tmp_path, case):
    names, options, said = WRONG[case]
    with pytest.raises(LipbenchError, match=said):
        lipbench.reproduce(names, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_unknown_name_is_answered_with_the_closest(monkeypatch, tmp_path):
    monkeypatch.undo()
    with pytest.raises(LipbenchError, match=r"unknown experiment 'koch': .*koch-snowflake"):
        lipbench.reproduce("koch", tmp_path / "out")


def test_a_folder_of_somebody_else_is_refused_and_stays(tmp_path):
    (tmp_path / "rises").mkdir()
    (tmp_path / "rises" / "notes.txt").write_text("mine")
    with pytest.raises(LipbenchError, match="is not empty and not an experiment"):
        lipbench.reproduce(["falls", "rises"], tmp_path)
    assert contents(tmp_path / "rises") == {(tmp_path / "rises" / "notes.txt").relative_to(tmp_path / "rises"): b"mine"}


def test_another_scale_or_other_settings_need_another_folder(tmp_path, known):
    lipbench.reproduce("rises", tmp_path)
    with pytest.raises(LipbenchError, match="scale: small there, paper here"):
        lipbench.reproduce("rises", tmp_path, scale="paper")
    known["rises"] = replace(RISES, scales={"small": Settings(3.0)})
    with pytest.raises(LipbenchError, match=r"settings\.slope: 2\.0 there, 3\.0 here"):
        lipbench.reproduce("rises", tmp_path)


@pytest.mark.parametrize("name", ["result.json", "figure.png", "README.md"])
def test_a_file_that_somebody_changed_is_not_overwritten(tmp_path, name):
    lipbench.reproduce("rises", tmp_path)
    (tmp_path / "rises" / name).write_bytes(b"mine")
    with pytest.raises(LipbenchError, match="was changed since lipbench wrote it"):
        lipbench.reproduce("rises", tmp_path)
    assert (tmp_path / "rises" / name).read_bytes() == b"mine"


def test_the_time_of_a_resumed_experiment_is_not_known(tmp_path, known):
    def killed(lab, settings):
        (lab.folder / "zoo").mkdir()
        raise KeyboardInterrupt

    known["rises"] = replace(RISES, measure=killed)
    with pytest.raises(KeyboardInterrupt):
        lipbench.reproduce(["rises", "falls"], tmp_path)
    known["rises"] = RISES
    rises, falls = lipbench.reproduce(["rises", "falls"], tmp_path)
    assert rises.provenance.seconds is None
    assert falls.provenance.seconds >= 0
    assert "Time not known: resumed." in (tmp_path / "rises" / "README.md").read_text()


def test_another_data_set_needs_another_folder(tmp_path, known):
    lipbench.reproduce("rises", tmp_path)
    known["rises"] = replace(RISES, data=lambda settings: ())
    with pytest.raises(LipbenchError, match="data: digits there, none here"):
        lipbench.reproduce("rises", tmp_path)


def test_missing_data_is_known_before_any_work(tmp_path, known):
    known["rises"] = replace(RISES, data=lambda settings: ("cifar100", "mnist"))
    with pytest.raises(MissingDataError, match="expected one of the data sets cifar100, mnist"):
        lipbench.reproduce(["rises", "falls"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_records_that_another_process_kept_meanwhile_are_used(tmp_path, known):
    def second(lab, settings):
        known["rises"] = RISES
        lipbench.reproduce("rises", tmp_path)
        return {"line": measure(lab, settings)["line"] * 0}

    known["rises"] = replace(RISES, measure=second)
    (result,) = lipbench.reproduce("rises", tmp_path)
    assert result.checks[0].ours == 6


def test_the_page_leaves_out_what_is_no_experiment(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "result.json").write_text("{}")
    lipbench.reproduce("rises", tmp_path)
    assert "other" not in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("change", ["delete", "rename a column"])
def test_records_that_are_not_what_was_measured_are_one_line(tmp_path, change):
    lipbench.reproduce("rises", tmp_path)
    path = tmp_path / "rises" / "records" / "line.parquet"
    frame = pd.read_parquet(path)
    path.unlink()
    if change != "delete":
        frame.rename(columns={"y": "z"}).to_parquet(path)
    with pytest.raises(LipbenchError, match=r"line\.parquet"):
        lipbench.reproduce("rises", tmp_path)


DAMAGED = {
    "experiment.json": b"{}",
    "experiment.json ": b"[" * 100_000,
    "records/line.parquet": b"PAR1 and no more",
    "records/provenance.json": b'{"data": 3}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_one_line(tmp_path, capsys, name):
    lipbench.reproduce("rises", tmp_path)
    (tmp_path / "rises" / name.strip()).write_bytes(DAMAGED[name])
    assert cli.run(["reproduce", "rises", "-o", str(tmp_path), "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert name.strip().rpartition("/")[2] in said


def test_a_result_of_another_form_is_refused(tmp_path):
    lipbench.reproduce("rises", tmp_path)
    path = tmp_path / "rises" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": "surely"}))
    with pytest.raises(LipbenchError, match="verdict"):
        writing.read(Result, path)
