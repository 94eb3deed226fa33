"""The Python interface: the jobs of the commands as functions. Commands call them, so that both check the same."""

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbench import data as datasets
from lipbench._internal import arguments
from lipbench.attacks import suites
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import Suite
from lipbench.certification.certificate import certificate
from lipbench.certification.lipschitz import lipschitz_bound, rule
from lipbench.data import Dataset
from lipbench.data.arrays import class_labels, images
from lipbench.errors import LipbenchError
from lipbench.evaluation.evaluate import data_of, evaluate_zoo, refuse_unfinished
from lipbench.evaluation.options import EvaluateOptions
from lipbench.models.zoo import find_zoo
from lipbench.report.catalogue import catalogue
from lipbench.report.results import Results
from lipbench.report.writer import report_run as report
from lipbench.training.sweep import train_zoo
from lipbench.verification.options import VerifyOptions
from lipbench.verification.result import Verification, VerificationResult
from lipbench.verification.verify import verify_zoo
from lipbench.verification.witness import Replay
from lipbench.verification.witness import replay as measure_again
from lipbench.work.execution import Execution, computing_on
from lipbench.work.executors import Executor

__all__ = [
    "LipbenchError", "Results", "Suite", "VerificationResult", "catalogue", "certify", "evaluate", "lipschitz_bound",
    "list", "replay", "report", "rule", "train", "verify",
]  # fmt: skip

StrPath = str | os.PathLike[str]
train = train_zoo


def _zoo_and_data(zoo: StrPath, spec: str | None, data_dir: StrPath | None) -> tuple[Path, Dataset]:
    """The folder of a zoo or model, and the data set: the one on the cards by default."""
    folder = find_zoo(str(arguments.path("the zoo or model", zoo)))
    chosen = data_of(folder) if spec is None else arguments.text("data", spec)
    return folder, datasets.load(chosen, None if data_dir is None else arguments.path("data_dir", data_dir))


def evaluate(
    zoo: StrPath = "digits",
    suite: StrPath | Suite | Sequence[StrPath | Suite] = "quick",
    *,
    eps: Sequence[float] | None = None,
    data: str | None = None,
    data_dir: StrPath | None = None,
    out: StrPath | None = None,
    title: str | None = None,
    samples: int | None = None,
    seeds: Sequence[int] = (0,),
    audit: float = 0.01,
    prune: bool = True,
    reference_attack: str | None = None,
    shard: int = 1000,
    dtype: str = "float64",
    device: str = "auto",
    threads: int = 1,
    executor: str | Executor = "local",
    jobs: int = 1,
    address: str | None = None,
    gpus_per_task: float | None = None,
    progress: bool = False,
) -> Results:
    """Certify and attack every model of a zoo under one or more suites; the results are frames, see ``Results``.

    zoo: a folder, or the name of a bundled zoo; suite: names, paths or Suite objects; eps: another grid of radii for
    the suites, in units of the input range; data: the spec of a data set, by default the one on the cards; data_dir:
    the folder with the files of mnist, cifar10, cifar100; out: the run folder, by default a temporary one, which exists
    as long as the results do; title: of the report; samples, seeds, audit, prune, reference_attack, shard, dtype: see
    ``evaluation.options.EvaluateOptions``; device, threads, executor, jobs, address, gpus_per_task: see
    ``work.execution.Execution``; progress: show a bar. Raises LipbenchError for wrong use, and
    UnfinishedError if other processes still evaluate models that they added to the run.
    """
    arguments.truth("progress", progress)
    chosen = EvaluateOptions(
        samples=samples,
        seeds=seeds,  # type: ignore[arg-type]  # any sequence: the options make it a tuple
        audit=audit,
        prune=prune,
        reference_attack=reference_attack,
        shard=shard,
        dtype=dtype,
    )
    execution = Execution(device, executor, jobs, threads, address, gpus_per_task)
    loaded = _suites(suite, eps)
    folder, dataset = _zoo_and_data(zoo, data, data_dir)
    temporary = tempfile.TemporaryDirectory(prefix="lipbench-") if out is None else None
    run_folder = evaluate_zoo(
        folder,
        loaded,
        dataset,
        arguments.path("out", temporary.name if temporary else out),
        chosen,
        execution,
        data_dir=None if data_dir is None else Path(data_dir),
        title=None if title is None else arguments.text("title", title),
        progress=progress,
    )
    refuse_unfinished(run_folder)
    return Results.load(run_folder, temporary)


def _suites(suite: StrPath | Suite | Sequence[StrPath | Suite], eps: Sequence[float] | None) -> tuple[Suite, ...]:
    chosen = [suite] if isinstance(suite, str | os.PathLike | Suite) or not isinstance(suite, Iterable) else [*suite]
    loaded = (item if isinstance(item, Suite) else suites.load(str(arguments.path("a suite", item))) for item in chosen)
    return tuple(loaded if eps is None else (item.with_grid(eps) for item in loaded))


