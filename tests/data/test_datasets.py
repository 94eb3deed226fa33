from dataclasses import replace

import numpy as np
import pytest

from lipbench import data
from lipbench.data import Dataset, Split, load
from lipbench.data.datasets import checked
from lipbench.errors import LipbenchError

PLUGIN = """
import numpy as np
from lipbench.data import Dataset, Split

def load(argument, data_dir):
    images = np.zeros((4, 1, 2, 2), dtype=np.float64)
    images[:, 0, 0, 0] = 0.1
    split = Split(images, np.array([0, 1, 0, 1], dtype=np.uint8))
    load.calls.append((argument, data_dir))
    return Dataset("whatever", split, split, num_classes=2)

load.calls = []

def load_nothing(argument, data_dir):
    return None
"""
ENTRY_POINTS = "[lipbench.datasets]\ntoy = toy_data_plugin:load\nbroken = toy_data_plugin:load_nothing\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "toy_data_plugin.py").write_text(PLUGIN)
    info = tmp_path / "toy_data_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-data-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(
    ("spec", "argument"),
    [("toy", None), ("toy:", ""), ("toy:a=1", "a=1"), ("toy:C:\\x:y", "C:\\x:y")],
)
def test_a_plugin_gets_what_follows_the_first_colon(plugin, tmp_path, spec, argument):
    dataset = load(spec, tmp_path)
    import toy_data_plugin

    assert toy_data_plugin.load.calls[-1] == (argument, tmp_path)
    assert dataset.spec == spec
    assert dataset.test.images.dtype == np.float32
    assert dataset.test.labels.dtype == np.int64
    assert dataset.test.labels.tolist() == [0, 1, 0, 1]
    assert dataset.input_shape == (1, 2, 2)


def test_a_loader_must_return_a_dataset(plugin, refusal):
    assert "return a lipbench.data.Dataset, got NoneType" in refusal("broken")


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("mnits", ["unknown data set 'mnits'", "did you mean 'mnist'", "cifar100", "folder"]),
        ("", ["unknown data set ''", "digits"]),
        ("digits:foo", ["'digits' takes no argument", "'foo'"]),
        ("digits:", ["'digits' takes no argument"]),
        ("mnist:foo", ["'mnist' takes no argument"]),
        ("cifar10:foo", ["'cifar10' takes no argument"]),
        ("cifar100:foo", ["'cifar100' takes no argument"]),
        ("npz", ["needs a path", "npz:PATH"]),
        ("npz:", ["needs a path", "npz:PATH"]),
        ("folder", ["needs a path", "folder:PATH"]),
        ("folder:", ["needs a path", "folder:PATH"]),
    ],
)
def test_a_wrong_spec_is_refused(refusal, spec, parts):
    message = refusal(spec)
    for part in parts:
        assert part in message


def test_digits_is_the_same_split_for_everyone():
    dataset = load("digits")
    # Models' cards and published reports name these digests: a change here is a new data set.
    assert dataset.train.sha256 == "c70964b2abcc3cd2e04313a580adf18b0d55c5f684c26ca6d93363bc6c61cf6d"
    assert dataset.test.sha256 == "6d44be473ab732464d86b6564e7a0b7efbe96c8ac72f89b2925530c086713925"
    assert dataset.train.images.shape == (1297, 1, 8, 8)
    assert dataset.test.images.shape == (500, 1, 8, 8)
    assert dataset.num_classes == 10


def test_digits_is_scaled_stratified_and_covers_all_samples():
    from sklearn.datasets import load_digits

    dataset = load("digits")
    assert dataset.test.images.dtype == np.float32
    assert (dataset.test.images.min(), dataset.test.images.max()) == (0, 1)
    counts = np.bincount(dataset.test.labels)
    assert counts.min() >= 48
    assert counts.max() <= 51
    pixels, labels = load_digits(return_X_y=True)
    images = np.concatenate([dataset.train.images, dataset.test.images]).reshape(-1, 64) * 16
    ours = np.column_stack([images, np.concatenate([dataset.train.labels, dataset.test.labels])])
    theirs = np.column_stack([pixels, labels])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])


