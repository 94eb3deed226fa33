"""Checks of a loss."""

import copy
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lipbench._internal.registry import LOSSES
from lipbench.errors import LipbenchError
from lipbench.testing.state import leaves_settings, named, random_numbers
from lipbench.training import losses

Value = Callable[[Tensor, Tensor], Tensor]
SCALES = (1e-3, 1.0, 1e3)  # of logits
SAMPLES = 24
STEP = 1e-5  # of the difference quotient, in float64
CLOSE = 1e-4  # relative, of two computations of one number


def check_loss(
    loss: Any,
    hyperparameters: Mapping[str, float | Sequence[float]] | None = None,
    *,
    refused: Sequence[Mapping[str, float]] = (),
    num_classes: int = 10,
    largest_gradient: float = 100.0,
    slopes: bool = True,
) -> None:
    """Check a loss at every combination of ``hyperparameters``, which may be lists as in a recipe.

    loss: a registered name, a class, a function ``(logits, labels, *, hyperparameters)`` or an object; refused: values
    outside of the limits, each of which must raise LipbenchError (so must NaN and infinity, of every hyperparameter);
    num_classes: of the logits, (n, 1) for a loss whose attribute ``binary`` is true; largest_gradient: L2, of the loss
    of one sample, where logits are of size 1; slopes: False for a loss that keeps a part of itself from the gradient on
    purpose, whose gradient is then not compared with difference quotients.

    Checked are: the value, a finite scalar at logits of sizes 1e-3, 1 and 1e3 and for a batch of one sample; the
    gradient, finite, equal to the difference quotient in float64, at most ``largest_gradient``, and never one that
    lowers the loss by lowering the label's logit; the batch, a mean that depends neither on the order of its samples
    nor on their being there twice; that arguments and global state stay as they are, that the value is the same each
    time, and that training with the loss can be resumed. Raises AssertionError.
    """
    name, given = named(LOSSES, loss), dict(hyperparameters or {})
    grid = {key: value if isinstance(value, Sequence) else [value] for key, value in given.items()}
    points = [dict(zip(grid, point, strict=True)) for point in itertools.product(*grid.values())]
    outputs = 1 if getattr(LOSSES.get(name), "binary", False) else num_classes
    _check_limits(name, points[0], refused, outputs)
    for point in points:
        said = f"the loss {name!r}" + (f" with {point}" if point else "")
        made = losses.build(name, point)

        def call(logits: Tensor, labels: Tensor, made: nn.Module = made) -> Tensor:
            """Each time in the state in which training begins."""
            value: Tensor = copy.deepcopy(made)(logits, labels)
            return value

        with leaves_settings(said):
            _check_values(call, outputs, said)
            _check_gradient(call, outputs, said, largest_gradient, slopes)
            _check_batch(call, outputs, said)
        _check_state(made, losses.build(name, point), outputs, said)


