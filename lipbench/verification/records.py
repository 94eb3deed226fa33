"""Verifications on disk: one record per model in FOLDER/verification, witnesses in FOLDER/witnesses.

FOLDER is the run folder of an evaluation, whose models and data the verification must share, or a folder of its own.
A record is a JSON file with its own digest, written whole or not at all. It holds no time and no path outside FOLDER:
the same command gives the same bytes. It is checked when it is read: no number in a file is trusted.
"""

import contextlib
import functools
import itertools
import json
import logging
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lipbench._internal import files
from lipbench.data import Dataset
from lipbench.errors import LipbenchError, one_line
from lipbench.models.cards import Card, digest_of
from lipbench.runs.folder import RUN, RunFolder
from lipbench.verification.result import Verdict, Verification, VerificationResult
from lipbench.verification.witness import file_name, is_printable

LOG = logging.getLogger(__name__)
RECORDS = "verification"
WITNESSES = "witnesses"
FORMAT = "lipbench verification 1"
LONGEST = 10_000  # characters of a text


def write(folder: Path, verification: Verification) -> Path:
    """Write the record of one model below ``folder`` and return its path; it replaces an earlier one of that model.

    Raises LipbenchError if the disk refuses it, or if another file has its name.
    """
    files.refuse_link(folder / RECORDS)
    path = _path(folder, verification.model, verification.digest)
    _refuse_other(path, verification.model)
    _warn_of_loss(folder, path, verification)
    content = {"format": FORMAT, "verification": verification.plain(folder)}
    files.write_json(path, {**content, "sha256": files.sha256_json(content)})
    return path


def _warn_of_loss(folder: Path, path: Path, verification: Verification) -> None:
    """Log if a record of a broken certificate is replaced by one of another test that found nothing."""
    if not verification.holds or not path.is_file():
        return
    with contextlib.suppress(LipbenchError):  # a damaged record says nothing
        earlier = _read(folder, path)
        if not earlier.holds:
            LOG.warning(
                "%s said that a certificate of %s is broken (%d samples tested); it is replaced by a test of %d "
                "samples that found nothing. The witnesses stay.",
                path,
                verification.model,
                earlier.tested.samples,
                verification.tested.samples,
            )


def load(folder: Path) -> VerificationResult:
    """The verifications that ``folder`` holds, by model: equal to the result that was computed, without its failures.

    Raises LipbenchError if there are none, and for a record that is damaged, was changed, or contradicts itself.
    """
    if not has_records(folder):
        raise LipbenchError(f"no verification in {folder}; `lipbench verify MODEL -o {folder}` makes one")
    found = sorted((_read(folder, path) for path in _files(folder)), key=lambda model: model.model)
    twice = next((one.model for one, other in itertools.pairwise(found) if one.model == other.model), None)
    if twice is not None:
        raise LipbenchError(f"{folder / RECORDS} holds two records of the model {twice}; delete one of them")
    return VerificationResult(tuple(found))


def has_records(folder: Path) -> bool:
    """Whether ``folder`` holds a record."""
    return bool(_files(folder))


def check_place(folder: Path) -> None:
    """Raise LipbenchError if nothing could be written to ``folder``, before there is anything to write."""
    place = folder.absolute()
    while True:
        try:
            place.lstat()  # of a link itself, which may lead nowhere
            break
        except (FileNotFoundError, NotADirectoryError):
            place = place.parent
        except OSError as error:
            raise files.cannot_write(folder, error) from error
    if not place.is_dir() or not os.access(place, os.W_OK):
        why = "is not writable" if place.is_dir() else "is not a folder"
        raise LipbenchError(f"cannot write to {folder}: {place} {why}; choose another folder with -o")


def check_folder(folder: Path, cards: Sequence[Card], dataset: Dataset, dtype: str) -> None:
    """Raise LipbenchError unless ``folder`` may take the records of these models on these data, computed in ``dtype``.

    It is a run folder with the same models, data and dtype, or it holds nothing but a verification.
    """
    if os.path.lexists(folder / RUN):
        _check_run(folder, cards, dataset, dtype)
    else:
        ours = {RECORDS, WITNESSES}
        foreign = files.foreign(folder, lambda path: files.is_harmless(path) or path.name in ours)
        if foreign is not None:
            raise LipbenchError(
                f"{folder} is not empty, and neither a run folder nor a verification's: it holds {foreign.name}; "
                "choose another folder with -o"
            )
    for place in (folder / RECORDS, folder / WITNESSES):
        files.refuse_link(place)
        if os.path.lexists(place) and not place.is_dir():
            raise LipbenchError(f"cannot write to {place}: it is not a folder; choose another folder with -o")
    for card in cards:
        _refuse_other(_path(folder, card.name, digest_of(card.plain())), card.name)
    if (folder / RECORDS).is_dir():
        files.sweep(folder / RECORDS)


