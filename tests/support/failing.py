"""Networks and attacks that fail, each in a way of its own. Of the top level, so that workers can load them."""

import os
import signal

import torch
from torch import Tensor, nn

from lipbench.attacks.base import Attack, AttackCall

CALLS: list[int] = []  # sizes of the batches that ``RaisesLater`` was given in this process


class AwkwardError(Exception):
    """It cannot be sent to another process: it holds a function, and takes two arguments."""

    def __init__(self, code: int, text: str):
        super().__init__(f"{text}\n\x1b[31m{code}")
        self.held = lambda: code


def chain(seed: int = 0, inputs: int = 64) -> nn.Sequential:
    """An untrained network of digits."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 10))


class Wrapped(nn.Module):
    """A network inside another one."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class RaisesLater(Wrapped):
    """Raises from its third large batch on, as a lost file or a race would."""

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor) and len(x) > 20:
            CALLS.append(len(x))
            if len(CALLS) > 2:
                raise AwkwardError(7, "the table is gone")
        return self.body(x)


class CutOff(Wrapped):
    """Its outputs have no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x.detach())


class Overflows(Wrapped):
    """Its logits are NaN at some images of digits, whose left column is black; traced, it is the network inside."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.body(x)
        if not isinstance(x, Tensor):
            return out
        here = (x[..., 0].flatten(1).sum(dim=1) == 0) & (x.flatten(1)[:, 10:12].sum(dim=1) > 1.2)
        return torch.where(here[:, None], torch.nan, out)


class Kills(Wrapped):
    """Ends its process, as a fault in a compiled layer does, once it is given a large batch."""

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor) and len(x) > 20:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.body(x)


class Refuses(Attack):
    """An attack that takes only inputs of another shape."""

    name = "test/refuses"
    summary = "takes only images of 32 by 32"

    def obstacle(self, arguments, num_classes, input_shape, norm):
        return None if input_shape[-1] == 32 else f"takes only images of 32 by 32, not {input_shape}"

    def run(self, call: AttackCall) -> Tensor:
        return call.x


class Breaks(Attack):
    """An attack that raises in its search."""

    name = "test/breaks"
    summary = "raises an error of its own"

    def run(self, call: AttackCall) -> Tensor:
        raise AwkwardError(3, "no such index")
