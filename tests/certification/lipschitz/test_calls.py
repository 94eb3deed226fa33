"""Every form of a call gets the bound of what it computes."""

import inspect

import numpy as np
import pytest
import torch
from call_forms import Blend, Opened
from measured import Forward, dense_norm
from torch import fx, nn
from torch.nn import functional as F

from lipbench.certification.lipschitz import Effect, calls, lipschitz_bound, rule
from lipbench.certification.lipschitz.table import RULES
from lipbench.errors import UnsupportedError

C = torch.tensor
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def affine(x):
    return torch.tanh(x) * 0 + x


# --- arguments: the constant is the truth, whatever the form of the call ---------------------------------------------


FORMS = [
    (lambda m, x: torch.add(other=x * 10.0, input=x * 1.0, alpha=3), 31),
    (lambda m, x: torch.add(alpha=3, other=x * 10.0, input=x * 1.0), 31),
    (lambda m, x: torch.add(x * 1.0, alpha=3, other=x * 10.0), 31),
    (lambda m, x: (x * 1.0).add(alpha=3, other=x * 10.0), 31),
    (lambda m, x: (x * 1.0).add_(alpha=3, other=x * 10.0), 31),
    (lambda m, x: torch.add(x2=x * 10.0, x1=x * 1.0, alpha=3), 31),
    (lambda m, x: torch.sub(alpha=3, other=x * -10.0, input=x * 1.0), 31),
    (lambda m, x: torch.subtract(other=x * -10.0, alpha=3, input=x * 1.0), 31),
    (lambda m, x: torch.rsub(other=x * 10.0, alpha=3, input=x * -1.0), 13),
    (lambda m, x: torch.lerp(weight=0.1, end=10 * x, input=x), 1.9),
    (lambda m, x: torch.lerp(end=10 * x, weight=C(0.1), input=x), 1.9),
    (lambda m, x: torch.div(other=4, input=x), 0.25),
    (lambda m, x: torch.mul(other=x, input=m.scales), 4),
    (lambda m, x: m.scales.mul(other=x), 4),
    (lambda m, x: torch.mul(2.0, x), 2),
    (lambda m, x: torch.div(x, other=m.scales), 1),
    (lambda m, x: torch.sum(keepdims=True, axis=1, input=x), 2),
    (lambda m, x: torch.mean(keepdim=True, dim=1, input=x), 0.5),
    (lambda m, x: torch.cat(dim=1, tensors=[x, 3 * x]), np.sqrt(10)),
    (lambda m, x: torch.concatenate(axis=1, tensors=[3 * x, x]), np.sqrt(10)),
    (lambda m, x: F.linear(bias=m.scales, weight=m.row, input=x), 5),
    (lambda m, x: torch.matmul(other=m.row.T, input=x), 5),
    (lambda m, x: F.leaky_relu(negative_slope=-7.0, input=x), 7),
    (lambda m, x: F.elu(inplace=False, alpha=-4.0, input=x), 4),
    (lambda m, x: torch.clamp(max=1.0, input=3 * x, min=-1.0), 3),
    (lambda m, x: F.hardtanh(max_val=2.0, input=3 * x, min_val=-1.0), 3),
    (lambda m, x: F.pad(value=2.0, pad=(1, 1), input=x), 1),
    (lambda m, x: F.batch_norm(x, weight=m.scales, eps=0.0, running_var=m.variance, running_mean=m.scales), 8),
    (lambda m, x: m.dense(input=x), 5),
    (lambda m, x: m.blend(second=5 * x, first=x), 14),
    (lambda m, x: m.blend(first=5 * x, second=x), 4),
    (lambda m, x: m.blend(5 * x, second=x), 4),
    (lambda m, x: m.opened(second=5 * x, share=-1.0, first=x), 21),
    (lambda m, x: m.combined(y=3 * x, x=x), 2.5),
]


@pytest.mark.parametrize(("function", "constant"), FORMS)
def test_the_form_of_a_call_does_not_matter(function, constant):
    from lipbench.models.architectures import ConvexCombination

    dense = nn.Linear(4, 4)
    row = torch.zeros(4, 4)
    row[0, :2] = C([3.0, 4.0])
    dense.weight.data = row.clone()
    combined = ConvexCombination()
    combined.weight.data = C(0.25)
    network = Forward(
        function, scales=C([1.0, -4, 2, 3]), variance=C([1.0, 0.25, 1, 1]), row=row, dense=dense, blend=Blend(),
        opened=Opened(), combined=combined,
    )  # fmt: skip
    bound = lipschitz_bound(network, (4,))
    assert bound == pytest.approx(constant, rel=1e-6)
    if "elu" not in str(function.__code__.co_names) and "clamp" not in function.__code__.co_names:
        assert bound >= dense_norm(Forward(lambda m, x: function(network.double(), x)), (4,)) * (1 - 1e-12)


