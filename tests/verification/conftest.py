"""Models that no bundled zoo has, for the commands."""

import pytest
import unanalysed

from lipbench._internal.registry import ARCHITECTURES


@pytest.fixture(params=["float64", "float32"])
def dtype(request) -> str:
    """Each test that asks for it runs in both."""
    return request.param


@pytest.fixture
def architectures(monkeypatch):
    """The architectures of ``unanalysed``, registered as those of a plugin are."""
    registered = ARCHITECTURES.get
    ours = {"smooth": unanalysed.smooth, "doubled": unanalysed.doubled}
    monkeypatch.setattr(ARCHITECTURES, "get", lambda name: ours.get(name) or registered(name))


@pytest.fixture
def smooth_zoo(tmp_path, architectures):
    """A function that stores a model with a GELU that claims a constant, and returns its folder."""
    return lambda claimed: unanalysed.store(tmp_path / "smooth-zoo" / "smooth", claimed)
