"""Folders that are whole or absent."""

import os

import pytest

from lipbench._internal import files
from lipbench._internal.folders import new_folder, refuse_existing
from lipbench.errors import LipbenchError


def fill(folder, text="new", **options):
    with new_folder(folder, **options) as temporary:
        assert temporary.parent == folder.parent
        assert temporary.name.startswith(files.TEMPORARY)
        (temporary / "file").write_text(text)


def test_a_folder_gets_its_name_when_it_is_whole(tmp_path):
    fill(tmp_path / "deep" / "folder")
    assert (tmp_path / "deep" / "folder" / "file").read_text() == "new"
    assert os.listdir(tmp_path / "deep") == ["folder"]


@pytest.mark.parametrize("error", [ValueError, LipbenchError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_nothing(error, tmp_path):
    def fail():
        with new_folder(tmp_path / "folder") as temporary:
            (temporary / "file").write_text("half")
            raise error("half")

    with pytest.raises(error):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_made_is_kept(tmp_path):
    fill(tmp_path / "folder", "old")
    with pytest.raises(LipbenchError, match="exists already, and is not overwritten"):
        fill(tmp_path / "folder")
    fill(tmp_path / "folder", keep_existing=True)
    assert (tmp_path / "folder" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


def test_a_refusal_of_the_system_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(LipbenchError, match="is a file: name a folder"):
        fill(tmp_path / "file" / "folder")


@pytest.mark.parametrize(
    "make", [lambda path: path.mkdir(), lambda path: path.touch(), lambda path: path.symlink_to("no")]
)
def test_whatever_exists_is_refused(make, tmp_path):
    refuse_existing(tmp_path / "thing")
    make(tmp_path / "thing")
    with pytest.raises(LipbenchError, match="thing exists already"):
        refuse_existing(tmp_path / "thing")
