"""Do two forms of a network compute the same, entry by entry? The forms: the module as given, its copies, its graph.

The same operations on the same numbers give the same results up to a few roundings, whatever the largest output is.
Other orders of summation, and other precisions, get more room: in units of how much an output varies, and of how much
it moves when the inputs are moved by a few roundings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lipbench.errors import LipbenchError, UnsupportedError, one_line
from lipbench.models.unchanged import as_it_was, equal

BATCHES = (1, 2, 3)  # sizes of a batch that are compared, besides that of all probes
ROUNDINGS = 16  # of one entry: between runs of the same operations
REORDERED = 4096  # of one entry: between orders of summation, and between precisions
COMPUTED_ANEW = 1e-3  # share of an output's range, where weights are computed anew, perhaps in another precision
CONSTANTS = (0.0, 1.0, 0.9, 0.1)  # of images that are probes


def probes(module: nn.Module, input_shape: tuple[int, ...]) -> Tensor:
    """Inputs (8, *input_shape) in the widest dtype of the network's weights.

    A sample in [0, 1], one around 0, a large one, a dark one, then constant ones.
    """
    held: list[Tensor] = [one for one in module.parameters() if one.is_floating_point()]
    held = held or [one for one in module.buffers() if one.is_floating_point()]
    held.sort(key=lambda one: torch.finfo(one.dtype).eps)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4 + len(CONSTANTS), *input_shape, dtype=torch.float64, generator=generator, device="cpu")
    uniform = torch.rand(2, *input_shape, dtype=torch.float64, generator=generator, device="cpu")
    x[0], x[2], x[3] = uniform[0], 10 * x[2], uniform[1] ** 8
    for row, constant in zip(x[4:], CONSTANTS, strict=True):
        row[...] = constant
    return x.to(held[0].device, held[0].dtype) if held else x


def outputs(module: Callable[[Tensor], Tensor], x: Tensor, *, with_gradients: bool = False) -> Tensor:
    """The outputs of a network for x, which it may overwrite. Raises LipbenchError unless it is one finite tensor."""
    with torch.set_grad_enabled(with_gradients):
        given = x.clone().requires_grad_(with_gradients).clone()  # a leaf could not be overwritten
        out = module(given)
    return checked(out).detach()


def checked(out: Any, *, finite: bool = True) -> Tensor:
    """The output of a network. Raises LipbenchError unless it is one tensor of real numbers, finite ones if asked."""
    if not isinstance(out, Tensor):
        what = f"{type(out).__name__} of {len(out)}" if isinstance(out, tuple | list | dict) else type(out).__name__
        raise LipbenchError(
            f"expected one tensor of logits from the network, got {what}: wrap the network in a module that returns "
            "the logits alone"
        )
    if not out.is_floating_point() or (finite and not out.isfinite().all()):
        raise LipbenchError("expected one tensor of finite numbers from the network")
    return out


def is_coarser(dtype: torch.dtype, own: torch.dtype) -> bool:
    """True if a number of the type ``own`` may be rounded, or overflow, in the other type."""
    return torch.finfo(dtype).eps > torch.finfo(own).eps or torch.finfo(dtype).max < torch.finfo(own).max


# --- how close two outputs are ---------------------------------------------------------------------------------------


def differ(
    value: Tensor,
    expected: Tensor,
    among: Tensor | None = None,
    *,
    share: float = 0.0,
    roundings: float = ROUNDINGS,
    room: Tensor | float = 0.0,
) -> bool:
    """True if an entry of two outputs (n, ...) differs by more than is allowed.

    Allowed is the sum of ``roundings`` of its largest size, of ``share`` times its range, both over the samples of
    ``among`` (m, ...), by default ``expected``, and of ``room`` (...).
    """
    if value.shape != expected.shape:
        return True
    if len(expected) == 0:
        return False
    unit = max(torch.finfo(one.dtype).eps / 2 for one in (value, expected))
    a, b, c = value.double(), expected.double(), (expected if among is None else among).double()
    allowed = roundings * unit * c.abs().amax(dim=0) + share * (c.amax(dim=0) - c.amin(dim=0)) + room
    return not bool(((a - b).abs() <= allowed).all())


def share_of_sums(dtype: torch.dtype) -> float:
    """The share of its range that an output may move in another order of sums: 3e-10 in float64, 5e-5 in float32."""
    return (torch.finfo(dtype).eps / 2) ** 0.6


def unsteadiness(module: nn.Module, x: Tensor, expected: Tensor) -> Tensor:
    """How far each output (...) moves, at most, when inputs and weights shrink by a few roundings of the type of x.

    Rounding errors may move it as far, where sums cancel or a deep network enlarges them. expected: the outputs for x.
    """
    generator = torch.Generator().manual_seed(1)

    def moved(values: Tensor) -> Tensor:
        noise = torch.randn(values.shape, generator=generator, dtype=torch.float64).to(values.device)
        return values.detach() * (1 - 8 * torch.finfo(x.dtype).eps * noise.abs()).to(values.dtype)

    held = (*module.parameters(), *module.buffers())
    other = {id(one): moved(one) for one in held if one.is_floating_point() and one.layout == torch.strided}
    # each module once: for a layer with two names, torch would swap its weights twice and not give back the first ones
    weights = {
        f"{place}.{name}" if place else name: other[id(one)]
        for place, part in module.named_modules()
        for name, one in (*part._parameters.items(), *part._buffers.items())
        if id(one) in other
    }
    points = moved(x)
    if any(isinstance(part, nn.DataParallel) for part in module.modules()):  # it ignores weights from elsewhere
        found = outputs(module, points)
    else:
        found = outputs(lambda given: torch.func.functional_call(module, weights, (given,), tie_weights=False), points)
    return 8 * (found.double() - expected.double()).abs().amax(dim=0)


# --- the forms of a network ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExpectedOutputs:
    """The outputs of a network for some inputs."""

    outputs: Tensor  # (n, ...)
    room: Tensor  # (...), how far rounding errors may move each


def check_same(traced: nn.Module, module: nn.Module, x: Tensor) -> ExpectedOutputs:
    """The outputs of a network for x (n, ...), and their room.

    Raises UnsupportedError unless its graph computes the same, for each number of samples, whether gradients are wanted
    or not.
    """
    expected = outputs(module, x)
    if is_coarser(expected.dtype, x.dtype):
        raise UnsupportedError(
            f"the network computes in {expected.dtype}, though its weights are {x.dtype}: take autocast and casts out "
            "of its forward"
        )
    reference = ExpectedOutputs(expected, unsteadiness(module, x, expected))
    for number in (*BATCHES, len(x)):
        found = _outputs_of_both(traced, module, x[:number], expected)
        _check_batch(found, number, x, reference)
    return reference


def _outputs_of_both(traced: nn.Module, module: nn.Module, x: Tensor, among: Tensor) -> Tensor:
    """The outputs of a network for x. Raises UnsupportedError unless its graph has them too; among: see ``differ``."""
    value = outputs(traced, x)
    for wanted in (False, True):
        found = outputs(module, x, with_gradients=wanted)
        if found.dtype != value.dtype or differ(value, found, among):
            how = "with gradients" if wanted else "without gradients"
            raise UnsupportedError(
                f"the traced graph gives other outputs than the network ({len(x)} samples, {how}, {x.dtype}): its "
                "forward depends on state, on settings of torch, or on the data, or changes tensors in place"
            )
    return found


def _check_batch(found: Tensor, number: int, x: Tensor, reference: ExpectedOutputs) -> None:
    """Raise UnsupportedError unless the outputs of the first samples alone are those in the batch of all x."""
    expected, share = reference.outputs, share_of_sums(x.dtype)
    if found.shape != expected[:number].shape:
        raise UnsupportedError(
            f"the outputs have shape {tuple(found.shape)} for {number} of {len(x)} samples with outputs of shape "
            f"{tuple(expected.shape)}: name the dimension of squeeze(), which may drop a batch of one"
        )
    if differ(found, expected[:number], expected, share=share, roundings=REORDERED, room=reference.room):
        raise UnsupportedError("the outputs for a sample depend on the others of a batch, or on their number")


def check_precision(single: ExpectedOutputs, exact: ExpectedOutputs) -> None:
    """Raise UnsupportedError unless a network and its graph in float64 agree, up to rounding errors.

    single: in the network's own dtype; exact: in float64.
    """
    expected = single.outputs
    value = exact.outputs.to(expected.device)
    if differ(value, expected, share=COMPUTED_ANEW, roundings=REORDERED, room=single.room):
        raise UnsupportedError("the forward gives other outputs in float64: it depends on the precision of numbers")


def check_copy(given: nn.Module, copy: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Raise UnsupportedError unless a module and a frozen copy of it, which may have another dtype, compute the same.

    given: is run in eval mode, and restored afterwards.
    """
    x = probes(given, input_shape)
    x = x[((x >= 0) & (x <= 1)).reshape(len(x), -1).all(dim=1)]  # a network may accept images alone
    try:
        with as_it_was(given):
            expected, again = (checked(given(x.clone()), finite=False) for _ in range(2))
            finite = expected.isfinite().reshape(len(x), -1).all(dim=1)  # a network may be undefined at some points
            room = unsteadiness(given, x[finite], expected[finite]) if finite.any() else 0.0
        held = probes(copy, input_shape)
        with torch.no_grad():
            value = checked(copy(x.to(held.device, held.dtype, copy=True)), finite=False).to(x.device)
    except LipbenchError:
        raise
    except Exception as error:  # whatever the network's own code raises
        raise LipbenchError(f"the network does not accept inputs of shape {input_shape}: {one_line(error)}") from error
    if differ(again[finite], expected[finite], share=COMPUTED_ANEW, roundings=REORDERED):
        raise UnsupportedError(
            "two runs of the network on the same inputs differ: its forward draws random numbers or keeps state; take "
            "that out of it"
        )
    share = share_of_sums(x.dtype) if _hold_the_same(given, copy) else COMPUTED_ANEW
    same = torch.equal(value.isfinite().reshape(len(x), -1).all(dim=1), finite)
    if not same or differ(value[finite], expected[finite], share=share, roundings=REORDERED, room=room):
        raise UnsupportedError(
            "the network's frozen copy gives other outputs than the network: it copies itself in its own way, or its "
            "forward depends on state or on the precision of its numbers"
        )


def _hold_the_same(given: nn.Module, copy: nn.Module) -> bool:
    """True if each weight of a copy is that of the module, and none was computed anew."""
    own, copied = (
        {name: one for part in (m.named_parameters, m.named_buffers) for name, one in part()} for m in (given, copy)
    )
    return own.keys() == copied.keys() and all(equal(own[name].to(copied[name]), copied[name]) for name in own)
