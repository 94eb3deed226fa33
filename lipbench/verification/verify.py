"""Verifying a claim: read the model, attack every sample inside its certified radius, refute the constant itself."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lipbench._internal import arguments
from lipbench._internal.arrays import Floats
from lipbench._internal.versions import versions
from lipbench.attacks.as_given import IN_A_BATCH, RANDOM, attackable, cautions, proof_at, proof_of
from lipbench.attacks.network import Network
from lipbench.certification.grades import EXACT_GRADES
from lipbench.certification.uncertified import Proof
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError, UnsupportedError, nothing_left, reason
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
from lipbench.work import progress as bars

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
    arguments.warn_of_fewer(options.samples, dataset.spec, len(dataset.test.labels))
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

    x: float32 (n, ...) in [0, 1]; labels: int64 (n,); options: ``samples`` is ignored, ``radii`` are for the
    label of each sample; out: the folder below which witnesses go, made only if there is one. A network without a bound
    has the nominal radii of its claim, and no others. Raises UnsupportedError where it has neither: no bound, no claim,
    and no radii are given.
    """
    network = attackable(module, card.input_shape, device, options.dtype)
    claimed = None if card.claimed is None else card.claimed.constant
    x, given = x.to(device), x
    logits = network.predict(x)
    proof = proof_at(network, proof_of(network, claimed), x, logits)
    if proof.no_certificate is not None and claimed is None and options.radii is None:
        raise UnsupportedError(f"nothing to verify: no claim, and no certificate: {proof.no_certificate}")
    for caution in () if proof.no_certificate is None else cautions(network, x):
        if caution in (RANDOM, IN_A_BATCH):
            raise UnsupportedError(f"nothing to verify, as the network is no function of a sample: {caution}")
    findings = linter.lint(module, card, proof, x=given, labels=labels)
    witnesses = WitnessFolder(out / records.WITNESSES, card.name, origin.folder, origin.digest, options.dtype)
    radii = _radii(proof, x, logits, labels, options)
    steps = len(falsification.MINIMAL_NORM) + len(radii) + 2
    with bars.bar(steps, unit="step", title=card.name, leave=False, silent=not progress) as bar:
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
        no_certificate=proof.no_certificate,
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


def _radii(proof: Proof, x: Tensor, logits: Tensor, labels: Tensor, options: VerifyOptions) -> dict[str, Floats]:
    """Certified radii (n,) by grade; a grade that the model does not have, and so is NaN throughout, is left out."""
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
    proof: Proof,
    witnesses: WitnessFolder,
) -> Verdict:
    inside = samples.broken(radius)
    broken = beyond_rounding(module, card, grade, samples, inside) if grade in EXACT_GRADES else inside
    return verdicts.verdict(grade, radius, inside, broken, samples, proof, witnesses)


def _next_to_the_boundary(network: Network, proof: Proof, samples: AttackedSamples, seed: int) -> RoundingSearch | None:
    """The rounding search from the first samples that have an adversarial input; None if no sample has one.

    None without a certificate as well: rounding is not what a claim without one would break at.
    """
    if proof.no_certificate is not None:
        return None
    rows = torch.from_numpy(np.flatnonzero(samples.right & np.isfinite(samples.distance))[:ROUNDING_SAMPLES])
    if len(rows) == 0:
        return None
    rows = rows.to(samples.x.device)
    return rounding_search(network, proof, samples.x[rows], samples.best[rows], seed=seed)
