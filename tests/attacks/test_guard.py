import logging
import math
import random
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lipbench._internal.registry import ATTACKS
from lipbench.attacks import base, guard
from lipbench.attacks.base import Attack
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import Parameter
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError, UnsupportedError

PGD = AttackSpec(name="gradient/pgd")
FAKE = AttackSpec(name="fake/noise")


def trace(frame, event, argument):
    return None


@pytest.fixture
def fake(monkeypatch):
    """``fake(run, **declared)`` registers an attack that is the function ``run(call)``."""

    def install(run, **declared):
        kind = type(
            "Noise", (Attack,), {"name": "fake/noise", "summary": "", "run": lambda self, call: run(call)} | declared
        )
        monkeypatch.setitem(ATTACKS.bundled, "fake/noise", kind)

    return install


def search(case, spec=PGD, *, norm=Norm.L2, eps=0.3, seed=0, x=None, labels=None):
    x = case.x if x is None else x
    labels = case.labels if labels is None else labels
    return guard.search(spec, case.network, x, labels, norm=norm, eps=eps, seed=seed)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (AttackSpec(name="gradiant/pgd"), "did you mean 'gradient/pgd'"),
        (AttackSpec(name="gradient/bisektion"), "did you mean 'gradient/bisection'"),
        (
            AttackSpec(name="gradient/pgd", args={"step": 3}),
            "did you mean 'steps'.*restarts, steps",
        ),
    ],
)
def test_a_spec_that_is_misspelt_is_explained(spec, message):
    with pytest.raises(LipbenchError, match=message):
        guard.attack_of(spec)


def test_a_whole_number_serves_where_the_default_is_a_float():
    spec = AttackSpec(name="art/pgd", args={"step_ratio": 2})
    assert guard.attack_of(spec).name == "art/pgd"


@pytest.mark.parametrize(
    ("name", "args", "classes", "shape", "norm", "message"),
    [
        ("art/deepfool", {}, 10, (1, 8, 8), Norm.Linf, "does not support the norm Linf, only L2"),
        ("autoattack/apgd-dlr", {}, 2, (1, 8, 8), Norm.L2, "needs at least 3 classes, the network has 2"),
        (
            "art/auto_pgd",
            {"loss_type": "difference_logits_ratio"},
            2,
            (1, 8, 8),
            Norm.L2,
            "at least 3 classes",
        ),
        ("art/square", {}, 10, (64,), Norm.Linf, r"serves images \(c, h, w\), got inputs of shape \(64,\)"),
        ("autoattack/square", {}, 10, (3, 64), Norm.L2, r"serves images \(c, h, w\), got inputs of shape \(3, 64\)"),
        ("autoattack/standard", {}, 10, (64,), Norm.L2, r"serves images \(c, h, w\)"),
        ("art/square", {}, 10, (1, 4, 4), Norm.L2, "cannot place its first tile"),
        ("art/square", {}, 10, (1, 1, 20), Norm.Linf, "cannot place its first tile"),
    ],
)
def test_what_an_attack_cannot_do_is_refused_and_others_are_named(name, args, classes, shape, norm, message):
    spec = AttackSpec(name=name, args=args)
    with pytest.raises(UnsupportedError, match=message) as caught:
        guard.supported(spec, classes, shape, norm)
    serving = "gradient/bisection" if name == "art/deepfool" else "gradient/pgd"
    assert serving in str(caught.value).partition("serve this case: ")[2].split(", ")
    assert name not in str(caught.value).partition("serve this case: ")[2].split(", ") or args
    assert "\n" not in str(caught.value)


