"""The options of command and function are one object, and have the same names."""

import inspect

import pytest

import lipbench
from lipbench.cli import verify
from lipbench.errors import LipbenchError
from lipbench.verification.options import VerifyOptions


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"samples": 0}, "samples must be a whole number"),
        ({"samples": True}, "samples must be a whole number"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"dtype": "float16"}, "unknown dtype"),
        ({"dtype": []}, "unknown dtype"),
    ],
)
def test_wrong_options(options, says):
    with pytest.raises(LipbenchError, match=says):
        VerifyOptions(**options)


def test_command_and_function_have_the_same_options():
    shown = {"as_json", "replay"}  # how a result is shown, and another job
    command = {option.name for option in verify.command.params} - shown
    assert command == set(inspect.signature(lipbench.verify).parameters) - {"done"}  # what the command prints with
    words = inspect.getdoc(lipbench.verify)
    assert all(name in words for name in command - {"models", "data_dir", "device", "progress"})
    with pytest.raises(TypeError, match="sample"):
        lipbench.verify("digits", sample=3)