def sound():
    images = np.linspace(0, 1, 4 * 3 * 2 * 5, dtype=np.float32).reshape(4, 3, 2, 5)
    split = Split(images, np.array([0, 1, 2, 1]))
    return Dataset("toy", split, split, num_classes=3)


def with_pixel(value):
    images = sound().test.images.copy()
    images[1, 2, 0, 3] = value
    return images


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"images": with_pixel(np.nan)}, ["1 that are NaN or infinite"]),
        ({"images": with_pixel(-np.inf)}, ["1 that are NaN or infinite"]),
        ({"images": with_pixel(1.5)}, ["[0, 1], got 0 .. 1.5", "divide"]),
        ({"images": with_pixel(-0.25)}, ["[0, 1], got -0.25 .. 1", "preprocessing"]),
        ({"images": with_pixel(1 + 2**-23)}, ["[0, 1], got 0 .. 1.00000012"]),
        ({"images": with_pixel(0).astype(np.float64) * 1e300}, ["[0, 1], got 0 .. inf"]),
        ({"images": with_pixel(0)[..., None]}, ["images (n, c, h, w), series", "got the shape (4, 3, 2, 5, 1)"]),
        ({"images": with_pixel(0)[:, 0, 0, 0]}, ["vectors (n, d), got the shape (4,)"]),
        ({"images": with_pixel(0)[:, :0]}, ["vectors (n, d), got the shape (4, 0, 2, 5)"]),
        ({"images": with_pixel(0)[:3]}, ["3 images and 4 labels"]),
        ({"images": np.zeros((4, 3, 2, 5), dtype=np.int64)}, ["got int64", ".astype(np.uint8)"]),
        ({"images": np.full((4, 3, 2, 5), None)}, ["got object"]),
        ({"labels": np.array([0, 1, 2, 3])}, ["0 .. 2", "got 3"]),
        ({"labels": np.array([0, 1, -1, 1])}, ["counted from 0, got -1 .. 1"]),
        ({"labels": np.array([0, 1, 2**64 - 1, 1], dtype=np.uint64)}, ["got 0 .. 18446744073709551615"]),
        ({"labels": np.array([0.0, 1.0, 2.0, 1.0])}, ["integer labels, got float64"]),
        ({"labels": np.array([True, False, True, True])}, ["integer labels, got bool"]),
        ({"labels": np.eye(4, dtype=int)}, ["(n,), got (4, 4)", "argmax"]),
        ({"targets": np.zeros(3)}, ["each of 4 samples as targets", "shape (3,)"]),
        ({"targets": np.array([0, 1, np.nan, 2])}, ["a finite float"]),
        ({"targets": np.arange(4)}, ["got int64"]),
    ],
)
def test_an_unsound_split_is_refused(part, change, parts):
    dataset = sound()
    with pytest.raises(LipbenchError) as caught:
        checked(replace(dataset, **{part: replace(dataset.test, **change)}))
    for expected in ["'toy'", f"{part} split", *parts]:
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"test": sound().test.first(0)}, "at least one test sample"),
        ({"num_classes": 1}, "at least 2 classes, got 1"),
        ({"num_classes": 1, "may_lack_classes": True}, "give num_classes"),
        ({"train": Split(np.zeros((2, 1, 2, 5), np.uint8), np.array([0, 1]))}, "(1, 2, 5) in train"),
        ({"train": Split(np.zeros((2, 30), np.uint8), np.array([0, 1]))}, "(30,) in train"),
    ],
)
def test_an_unsound_dataset_is_refused(change, part):
    with pytest.raises(LipbenchError) as caught:
        checked(replace(sound(), **change))
    assert part in str(caught.value)
    assert "'toy'" in str(caught.value)


@pytest.mark.parametrize("shape", [(30,), (6, 5), (1, 30), (5, 3, 2)])
def test_inputs_may_have_one_to_three_axes(shape):
    inputs = sound().test.images.reshape(4, *shape)
    split = Split(inputs, sound().test.labels)
    dataset = checked(replace(sound(), train=split, test=split))
    assert dataset.input_shape == shape
    np.testing.assert_array_equal(dataset.test.x, inputs)


