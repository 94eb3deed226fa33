"""Attacks of other packages: an object, its class, or a plain function, each found through an entry point."""

import pytest
import torch
from torch.nn import functional as F

from lipbench import cli
from lipbench.attacks import base, guard, suites
from lipbench.attacks.base import Attack, AttackCall
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import Parameter
from lipbench.attacks.suites import AttackSpec, Suite
from lipbench.errors import LipbenchError, UnsupportedError

PLUGIN = '''
import torch
from torch.nn import functional as F

from lipbench.attacks.base import Attack
from lipbench.attacks.norm import Norm
from lipbench.attacks.parameters import Parameter


def step(model, x, labels, eps, *, scale=1.0, norm):
    """One step along the gradient of cross-entropy.

    More words.
    """
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
    unit = gradient.sign() if norm == "Linf" else F.normalize(gradient.flatten(1)).view_as(x)
    return x + scale * eps * unit


class Step(Attack):
    name = "toy/step"
    summary = "one step to the boundary of a linear network"
    norms = frozenset({Norm.L2})
    scale = Parameter(1.0, "length of the step over eps", above=0, at_most=1)
    sign = Parameter(False, "true: along the sign of the gradient")

    def obstacle(self, arguments, num_classes, input_shape, norm):
        return "needs more pixels" if input_shape[1] < 4 else None

    def run(self, call):
        return step(call.network, call.x, call.labels, call.radius, scale=call.arguments["scale"], norm="L2")


class Other(Step):
    name = "toy/other"


OTHER = Other()
NUMBER = 3


def without_eps(model, x, labels):
    return x


def with_a_list(model, x, labels, eps, *, steps=()):
    return x


def without_default(model, x, labels, eps, *, steps):
    return x


def of_numpy(model, x, labels, eps):
    return x.numpy()


def of_vectors(model, x, labels, eps, *, norm):
    return step(model, x, labels, eps, norm=norm)


of_vectors.ranks = {1, 3}


def of_films(model, x, labels, eps):
    return x


of_films.ranks = {4}


class OfNothing(Step):
    name = "toy/nothing"
    ranks = 3
'''
NAMES = {
    "mine": "step",
    "toy/step": "Step",
    "toy/other": "OTHER",
    "toy/renamed": "Step",
    "number": "NUMBER",
    "without_eps": "without_eps",
    "with_a_list": "with_a_list",
    "without_default": "without_default",
    "of_numpy": "of_numpy",
    "of_vectors": "of_vectors",
    "of_films": "of_films",
    "toy/nothing": "OfNothing",
    "missing": "no_such_name",
}


