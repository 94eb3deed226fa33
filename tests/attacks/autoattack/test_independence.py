"""What an attack finds for a row depends on nothing but the row: not on the eps, the batch or the rows beside it."""

import pytest
import torch
from attacking import Outcome, attack

from lipbench.attacks.autoattack import square
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.norm import Norm
from tests.attacks.conftest import Case

RADII = {Norm.L2: [0.25, 0.5, 0.9], Norm.Linf: [0.04, 0.08, 0.14]}  # a few samples are broken, some, most
SAMPLES = 20
ARGS = {
    "apgd-ce": {"n_iter": 15},
    "apgd-dlr": {"n_iter": 15},
    "apgd-t": {"n_iter": 15, "targets": 4},
    "fab-t": {"n_iter": 10, "targets": 4},
    "square": {"n_queries": 150},
}


@pytest.fixture(scope="module", autouse=True)
def square_gives_up_early():
    """Within the few queries here; and no row is run again, which is the one thing that is up to all rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(square, "CHECKPOINTS", (30, 60))
        patch.setattr(square, "MASKED", 1.0)
        yield


def at_every_eps(digits: Case, name: str, norm: Norm, keep: list[int] | None = None) -> Outcome:
    """Every sample at every eps in one call, or the rows ``keep`` of that; FAB-T takes no eps."""
    radii = [0.0] if name == "fab-t" else RADII[norm]
    index = torch.arange(SAMPLES).repeat(len(radii))
    eps = torch.tensor(radii, dtype=torch.float64).repeat_interleave(SAMPLES)
    if keep is not None:
        index, eps = index[keep], eps[keep]
    several = Case(digits.network, digits.x[index], digits.labels[index])
    radius = None if name == "fab-t" else eps.to(digits.x.device)
    return attack(several, name, norm, radius, batch=AttackBatch(index, SAMPLES, seed=5), **ARGS[name])


def assert_same(got: Outcome, expected: Outcome, keep: list[int] | slice = slice(None)) -> None:
    assert got.adversarial.tolist() == expected.adversarial[keep].tolist()
    # two batch sizes sum in two orders: the last bit of a float64 network, which float32 candidates seldom show
    assert torch.allclose(got.candidates, expected.candidates[keep], atol=1e-5)


@pytest.fixture(scope="module")
def together(case):
    """``together(name, norm)``: all rows in one batch, once for all tests of this module."""
    known = {}

    def make(name: str, norm: Norm) -> Outcome:
        if (name, norm) not in known:
            known[name, norm] = at_every_eps(case(10, SAMPLES), name, norm)
        return known[name, norm]

    return make


CASES = [(norm, name) for norm in Norm for name in ARGS]
EACH = pytest.mark.parametrize(("norm", "name"), CASES)
EACH_WITH_EPS = pytest.mark.parametrize(("norm", "name"), [case for case in CASES if case[1] != "fab-t"])


@EACH
def test_the_table_above_breaks_some_rows_and_not_others(together, name, norm):
    """Else the tests below would compare nothing."""
    found = together(name, norm).adversarial.reshape(-1, SAMPLES).sum(axis=1)
    assert (found > 0).any()
    assert name == "fab-t" or (found[0] < found[-1] and found[1] < SAMPLES)


@EACH_WITH_EPS
def test_several_eps_in_one_call_are_what_a_call_for_each_finds(case, together, name, norm):
    digits, several = case(10, SAMPLES), together(name, norm)
    for place, eps in enumerate(RADII[norm]):
        alone = attack(digits, name, norm, eps, batch=AttackBatch.alone(SAMPLES, seed=5), **ARGS[name])
        here = slice(SAMPLES * place, SAMPLES * (place + 1))
        assert_same(alone, several, here)
        assert (several.distance[here][alone.adversarial] <= eps).all()


@EACH
def test_the_size_of_a_batch_is_of_no_consequence(case, together, name, norm):
    digits = case(10, SAMPLES)
    digits.network.__dict__["batch_size"] = 7  # a cached property
    assert_same(at_every_eps(digits, name, norm), together(name, norm))


@EACH
def test_the_other_rows_are_of_no_consequence(case, together, name, norm):
    """In another order too, and without most of them."""
    keep = [17, 3, 4, 11] if name == "fab-t" else [45, 3, 23, 24, 17, 44, 58]
    assert_same(at_every_eps(case(10, SAMPLES), name, norm, keep), together(name, norm), keep)


@EACH_WITH_EPS  # FAB-T draws nothing
def test_the_place_in_the_shard_decides_what_is_drawn(case, together, name, norm):
    """The counterpart: were nothing drawn at all, the tests above would pass as well."""
    digits = case(10, SAMPLES)
    eps = RADII[norm][-1]
    elsewhere = AttackBatch(torch.arange(SAMPLES) + 1, SAMPLES + 1, seed=5)
    moved = attack(digits, name, norm, eps, batch=elsewhere, **ARGS[name])
    assert not torch.allclose(moved.candidates, together(name, norm).candidates[-SAMPLES:], atol=1e-3)
