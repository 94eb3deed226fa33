"""The form of TOML files: pydantic models that know every key, and errors in one line."""

import difflib
import typing
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lipbench.errors import LipbenchError

Finite = Annotated[float, Field(allow_inf_nan=False)]
# names become names of files and folders, and are printed: no control or direction characters, no space at the ends
_UNPRINTABLE = r"\\\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069"
Name = Annotated[str, Field(pattern=rf"^[^\s./{_UNPRINTABLE}]([^/{_UNPRINTABLE}]*[^\s/{_UNPRINTABLE}])?$")]
SHOWN = 3  # faults
LONG = 60  # characters of a value


class Strict(BaseModel):
    """A frozen value; a key that is not a field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _OneLine(type(BaseModel)):  # type: ignore[misc]  # pydantic's metaclass has no public name
    def __call__(cls, *args: Any, **content: Any) -> Any:
        try:
            return super().__call__(*args, **content)
        except ValidationError as error:
            raise _error(cls, content, error, f"lipbench.{cls.__name__}(...)", cls.__name__.lower()) from error


if typing.TYPE_CHECKING:  # a type checker sees the fields, which the metaclass would hide
    Public = Strict
else:

    class Public(Strict, metaclass=_OneLine):
        """A ``Strict`` that users make in Python: a wrong argument is a LipbenchError."""


Kind = TypeVar("Kind", bound=Strict)


def parse(kind: type[Kind], content: dict[str, Any], where: str, what: str) -> Kind:
    """``content`` as a ``kind``. Raises LipbenchError, with ``where`` it comes from and ``what`` it should be."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _error(kind, content, error, where, what) from error


def _error(
    kind: type[BaseModel], content: dict[str, Any], error: ValidationError, where: str, what: str
) -> LipbenchError:
    faults = error.errors()
    # a wrong table is left out, and so seems to be missing: that is no second fault
    faults = [fault for fault in faults if fault["type"] != "too_short"] or faults
    places: dict[str, list[str]] = {}
    for fault in faults:  # a value that may be of several kinds has a fault for each
        places.setdefault(_place(content, fault["loc"]), []).append(_fault(kind, fault))
    shown = [f"{place}: {' or '.join(dict.fromkeys(said))}" for place, said in list(places.items())[:SHOWN]]
    return LipbenchError(f"{where} is not a {what}: {'; '.join(shown)}")


def _fault(kind: type[BaseModel], fault: Any) -> str:
    """One fault in words: the expected value, and the given one."""
    if fault["type"] == "missing":
        return "this key is missing"
    if fault["type"] == "extra_forbidden":
        known = sorted(_keys(kind, fault["loc"][:-1]))
        near = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"this key is not known{hint} (keys here: {', '.join(known)})"
    if fault["type"] == "tuple_type" and isinstance(fault["input"], dict):
        return f"expected a list of tables; write [[{fault['loc'][-1]}]], with two brackets"
    said = str(fault["msg"]).removeprefix("Value error, ").replace("valid tuple", "list").replace("valid ", "")
    came = repr(fault["input"])
    return f"{said[:1].lower()}{said[1:]}, got {came if len(came) <= LONG else came[:LONG] + '...'}"


def _place(content: Any, loc: tuple[int | str, ...]) -> str:
    """``loss 2.hyperparameters.tau``: keys of the file, tables of a list counted from 1."""
    place = ""
    for part in loc:
        if isinstance(content, list) and isinstance(part, int):
            place, content = f"{place} {part + 1}", content[part] if part < len(content) else None
        elif isinstance(content, dict):  # else what pydantic calls a member of a union
            if part not in content and part != loc[-1]:
                continue
            place, content = f"{place}.{part}" if place else str(part), content.get(part)
    return place or "file"


def _keys(kind: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """The keys of the table at ``loc``; of all kinds of table that it may be."""
    kinds = [kind]
    for part in loc:
        fields = {f.alias or name: f.annotation for one in kinds for name, f in one.model_fields.items()}
        if part in fields:
            kinds = list(_models(fields[str(part)]))
        elif any(one.__name__ == part for one in kinds):
            kinds = [one for one in kinds if one.__name__ == part]
    return {f.alias or name for one in kinds for name, f in one.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)
