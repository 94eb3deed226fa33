"""Witnesses: inputs that contradict a claim, as a safetensors file with a JSON line beside it, and their replay.

* ``radius``: x and x_adversarial, of another class than ``label``, closer than ``certified_radius``;
* ``rounding``: the same at points next to the boundary; x_adversarial in ``batch`` copies at once (0: channels last);
* ``lipschitz``: x and z, whose logits lie more than a constant times |x - z| apart: the claimed one (grade nominal), or
  the computed one (grade real).
"""

import itertools
import json
import os
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lipbench._internal import arguments, files
from lipbench._internal.precision import DTYPES
from lipbench.attacks.as_given import attackable, proof_of
from lipbench.attacks.network import Network
from lipbench.certification.grades import GRADES
from lipbench.certification.uncertified import Proof
from lipbench.data.arrays import RANKS
from lipbench.errors import LipbenchError, one_line
from lipbench.models.model import Model
from lipbench.models.sources import GivenSource, ModelSource, StoredSource
from lipbench.verification import wording
from lipbench.verification.measurements import distances, won
from lipbench.verification.result import NotWritten
from lipbench.verification.rounding_search import copies_predicted
from lipbench.verification.slopes import constants, pair_ratios

TENSORS = {
    "radius": ("x", "x_adversarial", "label", "certified_radius"),
    "rounding": ("x", "x_adversarial", "label", "batch", "certified_radius"),
    "lipschitz": ("x", "z"),
}
TYPES = {"label": torch.int64, "batch": torch.int64, "certified_radius": torch.float64}  # of shape (n,); others float32
GRADES_OF = {"radius": (*GRADES, "given"), "rounding": GRADES, "lipschitz": ("real", "nominal")}
LARGEST_BATCH = 4096
LONGEST = 4096  # characters of a text: no path that a system takes is longer
LONGEST_NAME = 1000
LONGEST_FILE_NAME = 180  # bytes of a model's name in the name of a file: file systems take 255 in all
SHOWN = 300  # characters of a path in a message


@dataclass(frozen=True)
class Witness:
    """The JSON line. ``folder``: of the model; ``digest``: of its card and weights."""

    kind: str
    model: str
    folder: str
    digest: str
    grade: str  # "float", "real", "nominal", or "given" for the user's own radii
    dtype: str
    threads: int


@dataclass(frozen=True)
class Replay:
    """How much of a witness was reproduced; ``str()`` gives the command's line."""

    witness: Witness
    rows: int
    reproduced: int

    def plain(self) -> dict[str, Any]:
        """The JSON form."""
        return {**asdict(self.witness), "rows": self.rows, "reproduced": self.reproduced}

    def __str__(self) -> str:
        return wording.replay(self)


@dataclass(frozen=True)
class WitnessFolder:
    """Where the witnesses against one model go, and what they say about it."""

    path: Path  # the folder, made when there is a witness
    model: str
    folder: Path | None  # of the model; None for a network in memory
    digest: str  # of its card and weights
    dtype: str

    def save(self, kind: str, grade: str, tensors: Mapping[str, Tensor]) -> Path | NotWritten:
        """Write a witness; returns its path, or why it was not written: a finding does not depend on the disk."""
        witness = Witness(
            kind=kind,
            model=self.model,
            folder="" if self.folder is None else str(self.folder.resolve()),
            digest=self.digest,
            grade=grade,
            dtype=self.dtype,
            threads=torch.get_num_threads(),
        )
        name = f"{file_name(self.model, self.digest)}-{kind}-{grade}.safetensors"
        try:
            return save(self.path / name, witness, tensors)
        except (LipbenchError, OSError, ValueError) as error:
            return NotWritten(one_line(error))


def file_name(model: str, digest: str) -> str:
    """A model's name as part of the name of a file: a long one is cut, and made unique by the model's digest."""
    if len(model.encode()) <= LONGEST_FILE_NAME:
        return model
    return f"{model.encode()[:LONGEST_FILE_NAME].decode(errors='ignore')}-{digest[:8]}"


