import io
import os
import pickle
import struct

import numpy as np
import pytest

from lipbench.data import load
from lipbench.data.unpickle import read_dict
from lipbench.errors import LipbenchError

RNG = np.random.default_rng(0)
ROWS = 2  # images per file
FILES = {
    "cifar10": (
        "cifar-10-batches-py",
        [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
        b"labels",
        10,
    ),
    "cifar100": ("cifar-100-python", ["train", "test"], b"fine_labels", 100),
}


def python2_pickle(array, labels, label_key):
    """The opcodes with which Python 2 and NumPy 1 pickled the published files: protocol 2, byte strings."""
    raw, out = array.tobytes(), io.BytesIO()

    def string(value):
        return b"U" + bytes([len(value)]) + value if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value

    def integer(value):
        return b"J" + struct.pack("<i", value)

    def listed(values):
        return b"](" + b"".join(values) + b"e"

    out.write(b"\x80\x02}(")
    out.write(string(label_key) + listed([integer(label) for label in labels]))
    out.write(string(b"data"))
    out.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + integer(0) + b"\x85" + string(b"b") + b"tR")
    out.write(b"(" + integer(1) + integer(array.shape[0]) + integer(array.shape[1]) + b"\x86")
    out.write(b"cnumpy\ndtype\n(" + string(b"u1") + integer(0) + integer(1) + b"tR")
    out.write(b"(" + integer(3) + string(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb")
    out.write(b"\x89" + string(raw) + b"tb")
    out.write(string(b"filenames") + listed([string(b"a.png"), string(b"b.png")]))
    out.write(b"u.")
    return out.getvalue()


def python3_pickle(protocol):
    return lambda array, labels, key: pickle.dumps({key: labels, b"data": array}, protocol=protocol)


PICKLES = {"python 2": python2_pickle, **{f"protocol {p}": python3_pickle(p) for p in (2, 3, 4, 5)}}


def batch(name, number):
    rng = np.random.default_rng(number)
    return rng.integers(0, 256, (ROWS, 3072), dtype=np.uint8), rng.integers(0, FILES[name][3], ROWS).tolist()


def write(folder, name, pickled=python2_pickle):
    folder.mkdir(parents=True)
    for number, file in enumerate(FILES[name][1]):
        (folder / file).write_bytes(pickled(*batch(name, number), FILES[name][2]))
    return folder


@pytest.mark.parametrize("pickled", PICKLES)
@pytest.mark.parametrize("name", FILES)
def test_batches_are_joined_in_order(tmp_path, name, pickled):
    write(tmp_path / FILES[name][0], name, PICKLES[pickled])
    dataset = load(name, tmp_path)
    batches = [batch(name, number) for number in range(len(FILES[name][1]))]
    images = np.concatenate([data for data, _ in batches]).reshape(-1, 3, 32, 32)
    labels = [label for _, part in batches for label in part]
    np.testing.assert_array_equal(dataset.train.images, images[:-ROWS])
    np.testing.assert_array_equal(dataset.test.images, images[-ROWS:])
    assert dataset.train.labels.tolist() == labels[:-ROWS]
    assert dataset.test.labels.tolist() == labels[-ROWS:]
    assert dataset.num_classes == FILES[name][3]
    assert dataset.test.images.dtype == np.uint8
    assert dataset.test.images.flags.writeable


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("layout", ["{}", "{}/{}", "{}-target/{}"])
@pytest.mark.parametrize("home", [True, False], ids=["keras", "data_dir"])
def test_each_layout_is_found(tmp_path, no_data_folders, name, layout, home):
    folder = layout.replace("{}", FILES[name][0])
    write((no_data_folders / ".keras" / "datasets" if home else tmp_path) / folder, name)
    assert len(load(name, tmp_path).test.labels) == ROWS


@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_answered_with_each_path_and_the_source(tmp_path, refusal, no_data_folders, name):
    message = refusal(name, tmp_path)
    folder = FILES[name][0]
    assert f"{tmp_path / folder}, " in message
    assert str(no_data_folders / ".keras" / "datasets" / folder) in message
    assert f"https://www.cs.toronto.edu/~kriz/{name.replace('cifar', 'cifar-')}-python.tar.gz" in message
    assert "nothing is downloaded by lipbench" in message


def test_a_missing_batch_is_named(tmp_path, refusal):
    folder = write(tmp_path / "cifar-10-batches-py", "cifar10")
    (folder / "data_batch_3").unlink()
    assert refusal("cifar10", tmp_path).startswith(f"no pickle at {folder / 'data_batch_3'}")


DATA = np.zeros((2, 3072), dtype=np.uint8)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ([1, 2], "expected a pickled dictionary, got list"),
        ({}, "missing data, labels"),
        ({b"data": DATA, b"fine_labels": [0, 1]}, "missing labels"),
        ({b"data": DATA[:, :10], b"labels": [0, 1]}, "uint8 (n, 3072), got uint8 (2, 10)"),
        ({b"data": DATA[0], b"labels": [0, 1]}, "got uint8 (3072,)"),
        ({b"data": DATA.astype(np.float32), b"labels": [0, 1]}, "got float32 (2, 3072)"),
        ({b"data": DATA.tolist(), b"labels": [0, 1]}, "got list"),
        ({b"data": DATA, b"labels": [0, 10]}, "list of integers in 0 .. 9"),
        ({b"data": DATA, b"labels": [0, -1]}, "list of integers in 0 .. 9"),
        ({b"data": DATA, b"labels": [0, 2**80]}, "list of integers in 0 .. 9"),
        ({b"data": DATA, b"labels": ["0", "1"]}, "list of integers in 0 .. 9"),
        ({b"data": DATA, b"labels": None}, "list of integers in 0 .. 9"),
        ({b"data": DATA, b"labels": [0]}, "one label for each image, got 2 and 1"),
    ],
)
def test_a_batch_of_something_else_is_refused_by_name(tmp_path, refusal, content, part):
    folder = write(tmp_path / "cifar-10-batches-py", "cifar10")
    (folder / "data_batch_2").write_bytes(pickle.dumps(content, protocol=4))
    message = refusal("cifar10", tmp_path)
    assert part in message
    assert str(folder / "data_batch_2") in message


