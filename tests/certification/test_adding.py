"""``lipbench add``: from a factory, an architecture or a graph, with weights, to a model of a zoo."""

import os
import shutil

import own_networks
import pytest
import safetensors.torch
import torch
from running import TINY

import lipbench
from lipbench import cli
from lipbench.certification.certificate import certificate
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.architectures import EXPORTED, UNCONSTRAINED, build
from lipbench.models.stored import load_model

DENSE = own_networks.dense(width=12)


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "mine.safetensors"
    safetensors.torch.save_file(DENSE.state_dict(), path)
    return path


def outputs(folder, trust=()):
    with torch.no_grad():
        return load_model(folder, trust).module(torch.full((2, 1, 8, 8), 0.3))


def expected(network):
    with torch.no_grad():
        return network(torch.full((2, 1, 8, 8), 0.3))


@pytest.mark.parametrize(("form", "stored_as"), [(None, "graph"), ("graph", "graph"), ("factory", "factory")])
def test_a_factory_and_weights_become_a_model(form, stored_as, weights, tmp_path):
    stored = lipbench.add(
        tmp_path / "zoo", factory="own_networks:dense", args={"width": 12}, weights=weights, data="digits", form=form,
        loss="tau_cross_entropy", hyperparameters={"tau": 4}, claimed=100.0,
    )  # fmt: skip
    card = cards.read(tmp_path / "zoo" / "mine")
    assert card == stored.card
    assert card.architecture.form == stored_as
    assert (card.name, card.data, card.architecture.name, card.claimed.constant) == ("mine", "digits", "dense", 100.0)
    assert (card.loss.name, card.loss.hyperparameters) == ("tau_cross_entropy", {"tau": 4})
    assert torch.equal(outputs(stored.folder, ["own_networks"]), expected(DENSE))
    assert stored.bound == certificate(DENSE, own_networks.SHAPE).bound


def test_what_no_graph_holds_becomes_a_factory(tmp_path):
    network = own_networks.transformer(8)
    torch.save({"state_dict": network.state_dict(), "epoch": 1}, tmp_path / "vit.pt")
    stored = lipbench.add(
        tmp_path / "zoo",
        factory="own_networks:transformer",
        args={"width": 8},
        weights=tmp_path / "vit.pt",
        data="digits",
    )
    assert stored.card.architecture.form == "factory"
    assert "read the weights under 'state_dict', without epoch" in str(stored)
    assert torch.equal(outputs(stored.folder, ["own_networks"]), expected(network))


def test_a_factory_may_come_with_its_own_weights(tmp_path):
    stored = lipbench.add(tmp_path / "zoo", factory="own_networks:residual", data="digits")
    assert stored.folder == tmp_path / "zoo" / "residual"
    assert torch.equal(outputs(stored.folder), expected(own_networks.residual()))


@pytest.mark.parametrize(("constrained", "layers"), [(None, EXPORTED), (True, EXPORTED), (False, UNCONSTRAINED)])
def test_a_registered_architecture_takes_weights_by_name(constrained, layers, tmp_path):
    torch.manual_seed(0)
    network = build("mlp", layers, own_networks.SHAPE, 10, {"widths": [6]}).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    stored = lipbench.add(
        tmp_path / "zoo", architecture="mlp", args={"widths": [6]}, weights=tmp_path / "w.pt", data="digits",
        constrained=constrained,
    )  # fmt: skip
    assert stored.card.architecture.form == "registered"
    assert stored.card.architecture.constrained == (constrained is not False)
    assert (stored.card.claimed is None) == (constrained is False)
    assert torch.equal(outputs(stored.folder), expected(network))


def test_a_single_logit(tmp_path):
    network = build("mlp", EXPORTED, own_networks.SHAPE, 1, {"widths": [6]}).eval()
    torch.save(network.state_dict(), tmp_path / "w.pt")
    data = (torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 1, 0]))
    stored = lipbench.add(
        tmp_path / "zoo", architecture="mlp", args={"widths": [6], "outputs": 1}, weights=tmp_path / "w.pt", data=data
    )
    assert (stored.card.num_classes, stored.card.data) == (2, "given")
    assert outputs(stored.folder).shape == (2, 1)


def test_a_graph_and_its_weights_become_a_model(tmp_path):
    first = lipbench.save(own_networks.residual(), tmp_path / "first", data="digits")
    stored = lipbench.add(
        tmp_path / "zoo",
        graph=first.folder / cards.GRAPH,
        weights=first.folder / cards.WEIGHTS,
        data="digits",
        name="second",
    )
    assert (stored.folder / cards.GRAPH).read_bytes() == (first.folder / cards.GRAPH).read_bytes()
    assert stored.bound == first.bound
    assert torch.equal(outputs(stored.folder), outputs(first.folder))


def test_the_command_adds_and_others_read(weights, tmp_path, capfd):
    zoo = tmp_path / "zoo"
    words = f"add {zoo} --factory own_networks:dense --arg width=12 --weights {weights} --data digits --claimed 0.01"
    assert cli.run([*words.split(), "--loss", "kr", "--hyperparameter", "tau=4", "--name", "named"]) == 0
    out, err = capfd.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert lines[0].startswith(f"{zoo}/named: stored as a graph of operations; Lipschitz bound ")
    assert lines[1].startswith("the claim of 0.01 does not hold for these weights: the card claims their bound, ")
    assert torch.equal(outputs(zoo / "named"), expected(DENSE))
    assert set(lipbench.evaluate(zoo, suite=TINY, samples=4).summary()["model"]) == {"named"}
    assert cli.run([*words.split(), "--name", "named"]) == 2
    assert "exists already" in capfd.readouterr().err


