"""Every attack may rely on finite gradients, and on finite logits where it looked."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lipbench._internal.precision import name_of
from lipbench.attacks.network import Network
from lipbench.errors import LipbenchError

LARGE = 1e15  # for an infinite entry: above all others, and its square is finite in float32


def _pass(x: Tensor) -> Tensor:
    """The identity. In its gradient NaN, which has no direction, becomes 0, and infinite entries become LARGE."""
    x = x.view_as(x)  # the caller's own tensor keeps no hook
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient.nan_to_num(0.0, LARGE, -LARGE))
    return x


@contextmanager
def finite(networks: Sequence[Network], attack: str) -> Iterator[None]:
    """Inside, gradients at the networks' inputs are finite.

    Otherwise libraries carry a NaN from the gradient into the input. There the logits are NaN and no comparison is
    true: the library counts the sample as broken, none of its later attacks sees it, and its candidate is useless.
    Raises LipbenchError at the end if a network was evaluated at an input in [0, 1] where its logits are not finite:
    it has no class there, so that the sample would be neither robust nor broken.
    """
    undefined = [torch.zeros((), dtype=torch.bool, device=network.device) for network in networks]

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (_pass(inputs[0]), *inputs[1:])

    def watch(place: int) -> Any:
        def after(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            out = out.detach()
            # the sum of the logits nearly always decides; on a GPU, reading it would wait for the device
            if out.device.type == "cpu" and math.isfinite(out.sum().item()):
                return
            strange = ~out.isfinite().flatten(1).all(dim=1)
            x = inputs[0].detach()
            undefined[place] |= (strange & ((x >= 0) & (x <= 1)).flatten(1).all(dim=1)).any()

        return after

    with ExitStack() as hooks:
        for place, network in enumerate(networks):
            for handle in (
                network.module.register_forward_pre_hook(before),
                network.module.register_forward_hook(watch(place)),
            ):
                hooks.callback(handle.remove)
        try:
            yield
        except Exception as error:  # libraries compare and assert, which NaN may fail
            _refuse(networks, undefined, attack, error)
            raise
        _refuse(networks, undefined, attack)


def _refuse(
    networks: Sequence[Network], undefined: Sequence[Tensor], attack: str, cause: Exception | None = None
) -> None:
    for network, flag in zip(networks, undefined, strict=True):
        if flag:
            raise LipbenchError(
                f"{attack} found inputs in [0, 1] where the network's logits are not finite in "
                f"{name_of(network.dtype)}: its weights or its preprocessing are out of range"
            ) from cause