def certify(
    module: nn.Module,
    x: NDArray[np.float32] | Tensor,
    labels: NDArray[np.int64] | Tensor | None = None,
    *,
    norm: str = "L2",
    claimed: float | None = None,
    device: str = "cpu",
    dtype: str = "float64",
) -> pd.DataFrame:
    """Certified radii of a network that torch.fx can trace: a frame with one row per sample.

    Columns: ``prediction``, int; ``certified_radius_float``, which holds for the network as it runs in ``dtype``, NaN
    where no error analysis is known; ``certified_radius_real``, which holds in exact arithmetic;
    ``certified_radius_nominal``, which holds if the claim is true, NaN without one. Radii are in ``norm``, in units of
    the input, and 0 where misclassified or tied.

    module: outputs logits (n, K), or (n, 1) for two classes; x: floats (n, c, h, w) in [0, 1], which are rounded to
    float32: the radii are of the rounded inputs; labels: whole numbers (n,), the predictions by default (then no sample
    is misclassified); norm: "L2" or "Linf"; claimed: the claimed L2 Lipschitz constant; device: "auto", "cpu" or
    "cuda"; dtype: "float64" or "float32". ``frame.attrs`` holds ``lipschitz_bound``, ``claim_confirmed`` (None without
    a claim) and ``not_analysed`` (why there is no grade float; None if there is). Raises UnsupportedError for a layer
    without a Lipschitz rule, LipbenchError for inputs or labels of another shape, type or range, and for a network that
    ``Network`` refuses.
    """
    inputs = images(x)
    c, h, w = inputs.shape[1:]
    with computing_on(device) as target:
        network = Network(module, (c, h, w), target, dtype)
        proof = certificate(network.module, (c, h, w), claimed, network.dtype)
        logits = network.predict(inputs)
        network.check_batch(proof.graph, inputs, logits)
        prediction = logits.argmax(dim=1)
        classes = prediction if labels is None else class_labels(labels, len(inputs), network.num_classes)
        radii = proof.radii_of(inputs.to(target), logits, classes)
    scale = Norm.parse(norm).radius_from_l2(1.0, c * h * w)
    columns = {f"certified_radius_{grade}": radius.numpy() * scale for grade, radius in radii.items()}
    frame = pd.DataFrame({"prediction": prediction.numpy(), **columns})
    frame.attrs = {
        "lipschitz_bound": proof.bound,
        "claim_confirmed": proof.claim_confirmed,
        "not_analysed": proof.not_analysed,
    }
    return frame


def verify(
    model_or_zoo: StrPath,
    *,
    data: str | None = None,
    data_dir: StrPath | None = None,
    out: StrPath = "lipbench-verify",
    samples: int | None = None,
    radii: StrPath | NDArray[np.float64] | None = None,
    seed: int = 0,
    dtype: str = "float64",
    device: str = "auto",
    threads: int = 1,
    progress: bool = False,
    done: Callable[[Verification], object] = lambda model: None,
) -> VerificationResult:
    """Lint a model or a zoo, attack every sample inside its certified radius, and attack the claimed constant.

    ``print(result)`` gives the lines of ``lipbench verify``; ``passed`` is False where the command's exit status is 1,
    and ``frame()`` has one row per model and grade.

    model_or_zoo: a folder, or the name of a bundled zoo; data, data_dir: as for ``evaluate``; out: the folder for
    records and witnesses, a run folder or one of its own; samples: the first so many test samples; radii: for one
    model, certified L2 radii of your own to test as well, float64 (n,), 0 where misclassified, or a file as for
    ``--radii``; seed: of the attacks; dtype: what the networks compute in, "float64" or "float32": radii of grade float
    hold for it; device: "auto", "cpu" or "cuda"; threads: of torch on the CPU; progress: show bars; done: called with
    what was found, model by model. Raises LipbenchError for wrong use, and if nothing was verified.
    """
    own = Path(radii) if isinstance(radii, str | os.PathLike) else radii
    arguments.truth("progress", progress)
    options = VerifyOptions(samples=samples, seed=seed, dtype=dtype, radii=own)
    folder, dataset = _zoo_and_data(model_or_zoo, data, data_dir)
    with computing_on(device, threads) as target:
        place = arguments.path("out", out)
        return verify_zoo(folder, dataset, place, options=options, device=target, progress=progress, done=done)


def replay(witness: StrPath, model: StrPath | None = None, *, device: str = "auto", threads: int = 1) -> Replay:
    """Measure a witness of ``verify`` again, as ``lipbench verify --replay`` does.

    witness: the file; model: the folder of a model, by default the one that the witness names; device, threads: as for
    ``verify``. Raises LipbenchError if the file is not a witness, or if the model is not the one that it is about.
    """
    path = arguments.path("the witness", witness)
    with computing_on(device, threads) as target:
        return measure_again(path, None if model is None else find_zoo(str(model)), device=target)


list = catalogue  # noqa: A001  `lipbench.list`; at the end, as the functions above mean Python's own
