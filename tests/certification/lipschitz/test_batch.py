"""The number of samples reaches no rule, except as the first size of a view."""

import pytest
import torch
from call_forms import Opened
from measured import Forward
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import UnsupportedError

C = torch.tensor


BATCHES = [
    lambda m, x: x * (x.shape[0] // 2),
    lambda m, x: x * (1 + x.shape[0] // 100000),
    lambda m, x: x * (x.size(0) + 1 - x.size(0)),
    lambda m, x: x * x.size(dim=0),
    lambda m, x: x * x.shape[-2],
    lambda m, x: x * x.shape[:1][0],
    lambda m, x: x * (x.shape + x.shape)[0],
    lambda m, x: x * x.numel(),
    lambda m, x: x + x.nelement() // 10**9,
    lambda m, x: torch.add(x, x, alpha=x.shape[0]),
    lambda m, x: x[:, : x.shape[0]],
    lambda m, x: x.narrow(1, 0, x.shape[0] - 2),
    lambda m, x: x.roll(x.shape[0], 1),
    lambda m, x: x.repeat(1, x.shape[0]),
    lambda m, x: x.view(x.shape[0], 2, -1).expand(-1, -1, x.shape[0] - 1),
    lambda m, x: F.leaky_relu(x, x.shape[0] - 3.0),
    lambda m, x: F.dropout(x, 0.5, x.shape[0] > 100),
    lambda m, x: m.fc(m.h(x.flatten(1)) * x.shape[0]) + m.mask,
    lambda m, x: x + torch.arange(x.shape[0])[:, None],
    lambda m, x: torch.cat([x, torch.arange(x.shape[0], dtype=x.dtype)[:, None]], 1),
    lambda m, x: torch.cat([x, m.rows.expand(x.shape[0], 4)], 1),
    lambda m, x: m.opened(x, x, share=x.shape[0]),
    lambda m, x: x * torch.tensor(1.0).expand(x.shape[0]).sum(),
    lambda m, x: x * (1 + m.one.expand(x.shape[0], 4).shape[0] // 1000),
    lambda m, x: x * (1 + m.one.expand(x.shape[0], 4).sum() // 1000),
    lambda m, x: x * m.one.repeat(x.shape[0], 1).size(0),
    lambda m, x: torch.cat([x, m.one.expand(x.shape[0], 4).cumsum(0) // 1000], 1),
    lambda m, x: x + m.one.expand(x.shape[0], 4).flatten()[-1] * x.shape[0],
]


@pytest.mark.parametrize("function", BATCHES)
def test_the_number_of_samples_reaches_no_rule(function):
    network = Forward(
        function, h=nn.Linear(4, 3), fc=nn.Linear(3, 3), mask=C([0, 0, -1e9]), opened=Opened(),
        rows=nn.Parameter(torch.randn(3, 4)), one=nn.Parameter(torch.ones(1, 4)),
    )  # fmt: skip
    with pytest.raises(UnsupportedError, match=r"size of the batch|cannot be traced|on their number|batch dimension"):
        lipschitz_bound(network, (4,))


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x.view(x.shape[0], -1),
        lambda m, x: x.reshape(x.size(0), x.shape[1]),
        lambda m, x: x.view(x.size()),
        lambda m, x: x.view(x.shape[:1] + m.halves).flatten(1),
        lambda m, x: torch.reshape(x, (x.shape[0], 2, 2)),
        lambda m, x: x.view(x.shape[0], x.shape[1:].numel()),
        lambda m, x: torch.cat([x, m.token.expand(x.shape[0], -1)], 1),
        lambda m, x: torch.cat([x, m.token.repeat(x.shape[0], 2)], 1),
        lambda m, x: torch.cat([x, m.token.expand(size=(x.shape[0], 4))], 1),
        lambda m, x: torch.cat([m.token.expand(x.shape[0], -1).reshape(x.shape[0], 4), x], 1),
        lambda m, x: x * (x.size(x.dim() - 1) / 4),
        lambda m, x: x * (x.shape[1] / x.size(-1)) * (x.dim() - 1),
    ],
)
def test_views_may_name_it(function):
    network = Forward(function, token=nn.Parameter(torch.randn(1, 4)), halves=(2, 2))
    assert lipschitz_bound(network, (4,)) == pytest.approx(1)
