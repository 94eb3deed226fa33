"""Recipes in Python: objects and functions in place of names."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from deel.torchlip import SpectralLinear
from torch import nn

import lipbench
from lipbench._internal.registry import LOSSES, REGISTRIES
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.architectures import CONSTRAINED, EXPORTED, Layers
from lipbench.models.stored import load_model
from lipbench.training import losses, optimizers, recipes
from lipbench.training.recipes import Recipe, Training
from lipbench.training.sweep import check

HALF = dataclasses.replace(CONSTRAINED, name="half")


def scaled_cross_entropy(logits, labels, *, tau):
    """As tau_cross_entropy, written once more."""
    return F.cross_entropy(tau * logits, labels) / tau


class Slow(torch.optim.SGD):
    """An optimizer without weight decay among its arguments."""

    def __init__(self, params, lr, *, part=0.5):
        super().__init__(params, lr=lr)


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch):
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "given", {})


def recipe(loss="tau_cross_entropy", layers="torchlip", **training) -> dict:
    return {
        "data": "digits",
        "seeds": [0],
        "architecture": [{"name": "mlp", "layers": layers, "args": {"widths": [8]}}],
        "loss": [{"name": loss, "hyperparameters": {"tau": 4}}],
        "training": {"epochs": 1, **training},
    }


def weights(folder) -> dict[str, torch.Tensor]:
    return load_model(folder).module.state_dict()


def same(one, other) -> bool:
    return all(torch.equal(value, weights(other)[key]) for key, value in weights(one).items())


def test_a_function_trains_as_the_loss_that_it_computes(tmp_path):
    (mine,) = lipbench.train(recipe(scaled_cross_entropy, HALF, optimizer=torch.optim.AdamW), tmp_path / "mine")
    (bundled,) = lipbench.train(recipe(), tmp_path / "bundled")
    card = cards.read(mine)
    assert (card.loss.name, card.architecture.layers, card.training["optimizer"]) == (
        "scaled_cross_entropy", "half", "AdamW",
    )  # fmt: skip
    for registry in REGISTRIES:  # a process that knows nothing of them
        registry.given.clear()
    assert same(mine, bundled)
    assert recipes.load(tmp_path / "mine" / cards.RECIPE).losses[0].name == "scaled_cross_entropy"


def test_other_processes_find_a_function(tmp_path):
    (mine,) = lipbench.train(recipe(scaled_cross_entropy), tmp_path / "mine", jobs=2)
    (bundled,) = lipbench.train(Recipe.model_validate(recipe()), tmp_path / "bundled")
    assert same(mine, bundled)


def test_a_rerun_with_the_same_objects_finds_its_models(tmp_path):
    assert len(lipbench.train(recipe(scaled_cross_entropy), tmp_path)) == 1
    assert lipbench.train(recipe(scaled_cross_entropy), tmp_path) == []
    with pytest.raises(LipbenchError, match="made from another recipe"):
        lipbench.train(recipe(), tmp_path)


def test_losses_of_every_kind():
    logits, labels = torch.randn(6, 3, requires_grad=True), torch.arange(6) % 3
    module = nn.CrossEntropyLoss(label_smoothing=0.1)
    module.name = "smooth"

    class Called:
        """A class whose objects are no modules."""

        def __init__(self, tau):
            self.tau = tau

        def __call__(self, logits, labels):
            return self.tau * F.cross_entropy(logits, labels)

    for given, hyperparameters, expected in [
        (module, {}, module(logits, labels)),
        (Called, {"tau": 2}, 2 * F.cross_entropy(logits, labels)),
        (scaled_cross_entropy, {"tau": 3}, scaled_cross_entropy(logits, labels, tau=3)),
    ]:
        name = LOSSES.name_of(given)
        made = losses.build(name, hyperparameters)
        assert torch.equal(made(logits, labels), expected)
        assert made is not given


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (recipe(lambda logits, labels: logits.sum()), "loss 1.name: an object that stands for the name of its loss"),
        (recipe(layers=CONSTRAINED), "architecture 1.layers: an object .* set of layers needs a name of its own"),
        (
            {**recipe(), "architecture": [{"name": lambda layers, shape, classes: []}]},
            "an architecture is given by its name, as cards name it",
        ),
        ({**recipe(), "losses": []}, "the recipe is not a recipe: losses: this key is not known"),
        (recipe(optimizer="adamm"), "unknown optimizer 'adamm': did you mean 'adam'"),
        (recipe(optimizer="sgd", optimizer_args={"momentom": 0.5}), "optimizer 'sgd' has no argument 'momentom': it t"),
        (recipe(optimizer="sgd", optimizer_args={"momentum": -1}), "optimizer 'sgd' cannot be made with .*momentum"),
        (recipe(optimizer=Slow, weight_decay=0.1), "optimizer 'Slow' has no argument 'weight_decay': it takes part"),
        (recipe(F.cross_entropy), "loss 'cross_entropy' is another object than the one given here"),
    ],
)  # fmt: skip
def test_what_cannot_be_given_is_refused_before_any_work(given, said, tmp_path):
    with pytest.raises(LipbenchError, match=said) as caught:
        lipbench.train(given, tmp_path / "zoo")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "zoo").exists()


def positional(logits, labels, tau):
    """A loss whose hyperparameter does not follow a star."""


def test_hyperparameters_of_a_function_follow_a_star(tmp_path):
    with pytest.raises(LipbenchError, match=r"'positional' must be a class, or a function \(logits, labels, \*, hyp"):
        lipbench.train(recipe(positional), tmp_path / "zoo")


def test_arguments_of_an_optimizer_reach_it():
    parameters = [nn.Parameter(torch.zeros(2))]
    how = Training(epochs=1, learning_rate=0.5, weight_decay=0.25, optimizer="sgd", optimizer_args={"momentum": 0.3})
    (group,) = optimizers.build(how, parameters).param_groups
    assert (group["lr"], group["weight_decay"], group["momentum"], group["nesterov"]) == (0.5, 0.25, 0.3, True)
    how = Training(epochs=1, learning_rate=0.5, optimizer=Slow, optimizer_args={"part": 0.1})
    assert type(optimizers.build(how, parameters)) is Slow
    (group,) = optimizers.build(Training(epochs=1, optimizer_args={"betas": [0.5, 0.6]}), parameters).param_groups
    assert group["betas"] == (0.5, 0.6)


class Absolute(nn.Module):
    """An activation that has a rule of its own nowhere."""

    def forward(self, x):
        return x.abs()


class Unknown(nn.Module):
    """A layer that nobody has a rule for."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return torch.special.erf(self.scale * x)