def samples(outputs: int, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Logits (n, outputs) of this size, and labels (n,) of every class, always the same."""
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(SAMPLES, outputs, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.arange(SAMPLES) % max(outputs, 2)


def _check_limits(name: str, point: Mapping[str, float], refused: Sequence[Mapping[str, float]], outputs: int) -> None:
    try:
        losses.build(name, point)
    except LipbenchError as error:
        raise AssertionError(f"the loss {name!r} cannot be made with {dict(point)}: {error}") from error
    wrong = [{key: value} for key in point for value in (math.nan, math.inf, -math.inf)]
    for change in (*wrong, *refused):
        try:
            losses.build(name, {**point, **change})(*samples(outputs))  # a function sees them only when it is called
        except LipbenchError:
            continue
        raise AssertionError(
            f"the loss {name!r} accepts {dict(change)}: declare the limits of its hyperparameters, and raise "
            "LipbenchError outside of them, as lipbench.training.losses.base.positive does"
        )


def _check_values(loss: Value, outputs: int, said: str) -> None:
    for scale, dtype in itertools.product(SCALES, (torch.float32, torch.float64)):
        logits, labels = samples(outputs, scale, dtype)
        kept, value = (logits.clone(), labels.clone()), loss(logits, labels)
        assert isinstance(value, Tensor), f"{said} returns {type(value).__name__}, expected a tensor"
        assert value.shape == (), f"{said} returns shape {tuple(value.shape)}, expected a scalar: the mean"
        assert torch.isfinite(value), f"{said} is {float(value)} at logits of size {scale:g} in {dtype}"
        assert torch.equal(logits, kept[0]), f"{said} changes the logits in place"
        assert torch.equal(labels, kept[1]), f"{said} changes the labels in place"
        for label in range(max(outputs, 2)):
            one = loss(logits[:1], torch.tensor([label]))
            assert torch.isfinite(one), f"{said} is {float(one)} for a batch of one sample of class {label}"


def _check_gradient(loss: Value, outputs: int, said: str, largest: float, slopes: bool) -> None:
    for scale in SCALES:
        logits, labels = samples(outputs, scale)
        value = loss(logits.requires_grad_(), labels)
        assert value.requires_grad, f"{said} has no gradient: something in it detaches the logits"
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(gradient).all(), f"{said} has a gradient that is not finite at logits of size {scale:g}"
        if scale == 1.0:
            if slopes:
                _check_slope(loss, logits.detach(), labels, gradient, said)
            most = float(SAMPLES * gradient.norm(dim=1).max())
            assert most > 0, f"{said} has no gradient at logits of size 1: it cannot train"
            assert most <= largest, (
                f"{said} has a gradient of {most:.3g} for one sample, above {largest:g}: divide by the scale, so that "
                "a learning rate means the same for every hyperparameter"
            )
        signs = 2.0 * labels[:, None] - 1 if outputs == 1 else nn.functional.one_hot(labels, outputs)
        rising = float((gradient * signs).sum())
        assert rising <= 1e-9, f"{said} rises by {rising:.3g} when the logits of the labels rise: is its sign wrong?"


def _check_slope(loss: Value, logits: Tensor, labels: Tensor, gradient: Tensor, said: str) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        direction = torch.randn(logits.shape, generator=generator, dtype=torch.float64)
        ends = [float(loss(logits + sign * STEP * direction, labels)) for sign in (1, -1)]
        found, expected = (ends[0] - ends[1]) / (2 * STEP), float((gradient * direction).sum())
        scale = max(abs(found), abs(expected), float(gradient.norm()))
        assert abs(found - expected) <= CLOSE * max(scale, 1e-3), (
            f"{said} has the slope {found:.6g} along a direction, its gradient says {expected:.6g}"
        )


def _check_batch(loss: Value, outputs: int, said: str) -> None:
    logits, labels = samples(outputs)
    value, order = float(loss(logits, labels)), torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(2))
    slack = CLOSE * max(1.0, abs(value))
    moved = float(loss(logits[order], labels[order]))
    assert abs(moved - value) <= slack, f"{said} depends on the order of the samples: {value:.6g}, then {moved:.6g}"
    twice = float(loss(torch.cat([logits, logits]), torch.cat([labels, labels])))
    assert abs(twice - value) <= slack, (
        f"{said} is {value:.6g} for a batch and {twice:.6g} for the same samples twice: it must be a mean"
    )


def _check_state(loss: nn.Module, fresh: nn.Module, outputs: int, said: str) -> None:
    """``fresh``: another one, to which the state of the first is given, as when training is resumed."""
    logits, labels = samples(outputs)
    before, first = random_numbers(), float(copy.deepcopy(loss)(logits, labels))
    assert random_numbers() == before, f"{said} draws from the global random numbers, or seeds them"
    again = float(loss(logits, labels))
    assert again == first, f"{said} is {first:.9g}, then {again:.9g} for the same arguments"
    buffer = io.BytesIO()
    torch.save(loss.state_dict(), buffer)
    buffer.seek(0)
    try:
        fresh.load_state_dict(torch.load(buffer, weights_only=True))
    except Exception as error:
        raise AssertionError(f"{said} has a state_dict from which training cannot be resumed: {error}") from error
    whole, resumed = float(loss(logits, labels)), float(fresh(logits, labels))
    assert resumed == whole, (
        f"{said} is {whole:.12g}, and {resumed:.12g} where training is resumed: it keeps something that is not in its "
        "state_dict"
    )
