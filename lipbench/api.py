"""The Python interface: the jobs of the commands as functions. Commands call them, so that both check the same."""

import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from lipbench._internal import arguments
from lipbench._internal.keywords import public
from lipbench.attacks import suites
from lipbench.attacks.eps import Eps, refuse_absent
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import Suite
from lipbench.certification.adding import add
from lipbench.certification.certificate import certificate
from lipbench.certification.lipschitz import lipschitz_bound, rule
from lipbench.certification.storing import save
from lipbench.data import Data, Dataset, dataset_of
from lipbench.data.arrays import class_labels, inputs
from lipbench.errors import LeftOutWarning, LipbenchError, left_out
from lipbench.evaluation.evaluate import evaluate_models, refuse_unfinished
from lipbench.evaluation.options import EvaluateOptions
from lipbench.experiments.reproduce import reproduce as reproduce_claims
from lipbench.models.model import Model
from lipbench.models.sources import (
    AnyModel,
    Models,
    ModelSource,
    chosen,
    chosen_one,
    data_of,
    module_of,
    origin_of,
    sources_of,
)
from lipbench.report import cautions
from lipbench.report.across import Comparison, compare_runs
from lipbench.report.catalogue import catalogue
from lipbench.report.export import export_run
from lipbench.report.results import Grid, Results, load_run
from lipbench.report.writer import report_run as report
from lipbench.training.sweep import train_zoo
from lipbench.verification.options import VerifyOptions
from lipbench.verification.result import Verification, VerificationResult
from lipbench.verification.verify import verify_models
from lipbench.verification.witness import Replay
from lipbench.verification.witness import replay as measure_again
from lipbench.work.execution import Execution, computing_on
from lipbench.work.executors import Executor

__all__ = [
    "Comparison", "LipbenchError", "Model", "Results", "Suite", "VerificationResult", "add", "catalogue", "certify",
    "compare", "evaluate", "export", "lipschitz_bound", "list", "load", "replay", "report", "reproduce", "rule", "save",
    "train", "verify",
]  # fmt: skip

StrPath = str | os.PathLike[str]
compare = public("compare")(compare_runs)
train = public("train")(train_zoo)
load = public("load")(load_run)
export = public("export")(export_run)
reproduce = public("reproduce")(reproduce_claims)


def _sources_and_data(
    models: Models, data: Data | None, data_dir: StrPath | None, num_classes: int | None, trust: Sequence[str]
) -> tuple[Sequence[ModelSource], Dataset, str]:
    """The models, the data set, which is the one on the cards by default, and where the models come from, in words."""
    named = chosen(models)
    folder = None if data_dir is None else arguments.path("data_dir", data_dir)
    dataset = dataset_of(data_of(named) if data is None else data, folder, num_classes)
    return sources_of(named, dataset, trust), dataset, origin_of(named)


