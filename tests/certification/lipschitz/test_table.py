"""Rules of users are registered in one line, and checked."""

import pytest
import torch
from torch import nn

from lipbench.certification.lipschitz import Effect, lipschitz_bound, rule
from lipbench.errors import LipbenchError, UnsupportedError


def test_rules_are_registered_in_one_line():
    class Cubed(nn.Module):
        def forward(self, x):
            return torch.tanh(x) ** 3

    with pytest.raises(UnsupportedError, match="pow"):
        lipschitz_bound(nn.Sequential(Cubed()), (4,))
    rule(Cubed)(lambda layer, input_shape: 3.0)
    assert lipschitz_bound(nn.Sequential(Cubed(), Cubed()), (4,)) == pytest.approx(9.0, rel=1e-12)


@pytest.mark.parametrize("value", [-1.0, float("nan"), "one", Effect((1.0, 1.0))])
def test_rules_that_give_no_constant_are_errors(value):
    class Wrong(nn.Module):
        def forward(self, x):
            return x

    rule(Wrong)(lambda layer, input_shape: value)
    with pytest.raises(LipbenchError):
        lipschitz_bound(nn.Sequential(Wrong()), (4,))
