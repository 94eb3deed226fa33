"""Networks of the caller's own, stored and loaded: equal to the bit, with an equal certificate, or not stored."""

import copy
import os
from dataclasses import replace

import own_networks
import pytest
import torch
from running import TINY
from torch import nn

import lipbench
from lipbench._internal import files
from lipbench.certification.certificate import certificate
from lipbench.certification.grades import CLAIM_TOLERANCE
from lipbench.certification.lipschitz import copied
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.fingerprint import weights_sha256
from lipbench.models.model import Model
from lipbench.models.stored import load_model

pytest.importorskip("orthogonium")


def split(digits, count=64):
    part = digits.train.part(0, count)
    return torch.from_numpy(part.x), torch.from_numpy(part.labels)


GRAPHS = {
    "deel-torchlip, trained": lambda digits: own_networks.trained_lip_chain(*split(digits)),
    "orthogonium AOC": lambda digits: own_networks.orthogonal_convolutions(),
    "residual": lambda digits: own_networks.residual(),
    "batch norm": lambda digits: own_networks.batch_norm(split(digits)[0]),
    "float64": lambda digits: own_networks.residual().double(),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_network_survives_the_disk_as_a_graph(name, digits, tmp_path):
    network = GRAPHS[name](digits)
    before, proof = weights_sha256(network), certificate(copied(network), own_networks.SHAPE)
    stored = lipbench.save(network, tmp_path / "zoo" / "mine", data="digits")
    assert weights_sha256(network) == before
    assert {path.name for path in stored.folder.iterdir()} == {cards.CARD, cards.WEIGHTS, cards.GRAPH}
    loaded = load_model(stored.folder)
    assert not loaded.module.training
    x = torch.from_numpy(digits.test.part(0, 50).x).to(next(network.parameters()))
    for n in (1, 2, 3, 50):
        expected = network(x[:n])
        if name == "orthogonium AOC":  # its weights move with every forward
            assert torch.allclose(loaded.module(x[:n]), expected, atol=1e-4)
        else:
            assert torch.equal(loaded.module(x[:n]), expected)
    again = certificate(loaded.module, own_networks.SHAPE)
    assert again.bound == stored.bound
    if name == "orthogonium AOC":
        assert again.bound == pytest.approx(proof.bound, rel=1e-6)
    else:
        assert again.bound == proof.bound
        assert torch.equal(again.pairwise, proof.pairwise)
        assert again.output_error == proof.output_error
    frame = lipbench.evaluate(stored.folder, suite=TINY, samples=8).summary()
    assert set(frame["model"]) == {"mine"}


@pytest.mark.parametrize("form", [None, "factory"])
def test_a_network_without_rules_survives_as_a_factory(form, tmp_path):
    network = own_networks.transformer(8)
    stored = lipbench.save(
        network, tmp_path / "vit", data="digits", factory="own_networks:transformer", args={"width": 8}, form=form
    )
    assert stored.card.architecture.form == "factory"
    assert stored.bound is None
    assert not (stored.folder / cards.GRAPH).exists()
    x = torch.rand(5, *own_networks.SHAPE)
    with torch.no_grad():  # attention has another algorithm for gradients
        assert torch.equal(load_model(stored.folder, ["own_networks"]).module(x), network(x))
    assert "vit has no Lipschitz bound: no Lipschitz rule for the layer torch.nn.modules.norm" in str(stored)
    with pytest.raises(LipbenchError, match="--trust own_networks"):
        load_model(stored.folder)


def test_a_network_with_rules_can_be_stored_as_a_factory(tmp_path):
    network = own_networks.residual()
    stored = lipbench.save(
        Model(network, claimed=1000.0), tmp_path / "r", data="digits", form="factory", factory="own_networks:residual"
    )
    assert stored.bound == certificate(network, own_networks.SHAPE).bound
    assert stored.card.claimed.constant == 1000.0
    assert stored.card.architecture.factory == "own_networks:residual"


def test_without_a_factory_the_reason_is_said(tmp_path):
    with pytest.raises(LipbenchError, match=r"cannot be stored as a graph: .*LayerNorm.*factory=") as refused:
        lipbench.save(own_networks.transformer(), tmp_path / "vit", data="digits")
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


# --- what the card says ----------------------------------------------------------------------------------------------

BOUND = certificate(own_networks.residual(), own_networks.SHAPE).bound


@pytest.mark.parametrize(
    ("said", "claimed", "by_construction"),
    [
        ({}, None, None),
        ({"claimed": 2 * BOUND}, 2 * BOUND, None),
        ({"claimed": BOUND}, BOUND, None),
        ({"claimed": BOUND / (1 + CLAIM_TOLERANCE / 2)}, BOUND / (1 + CLAIM_TOLERANCE / 2), None),
        ({"claimed": BOUND / (1 + 2 * CLAIM_TOLERANCE)}, BOUND, BOUND / (1 + 2 * CLAIM_TOLERANCE)),
        ({"claimed": 0.5}, BOUND, 0.5),
        ({"constrained": True}, BOUND, None),
        ({"constrained": False}, None, None),
    ],
)
def test_the_card_claims_what_was_computed(said, claimed, by_construction, tmp_path):
    stored = lipbench.save(Model(own_networks.residual(), **said), tmp_path / "r", data="digits")
    found = cards.read(stored.folder).claimed
    assert (None if found is None else found.constant) == claimed
    assert (None if found is None else found.by_construction) == by_construction
    assert ("does not hold" in str(stored)) == (by_construction is not None)


def test_the_card_says_what_the_model_says(tmp_path):
    model = Model(
        own_networks.residual(), name="mine", loss="tau_cross_entropy", hyperparameters={"tau": 4}, architecture="net",
        training={"epochs": 3}, seed=7,
    )  # fmt: skip
    card = lipbench.save(model, tmp_path / "other", data="digits").card
    assert card == cards.read(tmp_path / "other")
    assert (card.name, card.data, card.seed, card.num_classes, card.input_shape) == ("mine", "digits", 7, 10, (1, 8, 8))
    assert (card.loss.name, card.loss.hyperparameters) == ("tau_cross_entropy", {"tau": 4})
    assert (card.architecture.name, card.architecture.form, card.training) == ("net", "graph", {"epochs": 3})
    assert card.module_sha256 is None
    assert card.versions["torch"] == torch.__version__


@pytest.mark.parametrize(
    "inputs",
    [
        {"input_shape": own_networks.SHAPE},
        {"inputs": torch.rand(2, *own_networks.SHAPE)},
        {"data": (torch.rand(3, *own_networks.SHAPE), torch.tensor([0, 1, 2]))},
        {"input_shape": own_networks.SHAPE, "num_classes": 10},
    ],
)
def test_what_the_inputs_are_may_be_said_in_several_ways(inputs, tmp_path):
    stored = lipbench.save(own_networks.residual(), tmp_path / "r", **inputs)
    assert (stored.card.name, stored.card.data, stored.card.num_classes) == ("r", "given", 10)
    results = lipbench.evaluate(stored.folder, suite=TINY, samples=4, data="digits")
    assert set(results.summary()["model"]) == {"r"}


# --- what is refused, with nothing half-written ----------------------------------------------------------------------


class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(1)) if x.sum() > 0 else x.flatten(1)[:, :10]


