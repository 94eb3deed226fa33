"""Weights from files of others: what is read, what is done to it, and what is refused."""

import argparse
import os
import pickle

import pytest
import safetensors.torch
import torch
from own_networks import dense
from torch import nn

from lipbench.errors import LipbenchError
from lipbench.models.weights import load_into, read_weights

STATE = dense().state_dict()
PREFIXED = {f"module.{name}": tensor for name, tensor in STATE.items()}
READ = {
    "plain": (STATE, ()),
    "state_dict": ({"state_dict": STATE, "epoch": 3}, ("under 'state_dict', without epoch",)),
    "model": ({"model": STATE}, ("under 'model'",)),
    "nested": ({"model": {"state_dict": STATE}}, ("under 'model'", "under 'state_dict'")),
    "DataParallel": (PREFIXED, ("torch.nn.DataParallel",)),
    "compiled": ({f"_orig_mod.module.{name}": t for name, t in STATE.items()}, ("torch.compile", "DataParallel")),
    "both": ({"state_dict": PREFIXED}, ("under 'state_dict'", "took 'module.'")),
    "in part": ({**STATE, "module.x": torch.zeros(1)}, ()),
}


@pytest.mark.parametrize("name", READ)
def test_weights_of_torch_save_are_read(name, tmp_path):
    content, remarks = READ[name]
    torch.save(content, tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    expected = {**STATE, "module.x": torch.zeros(1)} if name == "in part" else STATE
    assert found.state.keys() == expected.keys()
    assert all(torch.equal(found.state[key], expected[key]) for key in expected)
    assert len(found.remarks) == len(remarks)
    assert all(part in said for part, said in zip(remarks, found.remarks, strict=True))


def test_safetensors_are_read(tmp_path):
    safetensors.torch.save_file(PREFIXED, tmp_path / "w.safetensors")
    found = read_weights(tmp_path / "w.safetensors")
    assert found.state.keys() == STATE.keys()
    assert "DataParallel" in found.remarks[0]


class Evil:
    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


def evil(path):
    path.write_bytes(pickle.dumps({"weight": Evil(path.parent / "sentinel")}))


REFUSED = {
    "a module": (lambda path: torch.save(dense(), path), "torch.save"),
    "an object": (lambda path: torch.save({"state_dict": STATE, "args": argparse.Namespace(a=1)}, path), "torch.save"),
    "code": (evil, "without running code"),
    "text": (lambda path: path.write_text("hello"), "without running code"),
    "nothing": (lambda path: path.write_bytes(b""), "without running code"),
    "a tensor": (lambda path: torch.save(torch.zeros(3), path), "holds a Tensor: expected a state_dict"),
    "no tensors": (lambda path: torch.save({}, path), "expected a state_dict"),
    "numbers": (lambda path: torch.save({"weight": 3}, path), "'weight' is a int"),
    "names that are none": (lambda path: torch.save({3: torch.zeros(1)}, path), "holds no state_dict: '3' is a Tensor"),
    "no file": (lambda path: None, "cannot read the weights"),
    "a folder": (lambda path: path.mkdir(), "no regular file"),
    "a pipe": (os.mkfifo, "no regular file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused(name, tmp_path):
    write, message = REFUSED[name]
    write(tmp_path / "w.pt")
    with pytest.raises(LipbenchError, match=message) as refused:
        read_weights(tmp_path / "w.pt")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "sentinel").exists()


def test_the_way_to_convert_a_pickle_works(tmp_path, monkeypatch):
    """The refusal names a line of Python: here it is run."""
    torch.save(dense(), tmp_path / "w.pt")
    with pytest.raises(LipbenchError) as refused:
        read_weights(tmp_path / "w.pt")
    line = str(refused.value).partition('python -c "')[2].rpartition('"')[0]
    monkeypatch.chdir(tmp_path)
    exec(line, {})
    assert read_weights(tmp_path / "weights.pt").state.keys() == STATE.keys()


def test_a_file_of_another_kind_under_the_name_of_safetensors(tmp_path):
    torch.save(STATE, tmp_path / "w.safetensors")
    with pytest.raises(LipbenchError, match="not a safetensors file"):
        read_weights(tmp_path / "w.safetensors")


MISFITS = {
    "missing": (lambda state: state.pop("1.bias"), r"1.bias is missing, expected \(16,\)"),
    "more": (lambda state: state.update(more=torch.zeros(2)), r"more is \(2,\), expected no such tensor"),
    "shape": (lambda state: state.update({"1.bias": torch.zeros(3)}), r"1.bias is \(3,\), expected \(16,\)"),
    "precision": (lambda state: state.update({"1.bias": torch.zeros(16).double()}), "float64, expected torch.float32"),
    "half": (lambda state: state.update({"1.bias": torch.zeros(16).half()}), "float16: expected float32 or float64"),
    "whole": (lambda state: state.update({"1.bias": torch.zeros(16).long()}), "int64, expected torch.float32"),
    "infinite": (lambda state: state["1.bias"].fill_(torch.inf), "NaN or infinite"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_weights_that_do_not_fit_are_refused(name):
    change, message = MISFITS[name]
    network, state = dense(), {key: tensor.clone() for key, tensor in STATE.items()}
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    change(state)
    with pytest.raises(LipbenchError, match=message):
        load_into(network, state, "w")
    assert all(torch.equal(network.state_dict()[key], before[key]) for key in before)


def test_counters_are_whole_numbers():
    one, other = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    one(torch.rand(4, 3))
    load_into(other, one.state_dict(), "w")
    assert int(other.num_batches_tracked) == 1
