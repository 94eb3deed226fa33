import zipfile

import numpy as np
import pytest

from lipbench.data import load, npz
from lipbench.errors import LipbenchError

GREY = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
COLOUR = np.arange(6 * 3 * 4 * 5, dtype=np.uint16).reshape(6, 3, 4, 5).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def arrays(x=GREY, y=LABELS):
    return {"x_train": x[:4], "y_train": y[:4], "x_test": x[4:], "y_test": y[4:]}


@pytest.fixture
def archive(tmp_path):
    def write(**content):
        np.savez(tmp_path / "toy.npz", **content)
        return f"npz:{tmp_path / 'toy.npz'}"

    return write


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (GREY.astype(np.float64) / 255, (GREY[:, None] / 255).astype(np.float32)),
        (GREY.astype(">f4") / 255, (GREY[:, None] / 255).astype(np.float32)),
    ],
    ids=["NHW", "NCHW grey", "NHWC grey", "NCHW colour", "NHWC colour", "float64", "big-endian"],
)
@pytest.mark.parametrize("y", [LABELS, LABELS[:, None], LABELS.astype(np.uint8)], ids=["(n,)", "(n, 1)", "uint8"])
def test_each_layout_gives_nchw(archive, x, expected, y):
    dataset = load(archive(**arrays(x, y)))
    np.testing.assert_array_equal(dataset.train.images, expected[:4])
    np.testing.assert_array_equal(dataset.test.images, expected[4:])
    assert dataset.train.images.dtype == expected.dtype
    assert dataset.train.labels.tolist() == [0, 1, 2, 0]
    assert dataset.test.labels.tolist() == [1, 2]
    assert dataset.num_classes == 3
    assert dataset.train.images.flags.c_contiguous


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((9, 28, 28), "NHW"),
        ((9, 3, 3), "NHW"),
        ((9, 3, 32, 32), "NCHW"),
        ((9, 32, 32, 3), "NHWC"),
        ((9, 1, 28, 20), "NCHW"),
        ((9, 28, 20, 1), "NHWC"),
        ((9, 1, 3, 3), "NCHW"),
        ((9, 3, 3, 1), "NHWC"),
        ((9, 1, 1, 3), "NHWC"),
        ((9, 3, 1, 1), "NCHW"),
        ((9, 1, 1, 1), "NCHW"),
        ((9, 1, 1, 2), "NCHW"),
    ],
)
def test_the_channel_axis_is_found(shape, layout):
    assert npz.layout_of(shape, "x") == layout


@pytest.mark.parametrize(
    ("shape", "part"),
    [
        ((9, 3, 3, 3), "may be (n, c, h, w) or (n, h, w, c)"),
        ((9, 3, 32, 3), "may be (n, c, h, w) or (n, h, w, c)"),
        ((9, 1, 28, 1), "may be (n, c, h, w) or (n, h, w, c)"),
        ((9, 4, 32, 32), "1 or 3 channels"),
        ((9, 32, 3, 32), "1 or 3 channels"),
        ((9, 784), "expected the shape"),
        ((), "expected the shape"),
        ((9, 1, 3, 32, 32), "expected the shape"),
    ],
)
def test_other_shapes_are_undecidable(shape, part):
    with pytest.raises(LipbenchError) as caught:
        npz.layout_of(shape, "FILE, x_test")
    assert part in str(caught.value)
    assert str(caught.value).startswith("FILE, x_test: ")
    assert str(shape) in str(caught.value)


def test_an_archive_of_test_samples_serves_evaluation(archive):
    dataset = load(archive(x_test=GREY, y_test=LABELS))
    assert dataset.train.images.shape == (0, 1, 4, 5)
    assert dataset.train.labels.shape == (0,)
    np.testing.assert_array_equal(dataset.test.images[:, 0], GREY)


def test_classes_are_counted_over_both_splits(archive):
    labels = np.array([0, 1, 4, 0, 1, 2])
    assert load(archive(**arrays(y=labels))).num_classes == 5
    assert load(archive(**arrays(y=labels[::-1]))).num_classes == 5


