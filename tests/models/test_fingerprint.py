"""Digests of torch modules."""

import copy
import subprocess
import sys

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
