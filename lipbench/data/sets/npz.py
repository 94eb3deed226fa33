"""Data sets in a NumPy archive: ``npz:PATH``."""

import math
import os
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lipbench.data import Dataset, Split
from lipbench.data.datasets import integer_labels
from lipbench.data.given import NUM_CLASSES, TEST, TRAIN
from lipbench.data.locate import path_argument
from lipbench.data.mapped import BLOCK, Blocks, digest, keep
from lipbench.errors import LipbenchError, one_line

CHANNELS = (1, 3)
LOCAL_HEADER = "<26x2H"  # of a zip member: the lengths of its name and of its extra field, which follow
IMAGES = (TRAIN[0], TEST[0])
INPUT_SHAPE = "input_shape"
TARGETS = "targets_train"
Layout = Literal["ND", "NHW", "NHWC", "NCHW"]


def load(argument: str | None, data_dir: Path | None) -> Dataset:
    """The arrays x_train, y_train, x_test, y_test of the archive; its rows keep their order.

    x: uint8 in 0..255 or float in [0, 1], (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w), see ``layout_of``;
    y: integers (n,) or (n, 1), counted from 0. Three keys are optional: num_classes, a whole number, which is else the
    largest label plus 1; input_shape, whole numbers, the shape of one input, with which x is taken as it is: for series
    (n, c, l), and images of other than 1 or 3 channels; targets_train, floats (n,), for a loss that takes targets. An
    archive with x_test and y_test alone gives an empty training split, and a model may have more classes than its
    labels show. ``data_dir`` is not used.

    Images that ``numpy.savez`` wrote are mapped: they take memory only where they are read, and it is an error if they
    have changed by then (see ``mapped``). Archives of ``numpy.savez_compressed`` are read into memory. Raises
    LipbenchError for a file that is missing, damaged, no archive, or holds other arrays than these.
    """
    return read(path_argument("npz", argument))


def read(path: Path) -> Dataset:
    """As ``load``, for the archive at ``path``."""
    arrays = _arrays(path)
    where = f"{path}, x_test"
    layout = _as_they_are(arrays, where) if INPUT_SHAPE in arrays else layout_of(arrays["x_test"].shape, where)
    test = _split(arrays, TEST, layout, path)
    train = _split(arrays, TRAIN, layout, path) if "x_train" in arrays else test.first(0)
    train = replace(train, targets=arrays.get(TARGETS))
    found = 1 + int(np.concatenate([train.labels, test.labels]).max(initial=-1))
    may_lack = NUM_CLASSES not in arrays and "x_train" not in arrays  # training samples show all classes
    classes = _whole_numbers(arrays, NUM_CLASSES, path, 1)[0] if NUM_CLASSES in arrays else found
    return Dataset(f"npz:{path}", train, test, classes, may_lack)


def layout_of(shape: tuple[int, ...], what: str) -> Layout:
    """The meaning of the axes of x: (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w), c being 1 or 3.

    With four axes the channels are axis 1 or axis 3, whichever has size 1 or 3. Where both have, such as
    (n, 3, 3, 1), it is the reading with square images; where both or neither have them, the shape is
    undecidable. Raises LipbenchError, which begins with ``what``, for such a shape and for any other.
    """
    if len(shape) in (2, 3):
        return "ND" if len(shape) == 2 else "NHW"
    if len(shape) != 4:
        raise LipbenchError(f"{what}: expected the shape (n, d), (n, h, w), (n, h, w, c) or (n, c, h, w), got {shape}")
    channels_first, channels_last = shape[1] in CHANNELS, shape[3] in CHANNELS
    if channels_first and channels_last:
        if shape[1:] == (1, 1, 1):  # both readings are the same array
            return "NCHW"
        channels_first, channels_last = shape[2] == shape[3], shape[1] == shape[2]
        if channels_first == channels_last:
            raise LipbenchError(
                f"{what}: the shape {shape} may be (n, c, h, w) or (n, h, w, c); "
                f"store greyscale images as (n, h, w), or the key {INPUT_SHAPE}={shape[1:]} beside (n, c, h, w)"
            )
    if not (channels_first or channels_last):
        raise LipbenchError(
            f"{what}: expected 1 or 3 channels in axis 1 or axis 3, got the shape {shape}; for images (n, c, h, w) of "
            f"other channels, store the key {INPUT_SHAPE}={shape[1:]} with them"
        )
    return "NCHW" if channels_first else "NHWC"


def _as_they_are(arrays: dict[str, NDArray[Any]], where: str) -> Layout | None:
    """The layout of an archive that says what an input is. Raises LipbenchError if its arrays are others."""
    shape, found = tuple(_whole_numbers(arrays, INPUT_SHAPE, where, 3)), arrays["x_test"].shape
    if found[1:] != shape:
        raise LipbenchError(f"{where}: expected inputs of {INPUT_SHAPE}={shape}, got the shape {found}")
    return None


