"""In-place operations whose result is read elsewhere are refused, however they are written."""

import pytest
import torch
from measured import Forward
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound, trace
from lipbench.certification.rounding import analyse
from lipbench.errors import LipbenchError, UnsupportedError

C = torch.tensor


def test_in_place_is_seen_however_it_is_said():
    for inplace in (True, 1, "yes"):

        def forward(m, x, inplace=inplace):
            y = 1 * x
            return F.leaky_relu(y, -7.0, inplace=inplace) + y

        with pytest.raises(LipbenchError):
            lipschitz_bound(Forward(forward), (4,))


def test_the_overwritten_tensor_is_found_among_keywords():
    def forward(m, x):
        y = 5 * x
        return torch.clamp_(max=m.most, input=y) + y

    with pytest.raises(UnsupportedError, match="in place"):
        lipschitz_bound(Forward(forward, most=nn.Parameter(C(9.0), requires_grad=False)), (4,))


def test_a_view_of_the_overwritten_tensor_is_no_operand():
    """It changes while it is read: x += x[:, :1] is not x + x[:, :1]."""

    def forward(m, x):
        y = 1 * x
        y += y[:, :1]
        return y

    with pytest.raises(UnsupportedError, match="reads through a view"):
        lipschitz_bound(Forward(forward), (4,))
    assert lipschitz_bound(Forward(lambda m, x: (y := 1 * x).add_(y)), (4,)) == pytest.approx(2)


def test_a_network_may_overwrite_its_input_though_not_that_of_its_caller():
    network = Forward(lambda m, x: x.mul_(3.0))
    x = torch.ones(2, 4)
    assert lipschitz_bound(network, (4,)) == pytest.approx(3)
    graph = trace(Forward(lambda m, x: x.mul_(3.0), weight=C(1.0)), (4,))
    graph.run(x, lambda place, inputs, value: None)
    analyse(graph, x, (1,), 0.0, sharp=True)
    assert torch.equal(x, torch.ones(2, 4))
