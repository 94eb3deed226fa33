import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lipbench import data
from lipbench.data import load
from lipbench.data.sets import npz
from lipbench.errors import LipbenchError
from lipbench.training.fit import DeviceSplit

GREY = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
COLOUR = np.arange(6 * 3 * 4 * 5, dtype=np.uint16).reshape(6, 3, 4, 5).astype(np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def arrays(x=GREY, y=LABELS):
    return {"x_train": x[:4], "y_train": y[:4], "x_test": x[4:], "y_test": y[4:]}


@pytest.fixture
def archive(tmp_path):
    def write(save=np.savez, **content):
        save(tmp_path / "toy.npz", **content)
        return f"npz:{tmp_path / 'toy.npz'}"

    return write


LAYOUTS = pytest.mark.parametrize(
    ("x", "expected"),
    [
        (GREY, GREY[:, None]),
        (GREY[:, None], GREY[:, None]),
        (GREY[..., None], GREY[:, None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 2, 3, 1), COLOUR),
        (GREY.astype(np.float64) / 255, (GREY[:, None] / 255).astype(np.float32)),
        (GREY.astype(np.float32) / 255, (GREY[:, None] / 255).astype(np.float32)),
        ((COLOUR.transpose(0, 2, 3, 1) / 255).astype(np.float32), (COLOUR / 255).astype(np.float32)),
        (GREY.astype(">f4") / 255, (GREY[:, None] / 255).astype(np.float32)),
    ],
    ids=[
        *("NHW", "NCHW grey", "NHWC grey", "NCHW colour", "NHWC colour"),
        *("float64", "float32", "float32 colour", "big-endian"),
    ],
)


@LAYOUTS
@pytest.mark.parametrize("y", [LABELS, LABELS[:, None], LABELS.astype(np.uint8)], ids=["(n,)", "(n, 1)", "uint8"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_each_layout_gives_nchw(archive, x, expected, y, save):
    dataset = load(archive(save, **arrays(x, y)))
    np.testing.assert_array_equal(dataset.train.images, expected[:4])
    np.testing.assert_array_equal(dataset.test.images, expected[4:])
    assert dataset.train.images.dtype == expected.dtype
    assert dataset.train.labels.tolist() == [0, 1, 2, 0]
    assert dataset.test.labels.tolist() == [1, 2]
    assert dataset.num_classes == 3


def test_targets_are_those_of_the_training_samples(archive):
    dataset = load(archive(**arrays(), targets_train=np.array([0.5, -1, 2, 3])))
    assert dataset.train.targets.tolist() == [0.5, -1, 2, 3]
    assert dataset.test.targets is None
    assert load(archive(**arrays())).train.targets is None


def is_mapped(array):
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return False


def digest(images, labels):
    """What ``Split.sha256`` has always been."""
    content = [b"".join([f"{a.dtype}{a.shape}".encode(), np.ascontiguousarray(a).tobytes()]) for a in (images, labels)]
    return hashlib.sha256(b"".join(content)).hexdigest()


@LAYOUTS
def test_a_mapped_archive_is_as_a_loaded_one(archive, monkeypatch, x, expected):
    monkeypatch.setattr(data.datasets, "ROWS", 3)  # the last rows are fewer
    loaded = load(archive(np.savez_compressed, **arrays(x)))
    mapped = load(archive(**arrays(x)))
    for split, other, rows in ((mapped.train, loaded.train, slice(4)), (mapped.test, loaded.test, slice(4, None))):
        assert is_mapped(split.images) == (x.dtype in (np.uint8, np.float32))  # others are converted
        assert not is_mapped(other.images)
        np.testing.assert_array_equal(split.images, other.images)
        assert split.sha256 == other.sha256 == digest(expected[rows], LABELS[rows])
        np.testing.assert_array_equal(split.x, other.x)
        np.testing.assert_array_equal(split.part(1, 2).x, other.x[1:2])
        for part in (split, other, split.part(1, 2)):
            assert part.x.dtype == np.float32
            assert part.x.flags.c_contiguous
            assert part.x.flags.writeable
            assert part.x.flags.aligned
        if is_mapped(split.images):
            split.x[:] = 0.5  # memory of its own
            np.testing.assert_array_equal(split.images, other.images)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: np.savez(path, **{key: np.asfortranarray(array) for key, array in arrays(COLOUR).items()}),
        lambda path: np.savez_compressed(path, **arrays(COLOUR)),
    ],
    ids=["Fortran order", "compressed"],
)
def test_what_cannot_be_mapped_is_read(tmp_path, write):
    write(tmp_path / "toy.npz")
    dataset = load(f"npz:{tmp_path / 'toy.npz'}")
    assert not is_mapped(dataset.test.images)
    np.testing.assert_array_equal(dataset.test.images, COLOUR[4:])


def test_a_file_system_without_maps_is_read(archive, monkeypatch):
    def refused(*_, **__):
        raise OSError(19, "No such device")

    monkeypatch.setattr(np, "memmap", type("memmap", (np.ndarray,), {"__new__": refused}))
    np.testing.assert_array_equal(load(archive(**arrays(COLOUR))).test.images, COLOUR[4:])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("suffix", ["", ".npy"])
def test_members_are_found_where_they_begin(tmp_path, version, suffix):
    path, content = tmp_path / "toy.npz", arrays(COLOUR)
    with zipfile.ZipFile(path, "w") as file:
        for key, array in content.items():
            member = zipfile.ZipInfo(f"{key}{suffix}")
            member.extra = b"\xfe\xca\x05\x00extra"
            with file.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, version)
    dataset = load(f"npz:{path}")
    assert is_mapped(dataset.test.images) == (version < (3, 0))
    np.testing.assert_array_equal(dataset.train.images, COLOUR[:4])
    np.testing.assert_array_equal(dataset.test.images, COLOUR[4:])


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((9, 784), "ND"),
        ((9, 1), "ND"),
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
        ((9, 4, 32, 32), "input_shape=(4, 32, 32)"),
        ((9, 32, 3, 32), "1 or 3 channels"),
        ((9,), "expected the shape"),
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


