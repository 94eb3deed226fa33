"""The parameters of every attack: with every accepted value it searches, any other is refused in one line."""

import math

import numpy as np
import pytest

from lipbench.attacks import base, guard
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import Parameter
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError, UnsupportedError, quoted

STEPS = (1, 1_000_000)
BATCH = (1, 16_384)
LIMITS = {  # by hand: the smallest and the largest value that an argument may have, None for any
    ("gradient/bisection", "rounds"): (1, 1000),
    ("gradient/bisection", "steps"): STEPS,
    ("gradient/bisection", "targets"): (1, None),
    ("gradient/pgd", "steps"): STEPS,
    ("gradient/pgd", "targets"): (0, None),
    ("gradient/pgd", "restarts"): (0, 10_000),
    ("art/fgm", "restarts"): (0, 10_000),
    ("art/fgm", "batch_size"): BATCH,
    ("art/pgd", "max_iter"): STEPS,
    ("art/pgd", "step_ratio"): (1.0, 1e6),
    ("art/pgd", "restarts"): (0, 10_000),
    ("art/pgd", "batch_size"): BATCH,
    ("art/auto_pgd", "max_iter"): STEPS,
    ("art/auto_pgd", "step_ratio"): (0.1, 2.0),
    ("art/auto_pgd", "restarts"): (1, 10_000),
    ("art/auto_pgd", "batch_size"): BATCH,
    ("art/square", "max_iter"): STEPS,
    ("art/square", "p_init"): (1e-3, math.nextafter(1, 0)),
    ("art/square", "restarts"): (1, 10_000),
    ("art/square", "batch_size"): BATCH,
    ("art/deepfool", "max_iter"): STEPS,
    ("art/deepfool", "epsilon"): (1e-6, 1.0),
    ("art/deepfool", "batch_size"): BATCH,
    ("autoattack/standard", "n_iter"): (1, 10_000),
    ("autoattack/standard", "targets"): (1, None),
    ("autoattack/standard", "n_queries"): STEPS,
    ("autoattack/standard", "batch_size"): BATCH,
    ("autoattack/apgd-ce", "n_iter"): (1, 10_000),
    ("autoattack/apgd-dlr", "n_iter"): (1, 10_000),
    ("autoattack/apgd-t", "n_iter"): (1, 10_000),
    ("autoattack/apgd-t", "targets"): (1, None),
    ("autoattack/fab-t", "n_iter"): (1, 10_000),
    ("autoattack/fab-t", "targets"): (1, None),
    ("autoattack/square", "n_queries"): STEPS,
}
OPTIONAL_STEPS = (10, 1_000_000)
OPTIONAL = {  # of libraries that need not be installed
    ("foolbox/brendel_bethge", "steps"): OPTIONAL_STEPS,
    ("foolbox/ddn", "steps"): OPTIONAL_STEPS,
    ("foolbox/deepfool", "steps"): OPTIONAL_STEPS,
    ("foolbox/deepfool", "overshoot"): (1e-6, 1.0),
    ("foolbox/fmn", "steps"): OPTIONAL_STEPS,
    ("foolbox/pgd_adam", "steps"): OPTIONAL_STEPS,
    ("foolbox/pgd_adam", "rel_stepsize"): (0.1, 2.0),
    ("adv_lib/alma", "num_steps"): OPTIONAL_STEPS,
    ("adv_lib/apgd", "n_iter"): OPTIONAL_STEPS,
    ("adv_lib/apgd", "n_restarts"): (1, 10_000),
    ("adv_lib/apgd_targeted", "n_iter"): OPTIONAL_STEPS,
    ("adv_lib/apgd_targeted", "n_restarts"): (1, 10_000),
    ("adv_lib/ddn", "steps"): OPTIONAL_STEPS,
    ("adv_lib/fmn", "steps"): OPTIONAL_STEPS,
    ("adv_lib/pdgd", "num_steps"): OPTIONAL_STEPS,
    ("adv_lib/pdpgd", "num_steps"): OPTIONAL_STEPS,
    ("adv_lib/sdf", "steps"): OPTIONAL_STEPS,
    ("adv_lib/sdf", "overshoot"): (1e-6, 1.0),
}
LIMITS |= {key: limits for key, limits in OPTIONAL.items() if base.named(key[0]).absent is None}
OTHERS = {
    ("art/auto_pgd", "loss_type"),
    ("autoattack/square", "patience"),
    ("foolbox/pgd_adam", "random_start"),
    ("adv_lib/apgd", "loss_function"),
}
ATTACKS = sorted({name for name, _ in LIMITS})
QUICK = {"n_iter": 5, "n_queries": 30, "max_iter": 5, "targets": 2, "steps": 5, "rounds": 2}
FAR = {Norm.L2: 3.0, Norm.Linf: 0.4}  # nearly every sample can be broken there
WEAK = {"art/fgm", "art/square", "art/deepfool", "autoattack/square"}  # one step or proposal need not succeed


