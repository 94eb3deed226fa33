import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from lipbench.data import load

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8), np.array([5, 0, 4, 1, 9, 2], dtype=np.uint8)
TEST = RNG.integers(0, 256, (3, 28, 28), dtype=np.uint8), np.array([7, 2, 1], dtype=np.uint8)
PARTS = {"train": TRAIN, "t10k": TEST}


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for part, (images, labels) in PARTS.items():
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            data = idx(array)
            (folder / f"{name}{suffix}").write_bytes(gzip.compress(data) if suffix else data)


def write_npz(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"x_train": TRAIN[0], "y_train": TRAIN[1], "x_test": TEST[0], "y_test": TEST[1]} | changes
    np.savez(folder / "mnist.npz", **content)


LAYOUTS = {
    "torchvision": lambda folder: write_idx(folder / "MNIST" / "raw"),
    "torchvision, zipped": lambda folder: write_idx(folder / "MNIST" / "raw", ".gz"),
    "bare": write_idx,
    "bare, zipped": lambda folder: write_idx(folder, ".gz"),
    "keras": write_npz,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_same_data(tmp_path, layout):
    LAYOUTS[layout](tmp_path)
    dataset = load("mnist", tmp_path)
    for split, (images, labels) in ((dataset.train, TRAIN), (dataset.test, TEST)):
        np.testing.assert_array_equal(split.images, images[:, None])
        np.testing.assert_array_equal(split.labels, labels)
        assert split.images.dtype == np.uint8
        assert split.x.flags.writeable
    assert dataset.num_classes == 10
    assert dataset.spec == "mnist"


def test_one_file_may_be_zipped_and_another_not(tmp_path):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(TRAIN[1])))
    assert load("mnist", tmp_path).train.labels.tolist() == TRAIN[1].tolist()


def test_classes_are_ten_even_where_a_digit_is_absent(tmp_path):
    write_npz(tmp_path, y_train=TRAIN[1] // 5)
    assert load("mnist", tmp_path).num_classes == 10


@pytest.mark.parametrize(
    ("name", "data", "parts"),
    [
        ("train-images-idx3-ubyte", idx(TRAIN[0])[:-1], ["expected 4704 bytes", "got 4703"]),
        ("train-images-idx3-ubyte", idx(TRAIN[0]) + b"0", ["got 4705"]),
        ("t10k-images-idx3-ubyte", idx(TEST[1]), ["begins with 00000803", "got 00000801"]),
        ("t10k-labels-idx1-ubyte", b"\0\0\x0d\1" + idx(TEST[1])[4:], ["got 00000d01"]),
        ("t10k-labels-idx1-ubyte", b"\0\0\x08\1\0", ["IDX file"]),
        ("t10k-labels-idx1-ubyte", b"", ["got an empty file"]),
        ("t10k-labels-idx1-ubyte", b"<html>", ["got 3c68746d"]),
        ("train-images-idx3-ubyte", b"\0\0\x08\3" + b"\xff" * 12 + b"0" * 784, ["(4294967295, ", "damaged"]),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, refusal, name, data, parts):
    write_idx(tmp_path)
    (tmp_path / name).write_bytes(data)
    message = refusal("mnist", tmp_path)
    for part in [str(tmp_path / name), *parts]:
        assert part in message


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-20], lambda data: b"<html>", lambda data: data[:10] + b"\xff" * 9 + data[19:]],
)
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path, refusal, damage):
    write_idx(tmp_path, ".gz")
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    assert refusal("mnist", tmp_path).startswith(f"cannot read the MNIST file {path}: ")


def test_labels_must_match_images_in_number(tmp_path, refusal):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(TRAIN[1][:5]))
    assert "6 images and 5 labels" in refusal("mnist", tmp_path)


def test_a_file_missing_beside_the_others_is_named(tmp_path, refusal):
    write_idx(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    message = refusal("mnist", tmp_path)
    assert "no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz" in message
    assert str(tmp_path) in message


def test_other_images_than_mnist_are_refused(tmp_path, refusal):
    write_npz(tmp_path, x_train=TRAIN[0][:, :8, :8], x_test=TEST[0][:, :8, :8])
    assert "expected images of shape (1, 28, 28), got (1, 8, 8)" in refusal("mnist", tmp_path)


def test_missing_files_are_answered_with_each_path_and_the_source(tmp_path, refusal, no_data_folders):
    message = refusal("mnist", tmp_path)
    for folder in (tmp_path, no_data_folders / ".keras" / "datasets"):
        for layout in ("MNIST/raw/t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz", "mnist.npz"):
            assert str(folder / layout) in message
    assert "http://yann.lecun.com/exdb/mnist/" in message
    assert "nothing is downloaded by lipbench" in message


@pytest.fixture
def lipbench_data():
    if not os.environ.get("LIPBENCH_DATA"):
        pytest.skip("LIPBENCH_DATA is unset: name the folder that holds mnist.npz")
    return Path(os.environ["LIPBENCH_DATA"])


def test_the_published_mnist(lipbench_data):
    dataset = load("mnist")
    assert dataset.train.images.shape == (60000, 1, 28, 28)
    assert dataset.test.images.shape == (10000, 1, 28, 28)
    # The first labels and the counts as http://yann.lecun.com/exdb/mnist/ has them.
    assert dataset.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert dataset.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(dataset.test.labels).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
    # 0.1307 and 0.3081 are the mean and standard deviation with which the field normalises MNIST.
    assert round(float(dataset.train.images.mean() / 255), 4) == 0.1307
    assert round(float(dataset.train.images.std() / 255), 4) == 0.3081
