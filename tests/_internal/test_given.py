"""Objects that were given in Python, on their way to other processes."""

import pickle
import subprocess
import sys

import pytest

from lipbench._internal import given
from lipbench._internal.registry import OPTIMIZERS
from lipbench.errors import LipbenchError


def mine(parameters, lr, weight_decay):
    """An optimizer, at the top of a module."""


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    monkeypatch.setattr(OPTIMIZERS, "given", {})


def test_another_process_finds_what_was_given():
    OPTIMIZERS.name_of(mine)
    data = pickle.dumps(given.HERE)
    OPTIMIZERS.given.clear()
    assert pickle.loads(data) == given.HERE
    assert OPTIMIZERS.get("mine") is mine


def test_an_object_that_others_cannot_find_is_refused_only_when_it_is_sent():
    def inner(parameters, lr, weight_decay):
        """Inside of a function."""

    OPTIMIZERS.name_of(inner)
    assert OPTIMIZERS.get("inner") is inner
    said = (
        "the optimizer 'inner' was given as an object that other processes cannot find: define it at the top of a mod"
    )
    with pytest.raises(LipbenchError, match=said):
        pickle.dumps(given.HERE)


def test_a_prompt_is_no_module():
    script = (
        "import pickle\nfrom lipbench._internal import given\nfrom lipbench._internal.registry import OPTIMIZERS\n"
        "def mine(): pass\nOPTIMIZERS.name_of(mine)\n"
        "try:\n    pickle.dumps(given.HERE)\nexcept Exception as error:\n    print(error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "it is defined in a notebook or at a prompt" in ran.stdout


def test_a_process_that_cannot_find_an_object_says_so(caplog, monkeypatch):
    OPTIMIZERS.name_of(mine)
    data = pickle.dumps(given.HERE)
    OPTIMIZERS.given.clear()
    monkeypatch.delattr(sys.modules[__name__], "mine")
    pickle.loads(data)
    assert "the optimizer 'mine' is not found in this process" in caplog.text