def test_too_many_classes_are_refused(fake):
    fake(None, max_classes=3)
    guard.supported(FAKE, 3, (1, 8, 8), Norm.L2)
    with pytest.raises(UnsupportedError, match="at most 3 classes, the network has 4"):
        guard.supported(FAKE, 4, (1, 8, 8), Norm.L2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x * 255, y), r"inputs in \[0, 1\], x lies in \[0, 255\]"),
        (lambda x, y: (x - 0.5, y), r"x lies in \[-0.5, 0.5\]"),
        (lambda x, y: (torch.full_like(x, math.nan), y), "NaN or infinite"),
        (lambda x, y: (x.double(), y), r"expected x float32 of shape \(n, 1, 8, 8\), got torch.float64"),
        (lambda x, y: (x.flatten(1), y), r"got torch.float32 of \(5, 64\)"),
        (lambda x, y: (x, y.int()), r"labels int64 of shape \(5,\), got torch.int32"),
        (lambda x, y: (x, y[:-1]), r"labels int64 of shape \(5,\), got torch.int64 of \(4,\)"),
        (lambda x, y: (x, y + 10), r"labels must lie in 0..9, got 1\d..1\d"),
        (lambda x, y: (x, y - 10), r"labels must lie in 0..9, got -"),
        (lambda x, y: (x.to("meta"), y), "x is on meta, the network on cpu"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(case, change, message):
    digits = case(10, 5)
    x, labels = change(digits.x, digits.labels)
    with pytest.raises(LipbenchError, match=message):
        search(digits, x=x, labels=labels)


@pytest.mark.parametrize(
    ("name", "eps", "message"),
    [
        ("gradient/pgd", None, "needs an eps"),
        ("gradient/pgd", 0.0, "finite and above 0"),
        ("gradient/pgd", math.nan, "finite and above 0"),
        ("gradient/pgd", math.inf, "finite and above 0"),
        ("gradient/pgd", 1e300, r"at most 1e\+06, got 1e\+300"),
        ("gradient/pgd", True, "eps must be a number, got True"),
        ("gradient/pgd", "0.3", "eps must be a number, got '0.3'"),
        ("gradient/pgd", torch.tensor([1.0, 1, 1, 1, math.nan]), "finite and above 0"),
        ("gradient/pgd", torch.ones(4), r"eps of shape \(5,\)"),
        ("gradient/pgd", torch.tensor([1.0, 1, 1, 1, 0]), "finite and above 0"),
        ("art/pgd", torch.ones(5), "one eps for all samples"),
        ("gradient/bisection", 0.3, "takes no eps, got 0.3"),
    ],
)
def test_an_eps_that_does_not_fit_is_refused(case, name, eps, message):
    with pytest.raises(LipbenchError, match=message):
        search(case(10, 5), AttackSpec(name=name), eps=eps)


def global_state(network):
    parameter = next(network.parameters())
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "random": random.getstate(),
        "trace": sys.gettrace(),
        "gradients on": torch.is_grad_enabled(),
        "modes": [module.training for module in network.modules()],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "gradient": None if parameter.grad is None else parameter.grad.tolist(),
        "levels": [logging.getLogger(name).level for name in ("art", "auto-attack")],
        "warnings": list(warnings.filters),
    }


def spoil(network):
    torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
    sys.settrace(None)
    torch.set_grad_enabled(False)
    network.train()
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 7)
    next(network.parameters()).requires_grad_(True)
    logging.getLogger("art").setLevel(logging.DEBUG)
    warnings.simplefilter("error")


@pytest.mark.parametrize("gradient", [None, 3.0])
@pytest.mark.parametrize("error", [None, IndexError("index 9 is out of bounds"), KeyboardInterrupt()])
def test_global_state_is_put_back(case, fake, error, gradient):
    digits = case(10, 5)
    for parameter in digits.network.parameters():
        parameter.grad = None if gradient is None else torch.full_like(parameter, gradient)
    digits.network.module[0].train()

    def run(call):
        spoil(call.network)
        if error is not None:
            raise error
        return call.x

    fake(run)
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        before = global_state(digits.network)
        if error is None:
            search(digits, FAKE)
        else:
            expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else LipbenchError
            with pytest.raises(expected):
                search(digits, FAKE)
        after = global_state(digits.network)
    finally:
        sys.settrace(previous)
    assert after == before


@pytest.mark.parametrize("name", ["autoattack/standard", "autoattack/fab-t", "art/pgd", "art/square"])
def test_the_libraries_leave_no_trace(case, name, capfd):
    known = base.named(name)
    quick = {"n_iter": 5, "n_queries": 20, "max_iter": 5, "targets": 2}
    spec = AttackSpec(name=name, args={key: quick[key] for key in quick if key in known.defaults})
    digits = case(10, 5)
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        before = global_state(digits.network)
        search(digits, spec, eps=None if known.minimal_norm else 0.3)
        after = global_state(digits.network)
    finally:
        sys.settrace(previous)
    assert after == before
    assert capfd.readouterr() == ("", "")


