"""Hostile and damaged models: each is refused in one line, with status 2, quickly, and no code of theirs runs."""

import json
import os
import shutil
import sys
import time

import pytest
import safetensors.torch
import torch
from torch import nn

import lipbench
from lipbench import cli
from lipbench._internal import files
from lipbench.models import cards

SECONDS = 5.0
# what the files below name: it leaves a file when it is imported, and another when it is called
SENTINEL = "hostile_sentinel"
CODE = "import pathlib\nhere = pathlib.Path(__file__)\nhere.with_name('imported').touch()\n"
CODE += "def run(*args, **kwargs):\n    here.with_name('called').touch()\n"
FORBIDDEN = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"}


class Net(nn.Module):
    """Layers, a parameter of its own, functions, methods, an attribute."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.scale = nn.Linear(64, 8), nn.Linear(16, 10), nn.Parameter(torch.ones(8))

    def forward(self, x):
        h = self.first(x.view(x.shape[0], -1)) * self.scale
        return self.last(torch.cat([h, torch.relu(-h)], dim=1))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A sound model; the cases copy it."""
    torch.manual_seed(0)
    return lipbench.save(Net(), tmp_path_factory.mktemp("zoo") / "net", data="digits").folder


@pytest.fixture
def model(stored, tmp_path, monkeypatch):
    """A copy of the sound model, beside a module that files may name, and that nothing may import."""
    (tmp_path / f"{SENTINEL}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield shutil.copytree(stored, tmp_path / "net")
    assert SENTINEL not in sys.modules
    assert not {"imported", "called"} & {path.name for path in tmp_path.iterdir()}


EVENTS: list[str] = []
sys.addaudithook(lambda event, args: EVENTS.append(event) if event in FORBIDDEN else None)


def refused(folder, capfd) -> str:
    """What the commands say of a model; both must refuse it in one line, in time, and leave nothing behind."""
    said = []
    for words in (["evaluate", "--samples", "2"], ["verify", "--samples", "2"]):
        EVENTS.clear()
        start = time.monotonic()
        status = cli.run(
            [words[0], str(folder), *words[1:], "--data", "digits", "-q", "-o", str(folder.parent / words[0])]
        )
        seconds = time.monotonic() - start
        out, err = capfd.readouterr()
        assert status == 2, (status, out, err)
        assert len(err.splitlines()) == 1, err
        assert "Traceback" not in err
        assert len(err) < 800, err
        assert err.isprintable() or err[:-1].isprintable()
        assert seconds < SECONDS, seconds
        assert not list((folder.parent / words[0]).rglob("*.parquet"))
        assert not EVENTS
        said.append(err)
    return "".join(said)


def rewrite(folder, data: bytes) -> None:
    """Another graph.json, with a card that names its hash."""
    (folder / cards.GRAPH).write_bytes(data)
    cards.write(folder, cards.read(folder).model_copy(update={"graph_sha256": files.sha256_bytes(data)}))


def content_of(folder) -> dict:
    return json.loads((folder / cards.GRAPH).read_bytes())


STEPS = {
    "a function of the sentinel": ({"op": "function", "target": f"{SENTINEL}.run"}, "unknown function"),
    "a method of the sentinel": ({"op": "method", "target": f"{SENTINEL}.run", "args": [{"step": 0}]}, "unknown m"),
    "function of Python": ({"op": "function", "target": "builtins.eval", "args": ["x"]}, "unknown function"),
    "exec": ({"op": "function", "target": "exec", "args": ["x"]}, "unknown function"),
    "os.system": ({"op": "function", "target": "os.system", "args": ["touch"]}, "unknown function"),
    "__import__": ({"op": "function", "target": "__import__", "args": ["os"]}, "unknown function"),
    "torch.load": ({"op": "function", "target": "torch.load", "args": ["x"]}, "unknown function"),
    "torch.hub.load": ({"op": "function", "target": "torch.hub.load", "args": ["x", "y"]}, "unknown function"),
    "torch.save": ({"op": "function", "target": "torch.save", "args": [{"step": 0}, "x"]}, "unknown function"),
    "operator.call": ({"op": "function", "target": "operator.call", "args": ["x"]}, "unknown function"),
    "operator.methodcaller": ({"op": "function", "target": "operator.methodcaller", "args": ["x"]}, "unknown function"),
    "operator.attrgetter": ({"op": "function", "target": "operator.attrgetter", "args": ["x"]}, "unknown function"),
    "a known word elsewhere": ({"op": "function", "target": "torch.getitem", "args": []}, "did you mean"),
    "method __class__": ({"op": "method", "target": "__class__", "args": [{"step": 0}]}, "unknown method"),
    "method __reduce__": ({"op": "method", "target": "__reduce__", "args": [{"step": 0}]}, "unknown method"),
    "method apply_": ({"op": "method", "target": "apply_", "args": [{"step": 0}, "x"]}, "unknown method"),
    "method map_": ({"op": "method", "target": "map_", "args": [{"step": 0}, {"step": 0}, "x"]}, "unknown method"),
    "method numpy": ({"op": "method", "target": "numpy", "args": [{"step": 0}]}, "unknown method"),
    "method register_hook": ({"op": "method", "target": "register_hook", "args": [{"step": 0}, "x"]}, "unknown method"),
    "method of a text": ({"op": "method", "target": "split", "args": ["abc"]}, "of an earlier step"),
    "attribute __class__": ({"op": "attribute", "target": "__class__", "args": [{"step": 0}]}, "unknown attribute"),
    "attribute __dict__": ({"op": "attribute", "target": "__dict__", "args": [{"step": 0}]}, "unknown attribute"),
    "attribute grad_fn": ({"op": "attribute", "target": "grad_fn", "args": [{"step": 0}]}, "unknown attribute"),
    "attribute with more": ({"op": "attribute", "target": "shape", "args": [{"step": 0}, 1]}, "no further arguments"),
    "attribute of a number": ({"op": "attribute", "target": "shape", "args": [1]}, "of an earlier step"),
    "unknown kind of step": ({"op": "exec", "target": "x"}, "layer"),
    "key of a step": ({"op": "method", "target": "relu", "args": [{"step": 0}], "code": "x"}, "not known"),
    "wrong arity": ({"op": "function", "target": "torch.cat", "args": [{"step": 0}, 1, 2, 3, 4]}, "fails"),
    "no arguments": ({"op": "function", "target": "torch.relu"}, "fails"),
    "unknown keyword": ({"op": "method", "target": "relu", "args": [{"step": 0}], "kwargs": {"a": 1}}, "fails"),
    "keyword __class__": ({"op": "method", "target": "relu", "args": [{"step": 0}], "kwargs": {"_-": 1}}, "pattern"),
    "itself": ({"op": "method", "target": "relu", "args": [{"step": 1}]}, "does not come before"),
    "a later step": ({"op": "method", "target": "relu", "args": [{"step": 5}]}, "does not come before"),
    "a step below 0": ({"op": "method", "target": "relu", "args": [{"step": -1}]}, "does not come before"),
    "a step that is none": ({"op": "method", "target": "relu", "args": [{"step": "0"}]}, "tagged value"),
    "a step True": ({"op": "method", "target": "relu", "args": [{"step": True}]}, "tagged value"),
    "a layer that is none": ({"op": "layer", "target": 7, "args": [{"step": 0}]}, "the graph has 2"),
    "a layer below 0": ({"op": "layer", "target": -1, "args": [{"step": 0}]}, "greater than or equal"),
    "a layer by name": ({"op": "layer", "target": "first", "args": [{"step": 0}]}, "the graph has 2"),
    "a tensor that is none": ({"op": "tensor", "target": 3}, "the graph has 1"),
    "a tensor with arguments": ({"op": "tensor", "target": 0, "args": [1]}, "no further arguments"),
    "a shape of 10^12": ({"op": "method", "target": "expand", "args": [{"step": 0}, 10**12, 1, 8, 8]}, "fails"),
    "a repetition 10^12 times": ({"op": "method", "target": "repeat", "args": [{"step": 0}, 1, 10**12, 1, 1]}, "numb"),
    "a repetition 10^9 times": ({"op": "method", "target": "repeat", "args": [{"step": 0}, 1, 1, 1, 10**9]}, "numbers"),
    "a padding of 10^12": (
        {"op": "function", "target": "torch.nn.functional.pad", "args": [{"step": 0}, [0, 10**12]]}, "numbers",
    ),
    "a whole number of 10^30": ({"op": "method", "target": "chunk", "args": [{"step": 0}, 10**30]}, "whole number"),
    "an infinite number": ({"op": "function", "target": "torch.mul", "args": [{"step": 0}, 1e999]}, "a finite number"),
    "a product of a tuple": (
        {"op": "function", "target": "operator.mul", "args": [{"tuple": [1, 2]}, 10**9]}, "operator on a tuple",
    ),
    "a product of a text": ({"op": "function", "target": "operator.mul", "args": ["aaaa", 10**9]}, "operator on a str"),
    "a product of a list": ({"op": "function", "target": "operator.mul", "args": [[1], 10**9]}, "operator on a list"),
    "a text that is no word": ({"op": "method", "target": "to", "args": [{"step": 0}, "/etc/passwd"]}, "expected a w"),
    "a text of a dunder": ({"op": "method", "target": "to", "args": [{"step": 0}, "__class__"]}, "expected a word"),
    "a huge text": ({"op": "method", "target": "to", "args": [{"step": 0}, "a" * 10**6]}, "expected a word"),
    "a huge name": ({"op": "function", "target": "t" * 10**6, "args": []}, "at most 200"),
    "an unknown tag": ({"op": "method", "target": "relu", "args": [{"object": "os"}]}, "tagged value"),
    "two tags": ({"op": "method", "target": "relu", "args": [{"step": 0, "x": 0}]}, "no value, list or tagged"),
    "an unknown dtype": ({"op": "method", "target": "to", "args": [{"step": 0}, {"dtype": "object"}]}, "tagged value"),
    "half a dtype": ({"op": "method", "target": "to", "args": [{"step": 0}, {"dtype": "float16"}]}, "tagged value"),
    "another device": ({"op": "method", "target": "to", "args": [{"step": 0}, "mpsx"]}, "fails"),
    "many arguments": ({"op": "function", "target": "torch.cat", "args": [[{"step": 0}] * 2000]}, "arguments"),
    "many dimensions": ({"op": "method", "target": "view", "args": [{"step": 0}, *[1] * 900]}, "fails"),
    "a moved batch": ({"op": "method", "target": "transpose", "args": [{"step": 0}, 0, 3]}, "fails"),
}  # fmt: skip


def deep(levels: int):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


STEPS["deep lists"] = ({"op": "method", "target": "view", "args": [{"step": 0}, deep(50)]}, "nested")


@pytest.mark.parametrize("name", STEPS)
def test_a_hostile_step_is_refused(name, model, capfd):
    """In place of the first step, or before it."""
    step, message = STEPS[name]
    content = content_of(model)
    content["steps"][0] = step
    rewrite(model, json.dumps(content).encode())
    assert message in refused(model, capfd)


def squared(content):
    """Whole numbers that are squared, step by step: 2^(2^40)."""
    content["steps"] = [
        {"op": "attribute", "target": "ndim", "args": [{"step": 0}]},
        *[{"op": "function", "target": "operator.mul", "args": [{"step": k}, {"step": k}]} for k in range(1, 41)],
    ]
    content["output"] = 41


def doubled(content):
    """A tuple that is joined to itself, step by step."""
    content["steps"] = [
        {"op": "attribute", "target": "shape", "args": [{"step": 0}]},
        *[{"op": "function", "target": "operator.add", "args": [{"step": k}, {"step": k}]} for k in range(1, 41)],
    ]
    content["output"] = 41


def widened(content):
    """A tensor that is put beside itself, step by step."""
    content["steps"] = [
        {"op": "function", "target": "torch.cat", "args": [[{"step": k}, {"step": k}], 1]} for k in range(60)
    ]
    content["output"] = 60


def much(content):
    """Tensors that are each within the limit, and all together are not."""
    content["steps"] = [
        {"op": "method", "target": "repeat", "args": [{"step": 0}, 1, 1, 2**10, 2**10]},
        *[{"op": "method", "target": "relu", "args": [{"step": k}]} for k in range(1, 40)],
    ]
    content["output"] = 40


def layer(**change):
    return lambda content: content["layers"][0].update(change)


def argument(**change):
    return lambda content: content["layers"][0]["args"].update(change)


GRAPHS = {
    "squared numbers": (squared, "out of bounds"),
    "doubled tuples": (doubled, "values"),
    "widened tensors": (widened, "numbers"),
    "many large tensors": (much, "numbers a sample"),
    "many nodes in few bytes": (
        lambda c: c.update(steps=[{"op": "tensor", "target": 0}] * 20_000), "at most 10000",
    ),
    "many layers": (lambda c: c.update(layers=c["layers"][:1] * 20_000), "at most 10000"),
    "no steps": (lambda c: c.update(steps=[]), "at least 1"),
    "another format": (lambda c: c.update(format="lipbench graph 2"), "lipbench graph 1"),
    "an unknown key": (lambda c: c.update(code="import os"), "not known"),
    "a missing key": (lambda c: c.pop("layers"), "missing"),
    "steps that are none": (lambda c: c.update(steps="abc"), "list"),
    "steps of numbers": (lambda c: c.update(steps=[1, 2, 3]), "StepSpec"),
    "an output that is none": (lambda c: c.update(output=99), "the output is step 99"),
    "the input as output": (lambda c: c.update(output=0), "the output is step 0"),
    "an output that is text": (lambda c: c.update(output="1"), "integer"),
    "an inner output": (lambda c: c.update(output=1), "expected logits"),
    "a dtype that is none": (lambda c: c.update(dtype="float16"), "float32"),
    "a layer of the sentinel": (layer(type=f"{SENTINEL}.run"), "unknown type of layer"),
    "an unknown layer": (layer(type="torch.nn.LazyLinear"), "unknown type of layer"),
    "a class of Python": (layer(type="subprocess.Popen"), "unknown type of layer"),
    "a layer of a path": (layer(type="os.path"), "unknown type of layer"),
    "a layer of other text": (layer(type="torch.nn.Linear\n"), "pattern"),
    "a name with control characters": (layer(name="\x1b[31m"), "pattern"),
    "a layer's argument that is unknown": (argument(code="x"), "takes the arguments"),
    "a layer's argument that is missing": (lambda c: c["layers"][0].update(args={}), "takes the arguments"),
    "a layer of 10^12": (argument(in_features=10**12, out_features=10**12), "layer 0"),
    "a layer of 10^11 numbers": (argument(in_features=10**6, out_features=10**5), "numbers, more than"),
    "a layer below 0": (argument(in_features=-5), "layer 0"),
    "a layer of text": (argument(in_features="os"), "layer 0"),
    "a layer that takes a step": (argument(in_features={"step": 0}), "layer 0"),
    "a layer that does not fit": (argument(in_features=65), "fails"),
    "a tensor of 10^12": (lambda c: c["tensors"][0].update(shape=[10**12]), "numbers, more than"),
    "a tensor of 10^60": (lambda c: c["tensors"][0].update(shape=[10**12] * 5), "graph.json"),
    "a tensor of many dimensions": (lambda c: c["tensors"][0].update(shape=[1] * 100), "at most 8"),
    "a tensor below 0": (lambda c: c["tensors"][0].update(shape=[-8]), "greater than or equal"),
    "a tensor of objects": (lambda c: c["tensors"][0].update(dtype="object"), "float32"),
    "a tensor of another kind": (lambda c: c["tensors"][0].update(kind="module"), "parameter"),
    "a tensor that is not in the weights": (lambda c: c["tensors"].append({**c["tensors"][0]}), "does not fit"),
    "weights of another shape": (lambda c: c["tensors"][0].update(shape=[1]), "does not fit"),
    "weights of another kind": (lambda c: c["tensors"][0].update(dtype="int64"), "expected"),
    "many channels": (
        lambda c: c["layers"].append({"name": "n", "type": "lipbench.Normalize", "args": {"channels": 10**9}}),
        "channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_hostile_graph_is_refused(name, model, capfd):
    change, message = GRAPHS[name]
    content = content_of(model)
    change(content)
    rewrite(model, json.dumps(content).encode())
    assert message in refused(model, capfd)


TEXTS = {
    "nothing": (b"", "not a graph"),
    "not UTF-8": (b"\xff\xfe\x00{}", "not a graph"),
    "not JSON": (b"{'format': 1}", "not a graph"),
    "a pickle": (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.", "not a graph"),
    "a number": (b"7", "expected a JSON object"),
    "a list": (b"[]", "expected a JSON object"),
    "deep brackets": (b"[" * 100_000, "not a graph"),
    "deep tables": (b'{"a":' * 100_000, "not a graph"),
    "NaN": (b'{"format": NaN}', "not a finite number"),
    "infinity": (b'{"format": -Infinity}', "not a finite number"),
    "a key twice": (b'{"format": "lipbench graph 1", "format": "x"}', "there twice"),
    "a number of 10000 digits": (b'{"output": ' + b"9" * 10_000 + b"}", "not a graph"),
    "a million nodes": (
        b'{"steps": [' + b'{"op": "method", "target": "relu", "args": [{"step": 0}]},' * 10**6 + b"]}",
        "larger",
    ),
    "a number beyond floats": (b'{"format": 1e999}', "lipbench graph 1"),
    "nine megabytes": (b" " * 9 * 2**20, "larger than"),
    "cut short": (b'{"format": "lipbench graph 1", "layers": [', "not a graph"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_file_that_is_no_graph_is_refused(name, model, capfd):
    data, message = TEXTS[name]
    rewrite(model, data)
    assert message in refused(model, capfd)


def fifo(path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path) -> None:
    path.unlink()
    path.mkdir()


def sparse(path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)


def state(change):
    def apply(path) -> None:
        tensors = safetensors.torch.load_file(path)
        change(tensors)
        data = safetensors.torch.save(tensors)
        path.write_bytes(data)
        cards.write(
            path.parent, cards.read(path.parent).model_copy(update={"weights_sha256": files.sha256_bytes(data)})
        )

    return apply


FILES = {
    "a pipe as graph": (cards.GRAPH, fifo, "no regular file"),
    "a folder as graph": (cards.GRAPH, folder, "no regular file"),
    "no graph": (cards.GRAPH, lambda path: path.unlink(), "no graph"),
    "a sparse graph": (cards.GRAPH, sparse, "larger than"),
    "another graph than the card's": (cards.GRAPH, lambda path: path.write_bytes(b"{}"), "hash"),
    "a pipe as weights": (cards.WEIGHTS, fifo, "no regular file"),
    "a folder as weights": (cards.WEIGHTS, folder, "no regular file"),
    "no weights": (cards.WEIGHTS, lambda path: path.unlink(), "cannot read the weights"),
    "sparse weights of a tebibyte": (cards.WEIGHTS, sparse, "does not fit"),
    "weights cut short": (cards.WEIGHTS, lambda path: path.write_bytes(path.read_bytes()[:-100]), "hash"),
    "weights that are NaN": (cards.WEIGHTS, state(lambda t: t["tensors.t0"].fill_(torch.nan)), "NaN or infinite"),
    "weights that are missing": (cards.WEIGHTS, state(lambda t: t.pop("layers.0.weight")), "does not fit"),
    "weights that are too many": (cards.WEIGHTS, state(lambda t: t.update(more=torch.zeros(3))), "does not fit"),
    "weights of half precision": (
        cards.WEIGHTS, state(lambda t: t.update({"tensors.t0": t["tensors.t0"].half()})), "float16",
    ),
    "a pipe as card": (cards.CARD, fifo, "no model"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused(name, model, capfd):
    file, damage, message = FILES[name]
    damage(model / file)
    assert message in refused(model, capfd)


CARD = {
    "a factory that nobody trusts": (
        'form = "graph"', f'form = "factory"\nfactory = "{SENTINEL}:run"', f"pass --trust {SENTINEL}",
    ),
    "a factory of Python": ('form = "graph"', 'form = "factory"\nfactory = "os:system"', "pass --trust os"),
    "a factory that is code": ('form = "graph"', 'form = "factory"\nfactory = "os:system(1)"', "pattern"),
    "a factory without one": ('form = "graph"', 'form = "factory"', "go together"),
    "a graph with a factory": ('form = "graph"', f'form = "graph"\nfactory = "{SENTINEL}:run"', "go together"),
    "a network in memory": ('form = "graph"', 'form = "module"', "in memory"),
    "another form": ('form = "graph"', 'form = "pickle"', "form"),
    "a graph without a hash": ("graph_sha256", "module_sha256", "hash"),
    "other classes": ("num_classes = 10", "num_classes = 7", "has 7 classes"),
    "a huge shape": ("    8,\n    8,\n", "    1000000000,\n    1000000000,\n", "an input should have at most"),
    "preprocessing of a graph": ("[loss]", "[preprocessing]\nmean = [0.0]\nstd = [0.5]\n[loss]", "part of its network"),
    "a name that is a path": ('name = "net"', 'name = "../net"', "name"),
}  # fmt: skip


@pytest.mark.parametrize("name", CARD)
def test_a_hostile_card_is_refused(name, model, capfd):
    old, new, message = CARD[name]
    text = (model / cards.CARD).read_text()
    assert old in text
    (model / cards.CARD).write_text(text.replace(old, new, 1))
    assert message in refused(model, capfd)
