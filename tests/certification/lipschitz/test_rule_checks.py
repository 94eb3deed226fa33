"""Steps that round to fewer bits, or move further than their rule allows, are refused."""

import pytest
import torch
from measured import Forward
from torch import Tensor, fx, nn

from lipbench.certification.lipschitz import Effect, lipschitz_bound, rule
from lipbench.certification.lipschitz.table import RULES
from lipbench.errors import LipbenchError, UnsupportedError

C = torch.tensor


def affine(x):
    return torch.tanh(x) * 0 + x


@fx.wrap
def weighed(first, second, share=3.0):
    return share * first + affine(second)


def test_a_step_that_moves_further_than_its_rule_allows_is_refused(monkeypatch):
    """A wrong rule of a user, or a function of torch that was replaced: both forms compute it, so they agree."""
    rule(weighed)(lambda first, second, share=3.0: Effect((share, 0.01)))
    try:
        with pytest.raises(UnsupportedError, match="moves further"):
            lipschitz_bound(Forward(lambda m, x: weighed(x, 5 * x)), (4,))
    finally:
        RULES.pop(weighed)
    monkeypatch.setattr(Tensor, "relu", lambda self: 10 * self)
    with pytest.raises(UnsupportedError, match="moves further"):
        lipschitz_bound(Forward(lambda m, x: x.relu()), (4,))


CASTS = [
    lambda m, x: x.to(torch.float8_e5m2).to(x.dtype),
    lambda m, x: x.to(dtype=torch.float8_e4m3fn).to(x.dtype),
    lambda m, x: x.to("cpu", torch.float16).to(x.dtype),
    lambda m, x: x.to(torch.bfloat16, copy=True).to(x.dtype),
    lambda m, x: x.to(m.few).to(x.dtype),
    lambda m, x: x.type_as(m.few).to(x.dtype),
    lambda m, x: x.half().to(x.dtype),
    lambda m, x: x.bfloat16().to(x.dtype),
    lambda m, x: x.type(torch.float16).to(x.dtype),
    lambda m, x: x.type("torch.HalfTensor").to(x.dtype),
    lambda m, x: torch.Tensor.to(x, torch.float16).to(x.dtype),
    lambda m, x: torch.sum(x, 1, keepdim=True, dtype=torch.float16).to(x.dtype),
    lambda m, x: x.mean(1, keepdim=True, dtype=torch.bfloat16).to(x.dtype),
    lambda m, x: x.to(torch.int32).to(x.dtype),
    lambda m, x: x.long().to(x.dtype),
    lambda m, x: x.to(torch.complex32).real.to(x.dtype),
    lambda m, x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8).dequantize(),
    lambda m, x: torch.fake_quantize_per_tensor_affine(x, 0.1, 0, 0, 255),
    lambda m, x: x.round(),
]


@pytest.mark.parametrize("function", CASTS)
def test_casts_to_fewer_bits_have_no_rule(function):
    network = Forward(function, weight=torch.ones(4), few=torch.zeros(1, dtype=torch.float16))
    with pytest.raises(LipbenchError, match=r"rule|one tensor|cannot be traced|real numbers|only works"):
        lipschitz_bound(network, (4,))


def test_casts_that_keep_the_bits_are_the_identity():
    def there_and_back(m, x):
        return (m.h(x.float()).double()).to(torch.float32)

    assert lipschitz_bound(Forward(there_and_back, h=nn.Linear(4, 4)), (4,)) > 0
    with pytest.raises(UnsupportedError, match=r"float64 to torch.float32"):
        lipschitz_bound(Forward(lambda m, x: m.h(x).float(), h=nn.Linear(4, 4)).double(), (4,))
