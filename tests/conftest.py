"""Fixtures that several tests share: the device, the bundled zoo, and copies of it that may be spoilt."""

import shutil
from pathlib import Path

import pytest
import torch

from lipbench import data
from lipbench._internal import resources
from lipbench._internal.precision import set_precisions

# packages with tests of their own, which test_plugins runs
collect_ignore = ["plugin_package", "broken_plugin_package"]
torch.set_num_threads(1)  # small networks: a second thread costs more than it brings


@pytest.fixture(
    scope="session",
    params=[
        "cpu",
        pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")),
    ],
)
def device(request) -> torch.device:
    """Each test that asks for it runs on the CPU and, where there is one, on the GPU."""
    set_precisions()
    return torch.device(request.param)


@pytest.fixture(scope="session")
def digits() -> data.Dataset:
    """The bundled data set."""
    return data.load("digits")


@pytest.fixture(scope="session")
def digits_zoo() -> Path:
    """The bundled zoo, not to be written to."""
    return resources.folder("digits")


@pytest.fixture
def zoo_of(tmp_path, digits_zoo):
    """A function that copies models of the bundled zoo into a zoo of their own and returns its folder."""

    def copy(*names: str) -> Path:
        zoo = tmp_path / "zoo"
        for name in names:
            shutil.copytree(digits_zoo / name, zoo / name)
        return zoo

    return copy