@dataclasses.dataclass(frozen=True)
class Case:
    layers: Layers
    said: str


def inside_another(layer):
    """A plain form with other names of tensors than the layers of EXPORTED have."""
    return nn.Sequential(nn.Identity(), layer.vanilla_export())


REFUSED = [
    # what a set exports to is not what networks are built from
    Case(
        dataclasses.replace(CONSTRAINED, name="other_form", plain_forms={SpectralLinear: inside_another}),
        "cannot be loaded again from what is stored: .* does not fit the card's architecture",
    ),
    Case(dataclasses.replace(CONSTRAINED, name="no_rule", activation=Unknown), "does not fit the card's architecture"),
    Case(
        dataclasses.replace(
            CONSTRAINED,
            name="no_rule_exported",
            activation=Unknown,
            exported=dataclasses.replace(EXPORTED, activation=Unknown),
        ),
        "no Lipschitz rule for the function torch._C._special.special_erf",
    ),
    # without tensors of its own, only the outputs tell
    Case(dataclasses.replace(CONSTRAINED, name="absolute", activation=Absolute), "computes something else when it"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.layers.name)
def test_a_network_that_cannot_be_stored_is_refused_before_training(case, tmp_path):
    with pytest.raises(LipbenchError, match=case.said):
        lipbench.train(recipe(layers=case.layers), tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


def test_a_set_of_layers_with_an_exported_form_of_its_own(tmp_path):
    exported = dataclasses.replace(EXPORTED, activation=Absolute)
    layers = dataclasses.replace(CONSTRAINED, name="absolute", activation=Absolute, exported=exported)
    (folder,) = lipbench.train(recipe(layers=layers), tmp_path / "zoo")
    card = cards.read(folder)
    assert card.architecture.stored_as == "absolute"
    assert any(isinstance(part, Absolute) for part in load_model(folder).module)
    for registry in REGISTRIES:
        registry.given.clear()
    with pytest.raises(LipbenchError, match="unknown set of layers 'absolute'"):
        load_model(folder)


def test_a_model_that_comes_back_different_is_not_stored(tmp_path, monkeypatch):
    from lipbench.training import storing

    def other(folder):
        model = load_model(folder)
        with torch.no_grad():
            next(model.module.parameters()).add_(0.01)
        return model

    monkeypatch.setattr(storing, "load_model", other)
    with pytest.raises(LipbenchError, match=r"1 of 1 models could not be trained.* computes something else"):
        lipbench.train(recipe(), tmp_path / "zoo")
    assert [path.name for path in (tmp_path / "zoo").iterdir() if path.is_dir() and path.name.startswith("mlp")] == []


def test_the_trial_does_not_change_what_is_trained(tmp_path, digits):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check(Recipe.model_validate(recipe()), Recipe.model_validate(recipe()).training_jobs(), digits)
    lipbench.train(recipe(), tmp_path / "zoo")
    assert torch.equal(torch.get_rng_state(), before)
