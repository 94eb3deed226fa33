"""What blocks keep of the margin's gradient: closed forms, and the product over all kinds of networks."""

import copy
import math

import pytest
import torch
from deel import torchlip
from torch import nn
from torch.nn import functional as F

from lipbench.attacks.network import Network, class_logits
from lipbench.certification import gradients
from lipbench.certification.certificate import certificate
from lipbench.certification.gradients import Kept

SHAPE = (1, 4, 4)


def measured(module: nn.Module, x: torch.Tensor, classes, others, dtype="float64") -> tuple[list[str], Kept]:
    """Names and factors of the blocks of a network, through what evaluations run."""
    network = Network(module.eval(), tuple(x.shape[1:]), "cpu", dtype)
    proof = certificate(network.module, network.input_shape, None, network.dtype)
    found = gradients.kept(proof, x, *(torch.tensor(each, dtype=torch.int64) for each in (classes, others)))
    return [block.name for block in gradients.blocks(proof.graph, proof.body)], found


def linear(weight, bias=None) -> nn.Linear:
    weight = torch.as_tensor(weight, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def close(found: torch.Tensor, expected) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)


def test_a_widening_orthogonal_layer_drops_what_lies_outside_of_its_range():
    """W = e_1, e_2 of R^3 as columns: W^T v drops the third entry of v = w_0 - w_1 = (2, 1, 2) - (0, 0, 0)."""
    net = nn.Sequential(nn.Flatten(), linear([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), linear([[2.0, 1, 2], [0.0, 0, 0]]))
    names, found = measured(net, torch.tensor([[[[0.5, 0.25]]]]), [0], [1])
    assert names == ["flatten1", "dense1 2->3"]
    close(found.kept[:, 0], [1, math.sqrt(5) / 3])
    close(found.head, [1])
    close(found.bound, [3])
    close(found.margin, [1.25])
    close(found.gradient_l2, [math.sqrt(5)])
    close(found.gradient_l1, [3])
    close(found.gradient_linf, [2])


def test_a_relu_drops_what_it_cuts_off():
    """At (.9, .1) the first unit is 1.8 and the second -.2: of v = (3, 4) the first entry is left; L = 2 of diag."""
    net = nn.Sequential(
        nn.Flatten(), linear([[2.0, 0.0], [0.0, -2.0]]), nn.ReLU(), linear([[3.0, 4.0], [0.0, 0.0]], [1.0, 0.0])
    )
    names, found = measured(net, torch.tensor([[[[0.9, 0.1]]]]), [0], [1])
    assert names == ["flatten1", "dense1 2->2", "relu1"]
    close(found.kept[:, 0], [1, 1, 3 / 5])
    close(found.bound, [10])
    close(found.gradient_l2, [6])


class Residual(nn.Module):
    """x + A x, with |A| = 2."""

    def __init__(self):
        super().__init__()
        self.inner = linear([[2.0, 0.0], [0.0, -1.0]])

    def forward(self, x):
        return x + self.inner(x)


def test_a_residual_block_is_one_block():
    """(1 + 2) bounds I + A = diag(3, 0): of v = (3, 4), 9 is left, of a possible 15."""
    net = nn.Sequential(nn.Flatten(), Residual(), linear([[3.0, 4.0], [0.0, 0.0]]))
    names, found = measured(net, torch.tensor([[[[0.9, 0.1]]]]), [0], [1])
    assert names == ["flatten1", "block1 2->2"]
    close(found.kept[:, 0], [1, 9 / 15])
    close(found.bound, [15])


@pytest.mark.parametrize(("label", "other"), [(0, 1), (1, 0)])
def test_a_single_logit_has_a_head_that_keeps_everything(label, other):
    """The margin is f or -f; its bound that of the layer, 5, and all of it is gradient."""
    net = nn.Sequential(nn.Flatten(), linear([[3.0, 4.0]], [-2.0]))
    names, found = measured(net, torch.tensor([[[[0.5, 0.25]]]]), [label], [other])
    assert names == ["flatten1", "dense1 2->1"]
    close(found.kept[:, 0], [1, 1])
    close(found.head, [1])
    close(found.bound, [5])
    close(found.margin, [0.5 if label else -0.5])


def test_a_head_that_is_no_linear_layer_adds_the_root_of_two():
    """Logits are the body's own outputs: f_0 - f_1 has the slope sqrt(2) there."""
    net = nn.Sequential(nn.Flatten(), linear(torch.eye(2)), nn.ReLU())
    _, found = measured(net, torch.tensor([[[[0.5, 0.25]]]]), [0], [1])
    close(found.head, [1])
    close(found.kept[:, 0], [1, 1, 1])
    close(found.bound, [math.sqrt(2)])


def test_a_gradient_of_zero_has_no_factors():
    """All units are cut off at (0, 0), and none at (1, 1)."""
    net = nn.Sequential(nn.Flatten(), linear([[1.0, 1.0]], [-1.0]), nn.ReLU(), linear([[1.0], [0.0]], [0.5, 0.0]))
    _, found = measured(net, torch.tensor([[[[0.0, 0.0]]], [[[1.0, 1.0]]]]), [0, 0], [1, 1])
    close(found.margin, [0.5, 1.5])
    assert found.kept.isnan().all(dim=0).tolist() == [True, False]
    assert found.head.isnan().tolist() == found.gradient_l1.isnan().tolist() == [True, False]
    close(found.kept[:, 1], [1, 1, 1])


class Functional(nn.Module):
    """Layers as functions, in place, with two branches side by side, and the larger and smaller of two halves."""

    def __init__(self, *, in_place: bool = True):
        super().__init__()
        self.conv, self.last, self.in_place = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(64, 5), in_place

    def forward(self, x):
        x = self.conv(x)
        first, second = x.chunk(2, dim=1)
        x = torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)
        x = F.relu(x, inplace=self.in_place)
        x = torch.cat([x[:, :2] * 0.5, F.leaky_relu(x[:, 2:], 0.1)], dim=1)
        return self.last(x.flatten(1))