def save(path: Path, witness: Witness, tensors: Mapping[str, Tensor]) -> Path:
    """Write ``path`` (.safetensors) and, beside it, its line (.json); returns the path.

    It replaces an earlier witness against the same model. If anything else has that name, a number is added.
    """
    stem = path.stem
    for number in itertools.count(2):
        if _is_free(path, witness.digest):
            break
        path = path.with_stem(f"{stem}-{number}")
    files.write_bytes(path, safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()}))
    files.write_text(path.with_suffix(".json"), json.dumps(asdict(witness)) + "\n")
    return path


def _is_free(path: Path, digest: str) -> bool:
    """Whether there is nothing, or a witness against the model with that digest."""
    both = [path, path.with_suffix(".json")]
    if not any(map(os.path.lexists, both)):
        return True
    try:
        return all(map(files.is_own_file, both)) and load(path)[0].digest == digest
    except LipbenchError:
        return False


def load(path: Path) -> tuple[Witness, dict[str, Tensor]]:
    """A witness by either of its two files; raises LipbenchError for a file that is missing or not of a witness."""
    content = files.read_json(path.with_suffix(".json"), "witness (its line of JSON)")
    strings = ("kind", "model", "folder", "digest", "grade", "dtype")
    fits = isinstance(content, dict) and set(content) == {*strings, "threads"}
    if not (fits and all(isinstance(content[name], str) for name in strings) and type(content["threads"]) is int):
        raise LipbenchError(f"{path.with_suffix('.json')} is not the line of a witness; give a file that verify wrote")
    witness = Witness(**content)
    if not (is_printable(witness.model, LONGEST_NAME) and is_printable(witness.folder, LONGEST)):
        raise LipbenchError(
            f"{path.with_suffix('.json')} is not the line of a witness: the model's name or folder is too long, or "
            "holds control characters"
        )
    if witness.grade not in GRADES_OF.get(witness.kind, ()) or witness.dtype not in DTYPES:
        raise LipbenchError(f"{path.with_suffix('.json')} is not the line of a witness: unknown kind or grade")
    arguments.threads(witness.threads, f"the threads of the witness {path.with_suffix('.json')}")
    try:
        tensors = safetensors.torch.load(path.with_suffix(".safetensors").read_bytes())
    except (OSError, safetensors.SafetensorError, ValueError) as error:
        raise LipbenchError(f"cannot read the witness {path.with_suffix('.safetensors')}: {one_line(error)}") from error
    _check(path, {name: tensors.get(name) for name in TENSORS[witness.kind]})
    radii = tensors["certified_radius"] if "certified_radius" in TENSORS[witness.kind] else torch.ones(1)
    # the radii of a claimed constant near 0 are infinite; they are computed again
    if not bool((radii > 0).all()) or (witness.grade == "given" and not bool(radii.isfinite().all())):
        raise LipbenchError(f"the witness {path} holds certified radii that are not finite numbers above 0")
    return witness, tensors


def is_printable(text: str, longest: int) -> bool:
    """Whether a text is safe to print: not too long, without control characters, on one line."""
    categories = map(unicodedata.category, text)
    return len(text) <= longest and not any(kind[0] == "C" or kind in ("Zl", "Zp") for kind in categories)


def _check(path: Path, tensors: Mapping[str, Tensor | None]) -> None:
    """Raise LipbenchError unless each tensor has its type and shape, and inputs lie in [0, 1]."""
    rows = None if tensors["x"] is None else len(tensors["x"])
    for name, tensor in tensors.items():
        kind = TYPES.get(name, torch.float32)
        if tensor is None or tensor.dtype is not kind or not rows or len(tensor) != rows:
            found = "nothing" if tensor is None else f"{tensor.dtype} of shape {tuple(tensor.shape)}"
            raise LipbenchError(f"the witness {path} holds {found} for {name}, expected {kind} with one row for each")
        held = name not in TYPES  # an input
        if (tensor.ndim - 1 not in RANKS or tensor.shape != tensors["x"].shape) if held else tensor.ndim != 1:  # type: ignore[union-attr]
            raise LipbenchError(f"the witness {path} holds {name} of shape {tuple(tensor.shape)}")
        if held and not bool(((tensor >= 0) & (tensor <= 1)).all()):
            raise LipbenchError(f"the witness {path} holds inputs {name} outside [0, 1]")
    batch = tensors.get("batch")
    if batch is not None and not bool(((batch >= 0) & (batch <= LARGEST_BATCH)).all()):
        raise LipbenchError(f"the witness {path} holds batches outside 0..{LARGEST_BATCH}")


