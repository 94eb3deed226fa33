"""ART's evasion attacks by the names of their classes."""

import numpy as np
import pytest
import torch

import lipbench
from lipbench import cli
from lipbench.attacks import base, guard
from lipbench.attacks.art import library
from lipbench.attacks.art.known import EVASION
from lipbench.attacks.norm import Norm
from lipbench.attacks.optional import missing
from lipbench.attacks.suites import AttackSpec, Suite
from lipbench.errors import LipbenchError, UnsupportedError

RUNNABLE = [name for name, known in EVASION.items() if known.refused is None and not missing(known.needs)]
STRONG = {  # arguments with which each finds most samples of the case
    "FastGradientMethod": {},
    "ProjectedGradientDescentPyTorch": {"max_iter": 10},
    "AutoConjugateGradient": {"max_iter": 10, "nb_random_init": 1},
    "HopSkipJump": {"max_iter": 2, "max_eval": 300},
    "ElasticNet": {"max_iter": 20, "binary_search_steps": 4, "learning_rate": 0.05},
    "SimBA": {"attack": "px", "epsilon": 0.5},
}
EPS = {Norm.L2: 1.5, Norm.Linf: 0.3}


def search(case, name, norm, seed=0, **args):
    spec = AttackSpec(name=f"art/{name}", args=args)
    eps = None if guard.attack_of(spec).minimal_norm else EPS[norm]
    found = guard.search(spec, case.network, case.x, case.labels, norm=norm, eps=eps, seed=seed)
    return found, *guard.check_candidates(case.network, case.x, case.labels, found, norm)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", STRONG)
def test_an_attack_by_its_class_name_searches_within_the_suites_norm_and_eps(case, name, norm):
    attack = base.named(f"art/{name}")
    if norm not in attack.norms:
        with pytest.raises(UnsupportedError, match=f"art/{name} does not support the norm {norm}"):
            search(case(10, 3), name, norm)
        return
    _, adversarial, distance, _ = search(case(10, 8), name, norm, **STRONG[name])
    assert adversarial.mean() >= 0.5
    if not attack.minimal_norm:
        assert (distance[adversarial] <= EPS[norm]).all()


