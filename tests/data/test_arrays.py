"""Inputs and labels as callers give them: what is taken, what is refused and how; nothing of theirs changes."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import lipbench
from lipbench.data import Split
from lipbench.data.arrays import class_labels, inputs, layout_hint, stored_inputs
from lipbench.errors import LipbenchError

X = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(1, 1, 2, 2)

INPUTS = {  # taken as X
    "a tensor": X,
    "a tensor of another type": X.double(),
    "a tensor with a gradient": X.clone().requires_grad_(),
    "half precision": X.half(),
    "bfloat16": X.bfloat16(),
    "an array": X.numpy(),
    "float64": X.double().numpy(),
    "lists": X.tolist(),
    "read only": np.lib.stride_tricks.as_strided(X.numpy().copy(), writeable=False),
    "turned round": X.numpy()[..., ::-1].copy()[..., ::-1],
}


@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_are_taken_as_float32(kind):
    found = inputs(INPUTS[kind])
    assert (found.dtype, found.requires_grad) == (torch.float32, False)
    assert torch.equal(found, X)


WRONG_INPUTS = {
    "a list of numbers": (X.flatten(), r"shape \(n, d\), \(n, c, l\) or \(n, c, h, w\), with n > 0.*got \(4,\)"),
    "volumes": (X[None], r"got \(1, 1, 1, 2, 2\)"),
    "no image": (X[:0], r"got \(0, 1, 2, 2\)"),
    "no pixels": (X[:, :, :0], r"got \(1, 1, 0, 2\)"),
    "pixels of 0..255": ((X * 255).int(), "int32.*divide"),
    "black pixels of 0..255": ((X * 0).short(), "int16.*divide"),
    "whole numbers": (X.long().numpy(), "int64.*divide"),
    "bools": (X > 0.3, "bool"),
    "above 1": (X * 255, r"\[0, 1\], got 0 to 255: rescale it"),
    "above 1 by less than float32 tells": (X.double() * (1 + 1e-12), r"\[0, 1\]"),
    "below 0 by less than float32 tells": (X.double() - 1e-60, r"\[0, 1\]"),
    "NaN": (X.log() - X.log(), "NaN"),
    "infinite": (1 / X, "infinite"),
    "complex": (X.to(torch.complex64), "complex64"),
    "objects": (np.array(X.tolist(), dtype=object), "object"),
    "strings": (np.full((1, 1, 2, 2), "a"), "<U1"),
    "ragged": ([[[[0.0], [0.5, 1.0]]]], "x: no array"),
    "sparse": (X.to_sparse(), "sparse"),
    "nothing": (None, "object"),
}


@pytest.mark.parametrize("kind", WRONG_INPUTS)
def test_inputs_that_are_refused(kind):
    x, said = WRONG_INPUTS[kind]
    with pytest.raises(LipbenchError, match=said) as caught:
        inputs(x)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(4, 1), (2, 2), (1, 4), (1, 2, 2), (2, 1, 2), (4, 1, 1, 1)])
def test_inputs_of_one_to_three_axes_are_taken_as_they_are(shape):
    assert torch.equal(inputs(X.reshape(shape).numpy()), X.reshape(shape))


def test_a_data_frame_is_taken_as_vectors():
    frame = pd.DataFrame(X.reshape(2, 2).double().numpy(), columns=["a", "b"], index=[7, 3])
    assert torch.equal(inputs(frame), X.reshape(2, 2))
    with pytest.raises(LipbenchError, match="x must be an array of numbers, got object"):
        inputs(frame.assign(name="z"))


@pytest.mark.parametrize("kind", [lambda pixels: pixels, torch.from_numpy])
def test_bytes_are_pixels_as_a_data_set_reads_them(kind):
    pixels = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    assert torch.equal(inputs(kind(pixels)), torch.from_numpy(Split(pixels, np.zeros(4, np.int64)).x))
    stored = stored_inputs(kind(pixels))
    assert stored.dtype is torch.uint8
    stored[:] = 0  # a copy
    assert pixels.max() == 255


@pytest.mark.parametrize(
    ("shape", "hinted"), [((8, 8, 3), True), ((8, 8, 1), True), ((3, 8, 8), False), ((3, 8, 1), False), ((64,), False)]
)
def test_a_shape_that_has_its_channels_last_is_noticed(shape, hinted):
    assert ("permute(0, 3, 1, 2)" in layout_hint(shape)) == hinted
    assert layout_hint((8, 8)) == "; images without a channel axis? pass x[:, None]"


LABELS = {  # taken as 2, 0, 1
    "a list": [2, 0, 1],
    "a tensor": torch.tensor([2, 0, 1]),
    "int32": np.array([2, 0, 1], np.int32),
    "bytes": torch.tensor([2, 0, 1], dtype=torch.uint8),
    "uint64": np.array([2, 0, 1], np.uint64),
    "whole numbers of float": np.array([2.0, 0.0, 1.0]),
    "whole numbers with a gradient": torch.tensor([2.0, 0.0, 1.0], requires_grad=True),
    "bfloat16": torch.tensor([2.0, 0.0, 1.0]).bfloat16(),
    "a series": pd.Series([2, 0, 1], index=[7, 8, 9]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_taken_as_int64(kind):
    found = class_labels(LABELS[kind], 3, 3)
    assert found.dtype is torch.int64
    assert found.tolist() == [2, 0, 1]


def test_labels_of_two_classes_may_be_bools():
    assert class_labels(np.array([True, False]), 2, 2).tolist() == [1, 0]


WRONG_LABELS = {
    "fractions": ([2.0, 0.7, 1.0], "whole numbers.*0.7 for sample 1"),
    "fractions of half precision": (torch.tensor([2.0, 0.5, 1.0]).half(), "whole numbers.*0.5 for sample 1"),
    "NaN": ([2.0, float("nan"), 1.0], "whole numbers.*nan for sample 1"),
    "infinite": ([2.0, float("inf"), 1.0], "whole numbers.*inf for sample 1"),
    "bools": ([True, False, True], "bool.*3 classes"),
    "one-hot": (torch.eye(3), r"one-hot.*argmax"),
    "one-hot bools": (torch.eye(3).bool(), r"one-hot.*argmax"),
    "a column": ([[2], [0], [1]], r"shape \(3,\), got \(3, 1\): pass labels\[:, 0\]"),
    "too few": ([2, 0], r"shape \(3,\), got \(2,\)"),
    "a number": (2, r"shape \(3,\), got \(\)"),
    "too large": ([2, 0, 3], r"0\.\.2, got 0 to 3"),
    "far too large": (np.array([2, 0, 2**64 - 1], np.uint64), r"0\.\.2"),
    "far too large floats": ([2.0, 0.0, 1e300], r"0\.\.2"),
    "below 0": ([2, -1, 1], r"0\.\.2, got -1 to 2"),
    "strings": (["2", "0", "1"], "<U1"),
    "names": (np.array(["a", "b", "c"], dtype=object), "object"),
    "complex": (np.array([2, 0, 1j]), "complex128"),
    "ragged": ([[2], [0, 1], 1], "labels: no array"),
}


@pytest.mark.parametrize("kind", WRONG_LABELS)
def test_labels_that_are_refused(kind):
    labels, said = WRONG_LABELS[kind]
    with pytest.raises(LipbenchError, match=said) as caught:
        class_labels(labels, 3, 3)
    assert "\n" not in str(caught.value)


UNKNOWN_CLASSES = {  # where the number of classes is not known
    "one-hot": (torch.eye(3), "one-hot.*argmax"),
    "below 0": ([2, -1, 1], "counted from 0, got -1 to 2"),
    "far too large": ([2, 0, 2**40], "counted from 0"),
}


@pytest.mark.parametrize("kind", UNKNOWN_CLASSES)
def test_labels_that_are_refused_whatever_the_classes(kind):
    labels, said = UNKNOWN_CLASSES[kind]
    with pytest.raises(LipbenchError, match=said):
        class_labels(labels, 3, None)
    assert class_labels([True, False, True], 3, None).tolist() == [1, 0, 1]


def test_certify_takes_and_refuses_them():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    for x, labels, said in (
        (X, [0.7], "whole numbers"),
        (X, torch.tensor([[0.0, 1.0, 0.0]]), "one-hot"),
        ((X * 255).int(), None, "divide"),
        (X.double() + 1e-9, None, r"\[0, 1\]"),
    ):
        with pytest.raises(LipbenchError, match=said):
            lipbench.certify(module, x, labels)
    right = int(lipbench.certify(module, X).prediction[0])
    frames = [
        lipbench.certify(module, X.double().requires_grad_(), labels, claimed=1.0)
        for labels in ([float(right)], [right])
    ]
    assert (frames[0] == frames[1]).all(axis=None)
    assert (frames[0].certified_radius_real > 0).all()


class Darker(nn.Module):
    """Overwrites what it is given."""

    def forward(self, x):
        return x.mul_(0.5).flatten(1)


@pytest.mark.parametrize("given", [X.clone(), X.numpy().copy(), X.double().numpy()])
def test_certify_leaves_the_callers_inputs_alone(given):
    before = torch.as_tensor(given).clone()
    module = nn.Sequential(Darker(), nn.Linear(4, 3))
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    lipbench.certify(module.train(), given, np.zeros(1, np.int64))
    assert torch.equal(torch.as_tensor(given), before)
    assert module.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