def without(*keys):
    return {key: value for key, value in arrays().items() if key not in keys}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (without("x_test"), ["missing x_test;", "x_train, y_train, y_test"]),
        (without("x_test", "y_test"), ["missing x_test, y_test"]),
        (without("y_train"), ["missing y_train"]),
        (without("x_train"), ["missing x_train"]),
        ({"images": GREY}, ["missing x_test, y_test", "it holds images"]),
        ({}, ["missing x_test, y_test", "it holds none"]),
        (arrays(x=np.full((6, 4, 5), None)), ["cannot read x_train", "allow_pickle=False"]),
        (arrays(y=np.full(6, None)), ["cannot read y_train", "allow_pickle=False"]),
        (arrays(x=GREY.astype(np.int64)), ["got int64"]),
        (arrays(x=GREY.astype(str)), ["expected pixels", "got <U"]),
        (arrays(x=GREY.astype(np.float32)), ["[0, 1], got 0 .. 79"]),
        (arrays(y=LABELS / 1.0), ["y_test: expected integer labels, got float64"]),
        (arrays(y=LABELS - 1), ["counted from 0"]),
        (arrays(y=np.eye(6, dtype=int)), ["y_test: expected labels of shape (n,)", "argmax"]),
        (arrays() | {"x_train": COLOUR[:4]}, ["x_train: expected the layout of x_test, (n, h, w)"]),
        (arrays() | {"x_train": GREY[:4, :2]}, ["one image shape", "(1, 2, 5) in train"]),
        (arrays() | {"y_test": LABELS[:3]}, ["2 images and 3 labels"]),
        ({"x_test": GREY[:0], "y_test": LABELS[:0]}, ["at least one test sample"]),
        ({"x_test": GREY, "y_test": LABELS * 0}, ["at least 2 classes, got 1"]),
    ],
)
def test_an_archive_of_something_else_is_refused(archive, refusal, content, parts):
    message = refusal(archive(**content))
    for part in parts:
        assert part in message


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.95])
def test_a_truncated_archive_is_refused(archive, refusal, tmp_path, kept):
    spec = archive(**arrays())
    data = (tmp_path / "toy.npz").read_bytes()
    (tmp_path / "toy.npz").write_bytes(data[: int(len(data) * kept)])
    assert refusal(spec).startswith(f"cannot read the NumPy archive {tmp_path / 'toy.npz'}: ")


def test_a_damaged_member_is_refused(archive, refusal, tmp_path):
    spec = archive(**arrays())
    data = bytearray((tmp_path / "toy.npz").read_bytes())
    data[data.index(GREY[0].tobytes()) + 3] ^= 0xFF
    (tmp_path / "toy.npz").write_bytes(data)
    assert "cannot read x_train of the NumPy archive" in refusal(spec)


@pytest.mark.parametrize(
    ("data", "part"),
    [(b"", "cannot read the NumPy archive"), (b"not a zip", "cannot read the NumPy archive")],
)
def test_a_file_that_is_no_archive_is_refused(tmp_path, refusal, data, part):
    (tmp_path / "toy.npz").write_bytes(data)
    assert part in refusal(f"npz:{tmp_path / 'toy.npz'}")


def test_other_things_than_archives_are_refused(tmp_path, refusal):
    np.save(tmp_path / "toy.npy", GREY)
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as file:
        file.writestr("x_test", b"text")
        file.writestr("y_test", b"text")
    assert "got a single array" in refusal(f"npz:{tmp_path / 'toy.npy'}")
    assert "x_test: expected a NumPy array" in refusal(f"npz:{tmp_path / 'text.npz'}")
    assert "does not exist" in refusal(f"npz:{tmp_path / 'absent.npz'}")
    assert "cannot read the NumPy archive" in refusal(f"npz:{tmp_path}")


def test_the_path_may_start_at_home_and_hold_colons(no_data_folders):
    np.savez(no_data_folders / "a:b.npz", **arrays())
    assert load("npz:~/a:b.npz").test.labels.tolist() == [1, 2]