def test_broadcast_operands_keep_their_own_constants():
    """One of four numbers is repeated: its constant is twice its own, whichever comes first."""
    for function in (
        lambda m, x: torch.add(other=x, input=10 * x[:, :1]),
        lambda m, x: torch.add(input=x, other=10 * x[:, :1]),
        lambda m, x: x + 10 * x[:, :1],
        lambda m, x: torch.sub(x, alpha=-10, other=x[:, :1]),
    ):
        assert lipschitz_bound(Forward(function), (4,)) == pytest.approx(21)
    stacked = lipschitz_bound(Forward(lambda m, x: torch.maximum(other=x, input=10 * x[:, :1])), (4,))
    assert stacked == pytest.approx(np.sqrt(401))


# --- users' rules ----------------------------------------------------------------------------------------------------


@fx.wrap
def weighed(first, second, share=3.0):
    return share * first + affine(second)


WEIGHED = {  # rules of other signatures for the same function, and whether they can be understood
    lambda first, second, share=1.0: Effect((share, 1.0)): True,
    lambda second, first, share=1.0: Effect((1.0, share)): True,
    lambda *, share, first, second: Effect((share, 1.0)): True,
    lambda a, b, c=1.0: Effect((c, 1.0)): True,
    lambda one, second, factor=1.0: Effect((factor, 1.0)): True,
    lambda a, first, c=1.0: Effect((c, 1.0)): False,  # ``first`` stands at the place of ``second``
    lambda first, second, factor=1.0: Effect((factor, 1.0)): True,
    lambda first, second: Effect((3.0, 1.0)): True,  # for the default only
    lambda *tensors, **more: Effect((3.0, 1.0)): True,  # it says itself that the order does not matter
}


@pytest.mark.parametrize("made", list(WEIGHED))
def test_rules_of_users_see_calls_by_the_functions_own_signature(made):
    rule(weighed)(made)
    try:
        for function in (
            lambda m, x: weighed(2 * x, 5 * x),
            lambda m, x: weighed(second=5 * x, first=2 * x),
            lambda m, x: weighed(2 * x, share=3.0, second=5 * x),
        ):
            if not WEIGHED[made]:
                with pytest.raises(UnsupportedError, match="must take its arguments"):
                    lipschitz_bound(Forward(function), (4,))
            elif made.__code__.co_flags & 4 and function.__code__.co_consts[-1] != (2, 5):
                continue  # such a rule numbers the tensors as they come
            else:
                assert lipschitz_bound(Forward(function), (4,)) == pytest.approx(11)
    finally:
        RULES.pop(weighed)


def test_a_default_that_the_rule_does_not_know_is_not_replaced_by_its_own():
    rule(weighed)(lambda a, b, *, factor=1.0: Effect((factor, 1.0)))
    try:
        with pytest.raises(UnsupportedError, match="must take its arguments"):
            lipschitz_bound(Forward(lambda m, x: weighed(x, x)), (4,))
    finally:
        RULES.pop(weighed)


def test_layers_of_users_get_their_shapes_in_the_order_of_the_forward():
    class Joined(nn.Module):
        def forward(self, wide, narrow):
            return wide + affine(narrow).repeat(1, 2)

    shapes = []
    rule(Joined)(lambda layer, *given: shapes.append(given) or Effect((1.0, np.sqrt(2))))
    network = Forward(lambda m, x: m.joined(narrow=7 * x[:, :2], wide=x), joined=Joined())
    assert lipschitz_bound(network, (4,)) == pytest.approx(1 + 7 * np.sqrt(2))
    assert shapes == [((4,), (2,))]


def test_rules_of_lipbench_take_the_arguments_of_torch():
    """By name, for each schema that torch has: or a keyword would be refused, and a place misread."""
    unknown = set()
    for target, found in RULES.items():
        own = isinstance(target, str) or getattr(target, "__module__", "") in (None, "torch", "_operator", F.__name__)
        if (
            isinstance(target, type)
            or not own
            or target in ("to", "type_as", "float", "double")
            or "." in str(target)[:9]
        ):
            continue
        for signature in filter(lambda one: not calls.is_variadic(one), calls.signatures(target)):
            wanted = {name: object() for name, one in signature.parameters.items() if one.default is one.empty}
            places = [wanted[name] for name in wanted if signature.parameters[name].kind in POSITIONAL]
            named = {name: value for name, value in wanted.items() if value not in places}
            try:
                bound = calls.for_rule(target, inspect.signature(found), signature.bind(*places, **named))
            except UnsupportedError:
                unknown |= signature.parameters.keys() - inspect.signature(found).parameters.keys()
                continue
            for name, value in wanted.items():
                given = [key for key, one in bound.arguments.items() if one is value]
                assert given == [name] or name in ("a", "b"), (target, name, given)
    assert unknown <= {"rounding_mode", "out_dtype"}
