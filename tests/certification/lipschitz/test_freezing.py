"""Networks are copied with plain weights; what cannot be copied, or is no network, is refused."""

import threading

import pytest
import torch
from measured import Forward, scaling
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError, UnsupportedError


def test_what_cannot_be_copied_is_refused():
    held, computed, pruned = scaling(1.0), nn.utils.weight_norm(nn.Linear(4, 4)), scaling(1.0)
    held.lock = threading.Lock()
    prune.l1_unstructured(pruned, "weight", 0.5)
    for network in (held, computed, pruned):
        with pytest.raises(LipbenchError, match="copied"):
            lipschitz_bound(network, (4,))


def test_each_layer_keeps_its_mode_and_its_weights():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2)).train()
    net[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    lipschitz_bound(net, (3,))
    assert (net.training, net[0].training, net[1].training) == (True, True, False)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


class Tenfold(Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        out = super().__torch_function__(function, types, args, kwargs or {})
        return 10 * out if function is F.linear else out


def test_weights_that_compute_in_their_own_way_are_refused():
    layer = nn.Linear(4, 4)
    del layer.bias
    layer.register_parameter("bias", None)
    layer.register_buffer("bias2", torch.zeros(1).as_subclass(Tenfold))
    with pytest.raises(UnsupportedError, match="Tenfold"):
        lipschitz_bound(nn.Sequential(layer), (4,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.compile(nn.Linear(4, 4)), "compiled"),
        (lambda: nn.Sequential(torch.compile(nn.Linear(4, 4)), nn.ReLU()), "compiled"),
        (lambda: compiled_in_place(nn.Sequential(nn.Linear(4, 4))), "compiled"),
        (lambda: torch.jit.script(nn.Sequential(nn.Linear(4, 4))), "TorchScript"),
        (lambda: torch.jit.trace(nn.Linear(4, 4), torch.zeros(1, 4)), "TorchScript"),
        (lambda: nn.Sequential(torch.jit.script(nn.Linear(4, 4))), "TorchScript"),
        (lambda: Forward(lambda m, x: (x, x)), "one tensor of logits from the network, got tuple of 2"),
        (lambda: Forward(lambda m, x: {"logits": x}), "got dict of 1"),
        (lambda: Forward(lambda m, x: [x]), "got list of 1"),
        (lambda: Forward(lambda m, x: None), "got NoneType"),
        (lambda: Forward(lambda m, x: x.sort(1)), "got sort"),
        (lambda: F.relu, "torch.nn.Module, got function"),
        (lambda: "network", "torch.nn.Module, got str"),
        (lambda: nn.Linear, "torch.nn.Module, got type"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_network_is_one_clear_line(make, message):
    with pytest.raises(LipbenchError, match=message) as caught:
        lipschitz_bound(make(), (4,))
    assert "\n" not in str(caught.value)


def compiled_in_place(network):
    network.compile()
    return network
