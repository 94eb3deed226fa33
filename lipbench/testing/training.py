"""Checks of an optimizer and of an executor."""

import io
from typing import Any

import torch
from torch import Tensor, nn

from lipbench._internal.registry import EXECUTORS, OPTIMIZERS
from lipbench.errors import LipbenchError
from lipbench.testing.state import leaves_settings, named
from lipbench.testing.tasks import doubled, refused
from lipbench.training import optimizers
from lipbench.training.recipes import Training
from lipbench.work import executors

STEPS = 60


def check_optimizer(optimizer: Any, args: dict[str, Any] | None = None, *, learning_rate: float = 0.01) -> None:
    """Check an optimizer.

    optimizer: a registered name, or a callable ``(parameters, lr, weight_decay, **arguments)``; args: the arguments, as
    a recipe has them; learning_rate: one at which it lowers the square of a distance of about 3.

    Checked are: that it lowers a quadratic function; that a learning rate of 0 changes nothing, as it follows the
    schedule; and that it goes on from its saved state as if it had not stopped. Raises AssertionError.
    """
    name = named(OPTIMIZERS, optimizer)
    how, said = (
        Training(epochs=1, learning_rate=learning_rate, optimizer=name, optimizer_args=args),
        f"the optimizer {name!r}",
    )
    with leaves_settings(said):
        whole, made = _start(how)
        begin = float(_loss(whole.detach()))
        _steps(whole, made, STEPS, learning_rate)
        end = float(_loss(whole.detach()))
        assert end < begin, f"{said} does not lower a quadratic function: {begin:.3g}, then {end:.3g}"
        kept = whole.detach().clone()
        _steps(whole, made, 1, 0.0)
        assert torch.equal(whole, kept), f"{said} moves at a learning rate of 0: read lr from its param_groups"
        half, first = _start(how)
        _steps(half, first, STEPS // 2, learning_rate)
        buffer = io.BytesIO()
        torch.save(first.state_dict(), buffer)
        buffer.seek(0)
        try:
            state = torch.load(buffer, weights_only=True)
        except Exception as error:
            raise AssertionError(f"{said} has a state that cannot be loaded without running code: {error}") from error
        rest = nn.Parameter(half.detach().clone())
        second = optimizers.build(how, [rest])
        second.load_state_dict(state)
        _steps(rest, second, STEPS - STEPS // 2, learning_rate)
        assert torch.equal(rest, kept), f"{said} does not resume where it stopped: keep everything in its state"


def _start(how: Training) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    parameter = nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))
    return parameter, optimizers.build(how, [parameter])


def _loss(parameter: Tensor) -> Tensor:
    return (parameter - 3).square().sum()


def _steps(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, steps: int, rate: float) -> None:
    for _ in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        _loss(parameter).backward()
        optimizer.step()


def check_executor(executor: Any, *, jobs: int = 2) -> None:
    """Check an executor.

    executor: a registered name, or a callable ``(jobs, threads)`` that makes one; jobs: processes.

    Checked are: that every task is done once, also where there are none; and that the error of a task is raised as it
    is. Raises AssertionError.
    """
    name = named(EXECUTORS, executor)
    made, said = executors.build(name, jobs=jobs), f"the executor {name!r}"
    found = sorted(made.run(doubled, list(range(3))))
    assert found == [0, 2, 4], f"{said} gave {found} for the tasks 0, 1 and 2, expected each result once"
    assert list(made.run(doubled, [])) == [], f"{said} gave results for no task"
    try:
        list(made.run(refused, [1]))
    except LipbenchError as error:
        raised = str(error)
    else:
        raised = "nothing"
    assert raised == "task 1 is refused", f"{said} raised {raised}, expected the error of the task"