def test_a_librarys_exception_becomes_one_line(case, fake):
    def run(call):
        raise IndexError("index 9\n  is out of bounds")

    fake(run)
    with pytest.raises(LipbenchError, match=r"^fake/noise failed: IndexError: index 9 is out of bounds$"):
        search(case(10, 5), FAKE)


def test_candidates_are_brought_into_range(case, fake):
    digits = case(10, 4)

    def run(call):
        found = call.x.double().requires_grad_() * 1
        found[0] = math.nan
        found[1] = math.inf
        found[2] = 5.0
        found[3] = -5.0
        return found

    fake(run)
    found = search(digits, FAKE)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    expected = torch.stack([digits.x[0], digits.x[1], torch.ones(1, 8, 8), torch.zeros(1, 8, 8)])
    assert torch.equal(found, expected)


def test_candidates_of_another_shape_are_refused(case, fake):
    fake(lambda call: call.x[1:])
    with pytest.raises(LipbenchError, match=r"returned shape \(3, 1, 8, 8\), expected \(4, 1, 8, 8\)"):
        search(case(10, 4), FAKE)


def test_the_attack_sees_correct_samples_only_and_cannot_change_the_inputs(case, fake):
    digits = case(10, 4)
    labels = digits.labels.clone()
    labels[1] = (labels[1] + 1) % 10
    seen = []

    def run(call):
        seen.append(call.labels.clone())
        return call.x.fill_(0.5)

    fake(run)
    original = digits.x.clone()
    found = search(digits, FAKE, labels=labels)
    assert torch.equal(seen[0], labels[[0, 2, 3]])
    assert torch.equal(found[1], original[1])
    assert (found[[0, 2, 3]] == 0.5).all()
    assert torch.equal(digits.x, original)


def test_the_attack_sees_the_rows_of_correct_samples_only(case, fake):
    digits = case(10, 4)
    labels = digits.labels.clone()
    labels[1] = (labels[1] + 1) % 10
    reachable = torch.rand(4, 10, generator=torch.Generator().manual_seed(0)) < 0.5
    given = AttackBatch(torch.tensor([7, 3, 0, 5]), 9, seed=2, reachable=reachable)
    eps = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    calls = []

    def run(call):
        calls.append(call)
        with call.batch.counting(call.network, torch.tensor([0, 0, 2])):
            call.network(call.x[[0, 0, 2]])
        call.network(call.x[:2])  # which it does not count
        return call.x

    fake(run, per_sample_eps=True)
    guard.search(FAKE, digits.network, digits.x, labels, norm=Norm.L2, eps=eps, seed=2, batch=given)
    (call,) = calls
    assert call.batch.index.tolist() == [7, 0, 5]
    assert (call.batch.population, call.batch.seed) == (9, 2)
    assert torch.equal(call.batch.reachable, reachable[[0, 2, 3]])
    assert torch.equal(call.eps, guard.inner_eps(eps[[0, 2, 3]], Norm.L2, 64))
    # 3 passes were counted, 2 and the 4 that find the correct samples shared out, the first rows taking the remainder
    assert given.forward.tolist() == [2 + 2, 0 + 2, 0 + 1, 1 + 1]
    assert given.backward.tolist() == [0] * 4


def test_without_rows_every_sample_is_a_row_of_its_own_shard(case, fake):
    seen = []
    fake(lambda call: seen.append(call.batch) or call.x)
    search(case(10, 3), FAKE, seed=4)
    assert (seen[0].index.tolist(), seen[0].population, seen[0].seed) == ([0, 1, 2], 3, 4)
    assert seen[0].reachable is None


@pytest.mark.parametrize("misclassified", [True, False])
def test_nothing_to_attack_returns_at_once(case, fake, misclassified):
    def run(call):
        raise AssertionError("nothing is left to attack")

    fake(run)
    digits = case(10, 3 if misclassified else 0)
    found = search(digits, FAKE, labels=(digits.labels + 1) % 10)
    assert torch.equal(found, digits.x)


