"""Verifying a claim: read the model, attack every sample inside its certified radius, refute the constant itself."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lipbench._internal import arguments
from lipbench._internal.arrays import Floats
from lipbench._internal.versions import versions
from lipbench.attacks.network import Network
from lipbench.certification.certificate import Certificate, certificate
from lipbench.certification.grades import EXACT_GRADES
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError, nothing_left, reason
from lipbench.models.cards import Card
from lipbench.models.sources import ModelSource
from lipbench.models.stored import check_fits
from lipbench.verification import falsification, given_radii, linter, records, slopes, verdicts
from lipbench.verification.exact import beyond_rounding
from lipbench.verification.falsification import AttackedSamples
from lipbench.verification.options import DEFAULTS, VerifyOptions
from lipbench.verification.result import GIVEN, Tested, Verdict, Verification, VerificationResult
from lipbench.verification.rounding_search import RoundingSearch, rounding_search
from lipbench.verification.witness import WitnessFolder

LOG = logging.getLogger(__name__)
PAIRS = 64  # samples from which the constant is attacked
CPU = torch.device("cpu")
ROUNDING_SAMPLES = 100  # samples from which the boundary is approached


@dataclass(frozen=True)
class Origin:
    """Where a model and its samples come from, for the record; empty for a network and tensors of the caller's own."""

    folder: Path | None = None  # of the model
    digest: str = ""  # of its card and weights
    data: str = ""  # the data set's spec
    data_sha256: str = ""  # of the samples


def verify_models(
    sources: Sequence[ModelSource],
    dataset: Dataset,
    out: Path,
    *,
    options: VerifyOptions = DEFAULTS,
    device: torch.device,
    progress: bool = True,
    done: Callable[[Verification], object] = lambda model: None,
) -> VerificationResult:
    """Verify every model, by name; see ``examine`` and ``records``.

    out: a run folder, or the folder of a verification, for records and witnesses; done: called with what was found,
    model by model. A model that fails does not stop the others: the result has the reason. Raises LipbenchError before
    any work if the radii and the folder do not fit to the models, and at the end if every model failed, or if nothing
    was verified: no sample of any model has a certified radius, and no claim was refuted.
    """
    models, failures, options = _ready(sources, dataset, out, options)
    found: list[Verification] = []
    for card, source in models:
        try:
            model = examine_source(source, dataset, out, options=options, device=device, progress=progress)
        except Exception as error:
            LOG.debug("%s failed", card.name, exc_info=True)
            failures[card.name] = reason(error)
            continue
        found.append(model)
        done(model)
        try:
            records.write(out, model)
        except (LipbenchError, OSError) as error:  # the finding is valid without its record
            failures[card.name] = reason(error)
    if not found:
        raise nothing_left(failures, "verified")
    result = VerificationResult(tuple(found), failures)
    if all(model.holds for model in found) and not any(model.certified for model in found):
        raise LipbenchError("nothing was verified: no sample is classified correctly with a certified radius above 0")
    return result


def _ready(
    sources: Sequence[ModelSource], dataset: Dataset, out: Path, options: VerifyOptions
) -> tuple[list[tuple[Card, ModelSource]], dict[str, str], VerifyOptions]:
    """The cards and sources of the models, by name; why others failed; and the options with radii as an array.

    All that can be checked before any work is.
    """
    records.check_place(out)
    models, failures = [], {}
    for source in sources:
        try:
            card = source.card
            check_fits(card, dataset)
            models.append((card, source))
        except Exception as error:
            failures[source.name] = reason(error)
    models.sort(key=lambda one: one[0].name)
    arguments.distinct("model", [card.name for card, _ in models])
    if not models:
        raise nothing_left(failures, "verified")
    if options.radii is not None:
        if len(sources) != 1:
            raise LipbenchError(f"--radii is for one model, got {len(sources)}; give one of them")
        tested = len(_tested(dataset, options).labels)
        options = replace(options, radii=given_radii.checked(options.radii, tested))
    records.check_folder(out, [card for card, _ in models], dataset, options.dtype)
    return models, failures, options


def _tested(dataset: Dataset, options: VerifyOptions) -> Split:
    return dataset.test.first(options.samples)


def examine_source(
    source: ModelSource,
    dataset: Dataset,
    out: Path,
    *,
    options: VerifyOptions = DEFAULTS,
    device: torch.device,
    progress: bool = True,
) -> Verification:
    """Examine a model on a data set's test samples; writes witnesses below ``out``, and no record.

    Raises LipbenchError if the model and the data do not fit together.
    """
    split = _tested(dataset, options)
    model = source.load()
    check_fits(model.card, dataset)
    return examine(
        model.module,
        model.card,
        torch.from_numpy(split.x),
        torch.from_numpy(split.labels),
        out,
        options=options,
        origin=Origin(source.folder, model.digest, dataset.spec, split.sha256),
        device=device,
        progress=progress,
    )


