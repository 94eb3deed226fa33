"""Every attack, on every number of classes that it serves."""

import random

import numpy as np
import pytest
import torch
from attacking import served

from lipbench.attacks import base, guard
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.optional import OptionalAttack
from lipbench.attacks.suites import AttackSpec
from tests.attacks.conftest import Case

QUICK = {"n_iter": 20, "n_queries": 60, "max_iter": 20, "targets": 3, "batch_size": 10, "num_steps": 60}
QUICK_OPTIONAL = {"steps": 60}
ATTACKS = base.names()
EPS = {Norm.L2: 0.6, Norm.Linf: 0.1}
WEAK = {"art/square", "autoattack/square", "art/fgm"}  # one step, or random search with few queries: may find nothing


def quick(attack: str, **args) -> AttackSpec:
    declared = served(attack)
    fast = QUICK | QUICK_OPTIONAL if isinstance(declared, OptionalAttack) else QUICK
    chosen = {key: value for key, value in fast.items() if key in declared.defaults}
    return AttackSpec(name=attack, args={**chosen, **args})


def run(case, spec, norm, *, seed=0, eps=None):
    minimal = guard.attack_of(spec).minimal_norm
    eps = None if minimal else (EPS[norm] if eps is None else eps)
    found = guard.search(spec, case.network, case.x, case.labels, norm=norm, eps=eps, seed=seed)
    return found, *guard.check_candidates(case.network, case.x, case.labels, found, norm)


def test_every_library_is_there():
    """The names come from the modules: a module that is not found would be missing below without a word."""
    assert {name.partition("/")[0] for name in ATTACKS} == {"gradient", "art", "autoattack", "foolbox", "adv_lib"}
    assert len(ATTACKS) >= 26


@pytest.fixture(scope="session")
def nearest(case):
    """``nearest(classes, norm)``: the case of 16 samples and a radius at which most of them can be broken."""
    known = {}

    def make(classes, norm):
        if (classes, norm) not in known:
            digits = case(classes, 16, scale=10.0)
            _, _, distance, _ = run(digits, quick("gradient/bisection"), norm)
            known[classes, norm] = digits, float(1.2 * np.quantile(distance, 0.8))
        return known[classes, norm]

    return make


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 10])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_find_what_is_there(nearest, attack, norm, classes):
    spec = quick(attack)
    declared = guard.attack_of(spec)
    if norm not in declared.norms or max(classes, 2) < declared.min_classes:
        pytest.skip("not served, as declared")
    digits, eps = nearest(classes, norm)
    found, adversarial, _, label = run(digits, spec, norm, eps=eps)
    assert found.dtype == torch.float32
    assert found.shape == digits.x.shape
    assert found.min() >= 0
    assert found.max() <= 1
    if attack not in WEAK:
        assert adversarial.mean() >= (1.0 if declared.minimal_norm else 0.6)
    assert (label[adversarial] != digits.labels.numpy()[adversarial]).all()
    assert (label[adversarial] < max(classes, 2)).all()


GEOMETRIC = {"art/square", "autoattack/square", "autoattack/standard"}  # they move tiles of images


@pytest.mark.parametrize("shape", [(64,), (8, 8), (1, 64), (16, 4)])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in GEOMETRIC])
def test_an_attack_finds_the_same_on_vectors_and_series(case, attack, norm, shape):
    """The network reads the same 64 numbers: an attack of norms and gradients cannot tell the difference."""
    served(attack, norm)
    images = case(10, 8, scale=10.0)
    network = Network(images.network.module, shape)
    others = Case(network, images.x.reshape(-1, *shape), images.labels)
    found, *measured = run(images, quick(attack), norm, seed=1)
    other, *again = run(others, quick(attack), norm, seed=1)
    assert other.shape == others.x.shape
    torch.testing.assert_close(other.reshape(found.shape), found, rtol=0, atol=1e-6)
    for one, two in zip(measured, again, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5)
    assert measured[0].any()
    assert network.evaluations.total > 8  # counted through the view


def test_attacks_that_move_tiles_serve_images_alone():
    assert {name for name in ATTACKS if base.named(name).ranks == {3}} == GEOMETRIC


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("attack", [name for name in ATTACKS if not base.named(name).minimal_norm])
def test_the_measured_distance_never_exceeds_eps(case, attack, norm):
    digits = case(10, 30, scale=20.0)
    known = base.named(attack).defaults
    spec = quick(attack, **({"batch_size": 30} if "batch_size" in known else {}))
    broken = 0
    for eps in np.geomspace(0.3, 3, 5) * EPS[norm]:
        _, adversarial, distance, _ = run(digits, spec, norm, eps=float(eps), seed=int(1e6 * eps))
        assert (distance[adversarial] <= eps).all(), (eps, (distance[adversarial] / eps).max() - 1)
        broken += adversarial.sum()
    assert broken > 10


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_seed_gives_the_same_candidates_whatever_came_before(case, attack):
    digits = case(10, 12)
    spec = quick(attack)
    candidates = []
    for other in (1, 2):
        torch.manual_seed(other)
        np.random.seed(other)  # noqa: NPY002 - the stream that ART draws from
        random.seed(other)
        candidates.append(run(digits, spec, min(base.named(attack).norms), seed=3)[0])
    assert torch.equal(*candidates)


@pytest.mark.parametrize(
    ("attack", "args"),
    [
        ("gradient/pgd", {"targets": 0, "restarts": 1, "steps": 3}),
        ("art/pgd", {"max_iter": 3}),
        ("art/auto_pgd", {"max_iter": 3}),
        ("art/square", {}),
        ("autoattack/apgd-ce", {"n_iter": 3}),
        ("autoattack/square", {}),
    ],
)
def test_another_seed_gives_other_candidates(case, attack, args):
    digits = case(10, 12)
    spec = quick(attack, **args)
    first, *_ = run(digits, spec, Norm.L2, seed=3, eps=1.5)
    second, *_ = run(digits, spec, Norm.L2, seed=4, eps=1.5)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("attack", ATTACKS)
def test_one_sample_alone(case, attack, norm):
    spec = quick(attack)
    if norm not in guard.attack_of(spec).norms:
        pytest.skip("not served, as declared")
    digits = case(10, 1)
    found, adversarial, distance, _ = run(digits, spec, norm, eps=4 * EPS[norm])
    assert found.shape == (1, 1, 8, 8)
    assert adversarial.all() or attack in WEAK
    assert np.isfinite(distance).all() == adversarial.all()
