import json

import pytest
import torch

from lipbench.certification.lipschitz import cache, norms


@pytest.fixture
def weight():
    """Large enough to be kept."""
    return torch.randn(8, 8, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "norms"


@pytest.fixture
def computed(monkeypatch):
    """How often a norm was computed."""
    calls = []
    original = norms.gram_norm
    monkeypatch.setattr(norms, "gram_norm", lambda blocks: calls.append(1) or original(blocks))
    return calls


def test_a_norm_is_computed_once(weight, folder, computed):
    first = norms.torus_norm(weight, (12, 12))
    count = len(computed)
    assert norms.torus_norm(weight.clone(), (12, 12)) == first
    assert len(computed) == count > 0
    assert len(list(folder.iterdir())) == 1


def test_all_that_determines_a_norm_is_in_its_key(weight, folder):
    other = weight.clone()
    other[0, 0, 0, 0] += 1e-9
    norms.torus_norm(weight, (12, 12))
    norms.torus_norm(other, (12, 12))
    norms.torus_norm(weight, (12, 16))
    norms.torus_norm(weight, (12, 12), (2, 1))
    norms.torus_norm(weight, (12, 12), (1, 1), (1, 2))
    norms.torus_norm(weight.transpose(0, 1), (12, 12))
    norms.torus_norm(weight.reshape(16, 4, 8, 8), (12, 12))
    assert len(list(folder.iterdir())) == 7


def test_small_weights_are_not_kept(folder):
    norms.torus_norm(torch.ones(2, 2, 3, 3), (12, 12))
    assert not folder.exists()


def test_norms_of_weights_in_training_are_neither_kept_nor_read(weight, folder, computed):
    with cache.not_kept():
        first = norms.torus_norm(weight, (12, 12))
    assert not folder.exists()
    assert norms.torus_norm(weight, (12, 12)) == first
    count = len(computed)
    with cache.not_kept():
        assert norms.torus_norm(weight, (12, 12)) == first
    assert len(computed) > count


@pytest.mark.parametrize("content", ["", "{}", '{"norm": 1}', '{"norm": "x"}', "[]"])
def test_a_spoilt_file_is_computed_again(weight, folder, content):
    first = norms.torus_norm(weight, (12, 12))
    (path,) = folder.iterdir()
    path.write_text(content)
    assert norms.torus_norm(weight, (12, 12)) == first
    assert float.fromhex(json.loads(path.read_text())["norm"]) == first


def test_a_folder_that_cannot_be_written_is_no_error(weight, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file"))
    expected = norms.torus_norm(weight, (12, 12))
    monkeypatch.setenv(cache.VARIABLE, "")
    assert norms.torus_norm(weight, (12, 12)) == expected


def test_nothing_is_kept_where_the_folder_is_empty(monkeypatch):
    monkeypatch.setenv(cache.VARIABLE, "")
    assert cache.folder() is None
    monkeypatch.delenv(cache.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache.folder()) == "/somewhere/lipbench"