@public("evaluate")
def evaluate(
    models: Models = "digits",
    suite: StrPath | Suite | Sequence[StrPath | Suite] = "quick",
    *,
    eps: Grid | None = None,
    data: Data | None = None,
    data_dir: StrPath | None = None,
    num_classes: int | None = None,
    trust: Sequence[str] = (),
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
    show_eps: float | str | None = None,
) -> Results:
    """Certify and attack models under one or more suites; the results are frames, see ``Results``.

    models: an ``nn.Module``, a ``Model``, a folder, the name of a bundled zoo, several of these, or a dictionary of
    names and modules; suite: names, paths or Suite objects; eps: another grid of radii for the suites, in units of the
    input range, such as [0.1, "8/255"]; data: by default the data set on the cards; a spec or a path, arrays or tensors
    (x, y), a dictionary, or a ``Dataset`` or ``DataLoader`` of torch, see ``data.given.dataset_of``; data_dir: the
    folder with the files of mnist, cifar10, cifar100; num_classes: of data whose labels may lack some classes; trust:
    packages that may be imported for models stored as a factory; out: the run folder, by default a temporary one, which
    exists as long as the results do; title: of the report; samples, seeds, audit, prune, reference_attack, shard,
    dtype: see ``evaluation.options.EvaluateOptions``; device, threads, executor, jobs, address, gpus_per_task: see
    ``work.execution.Execution``; progress: show a bar; show_eps: the eps of the table that ``print(results)`` shows.

    A model that fails is left out, with the reason in ``Results.failures`` and a ``LeftOutWarning``; so is an attack
    that cannot run on a model. Raises LipbenchError for wrong use, and if every model fails; UnfinishedError if other
    processes still evaluate models that they added to the run.
    """
    arguments.truth("progress", progress)
    options = EvaluateOptions(
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
    shown = None if show_eps is None else Eps(show_eps)
    if shown is not None:
        refuse_absent(shown, [each for one in loaded for each in one.eps])
    sources, dataset, zoo = _sources_and_data(models, data, data_dir, num_classes, trust)
    temporary = tempfile.TemporaryDirectory(prefix="lipbench-") if out is None else None
    run_folder = evaluate_models(
        sources,
        loaded,
        dataset,
        arguments.path("out", temporary.name if temporary else out),
        options,
        execution,
        data_dir=None if data_dir is None else Path(data_dir),
        title=None if title is None else arguments.text("title", title),
        zoo=zoo,
        progress=progress,
    )
    refuse_unfinished(run_folder)
    results = Results.load(run_folder, temporary, shown)
    lines = [left_out(name, why) for name, why in results.failures.items()]
    lines += [f"{item.model}: {phrase}" for item in results.items for phrase in cautions.left_out_attacks(item)]
    for line in dict.fromkeys(lines):
        warnings.warn(line, LeftOutWarning, stacklevel=3)
    return results


def _suites(suite: StrPath | Suite | Sequence[StrPath | Suite], eps: Grid | None) -> tuple[Suite, ...]:
    chosen = [suite] if isinstance(suite, str | os.PathLike | Suite) or not isinstance(suite, Iterable) else [*suite]
    loaded = (item if isinstance(item, Suite) else suites.load(str(arguments.path("a suite", item))) for item in chosen)
    return tuple(loaded if eps is None else (item.with_grid(eps) for item in loaded))


@public("certify")
def certify(
    model: AnyModel,
    x: NDArray[np.float32] | Tensor,
    labels: NDArray[np.int64] | Tensor | None = None,
    *,
    norm: str | float = "L2",
    claimed: float | None = None,
    trust: Sequence[str] = (),
    device: str = "cpu",
    dtype: str = "float64",
) -> pd.DataFrame:
    """Certified radii of a network that torch.fx can trace: a frame with one row per sample.

    Columns: ``prediction``, int; ``certified_radius_float``, which holds for the network as it runs in ``dtype``, NaN
    where no error analysis is known; ``certified_radius_real``, which holds in exact arithmetic;
    ``certified_radius_nominal``, which holds if the claim is true, NaN without one. Radii are in ``norm``, in units of
    the input, and 0 where misclassified or tied.

    model: a network, which outputs logits (n, K), or (n, 1) for two classes; a ``Model``, or the folder of one; x:
    floats (n, ...) in [0, 1], which are rounded to float32: the radii are of the rounded inputs; or uint8 in 0..255,
    which are divided by 255; labels: whole numbers (n,), the predictions by default (then no sample is misclassified);
    norm: "L2" or "Linf", see ``Norm.parse``; claimed: the claimed L2 Lipschitz constant, by default that of the
    ``Model`` or on the card; trust: packages that may be imported for a model stored as a factory; device: see
    ``work.execution.Execution``; dtype:
    "float64" or "float32". ``frame.attrs`` holds ``lipschitz_bound``, ``claim_confirmed`` (None without a claim) and
    ``not_analysed`` (why there is no grade float; None if there is). Raises UnsupportedError for a layer without a
    Lipschitz rule, LipbenchError for inputs or labels of another shape, type or range, and for a network that
    ``Network`` refuses.
    """
    points = inputs(x)
    shape = tuple(points.shape[1:])
    module, on_card = module_of(chosen_one(model), shape, trust)
    claimed = on_card if claimed is None else claimed
    with computing_on(device) as target:
        network = Network(module, shape, target, dtype)
        proof = certificate(network.module, shape, claimed, network.dtype)
        logits = network.predict(points)
        network.check_batch(proof.graph, points, logits)
        prediction = logits.argmax(dim=1)
        classes = prediction if labels is None else class_labels(labels, len(points), network.num_classes)
        radii = proof.radii_of(points.to(target), logits, classes)
    scale = Norm.parse(norm).radius_from_l2(1.0, points[0].numel())
    columns = {f"certified_radius_{grade}": radius.numpy() * scale for grade, radius in radii.items()}
    frame = pd.DataFrame({"prediction": prediction.numpy(), **columns})
    frame.attrs = {
        "lipschitz_bound": proof.bound,
        "claim_confirmed": proof.claim_confirmed,
        "not_analysed": proof.not_analysed,
    }
    return frame


@public("verify")
def verify(
    models: Models,
    *,
    data: Data | None = None,
    data_dir: StrPath | None = None,
    num_classes: int | None = None,
    trust: Sequence[str] = (),
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
    """Lint models, attack every sample inside its certified radius, and attack the claimed constant.

    ``print(result)`` gives the lines of ``lipbench verify``; ``passed`` is True where the command's exit status is 0,
    and ``frame()`` has one row per model and grade.

    models, data, data_dir, num_classes, trust: as for ``evaluate``; out: the folder for
    records and witnesses, a run folder or one of its own; samples: the first so many test samples; radii: for one
    model, certified L2 radii of your own to test as well, float64 (n,), 0 where misclassified, or a file as for
    ``--radii``; seed: of the attacks; dtype: what the networks compute in, "float64" or "float32": radii of grade float
    hold for it; device: "auto", "cpu" or "cuda"; threads: of torch on the CPU; progress: show bars; done: called with
    what was found, model by model. A model that fails is left out, with the reason in ``failures`` of the result and a
    ``LeftOutWarning``. Raises LipbenchError for wrong use, if every model fails, and if nothing was verified.
    """
    own = Path(radii) if isinstance(radii, str | os.PathLike) else radii
    arguments.truth("progress", progress)
    options = VerifyOptions(samples=samples, seed=seed, dtype=dtype, radii=own)
    sources, dataset, _ = _sources_and_data(models, data, data_dir, num_classes, trust)
    with computing_on(device, threads) as target:
        place = arguments.path("out", out)
        result = verify_models(sources, dataset, place, options=options, device=target, progress=progress, done=done)
    for name, why in result.failures.items():
        warnings.warn(left_out(name, why), LeftOutWarning, stacklevel=3)
    return result


@public("replay")
def replay(
    witness: StrPath,
    model: AnyModel | None = None,
    *,
    trust: Sequence[str] = (),
    device: str = "auto",
    threads: int = 1,
) -> Replay:
    """Measure a witness of ``verify`` again, as ``lipbench verify --replay`` does.

    witness: the file; model: a network or the folder of one, by default the one that the witness names; trust, device,
    threads: as for ``verify``. Raises LipbenchError if the file is not a witness, or if the model is not the one that
    it is about.
    """
    path = arguments.path("the witness", witness)
    with computing_on(device, threads) as target:
        return measure_again(path, None if model is None else chosen_one(model), trust=trust, device=target)


list = public("list")(catalogue)  # noqa: A001  `lipbench.list`; at the end, as the functions above mean Python's own
