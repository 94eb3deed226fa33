"""Weights: read from files of others, checked, and put into a network. No file is ever unpickled as it likes."""

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from lipbench._internal import files
from lipbench.errors import LipbenchError, one_line

FLOATS = (torch.float32, torch.float64)
OTHERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
_SLACK = 16 * 2**20  # bytes that a file of weights may have beyond twice the weights themselves
_NESTED = ("state_dict", "model_state_dict", "model")  # where training scripts keep the weights
_PREFIXES = {"module.": "torch.nn.DataParallel", "_orig_mod.": "torch.compile"}


@dataclass(frozen=True)
class Weights:
    """The tensors of a file by name, and what was done to its content to find them, in words."""

    state: dict[str, Tensor]
    remarks: tuple[str, ...] = ()


def serialize_state(state: Mapping[str, Tensor]) -> bytes:
    """Tensors by name as safetensors; those that share memory are written twice."""
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()})


def read_stored(path: Path, sha256: str, expected: int | None = None) -> bytes:
    """The bytes of the weights of a stored model; expected: how many bytes its network holds, None if not known.

    Raises LipbenchError for a missing or unreadable file, one that is far larger than the network, and one that does
    not match the hash on its card.
    """
    _refuse_special(path)
    try:
        size = path.stat().st_size
        if expected is not None and size > 2 * expected + _SLACK:
            raise LipbenchError(
                f"{path} has {size} bytes, and the network on the card takes {expected}: it does not fit"
            )
        data = path.read_bytes()
    except OSError as error:
        raise LipbenchError(f"cannot read the weights {path}: {error.strerror or error}") from error
    if files.sha256_bytes(data) != sha256:
        raise LipbenchError(
            f"{path} does not match the hash on its card: it was changed or truncated; "
            "restore it, or write the card again if the weights are right"
        )
    return data


def parse_stored(data: bytes, where: str) -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file. Raises LipbenchError for anything else."""
    try:
        state: dict[str, Tensor] = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, OverflowError) as error:
        raise LipbenchError(f"{where} is not a safetensors file: {one_line(error)[:200]}") from error
    return state


def load_into(
    network: nn.Module, state: Mapping[str, Tensor], where: str, *, what: str = "network", assign: bool = False
) -> None:
    """Put weights into a network whose names and shapes they have.

    what: decides on these, for messages; assign: for a network on the meta device, whose tensors become these, in their
    own precision. Raises LipbenchError for a name or shape that differs, for a type of number that is neither the
    network's nor, with ``assign``, another precision of it, and for numbers that are not finite.
    """
    wanted = network.state_dict()
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if expected != found:
        name = min(set(expected.items()) ^ set(found.items()))[0]
        raise LipbenchError(
            f"{where} does not fit the {what}: {name[:200]} is {found.get(name, 'missing')}, "
            f"expected {expected.get(name, 'no such tensor')}"
        )
    check_numbers(state, where)
    for name, tensor in state.items():
        types = {tensor.dtype, wanted[name].dtype}
        if len(types) > 1 and not (assign and types == set(FLOATS)):
            raise LipbenchError(f"{where}: {name} is {tensor.dtype}, expected {wanted[name].dtype}")
    network.load_state_dict(dict(state), assign=assign)


def check_numbers(state: Mapping[str, Tensor], where: str) -> None:
    """Raise LipbenchError unless all floats are finite and of float32 or float64, and all others whole numbers."""
    for name, tensor in state.items():
        if tensor.dtype not in (*FLOATS, *OTHERS):
            raise LipbenchError(f"{where}: {name} is {tensor.dtype}: expected float32 or float64; cast it first")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise LipbenchError(f"{where}: {name} holds NaN or infinite weights; train the model again")


# --- files of others -------------------------------------------------------------------------------------------------


def read_weights(path: Path) -> Weights:
    """The weights in a file of the user's: ``.safetensors``, or what ``torch.load(weights_only=True)`` reads.

    A dictionary of tensors is expected, perhaps under a key such as "state_dict". Prefixes that wrappers put before
    every name are taken off. Raises LipbenchError for any other file, with the way to convert it.
    """
    _refuse_special(path)
    if path.suffix == ".safetensors":
        return _without_prefixes(parse_stored(files.read_bytes(path, "weights"), str(path)), ())
    try:
        with warnings.catch_warnings():  # of other pickle protocols
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, TypeError, AttributeError, KeyError) as error:
        raise LipbenchError(
            f"{path} cannot be read without running code of its own; if you trust it, write its weights: "
            f"python -c \"import torch; m = torch.load('{path}', weights_only=False); "
            "torch.save(getattr(m, 'state_dict', lambda: m)(), 'weights.pt')\""
        ) from error
    except OSError as error:
        raise LipbenchError(f"cannot read the weights {path}: {error.strerror or error}") from error
    return _of_checkpoint(content, path)


def _of_checkpoint(content: Any, path: Path) -> Weights:
    remarks: list[str] = []
    for _ in range(2):  # {"model": {"state_dict": ...}}
        key = next((key for key in _NESTED if isinstance(content, dict) and isinstance(content.get(key), dict)), None)
        if key is None:
            break
        others = sorted(str(other)[:40] for other in content if other != key)
        left = f", without {', '.join(others[:5])}" if others else ""
        remarks.append(f"read the weights under {key!r}{left}")
        content = content[key]
    if not isinstance(content, dict) or not content:
        raise LipbenchError(f"{path} holds a {type(content).__name__}: expected a state_dict, tensors by name")
    strange = next(
        (key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))), None
    )
    if strange is not None:
        raise LipbenchError(
            f"{path} holds no state_dict: {str(strange)[:60]!r} is a {type(content[strange]).__name__}, expected a "
            "tensor; save module.state_dict()"
        )
    return _without_prefixes(content, tuple(remarks))


def _without_prefixes(state: dict[str, Tensor], remarks: tuple[str, ...]) -> Weights:
    for _ in _PREFIXES:
        for prefix, wrapper in _PREFIXES.items():
            if state and all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
                remarks = (*remarks, f"took {prefix!r}, which {wrapper} adds, off every name")
    return Weights(state, remarks)


def _refuse_special(path: Path) -> None:
    """Raise LipbenchError for anything but a regular file: reading a pipe would block for ever."""
    if path.exists() and not path.is_file():
        raise LipbenchError(f"cannot read the weights {path}: it is no regular file")