def quick_arguments(name):
    known = base.named(name).parameters
    return {key: max(value, LIMITS[name, key][0]) for key, value in QUICK.items() if key in known}


def spec(name, **args):
    return AttackSpec(name=name, args=args)


def search(case, wanted, norm):
    eps = None if guard.attack_of(wanted).minimal_norm else FAR[norm]
    found = guard.search(wanted, case.network, case.x, case.labels, norm=norm, eps=eps, seed=0)
    return found, guard.check_candidates(case.network, case.x, case.labels, found, norm)[0]


def test_the_table_covers_every_argument_and_each_says_what_it_means():
    known = {(name, key): parameter for name in base.names() for key, parameter in base.named(name).parameters.items()}
    assert known.keys() == LIMITS.keys() | OPTIONAL.keys() | OTHERS
    assert all(parameter.meaning and "\n" not in parameter.meaning for parameter in known.values())
    assert all(parameter.accepts(parameter.default) for parameter in known.values())


def wrong(name, key):
    """Values next to the limits, and others that no argument takes."""
    smallest, largest = LIMITS[name, key]
    whole = isinstance(base.named(name).defaults[key], int)
    yield from (
        -1,
        -(10**30),
        True,
        False,
        math.nan,
        math.inf,
        -math.inf,
        "3",
        "",
        None,
        [1],
        1j,
        np.nan,
        np.bool_(True),
    )
    yield from (np.int64(-1), np.float32(math.nan), np.float64(math.inf))
    yield smallest - 1 if whole else math.nextafter(smallest, -math.inf)
    if largest is not None:
        yield largest + 1 if whole else math.nextafter(largest, math.inf)
        yield from (10**30, 10**400)
    if whole:
        yield from (2.0, 2.5, np.float32(3), 1e300)


@pytest.mark.parametrize(("name", "key"), LIMITS)
def test_what_is_outside_the_limits_is_refused_in_one_line(name, key):
    argument = base.named(name).parameters[key]
    for value in wrong(name, key):
        bad = spec(name, **{key: value})
        with pytest.raises(LipbenchError) as caught:
            guard.supported(bad, 10, (1, 8, 8), Norm.L2)
        came = quoted(value.item() if isinstance(value, np.generic) else value)
        assert str(caught.value) == (
            f"argument '{key}' of {name} must be {argument.expected}, got {came} ({argument.meaning})"
        )


@pytest.mark.parametrize(("name", "key"), LIMITS)
def test_what_is_within_the_limits_is_accepted(name, key):
    smallest, largest = LIMITS[name, key]
    number = np.int64 if isinstance(base.named(name).defaults[key], int) else np.float64
    for value in (smallest, 10**30 if largest is None else largest, number(smallest)):
        good = spec(name, **{key: value})
        assert guard.attack_of(good).name == base.named(name).name
        assert type(good.args[key]) in (int, float)  # plain, so that it can be written


def test_the_limits_are_said_in_words():
    assert Parameter(3, "", at_least=1, at_most=9).expected == "a whole number, at least 1, at most 9"
    assert Parameter(0.5, "", above=0, below=1).expected == "a finite number, above 0, below 1"
    assert Parameter(True, "").expected == "true or false"
    assert Parameter("a", "", choices=("a", "b")).expected == "one of a, b"


@pytest.mark.parametrize("value", [0, 1, "true", None, 1.0])
def test_true_or_false_is_nothing_else(value):
    with pytest.raises(LipbenchError, match=r"'patience' of autoattack/square must be true or false, got"):
        guard.attack_of(spec("autoattack/square", patience=value))
    assert guard.attack_of(spec("autoattack/square", patience=np.True_)).name == "autoattack/square"


@pytest.mark.parametrize("value", [3, None, ["cross_entropy"], np.zeros(2)])
def test_a_choice_is_a_string(value):
    with pytest.raises(LipbenchError, match=r"must be one of cross_entropy, difference_logits_ratio, got"):
        guard.attack_of(spec("art/auto_pgd", loss_type=value))


def test_a_choice_that_is_misspelt_is_explained():
    with pytest.raises(LipbenchError, match="did you mean 'cross_entropy'"):
        guard.attack_of(spec("art/auto_pgd", loss_type="cross_entropi"))


