"""Attacks of libraries that need not be installed."""

import pytest

from lipbench import cli
from lipbench.attacks import base, guard, optional
from lipbench.attacks.adv_lib.library import DECLARED as ADV_LIB
from lipbench.attacks.foolbox.library import DECLARED as FOOLBOX
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import UnsupportedError


@pytest.mark.parametrize("attack", [*FOOLBOX, *ADV_LIB], ids=lambda attack: attack.name)
def test_a_missing_library_is_an_extra_to_install_and_the_name_is_listed(attack, monkeypatch, capsys):
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda module: None)
    assert attack.name in base.names()
    norm = min(attack.norms)
    extra = {"foolbox": "foolbox", "adv_lib": "adv-lib"}[attack.name.partition("/")[0]]
    with pytest.raises(
        UnsupportedError, match=rf"{attack.name} needs \w+: pip install 'lipbench\[{extra}\]'; attacks"
    ) as caught:
        guard.supported(AttackSpec(name=attack.name), 10, (1, 8, 8), norm)
    assert "foolbox/" not in str(caught.value).partition("serve this case")[2]
    assert cli.run(["list", "attacks", attack.name]) == 0
    assert attack.summary in capsys.readouterr().out


def test_what_an_attack_needs_beside_its_library_is_named(monkeypatch):
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda module: None if module == "numba" else module)
    attack = base.named("foolbox/brendel_bethge")
    assert attack.absent == "needs numba: pip install numba"
    assert base.named("foolbox/fmn").absent is None


def test_nothing_is_imported_to_find_out_what_is_installed():
    assert optional.missing(("lipbench", "no_such_module")) == "no_such_module"
    assert optional.missing(("antigravity",)) is None  # importing it would open a browser
    assert optional.missing(()) is None


def test_the_logits_ratio_needs_enough_classes(monkeypatch):
    monkeypatch.setattr(optional.importlib.util, "find_spec", lambda module: module)
    ratio = AttackSpec(name="adv_lib/apgd", args={"loss_function": "dlr"})
    with pytest.raises(UnsupportedError, match="needs at least 3 classes, the network has 2"):
        guard.supported(ratio, 2, (1, 8, 8), Norm.L2)
    guard.supported(ratio, 3, (1, 8, 8), Norm.L2)
    guard.supported(AttackSpec(name="adv_lib/apgd"), 2, (1, 8, 8), Norm.L2)