def examine(
    module: nn.Module,
    card: Card,
    x: Tensor,
    labels: Tensor,
    out: Path,
    *,
    options: VerifyOptions = DEFAULTS,
    origin: Origin = Origin(),
    device: torch.device = CPU,
    progress: bool = False,
) -> Verification:
    """Lint a network and its card, then attack its certificates in L2, grade by grade, and its claimed constant.

    x: float32 (n, c, h, w) in [0, 1]; labels: int64 (n,); options: ``samples`` is ignored, ``radii`` are for the
    label of each sample; out: the folder below which witnesses go, made only if there is one. Raises UnsupportedError
    for a network without a bound.
    """
    network = Network(module, card.input_shape, device, options.dtype)
    claimed = None if card.claimed is None else card.claimed.constant
    proof = certificate(network.module, card.input_shape, claimed, network.dtype)
    findings = linter.lint(module, card, proof, x=x, labels=labels)
    witnesses = WitnessFolder(out / records.WITNESSES, card.name, origin.folder, origin.digest, options.dtype)
    x = x.to(device)
    radii = _radii(network, proof, x, labels, options)
    steps = len(falsification.MINIMAL_NORM) + len(radii) + 2
    with tqdm(total=steps, desc=card.name, unit="step", leave=False, disable=not progress) as bar:
        samples = AttackedSamples(network, x, labels.to(device), options.seed)
        for spec in falsification.MINIMAL_NORM:
            samples.attack(spec)
            bar.update()
        falsification.attack_inside(samples, radii, bar.update)
        graded = tuple(
            _verdict(grade, radius, module, card, samples, proof, witnesses) for grade, radius in radii.items()
        )
        pair = slopes.steepest_pair(network, proof, x[:PAIRS], seed=options.seed)
        bar.update()
        near = _next_to_the_boundary(network, proof, samples, options.seed)
        bar.update()
    return Verification(
        model=card.name,
        digest=origin.digest,
        tested=_conditions(origin, len(x), options, device),
        constant=verdicts.constant(pair, proof, witnesses),
        not_analysed=proof.not_analysed,
        findings=tuple(findings),
        verdicts=graded,
        rounding=() if near is None else verdicts.rounding(near, proof, witnesses),
    )


def _conditions(origin: Origin, samples: int, options: VerifyOptions, device: torch.device) -> Tested:
    return Tested(
        data=origin.data,
        data_sha256=origin.data_sha256,
        samples=samples,
        seed=options.seed,
        dtype=options.dtype,
        device=device.type,
        threads=torch.get_num_threads(),
        versions=versions(),
    )


def _radii(
    network: Network, proof: Certificate, x: Tensor, labels: Tensor, options: VerifyOptions
) -> dict[str, Floats]:
    """Certified radii (n,) by grade; a grade that the model does not have, and so is NaN throughout, is left out."""
    logits = network.predict(x)
    network.check_batch(proof.graph, x, logits)
    found = proof.radii_of(x, logits, labels)
    by_grade = {grade: radius.numpy() for grade, radius in found.items() if not radius.isnan().all()}
    for grade, radius in by_grade.items():
        if np.isnan(radius).any():
            raise LipbenchError(
                f"{np.isnan(radius).sum()} of {len(radius)} certified radii of grade {grade} are NaN: the network's "
                "outputs there are no numbers that a certificate can be computed from"
            )
    if options.radii is not None:
        by_grade[GIVEN] = given_radii.checked(options.radii, len(x))
    return by_grade


def _verdict(
    grade: str,
    radius: Floats,
    module: nn.Module,
    card: Card,
    samples: AttackedSamples,
    proof: Certificate,
    witnesses: WitnessFolder,
) -> Verdict:
    inside = samples.broken(radius)
    broken = beyond_rounding(module, card, grade, samples, inside) if grade in EXACT_GRADES else inside
    return verdicts.verdict(grade, radius, inside, broken, samples, proof, witnesses)


def _next_to_the_boundary(
    network: Network, proof: Certificate, samples: AttackedSamples, seed: int
) -> RoundingSearch | None:
    """The rounding search from the first samples that have an adversarial input; None if no sample has one."""
    rows = torch.from_numpy(np.flatnonzero(samples.right & np.isfinite(samples.distance))[:ROUNDING_SAMPLES])
    if len(rows) == 0:
        return None
    rows = rows.to(samples.x.device)
    return rounding_search(network, proof, samples.x[rows], samples.best[rows], seed=seed)