@pytest.mark.parametrize("name", ["HopSkipJump", "BoundaryAttack"])
def test_generators_that_art_seeds_itself_are_seeded_by_the_call(case, name):
    """They draw the start, which few steps do not forget."""
    state = np.random.RandomState
    first, second, other = (
        search(
            case(10, 4), name, Norm.L2, seed=seed, **({"max_eval": 100} if name == "HopSkipJump" else {}), max_iter=1
        )[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert np.random.RandomState is state


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_runnable_class_declares_its_parameters(name):
    attack = library.attack(f"art/{name}")
    assert attack.summary
    assert "\n" not in attack.summary
    assert not {"classifier", "estimator", "norm", "targeted", "verbose"} & attack.parameters.keys()
    assert ("eps" in attack.parameters) == (name == "Wasserstein")  # in its own distance
    for parameter in attack.parameters.values():
        assert parameter.accepts(parameter.default)
        assert parameter.meaning
    assert (
        attack.obstacle(
            {**attack.defaults, **({"freq_dim": 4} if name == "SimBA" else {})}, 10, (1, 8, 8), min(attack.norms)
        )
        is None
    )


def test_the_table_says_which_norms_a_class_can_be_given():
    """A class without ``norm`` has one of its own, or another measure."""
    for name in RUNNABLE:
        attack = library.attack(f"art/{name}")
        if not attack.takes_norm and not attack.known.measure:
            assert len(attack.norms) == 1, name


def test_the_step_is_chosen_by_eps_unless_it_is_given(case):
    digits = case(10, 2)
    estimator = library.classifier(digits.network)
    pgd, auto = (library.attack(f"art/{name}") for name in ("ProjectedGradientDescent", "AutoConjugateGradient"))
    for attack, eps, args, step in (
        (pgd, 0.2, {"max_iter": 10}, 0.05),
        (pgd, 0.2, {"max_iter": 1}, 0.2),
        (pgd, 0.2, {"eps_step": 0.01}, 0.01),
        (auto, 0.2, {}, 0.4),
    ):
        configured = attack.on(estimator, Norm.Linf, eps, {**attack.defaults, **args})
        assert configured.eps_step == pytest.approx(step)
        assert (configured.eps, configured.norm, configured.targeted, configured.verbose) == (eps, np.inf, False, False)


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("ProjectedGradientDescentPytorch", {}, "did you mean 'art/ProjectedGradientDescentPyTorch'"),
        ("squareattack", {}, "did you mean 'art/SquareAttack'"),
        ("DPatch", {}, "art/DPatch cannot run here: it attacks object detectors"),
        ("TargetedUniversalPerturbation", {}, "it is targeted"),
        ("ProjectedGradientDescentTensorFlowV2", {}, "it attacks TensorFlow models"),
        ("HopSkipJump", {"max_itr": 3}, "did you mean 'max_iter'"),
        ("HopSkipJump", {"norm": 2}, "unknown argument of art/HopSkipJump 'norm'"),
        ("HopSkipJump", {"max_iter": 2.5}, "must be a whole number, got 2.5"),
        ("HopSkipJump", {"max_iter": -1}, "art/HopSkipJump is refused by ART: .*non-negative"),
        ("AutoProjectedGradientDescent", {"loss_type": "crossentropy"}, "is refused by ART"),
        ("AutoProjectedGradientDescent", {"loss_type": 3}, "must be a text"),
    ],
)
def test_wrong_names_and_arguments_are_refused_in_one_line(name, args, said):
    with pytest.raises(LipbenchError, match=said) as caught:
        guard.supported(AttackSpec(name=f"art/{name}", args=args), 10, (1, 8, 8), Norm.L2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "module"), [("BrendelBethgeAttack", "numba"), ("AutoAttack", "multiprocess")])
def test_what_is_not_installed_is_named(name, module, monkeypatch):
    monkeypatch.setattr(library, "missing", lambda modules: modules[0] if modules else None)
    with pytest.raises(LipbenchError, match=f"art/{name} needs {module}.*pip install {module}"):
        base.named(f"art/{name}")


def test_checking_an_attack_draws_no_random_numbers():
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 - the global stream
    guard.supported(AttackSpec(name="art/SquareAttack"), 10, (1, 8, 8), Norm.L2)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


def test_a_class_of_a_later_art_is_taken_as_it_is(case, monkeypatch):
    monkeypatch.delitem(EVASION, "FastGradientMethod")
    attack = base.named("art/FastGradientMethod")
    assert attack.norms == frozenset(Norm)
    assert search(case(10, 4), "FastGradientMethod", Norm.L2)[1].any()


def test_a_suite_names_a_class(zoo_of, tmp_path):
    suite = Suite.model_validate(
        {
            "name": "classes",
            "norm": "L2",
            "eps": [0.5, 1.5],
            "attack": [
                {"name": "art/DeepFool", "args": {"epsilon": 1e-3}},
                {"name": "art/MomentumIterativeMethod", "args": {"max_iter": 10}},
            ],
        }
    )
    from bundled import TAU4

    results = lipbench.evaluate(zoo_of(TAU4), suite=suite, samples=20, out=tmp_path / "run")
    summary = results.summary()
    assert (summary.violations_float == 0).all()
    assert summary.sort_values("eps").robust.iloc[-1] < 0.2
    assert set(results.samples.attack.dropna()) >= {"art/DeepFool"}


def test_the_command_prints_the_parameters_of_a_class(capsys):
    assert cli.run(["list", "attacks", "art/SquareAttack"]) == 0
    shown = capsys.readouterr().out
    assert "eps: one for all samples" in shown
    assert "max_iter" in shown
    assert "p_init" in shown
    assert cli.run(["list", "attacks", "art/Squareattack"]) == 2
    assert "did you mean 'art/SquareAttack'" in capsys.readouterr().err
