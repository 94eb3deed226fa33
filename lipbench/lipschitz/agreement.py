"""Whether two forms of a network compute the same, entry by entry: the module as given, its copies, and its graph.

The same operations on the same numbers give the same results up to a few roundings, whatever the largest output is;
other orders of summation, and other precisions, are given more room, in units of how much an output varies.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lipbench.errors import LipbenchError, UnsupportedError, one_line

SAMPLES = 3  # that are looked at: a batch that gets mixed or lost is seen
ROUNDINGS = 16  # of one entry: between runs of the same operations
COMPUTED_ANEW = 1e-3  # share of an output's range, where weights are computed anew, perhaps in another precision


def probes(module: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """A sample in [0, 1], one around 0 and a large one: (3, *input_shape), in the widest dtype of its weights."""
    held: list[Tensor] = [one for one in module.parameters() if one.is_floating_point()]
    held = held or [one for one in module.buffers() if one.is_floating_point()]
    held.sort(key=lambda one: torch.finfo(one.dtype).eps)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SAMPLES, *input_shape, dtype=torch.float64, generator=generator, device="cpu")
    x[0], x[2] = torch.rand(input_shape, dtype=torch.float64, generator=generator, device="cpu"), 10 * x[2]
    return x.to(held[0].device, held[0].dtype) if held else x


def outputs(module: nn.Module, x: Tensor, *, with_gradients: bool = False) -> Tensor:
    """The outputs of a network for x, which it may overwrite. Raises LipbenchError unless it is one finite tensor."""
    with torch.set_grad_enabled(with_gradients):
        given = x.clone().requires_grad_(with_gradients).clone()  # no leaf: those cannot be overwritten
        out = module(given)
    return checked(out).detach()


def checked(out: Any) -> Tensor:
    """The output of a network. Raises LipbenchError unless it is one tensor of finite real numbers."""
    if not isinstance(out, Tensor):
        what = f"{type(out).__name__} of {len(out)}" if isinstance(out, tuple | list | dict) else type(out).__name__
        raise LipbenchError(
            f"expected one tensor of logits from the network, got {what}: wrap the network in a module that returns "
            "the logits alone"
        )
    if not out.is_floating_point() or not out.isfinite().all():
        raise LipbenchError("expected one tensor of finite numbers from the network")
    return out


def differ(
    value: Tensor, expected: Tensor, among: Tensor | None = None, *, share: float = 0.0, roundings: float = ROUNDINGS
) -> bool:
    """True if an entry of the outputs (n, ...) differs by more than so many roundings of its largest size, and this
    share of how much it varies, over the samples of ``among`` (m, ...): by default ``expected``.
    """
    if value.shape != expected.shape:
        return True
    unit = max(torch.finfo(one.dtype).eps / 2 for one in (value, expected))
    a, b, c = value.double(), expected.double(), (expected if among is None else among).double()
    allowed = roundings * unit * c.abs().amax(dim=0) + share * (c.amax(dim=0) - c.amin(dim=0))
    return not bool(((a - b).abs() <= allowed).all())


def share_of_sums(dtype: torch.dtype) -> float:
    """How much of its range an output may move where sums run in another order: 3e-10 in float64, 5e-5 in float32."""
    return (torch.finfo(dtype).eps / 2) ** 0.6


def check_copy(given: nn.Module, copy: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raise UnsupportedError unless a module and a frozen copy of it, which may have another dtype, compute the same.

    given: is run in eval mode, and left as it was.
    """
    x = probes(given, input_shape)
    try:
        with as_it_was(given):
            expected = outputs(given, x)
        held = probes(copy, input_shape)
        value = outputs(copy, x.to(held.device, held.dtype)).to(x.device)
    except LipbenchError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise LipbenchError(f"the network does not accept inputs of shape {input_shape}: {one_line(error)}") from error
    share = share_of_sums(x.dtype) if _hold_the_same(given, copy) else COMPUTED_ANEW
    if differ(value, expected, share=share, roundings=256):
        raise UnsupportedError(
            "the network's frozen copy gives other outputs than the network: it copies itself in its own way, or its "
            "forward depends on state or on the precision of its numbers"
        )


def _hold_the_same(given: nn.Module, copy: nn.Module) -> bool:
    """True if each weight of a copy is that of the module, none computed anew."""
    own, copied = given.state_dict(), copy.state_dict()
    return own.keys() == copied.keys() and all(torch.equal(own[name].to(copied[name]), copied[name]) for name in own)


@contextlib.contextmanager
def as_it_was(module: nn.Module) -> Iterator[None]:
    """Inside, a module is in eval mode; afterwards its attributes, tensors and torch's random numbers are as before.

    orthogonium moves parameters of its power iterations in eval mode, torchlip attributes and buffers.
    """
    parts = list(module.modules())
    attributes = [dict(vars(part)) for part in parts]
    tensors = [(held, name, one, one.detach().clone()) for part in parts for held, name, one in _tensors(part)]
    device = next((held.device for held in module.parameters()), torch.device("cpu"))
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        try:
            for part in parts:
                part.training = False
            yield
        finally:
            for part, before in zip(parts, attributes, strict=True):
                vars(part).clear()
                vars(part).update(before)
            for held, name, one, values in tensors:
                held[name] = one
                if not torch.equal(one, values):
                    one.copy_(values)


def _tensors(part: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    for held in (part._parameters, part._buffers):
        for name, one in list(held.items()):
            if one is not None:
                yield held, name, one