@pytest.mark.parametrize(
    "content",
    [{"data": DATA, "labels": [0, 1]}, {b"data": DATA, b"labels": np.array([0, 1])}],
    ids=["keys as str", "labels as array"],
)
def test_a_batch_pickled_anew_is_read(tmp_path, content):
    folder = write(tmp_path / "cifar-10-batches-py", "cifar10")
    (folder / "test_batch").write_bytes(pickle.dumps(content, protocol=4))
    dataset = load("cifar10", tmp_path)
    assert dataset.test.labels.tolist() == [0, 1]
    assert (dataset.test.images == 0).all()


class Exploit:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Witness:
    """Unpickling sets a state, which writes a file."""

    def __init__(self, path):
        self.path = path

    def __setstate__(self, state):
        os.mkdir(state["path"])


EXPLOITS = {
    "os.mkdir": lambda path: Exploit(os.mkdir, path),
    "eval": lambda path: Exploit(eval, f"__import__('os').mkdir({path!r})"),
    "getattr": lambda path: Exploit(getattr, "text", "upper"),
    "numpy.fromfile": lambda path: Exploit(np.fromfile, __file__, np.uint8),
    "a class of ours": Witness,
    "object array": lambda path: np.array([Exploit(os.mkdir, path)], dtype=object),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("exploit", EXPLOITS)
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path, refusal, exploit, protocol):
    folder = write(tmp_path / "cifar-10-batches-py", "cifar10")
    witness = tmp_path / "was run"
    content = {b"labels": [0, 1], b"data": DATA, b"extra": EXPLOITS[exploit](str(witness))}
    data = pickle.dumps(content, protocol=protocol)
    (folder / "data_batch_1").write_bytes(data)
    message = refusal("cifar10", tmp_path)
    assert not witness.exists()
    assert message.startswith(f"cannot read the pickle {folder / 'data_batch_1'}: ")
    assert "refused" in message or "got dtype 'O" in message
    if exploit in (
        "os.mkdir",
        "eval",
        "a class of ours",
    ):  # the pickle is a real one: pickle itself would run it
        pickle.loads(data)
        assert witness.exists()


def test_a_forged_dtype_never_reaches_numpy(tmp_path):
    """Objects in a field, the flag that tells of them cleared: NumPy would take bytes for pointers."""
    forged = (
        b"\x80\x02}(U\x04data"
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x01\x85cnumpy\ndtype\n(U\x02V8K\x00K\x01tR"
        b"(K\x03U\x01|NU\x01a\x85}U\x01acnumpy\ndtype\n(U\x02O8K\x00K\x01tRK\x00\x86sK\x08K\x01K\x00tb"
        b"\x89U\x08\0\0\0\0\0\0\0\0tbu."
    )
    assert pickle.loads(forged, encoding="bytes")[b"data"].dtype["a"].kind == "O"  # NumPy believes it
    (tmp_path / "forged").write_bytes(forged)
    with pytest.raises(LipbenchError, match="arrays of numbers, got dtype 'V8'"):
        read_dict(tmp_path / "forged")


@pytest.mark.parametrize("kept", [0, 1, 40, 3000, -1])
def test_a_truncated_pickle_is_refused(tmp_path, refusal, kept):
    folder = write(tmp_path / "cifar-10-batches-py", "cifar10")
    data = (folder / "test_batch").read_bytes()
    (folder / "test_batch").write_bytes(data[:kept])
    assert refusal("cifar10", tmp_path).startswith(f"cannot read the pickle {folder / 'test_batch'}: ")


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.arange(6, dtype=">i4"),
        np.linspace(0, 1, 5, dtype=np.float32),
        np.array([True, False]),
        np.array(3.5),
    ],
    ids=["uint8", "fortran order", "big-endian", "float32", "bool", "zero axes"],
)
def test_arrays_of_numbers_come_back_as_they_were(tmp_path, array, protocol):
    (tmp_path / "file").write_bytes(pickle.dumps({"array": array, b"text": b"\xff", 3: [1.5, None]}, protocol))
    content = read_dict(tmp_path / "file")
    assert content[b"array"].dtype == array.dtype
    np.testing.assert_array_equal(content[b"array"], array)
    assert content[b"text"] == b"\xff"
    assert content[3] == [1.5, None]


def test_bytes_in_another_encoding_are_refused(tmp_path):
    """_codecs.encode imports a module named after the encoding; only latin1 is what pickle itself writes."""
    (tmp_path / "file").write_bytes(b"\x80\x02}U\x01xc_codecs\nencode\nX\x01\0\0\0aX\x05\0\0\0rot13\x86Rs.")
    with pytest.raises(LipbenchError, match="latin1, got 'rot13'"):
        read_dict(tmp_path / "file")
