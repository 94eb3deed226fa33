"""The steps of a graph: their constants, put together, and what is computed beside them."""

import math

import pytest
import torch
from measured import Forward, dense_norm, scaling
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound, rule, trace
from lipbench.errors import UnsupportedError


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


COMPOSED = [  # forward, shape, its constant by the rules of composition
    (lambda m, x: x + m.five(x), (4,), 6),
    (lambda m, x: x - m.five(x), (4,), 6),
    (lambda m, x: torch.add(x, m.five(x), alpha=-2), (4,), 11),
    (lambda m, x: x.sub(m.five(x), alpha=0.1), (4,), 1.5),
    (lambda m, x: torch.sub(input=x, other=m.five(x), alpha=3), (4,), 16),
    (lambda m, x: torch.rsub(x, m.five(x), alpha=2), (4,), 7),
    (lambda m, x: 1 - x, (4,), 1),
    (lambda m, x: (x + m.five(x)) / 2, (4,), 3),
    (lambda m, x: 0.25 * x + 0.75 * m.five(x), (4,), 4),
    (lambda m, x: torch.lerp(x, m.five(x), 0.25), (4,), 2),
    (lambda m, x: torch.lerp(x, m.five(x), m.weights), (4,), 0.8 + 5 * 0.9),
    (lambda m, x: torch.lerp(x[:, :1], x[:, 1:2], 0.5 * m.ones), (4,), 3),  # repeated nine times
    (lambda m, x: m.alpha.sigmoid() * x + (1 - m.alpha.sigmoid()) * m.five(x), (4,), 3),
    (lambda m, x: m.five(m.five(x)), (4,), 25),  # the same layer twice
    (lambda m, x: torch.cat([x, m.five(x)], 1), (4,), math.sqrt(26)),
    (lambda m, x: torch.cat(tensors=(x, m.five(x), m.five(x)), dim=-1), (4,), math.sqrt(51)),
    (lambda m, x: torch.stack([x, m.five(x)], -1), (4,), math.sqrt(26)),
    (lambda m, x: torch.stack([x, m.five(x)], -2), (4,), math.sqrt(26)),
    (lambda m, x: torch.cat([x, x], 1), (4,), math.sqrt(2)),
    (lambda m, x: torch.cat([x, m.token.expand(x.size(0), 3)], 1), (4,), 1),  # constants beside it
    # parts of one tensor that share no number keep its constant
    (lambda m, x: torch.cat([x[:, :2], 5 * x[:, 2:]], 1), (4,), 5),
    (lambda m, x: torch.cat([(parts := x.chunk(2, 1))[0], 5 * parts[1]], 1), (4,), 5),
    (lambda m, x: torch.stack([(parts := x.unbind(1))[0], -parts[1], parts[3]], 1), (4,), 1),
    (lambda m, x: torch.cat([(parts := x.split([1, 3], dim=1))[0], -parts[-1]], 1), (4,), 1),
    (lambda m, x: torch.cat([x[:, :3], x[:, 1:]], 1), (4,), math.sqrt(2)),  # they share two
    (lambda m, x: torch.cat([x[:, :2] + x[:, 2:], x[:, 2:]], 1), (4,), math.sqrt(5)),  # 2 and 1: a sum is no part
    (lambda m, x: torch.cat([x[:, :2].repeat(1, 2), x[:, 2:]], 1), (4,), math.sqrt(2)),
    (lambda m, x: m.five(torch.cat([x[:, :2], x[:, 2:]], 1))[:, ::2], (4,), 5),
    # multiples
    (lambda m, x: x * -3, (4,), 3),
    (lambda m, x: m.row[:, :4] * x, (4,), 9),
    (lambda m, x: torch.mul(x, m.row[0, :4]), (4,), 9),
    (lambda m, x: x / m.row[:, 4:8], (4,), 0.5),
    (lambda m, x: x.div(4), (4,), 0.25),
    (lambda m, x: x[:, :1] * m.ones, (4,), 3),  # broadcasting repeats numbers
    (lambda m, x: x[:, :1] + m.ones, (4,), 3),
    (lambda m, x: x + x[:, :1], (4,), 3),
    (lambda m, x: x.mean(1, keepdim=True), (4,), 0.5),
    (lambda m, x: torch.mean(x, dim=(-1, -2)), (1, 3, 3), 1 / 3),
    (lambda m, x: x.sum(-1), (4,), 2),
    (lambda m, x: torch.sum(x, [1, 2]), (2, 8), 4),
    (lambda m, x: x - x.mean(1, keepdim=True), (4,), 2),
    (lambda m, x: m.five(x.to(x.dtype)).double(), (4,), 5),
    (lambda m, x: x.detach() * 2, (4,), 2),
    (lambda m, x: [x, (x, {"branch": [m.five(x)]})][1][1]["branch"][0] + x, (4,), 6),  # nested
    (lambda m, x: x * x.dim(), (4,), 2),
    (lambda m, x: x, (4,), 1),
    (lambda m, x: x * 0, (4,), 0),
]


def composed(function) -> Forward:
    return Forward(
        function,
        five=scaling(5.0),
        alpha=nn.Parameter(torch.tensor(0.0)),
        token=nn.Parameter(torch.randn(1, 3)),
        weights=torch.tensor([0.2, 0.9, 0.5, 0.5]),
        row=torch.tensor([[1.0, -9, 2, 3, 2, 4, -8, 2, 3]]),
        ones=torch.ones(1, 9),
    )


@pytest.mark.parametrize(("function", "shape", "constant"), COMPOSED)
def test_composition(function, shape, constant):
    network = composed(function)
    bound = lipschitz_bound(network, shape)
    assert bound == pytest.approx(constant, rel=1e-6)
    assert bound >= dense_norm(network, shape) * (1 - 1e-12)


def test_steps_hold_what_rules_gave():
    shared = scaling(3.0)
    graph = trace(nn.Sequential(shared, nn.ReLU(), Forward(lambda m, x: torch.cat([x, -x], 1))), (4,))
    assert [step.name for step in graph.steps] == ["input", "Linear", "ReLU", "neg", "cat"]
    assert [step.inputs for step in graph.steps] == [(), (0,), (1,), (2,), (2, 3)]
    assert [step.shape for step in graph.steps] == [(4,), (4,), (4,), (4,), (8,)]
    assert graph.output.effect.stacked
    assert graph.output.lipschitz == pytest.approx(3 * math.sqrt(2))


def test_a_layer_that_loses_the_batch_is_refused_whatever_its_rule_says():
    class Averaged(nn.Module):
        def forward(self, x):
            return x.mean(0)

    rule(Averaged)(lambda layer, input_shape: 1.0)
    with pytest.raises(UnsupportedError, match="drops the batch"):
        lipschitz_bound(nn.Sequential(Averaged()), (4,))


def test_constants_that_come_out_of_a_tuple_are_computed_too():
    for function in (
        lambda m, x: F.linear(x, torch.linalg.qr(m.w)[0]),
        lambda m, x: x / torch.std_mean(m.w)[0],
        lambda m, x: F.linear(x, m.w * 2),
    ):
        assert trace(Forward(function, w=nn.Parameter(torch.randn(4, 4))), (4,)).computed is not None