def test_a_factory_is_read_with_trust_only(tmp_path, capfd):
    zoo = tmp_path / "zoo"
    assert (
        cli.run(["add", str(zoo), "--factory", "own_networks:residual", "--data", "digits", "--form", "factory"]) == 0
    )
    capfd.readouterr()
    command = ["verify", str(zoo), "--samples", "3", "-q", "-o", str(tmp_path / "v")]
    assert cli.run(command) == 2
    assert "--trust own_networks" in capfd.readouterr().err
    assert cli.run([*command, "--trust", "own_networks"]) == 0


WRONG = {
    "nothing": ("--data digits", "give one of factory, architecture and graph, got none"),
    "two of them": ("--data digits --factory a:b --architecture mlp", "got factory, architecture"),
    "no data": ("--factory own_networks:dense", "name them with --data"),
    "unknown data": ("--factory own_networks:dense --data digit", "did you mean 'digits'"),
    "no function": ("--factory own_networks --data digits", "package.module:function"),
    "no such function": ("--factory own_networks:no --data digits", "has no function no"),
    "no such package": ("--factory nowhere_at_all:no --data digits", "PYTHONPATH"),
    "an argument without a value": ("--factory own_networks:dense --arg width --data digits", "KEY=VALUE"),
    "an argument twice": ("--factory own_networks:dense --arg a=1 --arg a=2 --data digits", "given twice"),
    "an unknown argument": ("--factory own_networks:dense --arg depth=1 --data digits", "unexpected keyword"),
    "a hyperparameter of text": (
        "--factory own_networks:dense --hyperparameter tau=x --data digits", "must be a number, got 'x'",
    ),
    "an infinite hyperparameter": ("--factory own_networks:dense --hyperparameter tau=inf --data digits", "finite"),
    "a claim of 0": ("--factory own_networks:dense --claimed 0 --data digits", "greater than 0"),
    "weights of another network": ("--factory own_networks:transformer --weights {w} --data digits", "does not fit"),
    "weights of another width": ("--factory own_networks:dense --weights {w} --data digits", "does not fit"),
    "no such weights": ("--factory own_networks:dense --weights {t}/no.pt --data digits", "cannot read the weights"),
    "an architecture without weights": ("--architecture mlp --data digits", "which weights"),
    "an unknown architecture": ("--architecture mpl --weights {w} --data digits", "did you mean 'mlp'"),
    "weights of another architecture": ("--architecture mlp --weights {w} --data digits", "does not fit"),
    "a form of an architecture": ("--architecture mlp --form graph --weights {w} --data digits", "leave form out"),
    "a graph that is none": ("--graph {w} --weights {w} --data digits", "not a graph"),
    "no such graph": ("--graph {t}/no.json --weights {w} --data digits", "no graph at"),
    "other classes": ("--factory own_networks:dense --arg outputs=7 --data digits", "has 7 classes"),
    "a name that is a path": ("--factory own_networks:dense --name ../x --data digits", "name of its folder"),
    "a graph that cannot be": ("--factory own_networks:transformer --form graph --data digits", "LayerNorm"),
    "a failing factory": ("--factory own_networks:failing --data digits", "RuntimeError: no such luck"),
    "a leaving factory": ("--factory own_networks:stopping --data digits", "SystemExit"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_one_line_and_leaves_nothing(name, weights, tmp_path, capfd):
    words, message = WRONG[name]
    status = cli.run(["add", str(tmp_path / "zoo"), *words.format(w=weights, t=tmp_path).split()])
    out, err = capfd.readouterr()
    assert status == 2, err
    assert err.startswith("lipbench: ")
    assert err.count("\n") == 1, err
    assert message in err
    assert out == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [weights]


@pytest.mark.parametrize(
    ("zoo", "message"),
    [("digits", "bundled zoo"), ("model", "is a model itself"), ("file", "is a file: name a folder")],
)
def test_a_zoo_that_can_be_none_is_refused(zoo, message, tmp_path, monkeypatch, digits_zoo):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(next(digits_zoo.iterdir()) if zoo == "model" else tmp_path, tmp_path / "model", dirs_exist_ok=True)
    (tmp_path / "file").write_text("mine")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(LipbenchError, match=message):
        lipbench.add(zoo, factory="own_networks:dense", data="digits")
    assert sorted(os.listdir(tmp_path)) == before


def test_arguments_are_read_as_json(tmp_path, capfd):
    network = build("cnn", EXPORTED, own_networks.SHAPE, 10, {"channels": [4], "widths": [6], "pool": "average"})
    torch.save(network.state_dict(), tmp_path / "w.pt")
    words = f"add {tmp_path}/zoo --architecture cnn --weights {tmp_path}/w.pt --data digits --name net"
    assert cli.run([*words.split(), "--arg", "channels=[4]", "--arg", "widths=[6]", "--arg", "pool=average"]) == 0
    args = cards.read(tmp_path / "zoo" / "net").architecture.args
    assert args == {"channels": [4], "widths": [6], "pool": "average"}