def test_arguments_reach_the_attack_over_its_defaults(case, fake):
    calls = []

    def run(call):
        calls.append(call)
        return call.x

    fake(run, steps=Parameter(3, ""), restarts=Parameter(1, ""))
    search(case(10, 2), FAKE.model_copy(update={"args": {"steps": 9}}), norm=Norm.Linf, seed=5)
    (call,) = calls
    assert call.arguments == {"steps": 9, "restarts": 1}
    assert (call.norm, call.seed) == (Norm.Linf, 5)
    assert call.eps == guard.inner_eps(0.3, Norm.Linf, 64)


def test_candidates_are_measured_in_float64_and_classified_by_the_network(case):
    digits = case(10, 4)
    flat = digits.network.predict(torch.zeros(1, 1, 8, 8)).argmax(1).item()
    labels = torch.tensor([(flat + 1) % 10, flat, (flat + 1) % 10, (flat + 1) % 10])
    x = torch.full((4, 1, 8, 8), 0.1)
    candidates = torch.zeros(4, 1, 8, 8)
    candidates[2, 0, 0, 0] = -1e-7
    candidates[3, 0, 0, 0] = math.nan
    pixel = np.float64(np.float32(0.1))
    for norm, distance in ((Norm.L2, 8 * pixel), (Norm.Linf, pixel)):
        adversarial, distances, predicted = guard.check_candidates(digits.network, x, labels, candidates, norm)
        assert adversarial.tolist() == [True, False, False, False]
        assert distances.dtype == np.float64
        assert distances[0] == pytest.approx(distance, rel=1e-14)
        assert np.isinf(distances[1:]).all()
        assert predicted.tolist() == [flat, -1, -1, -1]


def test_no_candidates_and_candidates_of_the_wrong_shape(case):
    digits = case(10, 3)
    none = digits.first(0)
    arrays = guard.check_candidates(none.network, none.x, none.labels, none.x, Norm.L2)
    assert [len(array) for array in arrays] == [0, 0, 0]
    with pytest.raises(LipbenchError, match=r"shape \(3, 1, 8, 8\), got torch.float32 of \(2, 1, 8, 8\)"):
        guard.check_candidates(digits.network, digits.x, digits.labels, digits.x[:2], Norm.L2)


@given(
    eps=st.floats(1e-12, 100),
    norm=st.sampled_from(list(Norm)),
    dimension=st.integers(1, 200_000),
)
def test_inner_eps_is_a_little_smaller_and_never_less_than_half(eps, norm, dimension):
    inner = guard.inner_eps(eps, norm, dimension)
    assert eps / 2 <= inner < eps
    tensor = guard.inner_eps(torch.tensor([eps], dtype=torch.float64), norm, dimension)
    assert tensor.tolist() == [inner]


@pytest.mark.parametrize("dimension", [64, 3072, 50_000])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("eps", [1e-3, 8 / 255, 0.5, 3.0])
def test_rounding_to_float32_stays_within_eps(eps, norm, dimension):
    """The projections of the libraries, in float32, from random points: a candidate at the inner radius."""
    generator = torch.Generator().manual_seed(0)
    inner = guard.inner_eps(eps, norm, dimension)
    x = torch.rand(50, dimension, generator=generator)
    if norm is Norm.L2:
        direction = torch.randn(50, dimension, generator=generator)
        candidates = x + direction / direction.norm(dim=1, keepdim=True) * inner
    else:
        candidates = x + inner * torch.where(torch.rand(50, dimension, generator=generator) < 0.5, -1.0, 1.0)
    candidates = candidates.clamp(0, 1)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(dimension, 2)), (1, 1, dimension))
    shape = (50, 1, 1, dimension)
    predicted = network.predict(candidates.view(shape)).argmax(1)
    _, distance, _ = guard.check_candidates(network, x.view(shape), 1 - predicted, candidates.view(shape), norm)
    assert (distance <= eps).all()
    assert np.isfinite(distance).all()
