"""The mutation suite: every way to be wrong in ``mutants`` is caught, and no right model is flagged."""

import mutants
import pytest


@pytest.mark.parametrize("check", mutants.FILES, ids=lambda check: check.__name__)
def test_a_spoilt_folder_is_refused(check, tmp_path):
    assert check(tmp_path).by == ("load",)


@pytest.mark.parametrize("case", mutants.MUTANTS, ids=lambda case: case.name)
def test_a_mutant_is_caught(case, tmp_path):
    assert mutants.run(case, tmp_path).by


@pytest.mark.parametrize("case", mutants.CONTROLS, ids=lambda case: case.name)
def test_a_right_model_is_not_flagged(case, tmp_path):
    caught = mutants.run(case, tmp_path)
    assert caught.by == (), caught.says


def test_there_are_enough():
    assert len(mutants.MUTANTS) + len(mutants.FILES) >= 25
    assert len(mutants.CONTROLS) >= 10
