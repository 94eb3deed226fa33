import pytest

from lipbench.data import load
from lipbench.errors import LipbenchError


@pytest.fixture(autouse=True)
def no_data_folders(request, monkeypatch, tmp_path_factory):
    """Neither this machine's data nor its home may answer for a file that a test believes missing."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    if "lipbench_data" not in request.fixturenames:
        monkeypatch.delenv("LIPBENCH_DATA", raising=False)
        monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    return home


@pytest.fixture
def refusal():
    """The one-line message with which a data set is refused."""

    def message_of(spec, data_dir=None):
        with pytest.raises(LipbenchError) as caught:
            load(str(spec), data_dir)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return message_of
