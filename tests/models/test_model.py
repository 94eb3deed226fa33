"""Networks of the caller's own."""

import pytest
import torch
from bundled import TAU4
from torch import nn

from lipbench.errors import LipbenchError
from lipbench.models.model import Model

X = torch.rand(2, 1, 8, 8)


def net(classes=3):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, classes))


def test_a_card_says_what_the_author_says():
    model = Model(net(), name="mine", loss="tau_cross_entropy", hyperparameters={"tau": 4}, claimed=1.0, seed=3)
    card = model.card((1, 8, 8), 3)
    assert (card.name, card.seed, card.loss.name, card.loss.hyperparameters) == (
        "mine",
        3,
        "tau_cross_entropy",
        {"tau": 4},
    )
    assert (card.claimed.constant, card.family, card.architecture.form) == (1.0, "tau_cross_entropy", "module")
    plain = Model(net()).card((1, 8, 8), 3)
    assert (plain.name, plain.claimed, plain.family, plain.loss.name) == (
        "Sequential",
        None,
        "loss not given",
        "loss not given",
    )


def test_counting_classes_leaves_the_network_as_it_was():
    module, *others = [net(classes).train() for classes in (3, 1, 2)]
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    seed = torch.get_rng_state()
    assert [Model(each).num_classes(X) for each in (module, *others)] == [3, 2, 2]
    assert all(part.training for part in module.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), seed)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nn.Linear(5, 2), r"Linear does not accept inputs of shape \(1, 8, 8\)"),
        (nn.Identity(), r"Identity gives \(2, 1, 8, 8\) for 2 inputs, expected logits \(2, classes\)"),
    ],
)
def test_a_network_that_is_no_classifier_of_the_inputs_is_named(module, says):
    with pytest.raises(LipbenchError, match=says):
        Model(module).num_classes(X)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"claimed": -1}, "claimed.constant"),
        ({"claimed": "one"}, "claimed.constant"),
        ({"name": "a/b"}, "name"),
        ({"hyperparameters": {"tau": "much"}}, "loss.hyperparameters.tau"),
        ({"seed": "zero"}, "seed"),
    ],
)
def test_wrong_fields_are_named(options, says):
    with pytest.raises(LipbenchError, match=f"is not a model: {says}"):
        Model(net(), **options).card((1, 8, 8), 3)


def test_only_torch_modules_are_models():
    with pytest.raises(LipbenchError, match=r"expected a network as a torch.nn.Module, got function"):
        Model(lambda x: x)


class Moving(nn.Module):
    """As layers of orthogonium do: a weight and an attribute move in eval mode."""

    def __init__(self):
        super().__init__()
        self.head, self.calls = nn.Linear(64, 10), 0
        self.vector = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x):
        self.calls += 1
        self.vector.add_(1)
        return self.head(x.flatten(1))


def test_looking_at_the_outputs_changes_no_weight_and_no_attribute():
    """Else the second evaluation of a network in one run folder would be of another one."""
    module = Moving()
    cards = [Model(module).card((1, 8, 8), Model(module).num_classes(torch.zeros(2, 1, 8, 8))) for _ in range(2)]
    assert cards[0] == cards[1]
    assert module.calls == 0
    assert torch.equal(module.vector, torch.ones(3))
    assert module.training


def test_a_stored_model_comes_back_with_its_card(digits_zoo):
    model = Model.load(digits_zoo / TAU4)
    assert (model.name, model.loss, model.hyperparameters) == (TAU4, "tau_cross_entropy", {"tau": 4})
    assert model.claimed == pytest.approx(1.0)
    assert model.module(X).shape == (2, 10)
    assert not model.module.training
    with pytest.raises(LipbenchError, match="card"):
        Model.load(digits_zoo / "none")
