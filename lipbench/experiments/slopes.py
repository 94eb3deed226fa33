"""Slopes of one network: its largest Jacobian, its margins over their slopes, and the norms of its layers."""

import copy

import torch
from torch import Tensor, nn

from lipbench.certification.lipschitz import lipschitz_bound


def largest_jacobian(module: nn.Module, x: Tensor) -> float:
    """The largest spectral norm of the Jacobian at given inputs: a lower bound of the Lipschitz constant.

    module: gives logits (n, K); x: (n, ...) in [0, 1]. In float64.
    """
    precise = copy.deepcopy(module).double().requires_grad_(False)
    point = x.double().requires_grad_()
    logits = precise(point)
    rows = [torch.autograd.grad(one.sum(), point, retain_graph=True)[0].flatten(1) for one in logits.unbind(1)]
    return float(torch.linalg.matrix_norm(torch.stack(rows, dim=1), ord=2).max())


def margins(module: nn.Module, x: Tensor, labels: Tensor) -> dict[str, float]:
    """Of correctly classified inputs: the median margin, and the median of the margin over the norm of its gradient.

    A margin is the largest logit minus the second; over its slope it is the distance to the boundary to first order
    (Moosavi-Dezfooli et al. 2016). x: (n, ...) in [0, 1]; labels: whole numbers (n,). In float64; NaN without any.
    """
    point = x.double().requires_grad_()
    found = copy.deepcopy(module).double().requires_grad_(False)(point)
    first, second = found.topk(2)[0].unbind(1)
    margin = first - second
    (slopes,) = torch.autograd.grad(margin.sum(), point)
    correct = found.argmax(1) == labels
    return {
        "margin": float(margin[correct].median().detach()),
        "linear": float((margin / slopes.flatten(1).norm(dim=1))[correct].median().detach()),
    }


def layer_norms(module: nn.Module, x: Tensor) -> dict[str, float]:
    """The largest Frobenius norm of a layer's weights, and the largest bound of a layer's own constant.

    x: one input, (1, ...). A layer's constant is its spectral norm; a convolution's depends on the size of its input.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, _: shapes.update({layer: tuple(inputs[0].shape[1:])}))
        for layer in layers
    ]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return {
        "frobenius": max(float(layer.weight.detach().double().norm()) for layer in layers),
        "spectral": max(lipschitz_bound(layer, shapes[layer]) for layer in layers),
    }
