"""Devices as users name them."""

from pathlib import Path

import pytest
import torch

from lipbench.errors import LipbenchError
from lipbench.training.sweep import Sweep
from lipbench.work.execution import Execution, computing_on, resolve_device


@pytest.fixture
def gpus(monkeypatch):
    """A function that pretends that there are so many GPUs."""

    def pretend(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:0", "cuda:15"])
def test_devices_that_may_exist(name):
    assert Execution(name).device == name


@pytest.mark.parametrize(
    "name", ["gpu", "CPU", "cuda:", "cuda:-1", "cuda:1.0", "cuda:9999", "cuda: 1", "", 0, None, []]
)
def test_devices_that_cannot_exist(name, gpus):
    gpus(2)
    said = r"unknown device .*: expected auto, cpu or cuda, or a GPU by its number \(here: cuda:0, cuda:1\)"
    for function in (Execution, resolve_device):
        with pytest.raises(LipbenchError, match=said):
            function(name)
    gpus(0)
    with pytest.raises(LipbenchError, match=r"\(here: none\)"):
        Execution(name)


def test_mps_is_refused_with_the_reason():
    with pytest.raises(LipbenchError, match="device 'mps' has no float64, which certificates are computed in"):
        Execution("mps")


def test_a_gpu_is_that_of_its_number(gpus):
    gpus(2)
    assert [str(resolve_device(name)) for name in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    with pytest.raises(LipbenchError, match=r"device 'cuda:2' was asked for, but torch finds only cuda:0, cuda:1"):
        resolve_device("cuda:2")
    gpus(0)
    assert str(resolve_device("auto")) == "cpu"
    for name in ("cuda", "cuda:1"):
        with pytest.raises(LipbenchError, match=rf"device '{name}' was asked for, but torch finds no CUDA device"):
            resolve_device(name)


def test_libraries_that_say_the_gpu_mean_the_one_that_was_chosen(gpus, monkeypatch):
    gpus(2)
    entered = []

    class Current:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            entered.append(str(self.device))

        def __exit__(self, *error):
            entered.append("left")

    monkeypatch.setattr(torch.cuda, "device", Current)
    for name in ("cuda:1", "cuda", "cpu"):
        with computing_on(name):
            pass
    assert entered == ["cuda:1", "left"]


def test_ray_chooses_gpus_itself():
    with pytest.raises(LipbenchError, match="'cuda:1' is for --executor local; Ray chooses GPUs: use --device cuda"):
        Execution("cuda:1", executor="ray")


def test_training_resumes_on_another_gpu():
    from lipbench.training import recipes

    recipe = recipes.load(recipes.find("mnist"))
    job = recipe.training_jobs()[0]
    places = {
        device: Sweep(recipe, Path("zoo"), "mnist", None, "0" * 64, device).checkpoint(job).path
        for device in ("cuda", "cuda:0", "cuda:1", "cpu")
    }
    assert len(set(places.values())) == 2
    assert places["cuda"] == places["cuda:0"] == places["cuda:1"] != places["cpu"]