def test_a_sound_dataset_passes_unchanged_and_may_lack_training_samples():
    dataset = replace(sound(), train=sound().test.first(0))
    passed = checked(dataset)
    assert passed.test.sha256 == dataset.test.sha256
    assert passed.train.images.shape == (0, 3, 2, 5)


def test_float64_pixels_become_float32():
    dataset = sound()
    # What float64 arithmetic leaves above 1 is no pixel out of range once it is rounded to float32.
    images = dataset.test.images.astype(np.float64) * (1 + 2**-40)
    wide = replace(dataset, test=replace(dataset.test, images=images))
    assert checked(wide).test.images.dtype == np.float32
    np.testing.assert_array_equal(checked(wide).test.x, dataset.test.x)


def test_uint8_pixels_are_kept_and_x_divides_them_by_255():
    images = np.array([0, 51, 255], dtype=np.uint8).reshape(3, 1, 1, 1)
    split = checked(Dataset("toy", *[Split(images, np.array([0, 1, 1]))] * 2, num_classes=2)).test
    assert split.images.dtype == np.uint8
    assert split.x.dtype == np.float32
    np.testing.assert_array_equal(split.x.ravel(), np.float32([0, 0.2, 1]))


def test_first_rows_and_the_digest():
    split = sound().test
    assert split.first(None).sha256 == split.sha256
    assert split.first(2).labels.tolist() == [0, 1]
    np.testing.assert_array_equal(split.first(2).images, split.images[:2])
    others = [
        split.first(2),
        Split(with_pixel(0.5), split.labels),
        Split(split.images, split.labels[::-1]),
        Split(split.images.reshape(4, 3, 5, 2), split.labels),
        Split(split.images.astype(np.float16), split.labels),
        replace(split, targets=np.zeros(4, np.float32)),
    ]
    assert len({split.sha256, *(other.sha256 for other in others)}) == 7


def test_targets_go_with_their_samples_as_float32():
    split = replace(sound().test, targets=np.arange(4) / 8)
    kept = checked(replace(sound(), train=split)).train
    assert kept.targets.dtype == np.float32
    assert kept.first(2).targets.tolist() == [0, 0.125]
    assert kept.part(1, 3).targets.tolist() == [0.125, 0.25]


def test_the_digest_is_of_the_values_not_of_their_place(tmp_path):
    split = sound().test
    for axes in ((0, 2, 3, 1), (3, 2, 1, 0)):
        reordered = np.ascontiguousarray(split.images.transpose(axes)).transpose(np.argsort(axes))
        assert Split(reordered, split.labels).sha256 == split.sha256
    split.images.tofile(tmp_path / "pixels")
    for mode in ("r", "c"):
        images = np.memmap(tmp_path / "pixels", np.float32, mode, shape=split.images.shape)
        mapped = checked(replace(sound(), test=Split(images, split.labels))).test
        assert mapped.sha256 == split.sha256
        assert mapped.x.flags.writeable
    images[:] = 0.5  # not in the file: a map that was given back to the system would have lost it
    checked(replace(sound(), test=Split(images, split.labels)))
    assert (images == 0.5).all()


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
def test_rows_are_looked_at_in_pieces_with_none_left_out(monkeypatch, rows):
    monkeypatch.setattr(data.datasets, "ROWS", rows)
    dataset = sound()
    whole = dataset.test.images.astype(np.float64)
    for position in range(4):
        wide = whole.copy()
        wide[position] = 1.5
        for images in (wide, wide.astype(np.float32)):
            with pytest.raises(LipbenchError, match=r"got 0.* \.\. 1\.5"):
                checked(replace(dataset, test=replace(dataset.test, images=images)))
    converted = checked(replace(dataset, test=replace(dataset.test, images=whole))).test.images
    np.testing.assert_array_equal(converted, dataset.test.images)
