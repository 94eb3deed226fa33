"""The form of ``graph.json``, and its limits. Parsing it imports nothing and calls nothing that the file names.

    {"format": "lipbench graph 1", "dtype": "float32",
     "layers": [{"name": "body.0", "type": "torch.nn.Linear", "args": {"in_features": 64, ...}}],
     "tensors": [{"name": "scale", "kind": "parameter", "dtype": "float32", "shape": [1]}],
     "steps": [{"op": "method", "target": "flatten", "args": [{"step": 0}, 1]},
               {"op": "layer", "target": 0, "args": [{"step": 1}]}],
     "output": 2}

Step 0 is the input of the network, (n, ...); the first entry of ``steps`` is step 1. A step may take earlier ones only.
"""

import difflib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field

from lipbench._internal import schema
from lipbench.errors import LipbenchError, one_line

MOST_BYTES = 8 * 2**20  # of a file: ResNet-152 takes 0.1 MiB
MOST_STEPS = 10_000
MOST_ARGUMENTS = 1_000  # of one step, all levels together
DEEPEST = 6  # lists in lists
LARGEST = 2**40  # of a whole number
DTYPES = {str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.float64, torch.int64, torch.int32)}

_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]*$", max_length=200)]
_WORD = r"^[A-Za-z_][A-Za-z0-9_]{0,39}$"
_SETTINGS = ConfigDict(extra="forbid", frozen=True, strict=True)


class LayerSpec(schema.Strict):
    """A layer: its name in the network that it comes from, its type, and the arguments of its constructor."""

    model_config = _SETTINGS
    name: _NAME
    type: _NAME
    args: dict[_NAME, Any] = Field(default_factory=dict, max_length=20)


class TensorSpec(schema.Strict):
    """A parameter or a buffer that steps take directly."""

    model_config = _SETTINGS
    name: _NAME
    kind: Literal["parameter", "buffer"]
    dtype: Literal["float32", "float64", "int64", "int32"]
    shape: Annotated[list[Annotated[int, Field(ge=0, le=LARGEST)]], Field(max_length=8)]


class StepSpec(schema.Strict):
    """One operation. ``target``: the number of a layer or tensor, or the name of a function, method or attribute."""

    model_config = _SETTINGS
    op: Literal["layer", "tensor", "function", "method", "attribute"]
    target: Annotated[int, Field(ge=0)] | _NAME
    args: list[Any] = Field(default_factory=list)
    kwargs: dict[Annotated[str, Field(pattern=_WORD)], Any] = Field(default_factory=dict, max_length=20)


class GraphFile(schema.Strict):
    """The content of ``graph.json``."""

    model_config = _SETTINGS
    format: Literal["lipbench graph 1"]
    dtype: Literal["float32", "float64"]  # of the network's weights
    layers: Annotated[list[LayerSpec], Field(max_length=MOST_STEPS)]
    tensors: Annotated[list[TensorSpec], Field(max_length=MOST_STEPS)]
    steps: Annotated[list[StepSpec], Field(min_length=1, max_length=MOST_STEPS)]
    output: int

    def plain(self) -> dict[str, Any]:
        """As plain data, which ``parse`` reads back from its JSON form."""
        return self.model_dump(mode="json")

    def encoded(self) -> bytes:
        """As the bytes of a file, one step a line."""
        head = {key: value for key, value in self.plain().items() if key != "steps"}
        written = (step.model_dump(mode="json", exclude_defaults=True) for step in self.steps)
        steps = ",\n  ".join(json.dumps(step, allow_nan=False) for step in written)
        return f'{json.dumps(head, allow_nan=False)[:-1]},\n "steps": [\n  {steps}\n ]}}\n'.encode()


@dataclass(frozen=True)
class Reference:
    """In the arguments of a step: the value of an earlier step."""

    step: int


def parse(data: bytes, where: str) -> GraphFile:
    """The graph in the bytes of a file. Raises LipbenchError for anything else, with ``where`` it comes from."""
    if len(data) > MOST_BYTES:
        raise LipbenchError(f"{where} is larger than {MOST_BYTES} bytes: no graph of lipbench is")
    try:
        content = json.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise LipbenchError(f"{where} is not a graph: {one_line(error)[:200]}") from error
    if not isinstance(content, dict):
        raise LipbenchError(f"{where} is not a graph: expected a JSON object, got a {type(content).__name__}")
    return schema.parse(GraphFile, content, where, "graph")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")


def not_in_table(kind: str, name: object, table: Iterable[str]) -> LipbenchError:
    """The error for an operation or a layer that no graph holds, with the closest one that graphs do."""
    close = difflib.get_close_matches(str(name)[:100], table, n=1, cutoff=0.5)
    hint = f": did you mean {close[0]!r}?" if close else ""
    return LipbenchError(
        f"unknown {kind} {str(name)[:200]!r}{hint or ': a graph holds operations with Lipschitz rules only'}"
    )


# --- arguments -------------------------------------------------------------------------------------------------------


def argument(value: Any, depth: int = 0) -> Any:
    """The value that an argument stands for; references to steps stay ``Reference``.

    Raises ValueError for what no argument is.
    """
    if depth > DEEPEST:
        raise ValueError(f"arguments are nested more than {DEEPEST} levels deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise ValueError(f"a whole number above {LARGEST}")
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number that is not finite")
        return value
    if isinstance(value, str):
        if not (value.isascii() and value.isidentifier() and len(value) <= 20) or value.startswith("_"):
            raise ValueError(f"the text {value[:40]!r}: expected a word such as reflect")
        return value
    if isinstance(value, list):
        return [argument(item, depth + 1) for item in value]
    if isinstance(value, dict) and len(value) == 1:
        return _tagged(*next(iter(value.items())), depth)
    raise ValueError("an argument that is no value, list or tagged value")


def _tagged(tag: str, value: Any, depth: int) -> Any:
    """The value of {tag: value}."""
    if tag == "step" and isinstance(value, int) and not isinstance(value, bool):
        return Reference(value)
    if tag == "tuple" and isinstance(value, list):
        return tuple(argument(item, depth + 1) for item in value)
    if tag == "slice" and isinstance(value, list) and len(value) == 3:
        return slice(*(argument(item, depth + 1) for item in value))
    if tag == "dtype" and isinstance(value, str) and value in DTYPES:
        return DTYPES[value]
    if tag == "ellipsis" and value is True:
        return ...
    raise ValueError(f"the tagged value {tag[:40]!r} of this kind")


def plain_argument(value: Any) -> Any:
    """The form in the file of what ``argument`` gives back. Raises ValueError for a value that has none."""
    if isinstance(value, Reference):
        return {"step": value.step}
    if value is ...:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, slice):
        return {"slice": [plain_argument(item) for item in (value.start, value.stop, value.step)]}
    if isinstance(value, list):
        return [plain_argument(item) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [plain_argument(item) for item in value]}
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"the number {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"an argument of type {type(value).__name__}")


def references(value: Any) -> Iterator[Reference]:
    """Each reference in a parsed argument."""
    for item in items(value):
        if isinstance(item, Reference):
            yield item


def items(value: Any) -> Iterator[Any]:
    """A parsed argument and all that it holds."""
    yield value
    parts: Any = ()
    if isinstance(value, list | tuple):
        parts = value
    elif isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
    for part in parts:
        yield from items(part)
