"""Runs as files for other tools: the function and the command write and refuse the same."""

import numpy as np
import pandas as pd
import pytest
from hand_made import HAND

import lipbench
from lipbench import cli
from lipbench.errors import LipbenchError


@pytest.fixture
def run(make_run, make_model, suite):
    return make_run([make_model(**HAND, name="a"), make_model(**HAND, name="b", seed=1)], [suite(eps=["36/255", 0.4])])


def read_csv(path):
    """As pandas reads it, with texts that may be empty."""
    return pd.read_csv(path, dtype={"attack": str, "copy_of": str}).fillna({"attack": "", "copy_of": ""})


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_frames_are_read_back_as_they_were(run, tmp_path, ending):
    targets = {"samples": tmp_path / f"a.{ending}", "summary": tmp_path / "sub" / f"b.{ending}"}
    assert lipbench.export(run.path, **targets) == list(targets.values())
    results, read = lipbench.load(run.path), {"parquet": pd.read_parquet, "csv": read_csv}[ending]
    expected = {"samples": results.samples, "summary": results.summary()}
    for name, path in targets.items():
        found = read(path)
        pd.testing.assert_frame_equal(found, expected[name], check_exact=True, check_dtype=ending == "parquet")


def test_the_same_run_gives_the_same_bytes_and_the_command_what_the_function_gives(run, tmp_path, capsys):
    lipbench.export(run.path, samples=tmp_path / "a.parquet")
    assert cli.run(["export", str(run.path), "--samples", str(tmp_path / "b.parquet")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'b.parquet'}\n"
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_witnesses_are_arrays_that_need_no_pickle(tmp_path):
    from lipbench._internal.resources import CHECKOUT

    published = CHECKOUT / "reports" / "digits" / "run"
    if not published.is_dir():
        pytest.skip("the published run is in a checkout only")
    lipbench.export(published, witnesses=tmp_path / "w.npz")
    expected = lipbench.load(published).witnesses().arrays()
    with np.load(tmp_path / "w.npz", allow_pickle=False) as found:
        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_a_file_is_replaced_only_if_asked_for(run, tmp_path):
    mine = tmp_path / "a.csv"
    mine.write_text("mine")
    with pytest.raises(LipbenchError, match=r"a.csv exists: .* --force"):
        lipbench.export(run.path, summary=tmp_path / "b.csv", samples=mine)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "b.csv").exists()
    assert cli.run(["export", str(run.path), "--samples", str(mine), "--force"]) == 0
    assert mine.read_text().startswith("model,suite,norm,sample,")
    (tmp_path / "link.csv").symlink_to(mine)
    with pytest.raises(LipbenchError, match="a symbolic link of that name is there"):
        lipbench.export(run.path, samples=tmp_path / "link.csv", force=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "export what"),
        ({"samples": "a.txt"}, "samples must be a file that ends in .parquet or .csv, got a.txt"),
        ({"witnesses": "a.csv"}, "witnesses must be a file that ends in .npz"),
        ({"samples": 3}, "samples must be a path"),
        ({"samples": "a.csv", "summary": "./a.csv"}, "a.csv' is there twice"),
        ({"samples": "a.csv", "force": 1}, "force must be True or False"),
    ],
)
def test_wrong_exports(run, options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LipbenchError, match=said):
        lipbench.export(run.path, **options)
    assert not list(tmp_path.glob("a.*"))


def test_what_is_no_run_and_what_is_not_finished(run, tmp_path):
    for function in (lipbench.load, lambda folder: lipbench.export(folder, samples=tmp_path / "a.csv")):
        with pytest.raises(LipbenchError, match=r"no run at .*nowhere/run.json: the file does not exist"):
            function(tmp_path / "nowhere")
    unit = next(unit for unit in run.read().units() if unit.model == "b")
    run.record_path(unit).unlink()
    for function in (lipbench.load, lambda folder: lipbench.export(folder, samples=tmp_path / "a.csv")):
        with pytest.raises(LipbenchError, match=r"is not finished: 1 unit of 1 model \(b\) are missing; rerun"):
            function(run.path)
    assert not (tmp_path / "a.csv").exists()
