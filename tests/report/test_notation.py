import inspect

import pytest

from lipbench._internal.registry import LOSSES
from lipbench.report import notation
from lipbench.report.formatting import labels, legend
from lipbench.report.results import Results
from lipbench.training.notation import Notation


class Plugin:
    """A plugin's loss; it takes a hyperparameter of its own, and one that bundled losses have as well."""

    notation = Notation("mine", {"width": "ω", "alpha": "β"})

    def __init__(self, width: float, alpha: float):
        pass


@pytest.fixture
def plugin(monkeypatch):
    monkeypatch.setitem(LOSSES.given, "a_loss_of_a_plugin", Plugin)
    return "a_loss_of_a_plugin"


@pytest.mark.parametrize("name", LOSSES.bundled)
def test_a_loss_has_a_word_and_symbols_of_its_own_hyperparameters(name):
    declared = LOSSES.get(name).notation
    assert notation.word(name) == declared.word != ""
    assert set(declared.symbols) <= set(inspect.signature(LOSSES.get(name)).parameters)


def test_hyperparameters_with_a_symbol_come_first():
    assert list(notation.symbols().items()) == [("tau", "τ"), ("alpha", "α"), ("min_margin", "m"), ("gamma", "γ")]
    assert notation.ordered(["zeta", "min_margin", "a", "tau"]) == ["tau", "min_margin", "a", "zeta"]


def test_a_loss_that_is_not_installed_appears_under_its_own_name():
    assert notation.word("not_installed_here") == "not_installed_here"
    assert notation.words(["not_installed_here", "kr_multiclass"]) == {"kr_multiclass": "KR"}


def test_the_loss_of_a_plugin_carries_its_notation(plugin, make_run, make_model):
    models = [
        make_model([1], [0.1], [0.2], name="a", loss=plugin, hyperparameters={"width": 2.0, "alpha": 1.0}),
        make_model([1], [0.1], [0.2], name="b"),
    ]
    settings = Results.load(make_run(models)).hyperparameters()
    assert set(labels(settings, short=True).values()) == {"mine, α=1, ω=2", "CE, τ=4"}  # one symbol for one column
    assert legend(settings) == (f"CE is tau_cross_entropy, mine is {plugin}, τ is tau, α is alpha, ω is width.")