def with_nan() -> nn.Module:
    network = own_networks.dense()
    network[1].weight.data[0, 0] = torch.nan
    return network


def changed() -> nn.Module:
    network = own_networks.remembering()
    network.factor = 3.0
    return network


DIGITS = {"data": "digits"}
REFUSED = {
    "no inputs": (own_networks.dense, {}, "give one of data, inputs and input_shape, got none"),
    "two inputs": (own_networks.dense, {**DIGITS, "input_shape": (1, 8, 8)}, "got data, input_shape"),
    "no network": (lambda: "net", DIGITS, "expected a network as a torch.nn.Module"),
    "wrong shape": (own_networks.dense, {"input_shape": (1, 9, 9)}, "does not accept inputs of shape"),
    "a shape below 1": (own_networks.dense, {"input_shape": (1, 0, 8)}, "at least 1"),
    "other classes": (lambda: own_networks.dense(outputs=7), DIGITS, "has 7 classes, expected 10"),
    "other classes said": (own_networks.dense, {"input_shape": (1, 8, 8), "num_classes": 9}, "expected 9"),
    "no logits": (lambda: nn.Conv2d(1, 1, 3), DIGITS, "expected logits"),
    "NaN": (with_nan, DIGITS, "NaN"),
    "half precision": (lambda: own_networks.dense().half(), DIGITS, "."),
    "control flow": (Cut, DIGITS, "control flow must not depend on the data"),
    "an unknown form": (own_networks.dense, {**DIGITS, "form": "grap"}, "did you mean 'graph'"),
    "a factory without one": (own_networks.dense, {**DIGITS, "form": "factory"}, "needs factory="),
    "args without a factory": (own_networks.dense, {**DIGITS, "args": {"width": 3}}, "args are those of a factory"),
    "a factory that is none": (own_networks.transformer, {**DIGITS, "factory": "own_networks"}, "pattern"),
    "a factory of another network": (
        own_networks.transformer, {**DIGITS, "factory": "own_networks:dense"}, "does not fit the network",
    ),
    "a factory that forgets": (changed, {**DIGITS, "factory": "own_networks:remembering"}, "computes something else"),
    "a factory that fails": (own_networks.transformer, {**DIGITS, "factory": "own_networks:failing"}, "no such luck"),
    "args that no card holds": (
        own_networks.transformer, {**DIGITS, "factory": "own_networks:transformer", "args": {"width": None}}, "args",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_stored_is_refused(name, tmp_path):
    network, said, message = REFUSED[name]
    with pytest.raises(LipbenchError, match=message) as refused:
        lipbench.save(network(), tmp_path / "zoo" / "net", **said)
    assert "\n" not in str(refused.value)
    assert files.TEMPORARY not in str(refused.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("what", ["model", "file", "link", "empty"])
def test_what_exists_is_not_overwritten(what, tmp_path):
    place = tmp_path / "net"
    if what == "model":
        lipbench.save(own_networks.dense(), place, data="digits")
    elif what == "file":
        place.write_text("mine")
    elif what == "link":
        os.symlink(tmp_path / "nowhere", place)
    else:
        place.mkdir()
    before = sorted((path, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(LipbenchError, match="exists already, and is not overwritten"):
        lipbench.save(own_networks.residual(), place, data="digits")
    assert sorted((path, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()) == before


def test_a_network_that_comes_back_with_another_bound_is_not_stored(tmp_path, monkeypatch):
    """The check compares the certificates too: here the first one is forged."""
    from lipbench.certification import storing

    forged = iter([0.5])

    def certificate_of(module, shape):
        proof = certificate(module, shape)
        return replace(proof, bound=next(forged, proof.bound))

    monkeypatch.setattr(storing, "certificate", certificate_of)
    with pytest.raises(LipbenchError, match=r"when it is loaded again, and had 0\.5"):
        lipbench.save(own_networks.dense(), tmp_path / "net", data="digits")
    assert list(tmp_path.iterdir()) == []


def test_a_network_on_another_device_is_stored(device, tmp_path):
    network = own_networks.residual()
    lipbench.save(copy.deepcopy(network).to(device), tmp_path / "r", data="digits")
    x = torch.rand(4, *own_networks.SHAPE)
    assert torch.equal(load_model(tmp_path / "r").module(x), network(x))


def test_a_factory_that_gives_other_buffers_or_attributes_is_no_form_of_a_network(tmp_path):
    """Samples that are compared may not show it: these buffers and factors matter for bright inputs alone."""
    with pytest.raises(LipbenchError, match="buffers that are not stored"):
        lipbench.save(own_networks.Topped(top=1.5), tmp_path / "a", data="digits", factory="own_networks:topped")
    assert not (tmp_path / "a").exists()
    stored = lipbench.save(
        own_networks.Topped(factor=2.0), tmp_path / "b", data="digits", factory="own_networks:topped"
    )
    assert "other attributes, or other code" in str(stored)
    same = lipbench.save(own_networks.topped(), tmp_path / "c", data="digits", factory="own_networks:topped")
    assert "other attributes" not in str(same)


def test_networks_whose_loss_is_not_named_have_rows_of_their_own(tmp_path, digits):
    """Nothing says that two networks of one class were made alike: a table that averages them would mislead."""
    for name, seed in (("first", 0), ("second", 1)):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        lipbench.save(Model(network, name=name), tmp_path / "zoo" / name, data="digits")
        lipbench.save(
            Model(network, name=f"{name} by tau", loss="tau_cross_entropy", hyperparameters={"tau": 1}),
            tmp_path / "zoo" / f"{name}-tau",
            data="digits",
        )
    results = lipbench.evaluate(tmp_path / "zoo", suite=TINY, samples=8)
    table = results.table()
    assert len([line for line in table.splitlines() if line.startswith(("first", "second"))]) == 2
    assert len([line for line in table.splitlines() if "tau" in line]) == 1  # these are two of one kind
