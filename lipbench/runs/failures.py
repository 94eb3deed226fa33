"""Models that failed and were left out of a run: ``failures/*.json``, one file per model, with the reason.

A failure stands until another call tries the model again. Its file holds no time and no process: the same failure gives
the same bytes. What is read back is checked as any file is.
"""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipbench._internal import files
from lipbench.errors import LipbenchError, printable

FORMAT = "lipbench failure 1"
LONGEST_NAME = 150  # bytes of a model's name in the name of a file


@dataclass(frozen=True)
class Failure:
    """A model that failed."""

    model: str
    reason: str  # printable, on one line: see ``errors.reason``
    digest: str | None = None  # of its card and weights; None where it failed before these were known


class Failures:
    """The failures in one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def add(self, failure: Failure) -> None:
        """Record a failure, in place of an earlier one of the model. Raises CannotWriteError where that is refused."""
        files.make_own_folder(self.folder)
        files.write_json(self._path(failure.model), {"format": FORMAT, **dataclasses.asdict(failure)})

    def has(self, model: str) -> bool:
        """Whether a model failed."""
        return files.is_own_file(self._path(model))

    def clear(self, models: Iterable[str]) -> None:
        """Forget the failures of these models, which are tried again."""
        files.refuse_link(self.folder)
        for model in models:
            files.remove(self._path(model))

    def read(self) -> dict[str, Failure]:
        """Every failure by model, in the order of names. Raises LipbenchError for a file that is damaged."""
        found = [self._read(path) for path in files.entries(self.folder) if path.suffix == ".json"]
        return {failure.model: failure for failure in sorted(found, key=lambda failure: failure.model)}

    def _read(self, path: Path) -> Failure:
        again = "delete it and rerun `lipbench evaluate` to try the model again"
        if not files.is_own_file(path):  # reading a pipe would never end
            raise LipbenchError(f"{path} is not the record of a failure: it is no file; {again}")
        try:
            failure = _parsed(files.read_json(path, "record of a failure"))
            if path != self._path(failure.model):
                raise ValueError("it is of a model with another name")
        except (LipbenchError, ValueError) as error:
            raise LipbenchError(
                f"{path} is not the record of a failure: {printable(str(error))[:200]}; {again}"
            ) from error
        return failure

    def _path(self, model: str) -> Path:
        name = model
        if len(model.encode()) > LONGEST_NAME:  # cut, and made unique
            kept = model.encode()[:LONGEST_NAME].decode(errors="ignore")
            name = f"{kept}-{files.sha256_bytes(model.encode())[:8]}"
        return self.folder / f"{name.replace(os.sep, '-')}.json"


def _parsed(content: Any) -> Failure:
    """The failure that a file holds; raises ValueError for anything else."""
    fields = [field.name for field in dataclasses.fields(Failure)]
    if not isinstance(content, dict) or content.keys() != {"format", *fields} or content["format"] != FORMAT:
        raise ValueError(f"expected the format {FORMAT!r} and the keys {', '.join(fields)}")
    failure = Failure(*(content[name] for name in fields))
    for name in fields:
        value = getattr(failure, name)
        if value is None and name == "digest":
            continue
        if not isinstance(value, str) or not value or printable(value) != value:
            raise ValueError(f"{name} is no short printable text")
    return failure
