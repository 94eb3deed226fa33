"""Digests of torch modules."""

import copy
import functools
import subprocess
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from lipbench.models.fingerprint import code_sha256, weights_sha256


class Scaled(nn.Module):
    def __init__(self, factor=2.0):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.factor = factor

    def forward(self, x):
        return self.linear(x) * self.factor


class Shifted(Scaled):
    def forward(self, x):
        return self.linear(x) + self.factor


def test_equal_modules_have_equal_digests_and_any_change_shows():
    net = Scaled()
    assert weights_sha256(copy.deepcopy(net)) == weights_sha256(net)
    assert code_sha256(copy.deepcopy(net)) == code_sha256(net)
    assert code_sha256(copy.deepcopy(net).train(False)) == code_sha256(net)  # the mode is no part of it
    changed = copy.deepcopy(net)
    with torch.no_grad():
        changed.linear.bias[0] += 1e-7
    assert weights_sha256(changed) != weights_sha256(net)
    codes = [code_sha256(each) for each in (net, Scaled(3.0), Shifted(), nn.Sequential(net))]
    assert len(set(codes)) == len(codes)


def test_buffers_that_are_not_stored_and_numbers_of_all_types_count():
    net = Scaled()
    net.register_buffer("scale", torch.tensor(1.0, dtype=torch.bfloat16), persistent=False)
    other = copy.deepcopy(net)
    other.scale.fill_(2.0)
    assert weights_sha256(net) != weights_sha256(other)


def test_another_process_finds_the_same_digest():
    code = (
        "import torch, sys; from torch import nn; from lipbench.models.fingerprint import *; torch.manual_seed(0);"
        "net = nn.Sequential(nn.Linear(3, 2), nn.Softplus(beta=3)); print(weights_sha256(net), code_sha256(net))"
    )
    assert (
        len({subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in "ab"}) == 1
    )


def multiplying(factor):
    return lambda x: factor * x


class Settings:
    __slots__ = ("factor", "own")

    def __init__(self, factor):
        self.factor, self.own = factor, self  # a cycle

    def scaled(self, x):
        return self.factor * x


def hidden(factor):
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.fill_(factor)
        layer.bias.zero_()
    return layer


@pytest.mark.parametrize(
    "make",
    [
        np.full(3, 1.0).__mul__,
        np.float32,
        lambda k: [torch.tensor([float(k)])],
        lambda k: {"a": {k}},
        lambda k: [1, 23] if k == 1 else [12, 3],
        lambda k: torch.zeros(4, 1) if k == 1 else torch.zeros(1, 4),
        multiplying,
        lambda k: functools.partial(torch.mul, k),
        lambda k: types.SimpleNamespace(factor=k),
        Settings,
        lambda k: Settings(k).scaled,
        lambda k: [hidden(float(k))],
    ],
    ids=range(12),
)
def test_attributes_of_every_kind_count(make):
    """Two networks of one digest would share the records of a run folder."""
    nets = [Scaled(), Scaled(), Scaled()]
    for net, factor in zip(nets, (1, 1, 2), strict=True):
        net.load_state_dict(nets[0].state_dict())
        net.held = make(factor)
    one, same, other = map(code_sha256, nets)
    assert one == same == code_sha256(copy.deepcopy(nets[0]))
    assert one != other


def test_hooks_and_a_forward_of_the_object_count():
    nets = [Scaled() for _ in range(4)]
    nets[1].register_forward_hook(lambda module, inputs, out: 2 * out)
    nets[2].register_forward_hook(lambda module, inputs, out: 3 * out)
    nets[3].forward = types.MethodType(lambda self, x: 2 * self.linear(x), nets[3])
    assert len({code_sha256(net) for net in nets}) == 4


def test_how_often_a_shared_layer_is_used_counts():
    a, b, relu = nn.Linear(3, 3), nn.Linear(3, 3), nn.ReLU()
    nets = [nn.Sequential(*parts) for parts in ((a, relu, b), (a, relu, b, relu), (a, relu, a), (a, b, relu), (a, a))]
    assert len({weights_sha256(net) + code_sha256(net) for net in nets}) == len(nets)


GAIN = 1.0


def gained(x):
    return GAIN * x


class Gained(nn.Module):
    def forward(self, x):
        return gained(x)


class Heir(Gained):
    pass


def test_code_of_bases_and_functions_and_globals_count(monkeypatch):
    before = code_sha256(Heir())
    assert code_sha256(Heir()) == before
    monkeypatch.setitem(globals(), "GAIN", 2.0)
    second = code_sha256(Heir())
    monkeypatch.setitem(globals(), "gained", multiplying(2.0))
    third = code_sha256(Heir())
    monkeypatch.setattr(Gained, "forward", lambda self, x: 2 * x)
    assert len({before, second, third, code_sha256(Heir())}) == 4


def test_code_without_a_source_counts():
    """As in a notebook, where a cell is changed and run again."""
    made = {}
    for factor in (1, 2):
        exec(f"class Net(nn.Module):\n    def forward(self, x):\n        return {factor} * x", {"nn": nn}, made)
        made[factor] = code_sha256(made["Net"]())
    assert made[1] != made[2]
