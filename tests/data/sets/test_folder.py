import numpy as np
import pytest
from PIL import Image

from lipbench.data import load


def draw(path, value, mode="L", size=(5, 4)):
    """An image of one colour; size is (w, h), as Pillow has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def root(tmp_path):
    """Greyscale; the pixel value tells the image: 100 + 10 * class + number for test, less 100 for train."""
    for c, name in enumerate(["ant", "bee", "cat"]):
        for i, suffix in enumerate(["png", "jpg", "jpeg", "PNG"]):
            draw(tmp_path / "train" / name / f"{i}.{suffix}", 10 * c + i)
        for i in range(2):
            draw(tmp_path / "test" / name / f"{i}.png", 100 + 10 * c + i)
    return tmp_path


def pixels(split):
    assert (split.images == split.images[:, :, :1, :1]).all()
    return split.images[:, 0, 0, 0].tolist()


def test_labels_are_the_alphabetical_rank_of_the_class_folder(root):
    (root / "train" / "notes.txt").write_text("ignored")
    (root / "train" / "ant" / "notes.txt").write_text("ignored")
    draw(root / "train" / "ant" / "._0.png", 250)
    draw(root / "train" / ".cache" / "0.png", 250)
    dataset = load(f"folder:{root}")
    assert dataset.num_classes == 3
    assert dataset.input_shape == (1, 4, 5)
    assert dataset.test.images.dtype == np.uint8
    assert sorted(zip(pixels(dataset.train), dataset.train.labels.tolist(), strict=True)) == [
        (10 * c + i, c) for c in range(3) for i in range(4)
    ]
    assert sorted(zip(pixels(dataset.test), dataset.test.labels.tolist(), strict=True)) == [
        (100 + 10 * c + i, c) for c in range(3) for i in range(2)
    ]


def test_the_path_of_a_folder_alone_names_its_loader(root, monkeypatch):
    assert load(str(root)).spec == f"folder:{root}"
    monkeypatch.chdir(root.parent)
    named = load(root.name)
    assert named.spec == f"folder:{root.name}"
    assert named.test.sha256 == load(f"folder:{root}").test.sha256


def test_the_order_mixes_the_classes_and_survives_a_new_file(root):
    before = load(f"folder:{root}")
    assert before.train.labels.tolist() == [2, 2, 1, 0, 1, 2, 1, 2, 1, 0, 0, 0]
    draw(root / "train" / "bee" / "new.png", 99)
    after = pixels(load(f"folder:{root}").train)
    assert after.count(99) == 1
    assert [value for value in after if value != 99] == pixels(before.train)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 7, (7,)),
        ("1", 1, (255,)),
        ("LA", (7, 0), (7,)),
        ("RGB", (1, 2, 3), (1, 2, 3)),
        ("RGBA", (1, 2, 3, 0), (1, 2, 3)),
        ("P", 0, (0, 0, 0)),
    ],
)
def test_greyscale_has_one_channel_and_all_else_three(tmp_path, mode, value, expected):
    for name in ("a", "b"):
        draw(tmp_path / "test" / name / "0.png", value, mode)
    dataset = load(f"folder:{tmp_path}")
    assert dataset.test.images.shape == (2, len(expected), 4, 5)
    assert dataset.test.images[0, :, 2, 2].tolist() == list(expected)


def test_one_colour_image_makes_all_of_them_rgb(root):
    draw(root / "test" / "ant" / "0.png", (1, 2, 3), "RGB")
    dataset = load(f"folder:{root}")
    assert dataset.train.images.shape == (12, 3, 4, 5)
    np.testing.assert_array_equal(dataset.train.images[:, 0], dataset.train.images[:, 2])
    assert [1, 2, 3] in dataset.test.images[:, :, 0, 0].tolist()


def test_rows_and_columns_are_not_swapped(tmp_path):
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    for name in ("a", "b"):
        draw(tmp_path / "test" / name / "0.png", 0)
        Image.fromarray(image).save(tmp_path / "test" / name / "0.png")
    np.testing.assert_array_equal(load(f"folder:{tmp_path}").test.images[0, 0], image)


def test_without_train_the_training_split_is_empty(root):
    (root / "train").rename(root / "elsewhere")
    dataset = load(f"folder:{root}")
    assert dataset.train.images.shape == (0, 1, 4, 5)
    assert len(dataset.test.labels) == 6


def test_classes_are_counted_over_both_folders(root):
    for image in (root / "test" / "bee").iterdir():
        image.unlink()
    (root / "test" / "bee").rmdir()
    dataset = load(f"folder:{root}")
    assert dataset.num_classes == 3
    assert sorted(dataset.test.labels.tolist()) == [0, 0, 2, 2]


def test_a_class_without_training_folder_is_refused(root, refusal):
    (root / "test" / "bee").rename(root / "test" / "Bee")
    message = refusal(f"folder:{root}")
    assert "only test has Bee" in message
    assert "train has ant, bee, cat" in message


def test_a_missing_or_empty_test_folder_is_refused(root, refusal):
    (root / "test").rename(root / "elsewhere")
    message = refusal(f"folder:{root}")
    assert f"cannot read the folder {root / 'test'}" in message
    assert "train/<class>/*.png" in message
    (root / "test").mkdir()
    assert f"no images in {root / 'test'}" in refusal(f"folder:{root}")
    (root / "test" / "ant").mkdir()
    (root / "test" / "ant" / "0.bmp").write_bytes(b"")
    assert f"no images in {root / 'test'}" in refusal(f"folder:{root}")


def test_a_path_that_is_no_folder_is_refused(tmp_path, refusal):
    (tmp_path / "file").write_text("")
    assert "cannot read the folder" in refusal(f"folder:{tmp_path / 'file'}")
    assert "cannot read the folder" in refusal(f"folder:{tmp_path / 'absent'}")


def test_images_of_another_size_are_refused(root, refusal):
    draw(root / "train" / "cat" / "3.png", 0, size=(4, 5))
    message = refusal(f"folder:{root}")
    assert "one size" in message
    assert "(4, 5)" in message
    assert "(5, 4)" in message


@pytest.mark.parametrize("name", ["train/ant/0.png", "test/bee/1.png", "train/cat/1.jpg"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated"])
def test_a_damaged_image_is_refused_by_name(root, refusal, name, damage):
    path = root / name
    data = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"no image", "truncated": data[: len(data) * 2 // 3]}[damage])
    assert refusal(f"folder:{root}").startswith(f"cannot read the image {path}: ")


def test_sixteen_bits_per_pixel_are_refused_rather_than_clipped(root, refusal):
    Image.fromarray(np.full((4, 5), 3000, dtype=np.uint16)).save(root / "test" / "ant" / "0.png")
    message = refusal(f"folder:{root}")
    assert "8 bits per channel" in message
    assert str(root / "test" / "ant" / "0.png") in message
