"""Networks with state outside of their graph are no functions of their input, and are refused."""

import contextvars
import functools
import itertools
import random
from dataclasses import dataclass

import measured
import numpy as np
import pytest
import torch
from measured import Forward
from torch import nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError

C = torch.tensor


MASK = C([0.0, 0, 0, -1e9])


class Calls(nn.Module):
    """The identity at first; another function after many calls, in one of the ways in which Python can count."""

    def __init__(self, count):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.count = count

    def forward(self, x):
        return self.weight * x * (10 if self.count() > 10_000 else 1)


class Attribute(Calls):
    def __init__(self, start, more):
        super().__init__(lambda: 0)
        self.held, self.more = start, more

    def forward(self, x):
        self.more(self)
        return self.weight * x


def counter():
    numbers = itertools.count()
    return Calls(lambda: next(numbers))


def enclosed():
    calls_so_far = []
    return Calls(lambda: calls_so_far.append(1) or len(calls_so_far))


def by_default(x, seen=[]):  # noqa: B006  that is what it is about
    seen.append(1)
    return x * (10 if len(seen) > 10_000 else 1)


TOTAL = {"calls": 0}


def globally(m, x):
    TOTAL["calls"] += 1
    return x * (10 if TOTAL["calls"] > 10_000 else 1)


def set_item(m):
    m.held["n"] = m.held.get("n", 0) + 1


class OfTheClass(nn.Module):
    calls, seen = 0, []

    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, x):
        return x * (10 if self.count(type(self)) > 10_000 else 1)


def one_more(kind):
    kind.calls += 1
    return kind.calls


class Helper:
    """No module, with an attribute, a class attribute or a global variable of its own."""

    number, total = 0, [0]

    def own(self, x):
        self.number = self.number + 1
        return x

    def shared(self, x):
        Helper.total[0] += 1
        return x

    def globally(self, x):
        TOTAL["calls"] += 1
        return x


def generated():
    number = 0
    while True:
        number += 1
        yield number


def nested(m, x):
    def count():
        TOTAL["calls"] += 1
        return TOTAL["calls"]

    return x * (10 if count() > 10_000 else 1)


measured.calls = 0


def in_a_module(m, x):
    measured.calls += 1
    return x


def through_others(m, x):
    return globally(m, x)


class Slotted:
    __slots__ = ("number",)

    def __init__(self):
        self.number = 0

    def count(self):
        self.number += 1
        return self.number


@dataclass(slots=True)
class Record:
    number: int = 0


def recorded(m, x):
    RECORD.number += 1
    return x * (10 if RECORD.number > 10_000 else 1)


@functools.wraps(F.relu)
def wrapped(x):
    TOTAL["calls"] += 1
    return x * (10 if TOTAL["calls"] > 10_000 else 1)


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.number = 0

    def forward(self, x):
        self.number += 1
        return x * (10 if self.number > 10_000 else 1)


HELPER, GENERATED, LISTED = Helper(), generated(), iter(range(10**6))


SLOTTED, RECORD, OUTSIDE = Slotted(), Record(), [Hidden()]


ZIPPED, CYCLED = zip(range(10**6), range(10**6), strict=True), itertools.cycle(range(10**5))


ENUMERATED, LEGACY, BYTES = enumerate(range(10**6)), np.random.RandomState(0), bytearray(4)


CONTEXT = contextvars.ContextVar("calls", default=0)


def in_context(m, x):
    CONTEXT.set(CONTEXT.get() + 1)
    return x * (10 if CONTEXT.get() > 10_000 else 1)


def in_bytes(m, x):
    BYTES[0] = (BYTES[0] + 1) % 256
    return x


STATES = [
    OfTheClass(one_more),
    OfTheClass(lambda kind: kind.seen.append(1) or len(kind.seen)),
    Forward(lambda m, x: HELPER.own(x)),
    Forward(lambda m, x: HELPER.shared(x)),
    Forward(lambda m, x: HELPER.globally(x)),
    Forward(lambda m, x: m.helper.own(x), helper=Helper()),
    Forward(lambda m, x: x * (10 if next(GENERATED) > 10_000 else 1)),
    Forward(lambda m, x: x * (10 if next(LISTED) > 10_000 else 1)),
    Forward(nested),
    Forward(through_others),
    Forward(lambda m, x: setattr(m.relu, "calls", getattr(m.relu, "calls", 0) + 1) or m.relu(x), relu=nn.ReLU()),
    Forward(in_a_module),
    Forward(lambda m, x: x * (10 if SLOTTED.count() > 10_000 else 1)),
    Forward(recorded),
    Forward(lambda m, x: wrapped(x)),
    Forward(lambda m, x: OUTSIDE[0].forward(x)),
    Forward(lambda m, x: x * (10 if next(ZIPPED)[0] > 10_000 else 1)),
    Forward(lambda m, x: x * (10 if next(CYCLED) > 10_000 else 1)),
    Forward(lambda m, x: x * (10 if next(ENUMERATED)[0] > 10_000 else 1)),
    Forward(lambda m, x: x * (10 if LEGACY.random() < 1e-9 else 1)),
    Forward(in_context),
    Forward(in_bytes),
    enclosed(),
    counter(),
    Forward(lambda m, x: by_default(x)),
    Forward(globally),
    Attribute([0], lambda m: m.held.append(1)),
    Attribute({}, set_item),
    Attribute(set(), lambda m: m.held.add(len(m.held))),
    Attribute(0.5, lambda m: setattr(m, "held", m.held + 1)),
    Attribute(np.zeros(1), lambda m: m.held.__iadd__(1)),
    Attribute(torch.zeros(1), lambda m: m.held.add_(1)),
    Attribute(torch.zeros(1), lambda m: m.held.data.add_(1)),
    Attribute([[{"deep": torch.zeros(1)}]], lambda m: m.held[0][0]["deep"].add_(1)),
    Attribute(None, lambda m: m.weight.data.mul_(1.000001)),
    Attribute(random.Random(0), lambda m: m.held.random()),
    Attribute(torch.Generator(), lambda m: torch.rand(1, generator=m.held)),
    Forward(lambda m, x: x * (10 if random.random() < 1e-9 else 1)),
    Forward(lambda m, x: x * (10 if np.random.random() < 1e-9 else 1)),  # noqa: NPY002
    Forward(lambda m, x: x * (10 if torch.rand(1).item() < 1e-9 else 1)),
    Forward(lambda m, x: x + 1e-12 * torch.randn(4)),
    Forward(lambda m, x: x + 0.5 * torch.randn(4) + m.mask, mask=MASK),
]


@pytest.mark.parametrize("network", STATES)
def test_state_outside_of_the_graph_is_refused(network):
    with pytest.raises(LipbenchError, match=r"state|random|function of its input|copied|in place"):
        lipschitz_bound(network, (4,))


def test_what_a_forward_only_stores_is_no_state():
    class Storing(nn.Module):
        def forward(self, x):
            self.last = x * 2
            return self.last

    assert lipschitz_bound(nn.Sequential(Storing(), nn.Linear(4, 2)), (4,)) > 0


def test_a_forward_that_changes_its_weights_does_not_change_those_that_were_given():
    network = Attribute(None, lambda m: m.weight.data.mul_(2))
    with pytest.raises(LipbenchError):
        lipschitz_bound(network, (4,))
    assert torch.equal(network.weight, torch.ones(4))
