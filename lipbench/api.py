"""The Python interface: the jobs of the command line as functions, results as pandas frames."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lipbench import cards, data, evaluation, executors, suites, verification
from lipbench.certificates import certificate
from lipbench.lipschitz import lipschitz_bound
from lipbench.network import Network, resolve_device
from lipbench.report import tables
from lipbench.rounding import precisions, set_precisions
from lipbench.samples import class_labels, images
from lipbench.suites import Suite
from lipbench.threat import Norm

__all__ = ["certify", "evaluate", "lipschitz_bound", "verify"]

StrPath = str | os.PathLike[str]


@contextlib.contextmanager
def _computing_on(device: str) -> Iterator[torch.device]:
    """The device; torch's threads and precisions, which it sets for the whole process, are restored after."""
    threads, held = torch.get_num_threads(), precisions()
    try:
        yield resolve_device(device)
    finally:
        torch.set_num_threads(threads)
        set_precisions(held)


def evaluate(
    zoo: StrPath = "digits",
    suite: str | Suite | Sequence[str | Suite] = "quick",
    *,
    data_set: str | None = None,
    data_dir: StrPath | None = None,
    out: StrPath | None = None,
    device: str = "auto",
    executor: str = "local",
    jobs: int = 1,
    progress: bool = False,
    **options: Any,
) -> pd.DataFrame:
    """Evaluate a zoo under one or more suites: one row per model, suite and eps (columns: ``lipbench.report.tables``).

    zoo: a folder, or the name of a bundled zoo; suite: names, paths or Suite objects; data_set: as for ``--data``, the
    one on the cards by default; out: the run folder, a temporary one by default; executor: "local" or "ray", with
    ``jobs`` processes or tasks at once; options: ``samples``, ``seeds``, ``audit``, ``prune``, ``arithmetic``,
    ``shard``, ``strength`` (see ``evaluation.Options``). Raises LipbenchError for wrong use.
    """
    folder = cards.find_zoo(str(zoo))
    chosen = [suite] if isinstance(suite, str | Suite) else list(suite)
    loaded = [item if isinstance(item, Suite) else suites.load(item) for item in chosen]
    dataset = data.load(data_set or evaluation.data_of(folder), None if data_dir is None else Path(data_dir))
    with tempfile.TemporaryDirectory() as temporary, _computing_on(device) as target:
        run_folder = evaluation.evaluate(
            folder,
            loaded,
            dataset,
            Path(temporary if out is None else out),
            options=evaluation.Options(**options),
            device=target,
            executor=executors.build(executor, jobs=jobs, threads=torch.get_num_threads()),
            data_dir=None if data_dir is None else Path(data_dir).resolve(),
            progress=progress,
        )
        return tables.summary(run_folder)


def certify(
    module: nn.Module,
    x: NDArray[np.float32] | Tensor,
    labels: NDArray[np.int64] | Tensor | None = None,
    *,
    norm: str = "L2",
    claimed: float | None = None,
    device: str = "cpu",
    arithmetic: str = "float64",
) -> pd.DataFrame:
    """Certified radii of a network that torch.fx can trace: a frame with one row per sample.

    Columns: ``prediction``, int; ``certified_radius_float``, which holds for the network as it runs in ``arithmetic``
    ("float64" or "float32"), NaN where no error analysis is known; ``certified_radius_real``, which holds in exact
    arithmetic; ``certified_radius_nominal``, which holds if the claim is true, NaN without one. Radii are in ``norm``,
    in units of the input, and 0 where misclassified or tied.

    x: floats (n, c, h, w) in [0, 1], which are rounded to float32: the radii are of the rounded inputs; labels: whole
    numbers (n,), the predictions by default (then no sample is misclassified); claimed: the claimed L2 Lipschitz
    constant. ``frame.attrs`` holds ``lipschitz_bound``, ``claim_confirmed`` (None without a claim) and ``not_analysed``
    (why there is no grade float; None if there is). Raises UnsupportedError for a layer without a Lipschitz rule,
    LipbenchError for inputs or labels of another shape, type or range, and for a network that ``Network`` refuses.
    """
    inputs = images(x)
    c, h, w = inputs.shape[1:]
    with _computing_on(device) as target:
        network = Network(module, (c, h, w), target, arithmetic)
        proof = certificate(network.module, (c, h, w), claimed, network.dtype)
        logits = network.predict(inputs)
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
    data_set: str | None = None,
    data_dir: StrPath | None = None,
    out: StrPath = "lipbench-verify",
    samples: int | None = None,
    seed: int = 0,
    device: str = "auto",
    arithmetic: str = "float64",
) -> pd.DataFrame:
    """Attack every sample inside its certified radius: one row per model and grade, as ``verification.Verdict``.

    The networks compute in ``arithmetic``, "float64" or "float32", for which their radii of grade float are certified.
    """
    folder = cards.find_zoo(str(model_or_zoo))
    dataset = data.load(data_set or evaluation.data_of(folder), None if data_dir is None else Path(data_dir))
    with _computing_on(device) as target:
        results = [
            verification.verify(
                path,
                dataset,
                Path(out),
                samples=samples,
                seed=seed,
                device=target,
                arithmetic=arithmetic,
                progress=False,
            )
            for path in cards.model_folders(folder)
        ]
    return pd.DataFrame([asdict(verdict) for result in results for verdict in result.verdicts])
