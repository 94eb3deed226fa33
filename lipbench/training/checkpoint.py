"""Half-trained models on disk, from which a rerun resumes: where they lie, how far they are, when they are removed."""

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from lipbench._internal import files
from lipbench.training.recipes import Recipe, TrainingJob

UNFINISHED = ".training"  # folder in the zoo; empty where nothing is half trained


@dataclass(frozen=True)
class Checkpoint:
    """The state of a model after its last whole epoch: ``path``, and beside it a JSON file with the epoch."""

    path: Path

    def write(self, state: bytes, epoch: int) -> None:
        """Replace what is there."""
        files.write_bytes(self.path, state)
        files.write_json(self.path.with_suffix(".json"), {"epoch": epoch})

    @property
    def epochs(self) -> int:
        """How many epochs are done; 0 where there is no checkpoint."""
        try:
            return int(json.loads(self.path.with_suffix(".json").read_text())["epoch"])
        except (OSError, ValueError, KeyError):
            return 0


def lease_name(job: TrainingJob) -> str:
    """The name of a model's lease. It is a hash: characters of a model's name may mean something in file names."""
    return files.sha256_bytes(job.name.encode())[:16]


def checkpoint_of(out: Path, recipe: Recipe, job: TrainingJob, data_sha256: str, device: str) -> Checkpoint:
    """The checkpoint of a model in the zoo ``out``. Everything that determines the model is hashed into its name."""
    about = {
        "recipe": recipe.model_dump(mode="json", exclude={"losses", "architectures", "seeds", "training"}),
        "architecture": job.architecture.model_dump(mode="json"),
        "loss": job.loss.model_dump(mode="json"),
        "training": job.training.model_dump(mode="json"),
        "seed": job.seed,
        "data": data_sha256,
        "device": device,
        "versions": job.versions,
    }
    return Checkpoint(out / UNFINISHED / f"{lease_name(job)}-{files.sha256_json(about)[:16]}.pt")


def is_checkpoint(path: Path) -> bool:
    """Whether a file has the name of a checkpoint, or of the JSON file beside one."""
    name = re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]{16}\.(pt|json)", path.name)
    return name is not None and files.is_own_file(path)


def tidy(out: Path, jobs: list[TrainingJob]) -> None:
    """Remove the checkpoints of models that are finished, also those of an earlier recipe."""
    folder = out / UNFINISHED
    files.refuse_link(folder)
    files.sweep(folder)
    done = {lease_name(job) for job in jobs if (out / job.name).exists()}
    for path in filter(is_checkpoint, files.entries(folder)):
        if path.name.partition("-")[0] in done:
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # it stays if another process has a checkpoint in it
