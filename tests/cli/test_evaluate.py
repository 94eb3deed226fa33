"""``lipbench evaluate``: what is printed of eps and of samples."""

import json

import pytest
from bundled import TAU4

from lipbench import cli

SUITE = 'name = "s"\nnorm = "L2"\neps = [0.1]\n[[attack]]\nname = "gradient/bisection"\nargs = { rounds = 2 }\n'


@pytest.fixture
def evaluate(zoo_of, tmp_path, capfd):
    """A function that evaluates one model with more options, and returns what is printed."""
    (tmp_path / "s.toml").write_text(SUITE)
    zoo = zoo_of(TAU4)

    def run(options: str) -> tuple[str, str]:
        words = ["evaluate", str(zoo), "-q", "--suite", f"{tmp_path}/s.toml", "-o", f"{tmp_path}/run"]
        assert cli.run([*words, *options.split()]) == 0
        return tuple(capfd.readouterr())

    return run


def records(tmp_path):
    return {path.name: path.read_bytes() for path in (tmp_path / "run" / "records").iterdir()}


def test_a_fraction_stays_one_in_the_table_the_run_and_the_report(evaluate, tmp_path):
    out, _ = evaluate("--samples 10 --eps 8/255,0.3 --show-eps 8/255")
    assert out.startswith("suite s, eps 8/255 (L2, ")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["suites"][0]["suite"]["eps"] == ["8/255", 0.3]
    text = (tmp_path / "run" / "report" / "report.md").read_text()
    assert "certified, eps 8/255" in text
    assert "0.03137 " not in text
    before = records(tmp_path)
    out, _ = evaluate("--samples 10 --eps 0.03137254901960784,0.5 --show-eps 0.5")
    assert out.startswith("suite s, eps 0.5 (L2, ")
    assert before == records(tmp_path)  # bisection serves every eps; 8/255 is the same radius, however it is written
    assert "certified, eps 8/255" in (tmp_path / "run" / "report" / "report.md").read_text()


def test_more_samples_than_there_are_is_one_line(evaluate, digits, caplog):
    out, _ = evaluate("--samples 1000")
    n = len(digits.test.labels)
    assert f"n = {n};" in out
    assert caplog.messages == [f"1000 samples were asked for; the test set of digits has {n}, and all are used"]
