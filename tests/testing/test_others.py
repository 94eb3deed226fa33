"""The checks of data sets, architectures, layers, optimizers and executors."""

import dataclasses

import numpy as np
import pytest
import torch
from deel import torchlip
from torch import nn

from lipbench._internal.registry import ARCHITECTURES, DATASETS, EXECUTORS, OPTIMIZERS, REGISTRIES
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError
from lipbench.models.architectures import CONSTRAINED
from lipbench.testing import check_architecture, check_dataset, check_executor, check_layers, check_optimizer


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "given", {})


# --- data sets ---


def split(n: int = 20, seed: int = 0, classes: int = 4) -> Split:
    random = np.random.default_rng(seed)
    return Split(random.random((n, 1, 3, 3), dtype=np.float32), np.arange(n) % classes)


def flat(n: int = 20) -> Split:
    images = split(n, 5).images
    images[3] = 0.5
    return Split(images, split(n).labels)


class Changing:
    count = 0

    def __call__(self, argument, data_dir):
        Changing.count += 1
        return Dataset("toy", split(seed=Changing.count), split(seed=-1 % 7), 4)


def drawing(argument, data_dir):
    np.random.rand()  # noqa: NPY002
    return Dataset("toy", split(), split(seed=1), 4)


def seeding(argument, data_dir):
    np.random.seed(0)  # noqa: NPY002
    return Dataset("toy", split(), split(seed=1), 4)


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (lambda argument, data_dir: Dataset("toy", split(), split(seed=1), 4), None),
        (lambda argument, data_dir: Dataset("toy", split(), split(), 4), "100 % of the test images are training im"),
        (lambda argument, data_dir: Dataset("toy", split(), flat(), 4), "has 1 test images whose pixels are all equal"),
        (lambda argument, data_dir: Dataset("toy", split(), split(seed=1), 5), "has no training sample of class 4"),
        (Changing(), "has other samples in train each time"),
        (drawing, "draws from the global random numbers"),
        (seeding, "draws from the global random numbers, or seeds them"),
    ],
    ids=["sound", "shared", "constant", "absent", "changing", "drawing", "seeding"],
)  # fmt: skip
def test_data_sets(load, said):
    DATASETS.given["toy"] = load
    if said is None:
        check_dataset("toy")
    else:
        with pytest.raises(AssertionError, match=said):
            check_dataset("toy")


def test_digits_pass():
    check_dataset("digits")


# --- architectures and layers ---


def mine(*layers):
    """An architecture of a flattened input, these layers, and a head of torchlip's."""

    def architecture(given, input_shape, num_classes, *, width=8):
        made = [layer() for layer in layers]
        return [nn.Flatten(), given.linear(64, width), *made, given.linear(width, num_classes)]

    return architecture


class Spectral(nn.Linear):
    """A layer that says how it is stored, wrongly."""

    def __init__(self):
        super().__init__(8, 8)

    def vanilla_export(self):
        return nn.Linear(8, 8)


class Lost(nn.Module):
    """A layer with a number that is no tensor."""

    def __init__(self):
        super().__init__()
        self.scale = float(torch.rand(()))

    def forward(self, x):
        return self.scale * x


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        (mine(torchlip.GroupSort2), None),
        (mine(lambda: nn.Linear(8, 8)), "above the claim 1"),
        (mine(Lost), "something else when it is loaded again"),
        (mine(Spectral), "differs from the trained one"),
        (lambda layers, shape, classes: [nn.Flatten(), layers.linear(64, 3)], r"has outputs of shape \(16, 3\)"),
        (lambda layers, shape, classes: [nn.Flatten(), Doubled(64, classes)], "above the claim 1"),
        (lambda layers, shape, classes: [nn.Flatten(), Fixed(64, classes)], "does not change in training"),
    ],
)
def test_architectures(architecture, said):
    ARCHITECTURES.given["toy"] = architecture
    if said is None:
        check_architecture("toy")
    else:
        with pytest.raises((AssertionError, LipbenchError), match=said):
            check_architecture("toy")


class Doubled(nn.Linear):
    """Not 1-Lipschitz."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        with torch.no_grad():
            self.weight.mul_(20)

    def vanilla_export(self):
        plain = nn.Linear(self.in_features, self.out_features)
        plain.load_state_dict(self.state_dict())
        return plain


class Fixed(nn.Linear):
    """A head that is no trained part."""

    def forward(self, x):
        return nn.functional.linear(x, self.weight.detach(), self.bias.detach()) + 0 * x.sum().requires_grad_()


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_bundled_architectures_pass(name):
    check_architecture(name, {"widths": [8]} | ({"channels": [4]} if name == "cnn" else {}))


@pytest.mark.parametrize("name", ["groupsort8", "fullsort"])
def test_layers_that_sort_larger_groups(name):
    check_layers(name)


def test_layers():
    check_layers("torchlip")
    wrong = dataclasses.replace(CONSTRAINED, name="wrong", linear=Doubled)
    with pytest.raises((AssertionError, LipbenchError), match="above the claim 1"):
        check_layers(wrong)


# --- optimizers and executors ---


class Ascends(torch.optim.SGD):
    def __init__(self, params, lr, weight_decay):
        super().__init__(params, lr=lr, maximize=True)


class Forgets(torch.optim.SGD):
    """Its step depends on something that is not in its state."""

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, lr=lr)
        self.count = 0

    def step(self, closure=None):
        self.count += 1
        if self.count % 8 == 0:
            super().step(closure)


class OwnRate(torch.optim.SGD):
    """It reads the learning rate once."""

    def __init__(self, params, lr, weight_decay):
        super().__init__(params, lr=lr)
        self.rate = lr

    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = self.rate
        super().step(closure)


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ("adam", None),
        ("sgd", None),
        (Ascends, "does not lower a quadratic function"),
        (Forgets, "does not resume where it stopped"),
        (OwnRate, "moves at a learning rate of 0"),
    ],
)
def test_optimizers(optimizer, said):
    assert OPTIMIZERS.given == {}
    if said is None:
        check_optimizer(optimizer)
    else:
        with pytest.raises(AssertionError, match=said):
            check_optimizer(optimizer)


class Executor:
    """In this process; the first task is done twice, or errors are swallowed."""

    def __init__(self, twice=False, swallows=False):
        self.twice, self.swallows = twice, swallows

    def run(self, function, tasks):
        for task in [*tasks[:1], *tasks] if self.twice else tasks:
            try:
                yield function(task)
            except LipbenchError:
                if not self.swallows:
                    raise


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (Executor(), None),
        (Executor(twice=True), r"gave \[0, 0, 2, 4\] for the tasks"),
        (Executor(swallows=True), "raised nothing, expected the error of the task"),
    ],
)
def test_executors(made, said):
    EXECUTORS.given["toy"] = lambda jobs, threads: made
    if said is None:
        check_executor("toy")
    else:
        with pytest.raises(AssertionError, match=said):
            check_executor("toy")
