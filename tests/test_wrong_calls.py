"""Wrong calls from Python: LipbenchError, or TypeError for a misspelt keyword, in one line with the right hint."""

import numpy as np
import pytest
import torch
from bundled import TAU4
from torch import nn

import lipbench
from lipbench._internal.resources import folder
from lipbench.errors import LipbenchError

LONG = "x" * 5000
NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
X = torch.zeros(2, 1, 8, 8)


def cross_entropy(logits, labels):
    return nn.functional.cross_entropy(logits, labels)


KEYWORDS = {  # a call with a keyword that does not exist: what the line must say
    "norm": (lambda: lipbench.evaluate("digits", norm="Linf"), r'lipbench.evaluate\(\) .*: suite="quick-linf"$'),
    "epsilon": (lambda: lipbench.evaluate("digits", epsilon=0.1), "has no keyword 'epsilon': write eps$"),
    "batch_size": (lambda: lipbench.evaluate("digits", batch_size=3), "shard is the number of samples in one task"),
    "sample": (lambda: lipbench.evaluate("digits", sample=3), r"has no keyword 'sample': did you mean samples\?"),
    "model": (lambda: lipbench.evaluate(model="digits"), "first argument"),
    "eps of verify": (lambda: lipbench.verify("digits", eps=0.1), r"lipbench.verify\(\) .* own certified radius"),
    "seeds of verify": (lambda: lipbench.verify("digits", seeds=[0]), "write seed, which is one number"),
    "epochs": (lambda: lipbench.train("mnist", "zoo", epochs=3), r"lipbench.train\(\) .* belongs to the recipe"),
    "progres": (lambda: lipbench.train("mnist", "zoo", progres=True), "did you mean progress"),
    "no out": (
        lambda: lipbench.train("mnist"),
        r"lipbench.train\(\): missing a required argument: 'out'; it tak",
    ),
    "too many": (lambda: lipbench.list("suites", "quick", 3), r"lipbench.list\(\): too many positional arguments"),
    "output": (lambda: lipbench.report("run", output="x"), r"lipbench.report\(\) has no keyword 'output': write out$"),
    "out of export": (lambda: lipbench.export("run", out="a.csv"), r'samples="FILE", summary="FILE", witnesses="FILE"'),
    "epochs of reproduce": (lambda: lipbench.reproduce("all", epochs=3), "each scale fixes all numbers: write scale$"),
    "out of compare": (lambda: lipbench.compare("run", out="a.csv"), r'write csv="FILE"; a page of several runs'),
    "model of compare": (lambda: lipbench.compare("run", model="a"), r"has no keyword 'model': did you mean models\?"),
    "three runs": (lambda: lipbench.compare("a", "b", "c"), r"lipbench.compare\(\): too many positional arguments"),
    "eps of certify": (lambda: lipbench.certify(NETWORK, X, eps=0.1), r"lipbench.certify\(\) .* compare it with eps"),
    "long": (lambda: lipbench.evaluate("digits", **{LONG: 3}), "has no keyword 'xxx"),
}
VALUES = {
    "zoo": (lambda: lipbench.evaluate("digit"), "did you mean digits"),
    "bundled model": (
        lambda: lipbench.verify(f"digits/{TAU4}9"),
        "did you mean digits/mlp-tau_cross_entropy-tau4-s",
    ),
    "long zoo": (lambda: lipbench.evaluate(LONG), "must be a path, no longer than file systems take"),
    "suite": (lambda: lipbench.evaluate("digits", "standrd"), "did you mean 'standard'"),
    "key of a suite": (
        lambda: lipbench.Suite(name="a", norm=2, eps=[0.1], attacks=[]),
        r"attacks: .* did you mean 'att",
    ),
    "attack of a suite": (lambda: lipbench.Suite(name="a", norm=2, eps=[0.1], attack=[3]), "attack 1: .* got 3"),
    "state_dict": (lambda: lipbench.evaluate(NETWORK.state_dict()), "a state_dict is no network: load it into one"),
    "model as a run": (lambda: lipbench.load(folder("digits") / TAU4), "is a model, not a run: lipbench.Model.load"),
    "labels from 1": (
        lambda: lipbench.evaluate(NETWORK, data=(X, [1, 10])),
        "are labels counted from 1. pass y - 1",
    ),
    "number as a model": (lambda: lipbench.evaluate(3), "is a torch.nn.Module, a lipbench.Model, a folder or the name"),
    "network without data": (lambda: lipbench.evaluate(NETWORK), "which data"),
    "no model in a folder": (lambda: lipbench.Model.load("nowhere"), "card"),
    "function as a network": (lambda: lipbench.Model(cross_entropy), "torch.nn.Module, got function"),
    "labels and images": (lambda: lipbench.evaluate(NETWORK, data=(X, [0])), "labels must be of shape"),
    "pixels as data": (lambda: lipbench.evaluate(NETWORK, data=(255 * (X + 1), [0] * len(X))), r"in \[0, 1\]"),
    "function as suite": (
        lambda: lipbench.evaluate("digits", cross_entropy),
        "a suite must be a path, got <function",
    ),
    "pixels": (lambda: lipbench.evaluate("digits", eps=[9]), "eps 9 is larger .* divide by 255: 9/255"),
    "eps": (lambda: lipbench.evaluate("digits", eps="8/255/2"), "eps must be a number, or text such as '36/255'"),
    "long eps": (lambda: lipbench.evaluate("digits", eps=LONG), "eps must be a number"),
    "show_eps": (lambda: lipbench.evaluate("digits", show_eps="8/255"), "the run has no eps 8/255; it has 0.1"),
    "device": (lambda: lipbench.evaluate("digits", device="gpu"), "unknown device 'gpu': expected auto, cpu or cuda"),
    "mps": (lambda: lipbench.verify("digits", device="mps"), "has no float64"),
    "cuda": (lambda: lipbench.certify(NETWORK, X, device="cuda:99"), "device 'cuda:99' was asked for, but torch"),
    "norm of certify": (lambda: lipbench.certify(NETWORK, X, norm=1), "unknown norm 1: known are L2, Linf"),
    "norm as a name": (lambda: lipbench.certify(NETWORK, X, norm="L1"), "unknown norm 'L1': did you mean 'L2'"),
    "images of 0..255": (lambda: lipbench.certify(NETWORK, 255 * (X + 1)), r"\[0, 1\]"),
    "labels": (lambda: lipbench.certify(NETWORK, X, np.array([0.5, 1.0])), "labels"),
    "function as recipe": (lambda: lipbench.train(cross_entropy, "zoo"), "the recipe must be a path, got <function"),
    "recipe": (lambda: lipbench.train("mnits", "zoo"), "did you mean 'mnist'"),
    "list": (lambda: lipbench.list("attack"), "did you mean 'attacks'"),
    "function as attack": (lambda: lipbench.list("attacks", cross_entropy), "must be a string, got <function"),
    "no run": (lambda: lipbench.load("nowhere"), "no run at nowhere/run.json: the file does not exist"),
    "one run and no name": (lambda: lipbench.compare("run"), "one run needs two names .* got 0; or give a second run"),
    "three models": (lambda: lipbench.compare("a", "b", models=["x", "y", "z"]), "two names .* can be compared, got 3"),
    "number as a model's name": (
        lambda: lipbench.compare("a", "b", models=3),
        "each of models must be a string, got 3",
    ),
    "eps of compare": (lambda: lipbench.compare("a", "b", eps="1/0"), "eps must be a number"),
    "no other run": (lambda: lipbench.compare("a", "nowhere"), "no run at a/run.json"),
    "file of compare": (lambda: lipbench.compare("a", "b", csv="a.xlsx"), "ends in .csv, got a.xlsx"),
    "report of no run": (lambda: lipbench.report([]), "a report of which run"),
    "report of several": (lambda: lipbench.report(["a", "b"]), r"a folder of its own: name it with -o \(out="),
    "number among runs": (lambda: lipbench.report(["a", 3], "out"), "the run folder must be a path, got 3"),
    "long run": (lambda: lipbench.load("/".join(["x" * 250] * 15)), "no run at xxx"),
    "ending": (lambda: lipbench.export("run", samples="a.xlsx"), "ends in .parquet or .csv, got a.xlsx"),
    "bool as samples": (lambda: lipbench.evaluate("digits", samples=True), "samples must be a whole number"),
}


def test_there_are_enough_of_them():
    assert len(KEYWORDS) + len(VALUES) >= 30


@pytest.mark.parametrize("case", [*KEYWORDS, *VALUES])
def test_a_wrong_call(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, said = (KEYWORDS | VALUES)[case]
    with pytest.raises(TypeError if case in KEYWORDS else LipbenchError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert max(map(len, str(caught.value).split())) <= 202
    assert not list(tmp_path.iterdir())