def test_the_number_of_classes_may_be_stored(archive):
    dataset = load(archive(**arrays(), num_classes=7))
    assert (dataset.num_classes, dataset.may_lack_classes) == (7, False)
    dataset = load(archive(x_test=GREY, y_test=LABELS * 0, num_classes=np.array([2], np.uint8)))
    assert (dataset.num_classes, dataset.may_lack_classes) == (2, False)
    assert not load(archive(**arrays())).may_lack_classes  # training samples show all classes
    assert load(archive(x_test=GREY, y_test=LABELS)).may_lack_classes


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_vectors_are_taken_as_they_are(archive, save):
    dataset = load(archive(save, **arrays(GREY.reshape(6, 20))))
    assert dataset.input_shape == (20,)
    np.testing.assert_array_equal(dataset.test.images, GREY[4:].reshape(2, 20))


@pytest.mark.parametrize("shape", [(4, 15), (1, 60), (60,), (5, 3, 4), (3, 4, 5), (2, 10, 3)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_inputs_of_a_stored_shape_are_taken_as_they_are(archive, save, shape):
    x = COLOUR.reshape(6, *shape)
    dataset = load(archive(save, **arrays(x), input_shape=shape))
    assert dataset.input_shape == shape
    assert is_mapped(dataset.test.images) == (save is np.savez)
    np.testing.assert_array_equal(dataset.train.images, x[:4])
    np.testing.assert_array_equal(dataset.test.images, x[4:])


def test_a_path_alone_names_its_loader(archive, tmp_path, refusal, monkeypatch):
    archive(**arrays())
    path = tmp_path / "toy.npz"
    assert load(str(path)).spec == f"npz:{path}"
    monkeypatch.chdir(tmp_path)
    assert load("toy.npz").spec == "npz:toy.npz"
    assert "no NumPy archive at none.npz" in refusal("none.npz")
    (tmp_path / "digits").mkdir()
    assert load("digits").input_shape == (1, 8, 8)  # a name comes first
    assert "expected images" in refusal("./digits")
    message = refusal(str(tmp_path / "nowhere"))
    assert "no data set at" in message
    assert ".npz" in message


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
        (arrays() | {"x_train": GREY[:4, :2]}, ["inputs of one shape", "(1, 2, 5) in train"]),
        (arrays() | {"y_test": LABELS[:3]}, ["2 images and 3 labels"]),
        ({"x_test": GREY[:0], "y_test": LABELS[:0]}, ["at least one test sample"]),
        ({"x_test": GREY, "y_test": LABELS * 0}, ["at least 2 classes, got 1", "give num_classes"]),
        (arrays() | {"num_classes": 2}, ["labels in 0 .. 1", "got 2"]),
        (arrays() | {"num_classes": 3.0}, ["expected num_classes to be a whole number above 0, got float64"]),
        (arrays() | {"num_classes": [3, 3]}, ["expected num_classes to be a whole number above 0"]),
        (arrays() | {"num_classes": -3}, ["expected num_classes to be a whole number above 0"]),
        (arrays() | {"num_classes": np.array("3")}, ["expected num_classes to be a whole number above 0"]),
        (arrays() | {"input_shape": (5, 4)}, ["inputs of input_shape=(5, 4), got the shape (2, 4, 5)"]),
        (arrays() | {"input_shape": (1, 1, 4, 5)}, ["expected input_shape to be 1 to 3 whole numbers above 0"]),
        (arrays() | {"input_shape": (4.0, 5.0)}, ["expected input_shape to be 1 to 3 whole numbers above 0"]),
        (arrays() | {"input_shape": []}, ["expected input_shape to be 1 to 3 whole numbers above 0"]),
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


def test_a_member_that_ends_too_early_is_refused(refusal, tmp_path):
    path = tmp_path / "toy.npz"
    with zipfile.ZipFile(path, "w") as file:
        for key, array in arrays().items():
            with file.open(f"{key}.npy", "w") as stream:
                shape = (len(array) + 1, *array.shape[1:])
                about = np.lib.format.header_data_from_array_1_0(array) | {"shape": shape}
                np.lib.format.write_array_header_1_0(stream, about)
                stream.write(array.tobytes())
    assert refusal(f"npz:{path}").startswith(f"cannot read x_train of the NumPy archive {path}: ")


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


MEASURE = """
import sys
from pathlib import Path
from lipbench import data

dataset = data.load(sys.argv[1])
print(dataset.train.sha256)
for start in range(0, len(dataset.train.labels), 1000):
    dataset.train.part(start, start + 1000).x.mean()
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


def peak(spec):
    """MB in memory, at most, of a process that loads a data set, hashes it, and looks at each of its shards."""
    # not ru_maxrss, which a child has from its parent
    output = subprocess.run([sys.executable, "-c", MEASURE, spec], check=True, capture_output=True, text=True).stdout
    return int(output.split()[-1]) / 1000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured by Linux")
@pytest.mark.parametrize(
    ("shape", "dtype", "n"),
    [((3, 32, 32), np.uint8, 60000), ((32, 32, 3), np.uint8, 60000), ((3, 32, 32), np.float32, 15000)],
    ids=["NCHW", "NHWC", "float32"],
)
def test_memory_does_not_grow_with_the_data_set(archive, tmp_path, shape, dtype, n):
    """184 MB, and as much again that only 600 samples need."""
    peaks = []
    for count in (n, 600):
        images = np.zeros((count, *shape), dtype)
        images[:, 0, 0] = 1
        split = {"x_test": images[:100], "y_test": np.arange(100) % 2}
        peaks.append(peak(archive(x_train=images, y_train=np.arange(count) % 2, **split)))
    (tmp_path / "toy.npz").unlink()
    assert peaks[0] < peaks[1] + 60


@pytest.fixture
def large(tmp_path):
    """An archive whose images take several blocks each, and what it holds."""
    images = np.random.default_rng(0).integers(0, 256, (900, 3, 16, 16), dtype=np.uint8)
    path = tmp_path / "large.npz"
    np.savez(path, x_train=images, y_train=np.arange(900) % 3, x_test=images[::-1], y_test=np.arange(900) % 3)
    return path, images


def overwrite(path, position: int, data: bytes) -> None:
    """Change bytes where they are: neither size, inode nor time of the file tell."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(position)
        file.write(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_ino, now.st_mtime_ns) == (times.st_size, times.st_ino, times.st_mtime_ns)


@pytest.mark.parametrize("hashed", [False, True], ids=["", "hashed before"])
def test_an_archive_that_changes_while_it_is_in_use_is_refused(large, hashed):
    path, images = large
    dataset = load(f"npz:{path}")
    if hashed:
        assert len(dataset.train.sha256 + dataset.test.sha256) == 128
    row = path.read_bytes().index(images[500].tobytes())
    overwrite(path, row + 17, bytes([images[500].ravel()[17] ^ 1]))
    assert (dataset.train.part(0, 300).x == images[:300] / np.float32(255)).all()  # far from what was changed
    for look in (
        lambda: dataset.train.part(500, 501).x,
        lambda: dataset.train.x,
        lambda: dataset.train.first(600).sha256,
        lambda: DeviceSplit.of(dataset.train, torch.device("cpu")),
    ):
        with pytest.raises(LipbenchError, match=r"large.npz was changed while it was in use: it does not hold"):
            look()
    overwrite(path, row, images[500].tobytes())
    assert (dataset.train.x == images / np.float32(255)).all()


SHORTENED = """
import os, sys
from lipbench import data
from lipbench.errors import LipbenchError

dataset = data.load(f"npz:{sys.argv[1]}")
os.truncate(sys.argv[1], int(sys.argv[2]))
try:
    dataset.test.x
except LipbenchError as error:
    print(error)
"""


def test_an_archive_that_is_truncated_while_it_is_in_use_ends_no_process(large):
    """Whoever looks at a page of a map that its file does not reach any more gets SIGBUS."""
    path, _ = large
    output = subprocess.run(
        [sys.executable, "-c", SHORTENED, path, "1000"], check=False, capture_output=True, text=True
    )
    assert output.returncode == 0, output
    assert "large.npz was changed while it was in use: it is shorter" in output.stdout


def test_an_archive_that_is_replaced_is_in_use_as_it_was(large):
    """The name is that of another file then."""
    path, images = large
    dataset = load(f"npz:{path}")
    np.savez(path.with_name("new.npz"), x_test=images[:5], y_test=np.arange(5) % 3)
    path.with_name("new.npz").replace(path)
    assert (dataset.train.x == images / np.float32(255)).all()
    assert len(load(f"npz:{path}").test.labels) == 5


def test_a_map_of_a_plugin_is_looked_after_too(tmp_path, monkeypatch):
    images = np.random.default_rng(1).random((500, 1, 16, 16), dtype=np.float32)
    path, labels = tmp_path / "images.npy", np.arange(500) % 2
    np.save(path, images)

    def loader(argument, data_dir):
        split = data.Split(np.load(path, mmap_mode="r")[::-1], labels)
        return data.Dataset("mine", split.first(0), split, 2)

    monkeypatch.setattr(data.datasets.DATASETS, "get", lambda name: loader)
    dataset = load("mine")
    assert (dataset.test.x == images[::-1]).all()
    assert dataset.test.part(3, 4).x.flags.aligned
    position = path.stat().st_size - 8
    overwrite(path, position, np.float32(0.5).tobytes())
    with pytest.raises(LipbenchError, match=r"images.npy was changed"):
        dataset.test.part(0, 1).x  # noqa: B018
    assert (dataset.test.part(200, 201).x == images[299]).all()
