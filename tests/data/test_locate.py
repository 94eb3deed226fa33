from pathlib import Path

import pytest

from lipbench.data.locate import find, path_argument, search_folders
from lipbench.errors import LipbenchError


@pytest.mark.parametrize(
    ("data_dir", "variable", "first"),
    [
        (None, None, Path("data")),
        (None, "", Path("data")),
        (None, "/from/variable", Path("/from/variable")),
        (Path("/given"), "/from/variable", Path("/given")),
        (Path("given"), None, Path("given")),
    ],
)
def test_the_folders_searched(monkeypatch, no_data_folders, data_dir, variable, first):
    if variable is not None:
        monkeypatch.setenv("LIPBENCH_DATA", variable)
    assert search_folders(data_dir) == [Path.cwd() / first, no_data_folders / ".keras" / "datasets"]


def test_a_tilde_is_the_home_folder(monkeypatch, no_data_folders):
    monkeypatch.setenv("LIPBENCH_DATA", "~/sets")
    assert search_folders(None)[0] == no_data_folders / "sets"
    assert path_argument("npz", "~/x.npz") == no_data_folders / "x.npz"


def test_the_first_folder_comes_before_the_first_layout(tmp_path, no_data_folders):
    keras = no_data_folders / ".keras" / "datasets"
    keras.mkdir(parents=True)
    (keras / "preferred").touch()
    assert find("toy", ["preferred", "other"], tmp_path, "fetch it") == keras / "preferred"
    (tmp_path / "other").touch()
    assert find("toy", ["preferred", "other"], tmp_path, "fetch it") == tmp_path / "other"
    (tmp_path / "preferred").touch()
    assert find("toy", ["preferred", "other"], tmp_path, "fetch it") == tmp_path / "preferred"


def test_nothing_found_names_every_path_and_the_way_out(tmp_path, no_data_folders):
    with pytest.raises(LipbenchError) as caught:
        find("toy", ["a/b", "c"], tmp_path, "fetch https://example.org/toy")
    keras = no_data_folders / ".keras" / "datasets"
    paths = ", ".join(str(path) for path in (tmp_path / "a/b", tmp_path / "c", keras / "a/b", keras / "c"))
    assert f"'toy': looked at {paths};" in str(caught.value)
    assert "nothing is downloaded by lipbench: fetch https://example.org/toy" in str(caught.value)
    assert "LIPBENCH_DATA" in str(caught.value)