def replay(
    path: Path, model: Path | Model | None = None, *, trust: Collection[str] = (), device: torch.device
) -> Replay:
    """Measure a witness again on the model it names, or on another one; no number in the file is trusted.

    trust: packages whose factories may be imported.

    Raises LipbenchError if the model is missing or is not the one that the witness was found on.
    """
    witness, tensors = load(path)
    if model is None:
        model = Path(witness.folder)
        if not witness.folder or not os.path.isdir(model):  # Path.is_dir raises for a name that is too long
            if not witness.folder:
                raise LipbenchError(
                    "the model of this witness was given in memory: pass it again, as the argument model"
                )
            raise LipbenchError(
                f"the model of this witness is not at {_short(model)} any more: `lipbench verify MODEL --replay "
                "WITNESS` takes it from elsewhere"
            )
    torch.set_num_threads(witness.threads)  # the order of sums depends on it
    source: ModelSource = (
        GivenSource.of(model, tensors["x"]) if isinstance(model, Model) else StoredSource(model, tuple(trust))
    )
    loaded = source.load()
    card = loaded.card
    if loaded.digest != witness.digest:
        raise LipbenchError(
            f"{source.folder or card.name} is not the model of this witness: its card or weights differ"
        )
    network = attackable(loaded.module, card.input_shape, device, witness.dtype)
    if tuple(tensors["x"].shape[1:]) != network.input_shape:
        raise LipbenchError(f"the witness {path} holds inputs of shape {tuple(tensors['x'].shape[1:])}")
    claimed = None if card.claimed is None else card.claimed.constant
    labels = tensors.get("label", torch.zeros(1, dtype=torch.int64))
    if labels.min() < 0 or labels.max() >= network.num_classes:
        raise LipbenchError(f"the witness {path} holds labels outside 0..{network.num_classes - 1}")
    proof = proof_of(network, claimed)
    held = {"radius": _radius, "rounding": _rounding, "lipschitz": _lipschitz}[witness.kind](
        witness, tensors, network, proof
    )
    return Replay(witness, len(held), int(held.sum()))


def _short(folder: Path) -> str:
    text = str(folder)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _radius(witness: Witness, tensors: dict[str, Any], network: Network, proof: Proof) -> Tensor:
    x, z, labels = tensors["x"], tensors["x_adversarial"], tensors["label"]
    if witness.grade == "given":
        radii = tensors["certified_radius"]
    else:
        radii = proof.radii_of(x.to(network.device), network.predict(x), labels, (witness.grade,))[witness.grade]
    return (torch.from_numpy(distances(x, z)[1]) < radii) & ~won(network, z, labels)


def _rounding(witness: Witness, tensors: dict[str, Any], network: Network, proof: Proof) -> Tensor:
    rows = []
    for x, z, label, batch in zip(*(tensors[name] for name in TENSORS["rounding"][:4]), strict=True):
        logits = network.predict(x[None])
        radii = proof.radii_of(x[None].to(network.device), logits, label[None], (witness.grade,))[witness.grade]
        inside = distances(x[None], z[None])[1][0] < float(radii)
        changed = bool((copies_predicted(network, z.to(network.device), int(batch)) != label).any())
        rows.append(inside and changed)
    return torch.tensor(rows)


def _lipschitz(witness: Witness, tensors: dict[str, Any], network: Network, proof: Proof) -> Tensor:
    ratio = pair_ratios(network, proof, tensors["x"].to(network.device), tensors["z"].to(network.device))
    return ratio > constants(proof).get(witness.grade, torch.inf)