def normalized() -> nn.Module:
    torch.manual_seed(2)
    norm = nn.BatchNorm2d(4)
    norm.running_var.uniform_(0.5, 2.0), norm.running_mean.uniform_(-1, 1)
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), norm, torchlip.GroupSort2(), torchlip.ScaledAvgPool2d(2)),
        *(nn.Flatten(), torchlip.SpectralLinear(16, 8), torchlip.FullSort(), torchlip.FrobeniusLinear(8, 5)),
    )


class Branches(nn.Module):
    """Two residual blocks, the second within a wider one."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(16, 16) for _ in range(3))
        self.last = nn.Linear(16, 5)

    def forward(self, x):
        x = x.flatten(1)
        x = x + torch.relu(self.first(x))
        inner = self.second(x)
        x = x + (inner + torch.relu(self.third(inner)))
        return self.last(torch.relu(x))


NETWORKS = {  # a network, and the names of its blocks
    "functions": (Functional, ["conv1 1->4", "block1 4->4", "relu1", "block2 4->4", "flatten1"]),
    "layers": (
        normalized,
        [
            *("conv1 1->4", "batchnorm2d-1", "groupsort2-1", "scaledavgpool2d-1", "flatten1"),
            *("dense1 16->8", "fullsort1"),
        ],
    ),
    "branches": (Branches, ["flatten1", "block1 16->16", "block2 16->16", "relu1"]),
    "a single logit": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 1)),
        ["flatten1", "dense1 16->8", "relu1", "dense2 8->1"],
    ),
    "no body": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 5)), ["flatten1"]),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("what", NETWORKS)
def test_factors_multiply_to_the_gradient_over_its_bound(what, dtype):
    """The gradient is that of the module itself; no factor is above 1."""
    torch.manual_seed(1)
    make, names = NETWORKS[what]
    module, x = make().eval(), torch.rand(40, *SHAPE)
    exact = copy.deepcopy(module).double()
    points = x.double().requires_grad_()
    logits = class_logits(exact(points))
    classes, others = (place[:, 0] for place in logits.topk(2, dim=1).indices.split(1, dim=1))
    margin = (logits.gather(1, classes[:, None]) - logits.gather(1, others[:, None]))[:, 0]
    (gradient,) = torch.autograd.grad(margin.sum(), points)
    found_names, found = measured(module, x, classes.tolist(), others.tolist(), dtype)
    assert found_names == names
    torch.testing.assert_close(found.margin, margin.detach(), rtol=1e-6, atol=1e-7)
    for order, norm in ((1, found.gradient_l1), (2, found.gradient_l2), (math.inf, found.gradient_linf)):
        expected = torch.linalg.vector_norm(gradient.flatten(1), ord=order, dim=1)
        torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)
    product = found.kept.prod(dim=0) * found.head * found.bound
    torch.testing.assert_close(product, found.gradient_l2, rtol=1e-12, atol=0)
    assert (found.kept <= 1 + 1e-12).all()
    assert (found.head <= 1 + 1e-12).all()
    assert (found.kept < 0.999).any(dim=1).sum() >= len(names) // 4


def test_what_is_overwritten_in_place_keeps_its_gradient():
    x = torch.rand(9, *SHAPE)
    torch.manual_seed(1)
    plain = Functional(in_place=False).eval()
    overwriting = copy.deepcopy(plain)
    overwriting.in_place = True
    answers = [measured(net, x, [0] * 9, [1] * 9)[1] for net in (plain, overwriting)]
    torch.testing.assert_close(answers[0].kept, answers[1].kept, rtol=0, atol=0)


def test_no_samples():
    names, found = measured(normalized(), torch.zeros(0, *SHAPE), [], [])
    assert found.kept.shape == (len(names), 0)
    assert found.head.shape == (0,)
