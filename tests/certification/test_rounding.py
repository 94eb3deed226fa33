"""The error analysis of single steps and calls, against the errors that they make."""

import pytest
import torch
from measured import Forward
from torch import fx, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import Effect, Rounding, rule, trace
from lipbench.certification.lipschitz.table import RULES
from lipbench.certification.rounding import analyse

C = torch.tensor


def affine(x):
    return torch.tanh(x) * 0 + x


@fx.wrap
def weighed(first, second, share=3.0):
    return share * first + affine(second)


def test_tensors_are_numbered_in_the_rules_order_in_the_error_analysis_too():
    """The gains of y - 1e6 x, whose larger part comes second in the rule and first in the call."""
    network = Forward(lambda m, x: torch.add(other=1e3 * x, input=x * 1.0, alpha=1e3))
    graph = trace(network, (4,))
    assert graph.output.effect.lipschitz == (1.0, 1e3)
    assert graph.output.effect.rounding.gains == (1.0, 1e3)
    sizes = {}
    x = torch.ones(1, 4)
    graph.run(x, lambda place, inputs, value: sizes.update({place: [float(one.norm()) for one in inputs]}))
    assert sizes[len(graph.steps) - 1] == pytest.approx([2.0, 2000.0])
    swapped = trace(Forward(lambda m, x: torch.add(x * 1.0, 1e3 * x, alpha=1e3)), (4,))
    errors = [float(analyse(one, x, (len(one.steps) - 1,), 0.0, sharp=True)[0].constant) for one in (graph, swapped)]
    assert errors[0] == pytest.approx(errors[1])
    assert errors[0] > 1e6 * 2**-24


@pytest.mark.parametrize("network", [nn.Conv1d(2, 3, 2), nn.ConvTranspose1d(2, 3, 2), torch.nn.Conv1d(4, 3, 2)])
def test_the_error_analysis_of_signals_is_that_of_single_samples(network):
    """A batch of signals (n, c, l) is no image (c, h, w)."""
    channels = network.in_channels
    graph = trace(network, (channels, 5))
    x = torch.rand(channels, channels, 5)  # as many samples as channels
    together = analyse(graph, x, (1,), 0.0, sharp=True)[0].constant
    alone = torch.cat([analyse(graph, one[None], (1,), 0.0, sharp=True)[0].constant for one in x])
    assert torch.allclose(together, alone)
    apart = (network(x).double() - network.double()(x.double())).flatten(1).norm(dim=1)
    assert (apart <= together).all()


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: torch.clamp(100 * x, max=0.7),
        lambda m, x: F.hardtanh(100 * x, -0.1, 0.7),
        lambda m, x: m.layer(100 * x),
        lambda m, x: F.pad(x, (3, 3), value=0.7),
    ],
)
def test_constants_that_a_step_chooses_are_rounded_too(function):
    network = Forward(function, layer=nn.Hardtanh(-0.1, 0.7))
    x = torch.ones(1, 4)
    graph = trace(Forward(function, weight=C(1.0), layer=nn.Hardtanh(-0.1, 0.7)), (4,))
    found = float(analyse(graph, x, (len(graph.steps) - 1,), 0.0, sharp=True)[0].constant)
    apart = float((network(x).double() - network(x.double())).norm())
    assert 0 < apart <= found


def test_an_effect_without_gains_for_each_tensor_is_an_error():
    rule(weighed)(lambda first, second, share=3.0: Effect((share, 1.0), Rounding(2, (1.0,))))
    try:
        graph = trace(Forward(lambda m, x: weighed(x, x)), (4,))
        with pytest.raises(ValueError, match="zip"):
            analyse(graph, torch.ones(1, 4), (1,), 0.0, sharp=False)
    finally:
        RULES.pop(weighed)