def _check_run(folder: Path, cards: Sequence[Card], dataset: Dataset, dtype: str) -> None:
    run = RunFolder(folder).read()
    held = run.settings.get("dtype", dtype)
    if held != dtype:
        raise LipbenchError(
            f"{folder} holds a run in {held}, whose certificates a verification in {dtype} does not test; pass --dtype "
            f"{held}, or choose another folder with -o"
        )
    digests = {model.name: model.digest for model in run.models}
    for card in cards:
        if card.name not in digests:
            raise LipbenchError(
                f"{folder} holds a run without the model {card.name}; evaluate it there first, or choose another "
                "folder with -o"
            )
        if digests[card.name] != digest_of(card.plain()):
            raise LipbenchError(
                f"{folder} holds a run of another model named {card.name}: its card or weights differ; choose another "
                "folder with -o"
            )
    if dataset.test.first(run.settings["samples"]).sha256 != run.settings["data_sha256"]:
        raise LipbenchError(
            f"{folder} holds a run on other data ({run.settings['data']}) than {dataset.spec}; pass the same data with "
            "--data, or choose another folder with -o"
        )


def _path(folder: Path, model: str, digest: str) -> Path:
    return folder / RECORDS / f"{file_name(model, digest)}.json"


def _files(folder: Path) -> list[Path]:
    if (folder / RECORDS).is_symlink():
        raise LipbenchError(f"{folder / RECORDS} is a symbolic link; put the folder itself in its place")
    return [path for path in files.entries(folder / RECORDS) if not files.is_harmless(path) and path.suffix == ".json"]


def _refuse_other(path: Path, model: str) -> None:
    """Raise LipbenchError for a file that is not a record of the model: lipbench did not write it."""
    if not os.path.lexists(path):
        return
    files.refuse_other(path)
    content: Any = None
    with contextlib.suppress(LipbenchError):
        content = files.read_json(path, "verification record")
    found = content.get("verification") if isinstance(content, dict) and content.get("format") == FORMAT else None
    if not isinstance(found, dict) or found.get("model") != model:
        raise LipbenchError(
            f"{path} is not a verification record of {model}, and is not replaced; move it away, or choose another "
            "folder with -o"
        )


def _read(folder: Path, path: Path) -> Verification:
    again = "delete it and run `lipbench verify` again"
    if path.is_symlink() or not path.is_file():  # reading a pipe would never end
        raise LipbenchError(f"{path} is not a verification record: it is not a file; {again}")
    try:
        content = files.read_json(path, "verification record")
    except LipbenchError as error:
        raise LipbenchError(f"{error}; {again}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LipbenchError(f"{path} is not a verification record of the format {FORMAT!r}; {again}")
    try:
        digest = content.pop("sha256", None)
        if files.sha256_json(content) != digest:
            raise ValueError("it is not what was written")
        found = _parsed(content["verification"], folder)
        if content != {"format": FORMAT, "verification": found.plain(folder)}:
            raise ValueError("it contradicts itself")
        _check(found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else one_line(error)
        raise LipbenchError(f"the verification record {path} is damaged ({why[:80]}); {again}") from error
    return found


@functools.cache
def _adapter() -> TypeAdapter[Verification]:
    return TypeAdapter(Verification)


def _parsed(content: dict[str, Any], folder: Path) -> Verification:
    fields = {name: value for name, value in content.items() if name != "holds"}  # which follows from the others
    return _adapter().validate_json(json.dumps(fields), strict=True, context=folder)


def _check(found: Verification) -> None:
    """Raise ValueError unless the numbers fit together."""
    if not all(is_printable(text, LONGEST) for text in _texts(found.plain())):
        raise ValueError("a text is too long or holds control characters")
    grades = [verdict.grade for verdict in found.verdicts]
    if len(set(grades)) < len(grades):
        raise ValueError("a grade is there twice")
    if not all(_fits(verdict, found.tested.samples) for verdict in found.verdicts):
        raise ValueError("a verdict's numbers contradict each other")
    for near in found.rounding:
        if not near.broken <= near.certified <= near.points or bool(near.broken) != (near.witness is not None):
            raise ValueError("the numbers of the rounding search contradict each other")
    constant = found.constant
    if (
        not constant.steepest >= 0
        or not (constant.bound is None or constant.bound >= 0)
        or (constant.claimed is not None and constant.claimed <= 0)
    ):
        raise ValueError("a Lipschitz constant is negative")
    if (constant.bound is None) != (found.no_certificate is not None):
        raise ValueError("the computed bound and the reason that there is none contradict each other")
    if (constant.bound_witness is None) == (constant.bound is not None and constant.steepest > constant.bound):
        raise ValueError("the slope found and the computed bound contradict each other")
    if (constant.claimed is None or constant.bound is None) != (constant.claim_confirmed is None) or (
        constant.claimed is None and constant.refuted
    ):
        raise ValueError("the claim and what became of it contradict each other")


def _fits(verdict: Verdict, samples: int) -> bool:
    broken = verdict.violations > 0
    return (
        verdict.misclassified <= verdict.violations <= verdict.samples <= samples
        and broken == (verdict.closest_approach < 1) == (verdict.witness is not None)
        and not math.isnan(verdict.closest_approach)
    )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