def _whole_numbers(arrays: dict[str, NDArray[Any]], key: str, where: object, most: int) -> list[int]:
    """1 to ``most`` numbers of an archive. Raises LipbenchError for anything else."""
    found = arrays[key]
    if found.dtype.kind not in "iu" or found.ndim > 1 or not 1 <= found.size <= most or found.min() < 1:
        expected = "a whole number above 0" if most == 1 else f"1 to {most} whole numbers above 0"
        raise LipbenchError(f"{where}: expected {key} to be {expected}, got {found.dtype} of shape {found.shape}")
    return [int(number) for number in found.reshape(-1)]


def _split(arrays: dict[str, NDArray[Any]], keys: tuple[str, str], layout: Layout | None, path: Path) -> Split:
    """layout: None for inputs that are taken as they are."""
    images, labels = (arrays[key] for key in keys)
    if layout is not None and images.ndim != len(layout):
        raise LipbenchError(
            f"{path}, {keys[0]}: expected the layout of x_test, ({', '.join(layout.lower())}), "
            f"got the shape {images.shape}"
        )
    if layout == "NHW":
        images = images[:, None]
    elif layout == "NHWC":
        images = images.transpose(0, 3, 1, 2)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return Split(images, integer_labels(labels, f"{path}, {keys[1]}"))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise LipbenchError(f"no NumPy archive at {path}: the file does not exist") from error
    except Exception as error:  # a damaged file raises what zipfile, zlib and NumPy each choose
        raise LipbenchError(f"cannot read the NumPy archive {path}: {one_line(error)}") from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise LipbenchError(f"expected a NumPy archive at {path}, got a single array; write it with numpy.savez")
    with archive:
        keys = TRAIN + TEST if {*TRAIN} & {*archive.files} else TEST
        missing = [key for key in keys if key not in archive.files]
        if missing:
            raise LipbenchError(
                f"{path}: expected the arrays {', '.join(keys)}, missing {', '.join(missing)}; "
                f"it holds {', '.join(archive.files) or 'none'}"
            )
        optional = [key for key in (NUM_CLASSES, INPUT_SHAPE, TARGETS) if key in archive.files]
        return {key: _member(archive, key, path) for key in (*keys, *optional)}


def _member(archive: Any, key: str, path: Path) -> NDArray[Any]:
    try:
        mapped = _mapped(archive.zip, key, path) if key in IMAGES else None
        array = archive[key] if mapped is None else mapped
    except Exception as error:  # as above; object arrays arrive here too, as ValueError
        raise LipbenchError(f"cannot read {key} of the NumPy archive {path}: {one_line(error)}") from error
    if not isinstance(array, np.ndarray):  # a zip member that is no array comes back as bytes
        raise LipbenchError(f"{path}, {key}: expected a NumPy array, got other data; write the file with numpy.savez")
    return array


def _mapped(archive: zipfile.ZipFile, key: str, path: Path) -> NDArray[Any] | None:
    """An array of the archive as a read-only map of its file, after its check sum was verified.

    None for an array that cannot be mapped, or is damaged in another way: NumPy then reads it, or raises an error.
    """
    member = archive.getinfo(key if key in archive.namelist() else f"{key}.npy")  # as NumPy finds it
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    with archive.open(member) as stream:
        try:
            version = npy.read_magic(stream)
        except ValueError:
            return None
        if version not in ((1, 0), (2, 0)):  # 3 is for field names, which no array here has
            return None
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(stream)
        begin, size = stream.tell(), math.prod(shape) * dtype.itemsize
        if dtype.hasobject or fortran_order:
            return None
        # zipfile verifies the sum once all is read; a map would hand out damaged pixels
        digests = [digest(stream.read(min(BLOCK, size - place))) for place in range(0, size, BLOCK)]
        while stream.read(BLOCK):
            pass
        if stream.tell() < begin + size:
            return None
    assert archive.fp is not None  # it is open
    archive.fp.seek(member.header_offset)
    lengths = struct.unpack(LOCAL_HEADER, archive.fp.read(struct.calcsize(LOCAL_HEADER)))
    offset = member.header_offset + struct.calcsize(LOCAL_HEADER) + sum(lengths) + begin
    try:
        array = np.memmap(archive.fp, dtype=dtype, mode="r", offset=offset, shape=shape)
    except OSError:  # some network file systems map no files
        return None
    keep(array, Blocks(path, os.dup(archive.fp.fileno()), offset, size, digests))
    return array