def test_pgd_without_a_run_is_refused(case):
    digits = case(10, 5)
    with pytest.raises(
        UnsupportedError,
        match=r"gradient/pgd needs targets or restarts above 0.*serve this case: art/auto_pgd, art/fgm",
    ):
        search(digits, spec("gradient/pgd", targets=0), Norm.L2)
    for args in ({"targets": 0, "restarts": 1}, {"targets": 1, "restarts": 0}):
        assert search(digits, spec("gradient/pgd", steps=5, **args), Norm.L2)[1].all()


def evaluated_elsewhere(case, wanted, norm):
    """For each sample alone, whether the network was evaluated anywhere else, and whether it was broken."""
    looked, broken = [], []
    for row in range(len(case.x)):
        one = type(case)(case.network, case.x[row : row + 1], case.labels[row : row + 1])
        seen = []
        hooks = [
            network.module.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0].detach()))
            for network in (case.network, case.network.surrogate)
        ]
        try:
            broken.append(bool(search(one, wanted, norm)[1].all()))
        finally:
            for hook in hooks:
                hook.remove()
        looked.append(any(bool((points.float() != one.x).any()) for points in seen))
    return looked, broken


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", ATTACKS)
def test_the_smallest_values_together_are_still_a_search(case, name, norm):
    attack = base.named(name)
    if norm not in attack.norms:
        pytest.skip("not served, as declared")
    args = {key: LIMITS[name, key][0] for key in attack.parameters if (name, key) in LIMITS}
    if name == "gradient/pgd":
        args["targets"] = 1  # or restarts: with neither it is refused
    if name == "art/square":
        args["p_init"] = 1 / 64  # less than a pixel is refused
    looked, broken = evaluated_elsewhere(case(10, 12, scale=10.0), spec(name, **args), norm)
    assert all(looked)
    if name not in WEAK:
        assert np.mean(broken) >= 0.4  # auto_pgd: one step of a tenth of eps


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize(("name", "key"), LIMITS)
def test_every_limit_that_can_be_run_is_a_search(case, name, key, norm):
    attack = base.named(name)
    if norm not in attack.norms:
        pytest.skip("not served, as declared")
    smallest, largest = LIMITS[name, key]
    digits = case(10, 12, scale=10.0)
    quick = quick_arguments(name)
    endless = key in ("steps", "num_steps", "rounds", "restarts", "n_restarts", "max_iter", "n_iter", "n_queries")
    values = [smallest] if endless else [smallest, 10**30 if largest is None else largest]
    for value in values:
        args = {**quick, key: value}
        if (name, args.get("targets")) == ("gradient/pgd", 0):
            args["restarts"] = 1  # without either it has no run, and is refused
        if name == "art/square" and key == "p_init":  # 0.064 pixels of 8 x 8, and all of them
            said = "cannot place its first tile" if value > 0.5 else "changes less than one pixel"
            with pytest.raises(UnsupportedError, match=said):
                search(digits, spec(name, **args), norm)
            continue
        found, adversarial = search(digits, spec(name, **args), norm)
        assert (found != digits.x).flatten(1).any(dim=1).float().mean() >= 0.5
        if name not in WEAK:
            assert adversarial.mean() >= 0.7, args


@pytest.mark.parametrize("norm", list(Norm))
def test_the_first_proposals_of_square_change_a_pixel(norm):
    guard.supported(spec("art/square", p_init=1 / 64), 10, (1, 8, 8), norm)
    guard.supported(spec("art/square", p_init=0.0013), 10, (1, 28, 28), norm)
    with pytest.raises(UnsupportedError, match=r"changes less than one pixel of 8 x 8 with p_init 0\.0156"):
        guard.supported(spec("art/square", p_init=0.0156), 10, (1, 8, 8), norm)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", [name for name in ATTACKS if not base.named(name).minimal_norm])
@pytest.mark.parametrize("eps", [20.0, 1e6])
def test_a_radius_beyond_every_image_is_a_search(case, name, norm, eps):
    digits = case(10, 12, scale=10.0)
    found = guard.search(
        spec(name, **quick_arguments(name)), digits.network, digits.x, digits.labels, norm=norm, eps=eps, seed=0
    )
    adversarial, distance, _ = guard.check_candidates(digits.network, digits.x, digits.labels, found, norm)
    assert adversarial.mean() >= 0.8
    assert (distance[adversarial] <= (8 if norm is Norm.L2 else 1)).all()