@pytest.fixture(autouse=True)
def plugin(tmp_path, monkeypatch):
    """A real small package on the path, with its entry points."""
    (tmp_path / "toy_attack_plugin.py").write_text(PLUGIN)
    info = tmp_path / "toy_attack_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-attack-plugin\nVersion: 1.0\n")
    points = "".join(f"{name} = toy_attack_plugin:{attribute}\n" for name, attribute in NAMES.items())
    (info / "entry_points.txt").write_text(f"[lipbench.attacks]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)


def step(network, x, labels, eps, norm):
    """What the plugin does, written once more."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(network(x), labels), x)
    return (x + eps * (gradient.sign() if norm is Norm.Linf else F.normalize(gradient.flatten(1)).view_as(x))).detach()


@pytest.mark.parametrize(
    ("name", "norm", "args", "factor"),
    [
        ("mine", Norm.L2, {}, 1.0),
        ("mine", Norm.Linf, {"scale": 0.5}, 0.5),
        ("toy/step", Norm.L2, {"scale": 0.25}, 0.25),
        ("toy/other", Norm.L2, {}, 1.0),
    ],
)
def test_an_attack_of_another_package_runs_behind_the_guard(case, name, norm, args, factor):
    digits = case(10, 8)
    spec = AttackSpec(name=name, args=args)
    found = guard.search(spec, digits.network, digits.x, digits.labels, norm=norm, eps=0.5, seed=0)
    inside = guard.inner_eps(0.5, norm, 64)
    expected = step(digits.network, digits.x, digits.labels, factor * inside, norm)
    assert torch.allclose(found, expected.clamp(0, 1), atol=1e-6)
    assert not torch.equal(found, digits.x)


def test_what_a_function_declares():
    attack = base.named("mine")
    assert (attack.name, attack.summary) == ("mine", "One step along the gradient of cross-entropy.")
    assert attack.norms == frozenset(Norm)
    assert attack.defaults == {"scale": 1.0}
    assert not attack.minimal_norm
    assert not attack.per_sample_eps
    with pytest.raises(LipbenchError, match=r"argument 'scale' of mine must be a finite number, got 'x'"):
        guard.attack_of(AttackSpec(name="mine", args={"scale": "x"}))
    with pytest.raises(LipbenchError, match=r"unknown argument of mine 'norm': known are scale"):
        guard.attack_of(AttackSpec(name="mine", args={"norm": "L2"}))


def test_what_an_object_declares():
    attack = base.named("toy/step")
    assert attack.defaults == {"scale": 1.0, "sign": False}
    assert base.named("toy/other").defaults == attack.defaults
    with pytest.raises(LipbenchError, match=r"'scale' of toy/step must be a finite number, above 0, at most 1, got 2"):
        guard.attack_of(AttackSpec(name="toy/step", args={"scale": 2}))
    with pytest.raises(
        UnsupportedError, match="toy/step needs more pixels; attacks that serve this case: art/auto_pgd"
    ):
        guard.supported(AttackSpec(name="toy/step"), 10, (1, 3, 3), Norm.L2)
    with pytest.raises(UnsupportedError, match="toy/step does not support the norm Linf, only L2"):
        guard.supported(AttackSpec(name="toy/step"), 10, (1, 8, 8), Norm.Linf)


def test_an_attack_of_another_package_is_named_among_those_that_serve():
    with pytest.raises(
        UnsupportedError, match=r"serve this case: .*, mine, of_numpy, of_vectors, toy/other, toy/step$"
    ):
        guard.supported(AttackSpec(name="autoattack/apgd-dlr"), 2, (1, 8, 8), Norm.L2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toy/stepp", "unknown attack 'toy/stepp': did you mean 'toy/step'"),
        ("bisection", "did you mean 'gradient/bisection'"),
        ("toy/renamed", "the attack 'toy/renamed' of TOY declares the name 'toy/step': use one name"),
        ("number", r"'number' of TOY must be a function \(model, x, labels, eps\) or an Attack, got 3"),
        (
            "without_eps",
            r"'without_eps' of TOY must be a function \(model, x, labels, eps\) or an Attack, got \(model, x, lab",
        ),
        ("with_a_list", r"'steps' of the attack 'with_a_list' of TOY needs a number.* it has the default \(\)"),
        ("without_default", r"'steps' of the attack 'without_default' of TOY needs a number.* it has no default"),
        ("of_films", r"'of_films' of TOY declares the ranks \{4\}, expected a set of some of \[1, 2, 3\]"),
        ("toy/nothing", r"'toy/nothing' of TOY declares the ranks 3, expected a set of some of \[1, 2, 3\]"),
        ("missing", "the attack 'missing' of TOY cannot be imported from toy_attack_plugin:no_such_name"),
    ],
)
def test_what_is_no_attack_is_refused_in_one_line(name, message):
    with pytest.raises(LipbenchError, match=message.replace("TOY", "toy-attack-plugin 1.0")) as caught:
        base.named(name)
    assert "\n" not in str(caught.value)


def test_an_attack_that_declares_nothing_serves_images_alone(case):
    """What another package wrote for images is never shown anything else."""
    for name in ("mine", "toy/step", "toy/other"):
        with pytest.raises(UnsupportedError, match=r"serves images \(c, h, w\), got inputs of shape \(64,\)"):
            guard.supported(AttackSpec(name=name), 10, (64,), Norm.L2)
    with pytest.raises(UnsupportedError, match=r"serves vectors \(d,\) and images \(c, h, w\), got .* \(8, 8\)"):
        guard.supported(AttackSpec(name="of_vectors"), 10, (8, 8), Norm.L2)
    digits = case(10, 8)
    network = Network(digits.network.module, (64,))
    spec = AttackSpec(name="of_vectors")
    found = guard.search(spec, network, digits.x.flatten(1), digits.labels, norm=Norm.L2, eps=0.5, seed=0)
    expected = step(digits.network, digits.x, digits.labels, guard.inner_eps(0.5, Norm.L2, 64), Norm.L2)
    assert torch.allclose(found, expected.clamp(0, 1).flatten(1), atol=1e-6)


def test_candidates_that_are_no_tensor_are_refused(case):
    digits = case(10, 3)
    with pytest.raises(LipbenchError, match=r"of_numpy returned ndarray, expected a tensor of shape \(3, 1, 8, 8\)"):
        guard.search(AttackSpec(name="of_numpy"), digits.network, digits.x, digits.labels, norm=Norm.L2, eps=1, seed=0)


def test_the_command_prints_the_parameters_of_an_attack(capsys):
    assert cli.run(["list", "attacks", "toy/step"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "toy/step: one step to the boundary of a linear network",
        "norms: L2",
        "inputs: images",
        "eps: one for all samples",
        "classes: at least 2",
        "parameters (name, default, limits, meaning):",
        "  scale  1.0    a finite number, above 0, at most 1  length of the step over eps",
        "  sign   false  true or false                        true: along the sign of the gradient",
    ]


@pytest.mark.parametrize(
    ("name", "eps"),
    [
        ("gradient/pgd", "one for all samples, or one for each sample"),
        ("art/fgm", "one for all samples"),
        ("gradient/bisection", "none, it searches the smallest perturbation"),
    ],
)
def test_the_command_says_which_eps_an_attack_takes(name, eps, capsys):
    assert cli.run(["list", "attacks", name]) == 0
    shown = capsys.readouterr().out
    assert f"\neps: {eps}\n" in shown
    for parameter, declared in base.named(name).parameters.items():
        (line,) = (line for line in shown.splitlines() if line.startswith(f"  {parameter} "))
        assert line.split()[1] == str(declared.default).lower()
        assert declared.expected in line
        assert line.endswith(declared.meaning)


def test_the_command_lists_the_attacks_of_other_packages_and_says_which_cannot_be_used(capsys):
    assert cli.run(["list", "attacks"]) == 0
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert shown["mine"].split(None, 8)[1:] == [
        "toy-attack-plugin",
        "1.0",
        "L2,",
        "Linf",
        "images",
        "at",
        "eps",
        "One step along the gradient of cross-entropy.",
    ]
    assert "cannot be imported" in shown["missing"]
    assert shown["gradient/pgd"].split()[1] == "bundled"


def test_the_command_explains_a_misspelt_attack_and_a_name_that_is_not_wanted(capsys):
    assert cli.run(["list", "attacks", "gradient/pgdd"]) == 2
    assert "did you mean 'gradient/pgd'?" in capsys.readouterr().err
    assert cli.run(["list", "suites", "quick"]) == 2
    assert (
        capsys.readouterr().err
        == "lipbench: list suites takes no name, got 'quick'; only models and attacks take one\n"
    )


class Sampler(Attack):
    """A subclass overrides a parameter of its base class, and adds one."""

    name = "toy/base"
    first = Parameter(1, "of the base class")
    second = Parameter(2, "of the base class")


class Derived(Sampler):
    second = Parameter(3, "overridden")
    third = Parameter(4, "added")


def test_the_parameters_of_a_subclass_come_first():
    assert Derived().defaults == {"second": 3, "third": 4, "first": 1}


def test_the_radii_of_a_call(case):
    digits = case(10, 3)
    call = AttackCall(digits.network, digits.x, digits.labels, Norm.L2, 0.5, 0, {}, None)
    assert call.radii.dtype == torch.float64
    assert call.radii.tolist() == [0.5] * 3
    assert call.radius == 0.5
    with pytest.raises(TypeError, match="without an eps"):
        _ = AttackCall(digits.network, digits.x, digits.labels, Norm.L2, None, 0, {}, None).radius


def still(model, x, labels, eps, *, scale=1.0):
    """Candidates that are the samples themselves."""
    return x


class Still(Attack):
    name = "mine/still"
    summary = "the samples themselves"

    def run(self, call):
        return call.x


def test_objects_in_a_suite_go_by_their_names(monkeypatch, case):
    monkeypatch.setattr(base.ATTACKS, "given", {})
    sampler = Still()
    attacks = [still, sampler, {"name": still, "args": {"scale": 2.0}}, {"name": "gradient/pgd"}]
    suite = Suite(name="mine", norm="L2", eps=[0.5], attack=attacks)
    assert [spec.name for spec in suite.attacks] == ["still", "mine/still", "still", "gradient/pgd"]
    assert suites.parse(suite.plain(), "the same suite").plain() == suite.plain()  # as records and workers have it
    assert guard.attack_of(suite.attacks[1]) is sampler
    assert guard.attack_of(suite.attacks[2]).defaults == {"scale": 1.0}
    digits = case(10, 8)
    found = guard.search(suite.attacks[0], digits.network, digits.x, digits.labels, norm=Norm.L2, eps=0.5, seed=0)
    assert torch.equal(found, digits.x)
    with pytest.raises(LipbenchError, match="needs a name of its own"):
        Suite(name="mine", norm="L2", eps=[0.5], attack=[lambda model, x, labels, eps: x])
