"""Layers whose call was replaced or has hooks are refused."""

import pytest
import torch
from measured import scaling
from torch import nn

from lipbench.certification.lipschitz import layer_effect, lipschitz_bound, rule
from lipbench.errors import UnsupportedError


def affine(x):
    return torch.tanh(x) * 0 + x


def called_otherwise(name):
    layer = nn.Linear(4, 4)
    setattr(layer, name, lambda *args: 10 * nn.functional.linear(args[0], layer.weight, layer.bias))
    return nn.Sequential(layer)


@pytest.mark.parametrize("name", ["forward", "_call_impl", "_wrapped_call_impl", "_slow_forward"])
def test_layers_whose_call_was_replaced_are_refused(name):
    with pytest.raises(UnsupportedError, match="hook or a replaced forward"):
        lipschitz_bound(called_otherwise(name), (4,))


@pytest.mark.parametrize(
    "register", [nn.modules.module.register_module_forward_hook, nn.modules.module.register_module_forward_pre_hook]
)
def test_hooks_for_all_modules_are_refused(register):
    def hook(module, args, output=None):
        return args if output is None else 10 * output

    handle = register(hook)
    try:
        with pytest.raises(UnsupportedError, match="hooks for all modules"):
            lipschitz_bound(nn.Sequential(nn.Linear(4, 4)), (4,))
    finally:
        handle.remove()
    assert lipschitz_bound(nn.Sequential(nn.Linear(4, 4)), (4,)) > 0


def test_types_whose_forward_was_replaced_are_refused(monkeypatch):
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    for kind, name in ((nn.ReLU, "forward"), (nn.Linear, "_call_impl"), (nn.Module, "_slow_forward")):
        with monkeypatch.context() as patch:
            patch.setattr(kind, name, lambda self, x: 10 * x, raising=False)
            with pytest.raises(UnsupportedError, match="was replaced after"):
                lipschitz_bound(network, (4,))


def test_a_layer_with_a_call_of_its_own_may_have_a_rule():
    class Calling(nn.Module):
        def __call__(self, x):
            return super().__call__(x)

        def forward(self, x):
            return affine(x)

    rule(Calling)(lambda layer, input_shape: 1.0)
    assert lipschitz_bound(nn.Sequential(Calling()), (4,)) == pytest.approx(1)


def hooked():
    layer = scaling(1.0)
    layer.register_forward_hook(lambda module, args, output: 10 * output)
    return layer


def hooked_inside():
    sll = pytest.importorskip("orthogonium.layers.conv.SLL.sll_layer").SDPBasedLipschitzDense(4, 4, 4)
    sll.activation.register_forward_hook(lambda module, args, output: 10 * output)
    return sll


@pytest.mark.parametrize("make", [hooked, hooked_inside])
def test_the_effect_of_a_layer_with_hooks_is_refused(make):
    with pytest.raises(UnsupportedError, match="hook"):
        layer_effect(make(), (4,))
