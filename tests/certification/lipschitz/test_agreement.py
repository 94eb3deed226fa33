"""The module as given, its frozen copy and its graph are compared entry by entry."""

import random

import numpy as np
import pytest
import torch
from measured import Forward
from torch import Tensor, nn

from lipbench.attacks.network import Network
from lipbench.certification.lipschitz import agreement, lipschitz_bound
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.models.unchanged import as_it_was

C = torch.tensor


MASK = C([0.0, 0, 0, -1e9])


AMBIENT = [
    lambda m, x: x * (10 if torch.is_grad_enabled() else 1),
    lambda m, x: x * (1 if torch.is_grad_enabled() else 10),
    lambda m, x: x * (10 if isinstance(x, Tensor) else 1),
    lambda m, x: x * (10 if torch.is_tensor(x) else 1),
    lambda m, x: m.h(x.flatten(1)) * (1 if isinstance(x, Tensor) else 2) + m.mask,  # small beside a mask
    lambda m, x: x + (1e-5 if isinstance(x, Tensor) else 0) * C([1.0, 0, 0, 0]) + m.mask,
]


@pytest.mark.parametrize("function", AMBIENT)
def test_outputs_are_compared_entry_by_entry(function):
    with pytest.raises(UnsupportedError, match="other outputs"):
        lipschitz_bound(Forward(function, h=nn.Linear(4, 4), mask=MASK), (4,))


def test_a_mask_alone_is_no_reason_to_refuse():
    network = Forward(lambda m, x: m.h(x) + m.mask, h=nn.Linear(4, 4), mask=MASK)
    assert lipschitz_bound(network, (4,)) == pytest.approx(lipschitz_bound(network.h, (4,)))


class Copied(nn.Linear):
    def __deepcopy__(self, memo):
        copied = nn.Linear(4, 4)
        copied.load_state_dict({"weight": 0.1 * self.weight, "bias": self.bias})
        return copied


class Reduced(nn.Linear):
    def __getstate__(self):
        return {**self.__dict__, "_parameters": {"weight": nn.Parameter(0.99 * self.weight), "bias": self.bias}}


@pytest.mark.parametrize("kind", [Copied, Reduced])
def test_the_copy_is_compared_with_what_was_given(kind):
    with pytest.raises(UnsupportedError, match=r"frozen copy|other outputs"):
        lipschitz_bound(nn.Sequential(kind(4, 4)), (4,))


class Autocast(nn.Module):
    """Rounds to bfloat16, which no trace sees; with or without a cast back."""

    def __init__(self, back):
        super().__init__()
        self.dense, self.back = nn.Linear(4, 4), back

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.dense(x)
        return out.float() if self.back else out


@pytest.mark.parametrize("back", [True, False])
def test_autocast_in_a_forward_is_refused(back):
    with pytest.raises(UnsupportedError, match=r"other outputs|autocast"):
        lipschitz_bound(Autocast(back), (4,))


def deep(layers, activation, gain):
    torch.manual_seed(0)
    chain = [nn.Linear(16, 16) for _ in range(layers)]
    for layer in chain:
        nn.init.xavier_normal_(layer.weight, gain)
    return nn.Sequential(*(part for layer in chain for part in (layer, activation())), nn.Linear(16, 3))


DEEP = [  # outputs that hardly vary, that cancel, or that enlarge rounding
    deep(10, nn.Sigmoid, 1.0),
    deep(30, nn.Sigmoid, 1.0),
    deep(30, nn.ReLU, 0.5),
    deep(30, nn.Tanh, 2.0),
    Forward(lambda m, x: 1e-6 * m.a(x) + m.a(torch.ones_like(m.one)), a=nn.Linear(16, 3), one=torch.ones(1, 16)),
    Forward(lambda m, x: m.a((x + 1000.0) - 1000.0), a=nn.Linear(16, 3)),
]


@pytest.mark.parametrize("network", DEEP)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_roundings_of_deep_networks_are_no_reason_to_refuse(network, dtype):
    assert lipschitz_bound(network.to(dtype), (16,)) > 0
    Network(nn.Sequential(nn.Flatten(), network.float()), (1, 4, 4))


def test_a_layer_used_twice_is_counted_twice_and_keeps_its_weights():
    shared = nn.Linear(4, 4)
    before = shared.weight.detach().clone()
    once, tied = lipschitz_bound(shared, (4,)), nn.Linear(4, 4)
    tied.weight = shared.weight
    for network in (nn.Sequential(shared, nn.ReLU(), shared), nn.Sequential(shared, nn.ReLU(), tied)):
        agreement.unsteadiness(network, torch.rand(2, 4), network(torch.rand(2, 4)).detach())
        assert torch.equal(shared.weight, before)
        assert lipschitz_bound(network, (4,)) == pytest.approx(once**2)


def test_data_parallel_networks_are_bounded():
    layer = nn.Linear(4, 4)
    assert lipschitz_bound(nn.DataParallel(layer), (4,)) == lipschitz_bound(layer, (4,))


def test_modules_with_more_state_than_tensors_are_copied_and_compared():
    class Stateful(nn.Linear):
        def get_extra_state(self):
            return {"calls": 3}

        def set_extra_state(self, state):
            pass

    assert lipschitz_bound(nn.Sequential(Stateful(4, 4)), (4,)) > 0


def test_the_callers_random_numbers_and_containers_stay_as_they_were():
    class Appending(nn.Module):
        def __init__(self):
            super().__init__()
            self.dense, self.log, self.count, self.table = nn.Linear(4, 4), [], torch.zeros(1), {}

        def forward(self, x):
            self.log.append(1)
            self.count.add_(1)
            self.table[len(self.log)] = random.random() + np.random.random()  # noqa: NPY002
            return self.dense(x) + torch.rand(1)

    network = Appending()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    with pytest.raises(LipbenchError):
        lipschitz_bound(network, (4,))
    with as_it_was(network):
        network(torch.rand(2, 4))
    assert (network.log, float(network.count), network.table) == ([], 0.0, {})
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
