"""What TOML files must look like: pydantic models that know every key, and errors in one line."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lipbench.errors import LipbenchError

Finite = Annotated[float, Field(allow_inf_nan=False)]
# names become names of files and folders
Name = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$")]


class Strict(BaseModel):
    """A frozen value; a key that is not a field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Kind = TypeVar("Kind", bound=Strict)


def parse(kind: type[Kind], content: dict[str, Any], where: str, what: str) -> Kind:
    """``content`` as a ``kind``; ``where`` it comes from and ``what`` it should be go into the LipbenchError."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        known = ", ".join(field.alias or name for name, field in kind.model_fields.items())
        raise LipbenchError(f"{where} is not a {what}: {_faults(error)} (keys of a {what}: {known})") from error


def _faults(error: ValidationError) -> str:
    faults = []
    for fault in error.errors()[:3]:
        place = ".".join(str(part) for part in fault["loc"]) or "file"
        faults.append(f"{place}: {'this key is not known' if fault['type'] == 'extra_forbidden' else fault['msg']}")
    return "; ".join(faults)
