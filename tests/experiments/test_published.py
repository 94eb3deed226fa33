"""The published results are what their records give, with the rules and words of the code as it is."""

from pathlib import Path

import pytest

from lipbench.experiments import experiment, writing
from lipbench.experiments.reproduce import Place
from lipbench.experiments.writing import RESULT, TEXT, Result

PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "paper"
FOLDERS = sorted(path.parent for path in PUBLISHED.glob(f"*/{RESULT}"))


def test_every_experiment_is_published():
    assert [folder.name for folder in FOLDERS] == experiment.names()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_published_result_follows_from_its_records(folder, tmp_path):
    result = writing.read(Result, folder / RESULT)
    place = Place(folder, experiment.find(folder.name), result.scale)
    writing.write(tmp_path, place.experiment, place.scale, *place.records())
    for name in (RESULT, TEXT):
        assert (tmp_path / name).read_text() == (folder / name).read_text(), name
    assert (folder / "figure.png").stat().st_size > 10_000
    assert (folder / "figure.pdf").is_file()


def test_the_published_results_are_of_scale_small_and_took_minutes():
    for folder in FOLDERS:
        result = writing.read(Result, folder / RESULT)
        assert result.scale == "small"
        assert all(check.rule and check.statement for check in result.checks)
        assert result.provenance.seconds is None or result.provenance.seconds < 600  # other work ran beside some
