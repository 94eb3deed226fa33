import logging

import pytest
import torch

from lipbench.attacks import guard
from lipbench.attacks.autoattack import library
from lipbench.attacks.autoattack.standard import ATTACK
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec


def search(case, name, norm, eps, *, seed=0, **args):
    spec = AttackSpec(name=f"autoattack/{name}", args=args)
    return guard.search(spec, case.network, case.x, case.labels, norm=norm, eps=eps, seed=seed)


def parameters(attack):
    """The plain settings of an attack object of pyautoattack; its device is a string or a torch.device."""
    plain = int | float | str | None
    return {key: value for key, value in vars(attack).items() if key != "device" and isinstance(value, plain)}


@pytest.mark.parametrize("norm", list(Norm))
def test_ten_classes_have_the_parameters_of_version_standard(case, norm):
    from pyautoattack import AutoAttack

    network = case(10, 0).network
    options = {"norm": norm, "eps": 0.3, "seed": 7, "attacks": library.ENSEMBLE}
    ours = library.configured(network, ATTACK.defaults, **options)
    standard = AutoAttack(network, eps=0.3, norm=norm.value, seed=7, version="standard")
    assert ours.attacks_to_run == standard.attacks_to_run
    for name in ("apgd", "apgd_targeted", "fab", "square"):
        assert parameters(getattr(ours, name)) == parameters(getattr(standard, name))


@pytest.mark.parametrize(("norm", "eps"), [(Norm.L2, 0.35), (Norm.Linf, 0.07)])
def test_ten_classes_equal_version_standard_bit_for_bit(case, norm, eps, monkeypatch):
    """With fewer queries and FAB-T targets in both, which only saves time."""
    from pyautoattack import AutoAttack

    monkeypatch.setattr(logging.getLogger("auto-attack"), "disabled", True)
    digits = case(10, 16)
    found = search(digits, "standard", norm, eps, seed=7, batch_size=10, n_queries=50, targets=2)
    inner = guard.inner_eps(eps, norm, 64)
    theirs = AutoAttack(digits.network, eps=inner, norm=norm.value, seed=7, version="standard")
    theirs.square.n_queries = 50
    theirs.fab.n_target_classes = theirs.apgd_targeted.n_target_classes = 2
    expected, _ = theirs.run_standard_evaluation(digits.x, digits.labels, batch_size=10)
    assert torch.equal(found, expected)
    broken = (found != digits.x).flatten(1).any(1)
    assert broken.any()
    assert not broken.all()  # else Square would not have run
