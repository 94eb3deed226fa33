"""The checks of lipbench.testing, as an author runs them."""

import pytest
from lipbench_example.architecture import Reflection
from lipbench_example.data import gratings
from lipbench_example.layers import almost_orthogonal_linear
from lipbench_example.loss import LogisticMargin

from lipbench.testing import (
    check_architecture,
    check_attack,
    check_dataset,
    check_executor,
    check_layers,
    check_loss,
    check_optimizer,
    check_rule,
)


@pytest.mark.parametrize("loss", ["logistic_margin", LogisticMargin])
def test_the_loss(loss):
    check_loss(loss, {"temperature": [0.05, 1, 20]}, refused=[{"temperature": 0}, {"temperature": -1}])


def test_the_set_of_layers():
    check_layers("aol")


@pytest.mark.parametrize("layers", ["aol", "torchlip"])
def test_the_architecture(layers):
    check_architecture("reflections", {"width": 16}, layers=layers)


def test_the_rule():
    check_rule(lambda: Reflection(12), (12,))


def test_a_layer_whose_rule_is_lipbenchs():
    check_rule(lambda: almost_orthogonal_linear(12, 8), (12,), tight=1.01)


def test_the_attack():
    check_attack("example/momentum")


def test_the_data_set():
    check_dataset("gratings")
    assert gratings(None, None).test.images.shape == (100, 1, 8, 8)


def test_the_optimizer():
    check_optimizer("lion", {"betas": [0.8, 0.9]})


def test_the_executor():
    check_executor("apart")
