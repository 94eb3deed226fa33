"""Verifying a claim: read the model, attack every sample inside its certified radius, refute the constant itself."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lipbench._internal import arguments, files
from lipbench._internal.arrays import Bools, Floats
from lipbench.attacks.network import Network
from lipbench.certification.certificate import Certificate, certificate
from lipbench.certification.grades import EXACT_GRADES, GRADES
from lipbench.data import Dataset, Split
from lipbench.errors import LipbenchError, one_line
from lipbench.models import cards
from lipbench.models.cards import Card
from lipbench.models.stored import check_fits, load_model
from lipbench.models.zoo import model_folders
from lipbench.verification import falsification, linter
from lipbench.verification import witness as witnesses
from lipbench.verification.falsification import Outputs, RoundingSearch, Search
from lipbench.verification.linter import Finding
from lipbench.verification.witness import NotWritten, Witness

GIVEN = "given"  # the grade of radii that came in a file
PAIRS = 64  # samples from which the constant is attacked
CPU = torch.device("cpu")
LONGEST_NAME = 180  # bytes of a model's name in a file's: file systems take 255 in all
ROUNDING_SAMPLES = 100  # samples from which the boundary is approached


@dataclass(frozen=True)
class Verdict:
    """What the attacks found inside the radii of one grade of one model. Radii and distances are L2."""

    model: str
    grade: str  # "float", "real", "nominal", or "given"
    lipschitz: float | None  # the constant behind the radii: computed, or claimed for nominal; None for given radii
    samples: int  # samples with a certified radius above 0, all of them attacked
    attacked: int  # sample-attacks
    violations: int  # samples with an adversarial input inside their radius
    misclassified: int  # those of them that are adversarial themselves
    closest_approach: float  # smallest adversarial_distance / certified_radius; below 1 the certificate is false
    witness: Path | NotWritten | None  # adversarial inputs of the violations

    @property
    def holds(self) -> bool:
        """True if no certificate of this grade was broken."""
        return self.violations == 0


@dataclass(frozen=True)
class RoundingVerdict:
    """What the rounding search found next to the boundary, for one grade."""

    grade: str
    points: int
    certified: int  # points with a certified radius above 0
    broken: int
    witness: Path | NotWritten | None


@dataclass(frozen=True)
class Constant:
    """What is known of the Lipschitz constant of one model."""

    steepest: float  # slope of a pair of inputs, less what errors explain
    steepest_proven: bool  # True: no Lipschitz constant is smaller; False: measured, without an error analysis
    bound: float  # computed: never below the true one, if the rules of the layers are right
    bound_witness: (
        Path | NotWritten | None
    )  # a steeper pair of inputs: a rule is wrong, and so are all grades but nominal
    claimed: float | None
    claim_confirmed: bool | None
    claim_witness: Path | NotWritten | None  # a pair of inputs that refutes the claimed constant

    @property
    def refuted(self) -> bool:
        """True if a pair of inputs contradicts the claim."""
        return self.claim_witness is not None


@dataclass(frozen=True)
class Verification:
    """What was found about one model. The fields of its constant are told by ``Constant``."""

    model: str
    dtype: str
    bound: float
    bound_witness: Path | NotWritten | None
    steepest: float
    steepest_proven: bool
    claimed: float | None
    claim_confirmed: bool | None
    claim_witness: Path | NotWritten | None
    not_analysed: str | None  # why there is no grade float
    findings: tuple[Finding, ...]  # of the linter
    verdicts: tuple[Verdict, ...]
    rounding: tuple[RoundingVerdict, ...]

    @property
    def holds(self) -> bool:
        """True if no certificate of any grade was broken, no constant refuted, and grade float not by rounding.

        Grades real and nominal speak of exact arithmetic: rounding next to the boundary does not refute them.
        """
        rounded = any(verdict.broken for verdict in self.rounding if verdict.grade == "float")
        refuted = self.claim_witness is not None or self.bound_witness is not None
        return all(verdict.holds for verdict in self.verdicts) and not refuted and not rounded

    @property
    def certified(self) -> bool:
        """True if a sample has a certified radius above 0: without one, nothing was attacked."""
        return any(verdict.samples for verdict in self.verdicts)

    @property
    def constant(self) -> Constant:
        """The Lipschitz constant: found, computed and claimed."""
        return Constant(**{item.name: getattr(self, item.name) for item in fields(Constant)})


@dataclass(frozen=True)
class VerificationResult:
    """What was found about one model or several: all that ``lipbench verify`` prints, and its exit status.

    In a condition the result counts as ``passed``.
    """

    models: tuple[Verification, ...]
    failures: Mapping[str, str] = field(default_factory=dict)  # why, by model, for those that could not be verified

    def __bool__(self) -> bool:
        return self.passed

    @property
    def passed(self) -> bool:
        """True if nothing was broken and no claim refuted: exit status 0 of the command; False: status 1."""
        return not self.failures and all(model.holds for model in self.models)

    @property
    def lint(self) -> dict[str, tuple[Finding, ...]]:
        """The linter's findings by model, for the models that have some. They alone break no certificate."""
        return {model.model: model.findings for model in self.models if model.findings}

    @property
    def constant(self) -> dict[str, Constant]:
        """The Lipschitz constants by model, with the claims that were refuted."""
        return {model.model: model.constant for model in self.models}

    @property
    def violations(self) -> int:
        """Certificates broken at samples, over all models and grades; what rounding breaks is in ``models``."""
        return sum(verdict.violations for model in self.models for verdict in model.verdicts)

    @property
    def witnesses(self) -> tuple[Path, ...]:
        """The files of inputs that contradict a certificate or a claim; see ``lipbench verify --replay``."""
        found: list[Path | NotWritten | None] = []
        for model in self.models:
            found += [model.bound_witness, model.claim_witness, *(verdict.witness for verdict in model.verdicts)]
            found += [verdict.witness for verdict in model.rounding]
        return tuple(path for path in found if isinstance(path, Path))

    def frame(self) -> pd.DataFrame:
        """One row per model and grade: the fields of ``Verdict``, and of ``RoundingVerdict`` as ``rounding_*``."""
        rows = []
        for model in self.models:
            rounding = {verdict.grade: verdict for verdict in model.rounding}
            for verdict in model.verdicts:
                near = rounding.get(verdict.grade)
                about = {} if near is None else {f"rounding_{name}": value for name, value in asdict(near).items()}
                about.pop("rounding_grade", None)
                rows.append({**asdict(verdict), "holds": verdict.holds, **about})
        return pd.DataFrame(rows)


def verify_zoo(
    zoo_folder: Path,
    dataset: Dataset,
    out: Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    device: torch.device,
    dtype: str = "float64",
    radii: Path | Floats | None = None,
    progress: bool = True,
    done: Callable[[Verification], object] = lambda model: None,
) -> VerificationResult:
    """Verify every model of a zoo, or the one model in ``zoo_folder``; see ``examine``.

    samples: the first so many test samples, all for None; radii: for a zoo of one model, certified radii of your own,
    float64 (n,), or a file that ``read_radii`` takes; done: called with what was found, model by model. Raises
    LipbenchError before any work if the models, the data and the radii do not fit together, and at the end if nothing
    was verified: no sample of any model has a certified radius, and no claim was refuted. A model that fails does not
    stop the others: its error is raised at the end, unless something was broken, which counts for more.
    """
    _check_place(out)
    folders = model_folders(zoo_folder)
    found = [cards.read(folder) for folder in folders]
    arguments.distinct("model", [card.name for card in found])
    for card in found:
        check_fits(card, dataset)
    if radii is not None and len(folders) != 1:
        raise LipbenchError(f"--radii is for one model, {zoo_folder} holds {len(folders)}; give one of them")
    if isinstance(radii, Path):
        radii = read_radii(radii, len(_tested(dataset, samples).labels))
    models = []
    failures: dict[str, Exception] = {}
    for folder, card in zip(folders, found, strict=True):
        try:
            model = verify(
                folder,
                dataset,
                out,
                samples=samples,
                seed=seed,
                device=device,
                dtype=dtype,
                radii=radii,
                progress=progress,
            )
        except Exception as error:
            failures[card.name] = error
            continue
        done(model)
        models.append(model)
    result = VerificationResult(tuple(models), {name: one_line(error) for name, error in failures.items()})
    if failures and all(model.holds for model in models):
        raise _failure(failures, len(folders))
    if result.passed and not any(model.certified for model in models):
        raise LipbenchError("nothing was verified: no sample is classified correctly with a certified radius above 0")
    return result


def _failure(failures: Mapping[str, Exception], models: int) -> Exception:
    """The one error for models that could not be verified: the first that nobody expects, or what all of them say."""
    for error in failures.values():
        if not isinstance(error, LipbenchError | OSError):
            return error
    said = {one_line(error) for error in failures.values()}
    if len(failures) == models and len(said) == 1:
        return next(iter(failures.values()))
    why = "; ".join(f"{name}: {one_line(error)}" for name, error in failures.items())
    return LipbenchError(f"{len(failures)} of {models} models could not be verified: {why}")


def verify(
    folder: Path,
    dataset: Dataset,
    out: Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    device: torch.device,
    dtype: str = "float64",
    radii: Floats | None = None,
    progress: bool = True,
) -> Verification:
    """Verify the model in ``folder`` on a data set's test samples; see ``examine``.

    samples: the first so many test samples, all for None. Raises LipbenchError if the model and the data do not fit, or
    if ``out`` cannot be written to.
    """
    split = _tested(dataset, samples)
    _check_place(out)
    model = load_model(folder)
    check_fits(model.card, dataset)
    return examine(
        model.module,
        model.card,
        torch.from_numpy(split.x),
        torch.from_numpy(split.labels),
        out,
        folder=folder,
        digest=model.digest,
        seed=seed,
        device=device,
        dtype=dtype,
        radii=radii,
        progress=progress,
    )


def _tested(dataset: Dataset, samples: int | None) -> Split:
    """The first so many test samples, all for None."""
    return dataset.test.first(None if samples is None else arguments.whole_number("samples", samples, 1))


def _check_place(out: Path) -> None:
    """Raise LipbenchError if no witness could be written to ``out``, before one is found."""
    place = out.absolute()
    while True:
        try:
            place.lstat()  # of a link itself, which may lead nowhere
            break
        except (FileNotFoundError, NotADirectoryError):
            place = place.parent
        except OSError as error:
            raise files.cannot_write(out, error) from error
    if not place.is_dir() or not os.access(place, os.W_OK):
        why = "is not writable" if place.is_dir() else "is not a folder"
        raise LipbenchError(f"cannot write witnesses to {out}: {place} {why}; choose another folder with -o")


def read_radii(path: Path, samples: int) -> Floats:
    """Certified radii (samples,) by row of the test set, 0 where the file has none.

    path: CSV or parquet, columns sample (row of the test set, from 0) and certified_radius. Raises LipbenchError for a
    file that is no such table, or names a sample that is not there.
    """
    if not path.is_file():
        raise LipbenchError(f"no radii at {path}: the file does not exist")
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        rows, values = table["sample"], table["certified_radius"]
    except (OSError, ValueError, KeyError) as error:
        raise LipbenchError(
            f"cannot read radii from {path}: expected CSV or parquet with the columns sample and certified_radius"
        ) from error
    if table.empty or rows.dtype.kind not in "iu" or values.dtype.kind not in "iuf":
        raise LipbenchError(
            f"{path}: expected at least one row, whole numbers for sample and numbers for certified_radius, got "
            f"{len(table)} rows of {rows.dtype} and {values.dtype}"
        )
    if rows.duplicated().any() or rows.min() < 0 or rows.max() >= samples:
        raise LipbenchError(
            f"{path}: samples must be different numbers in 0..{samples - 1} (rows of the test set), got {rows.min()} "
            f"to {rows.max()}{', some of them twice' if rows.duplicated().any() else ''}"
        )
    radii = np.zeros(samples)
    radii[rows.to_numpy(dtype=np.int64)] = values.to_numpy(dtype=np.float64)
    return radii


def examine(
    module: nn.Module,
    card: Card,
    x: Tensor,
    labels: Tensor,
    out: Path,
    *,
    folder: Path = Path(),
    digest: str = "",
    seed: int = 0,
    device: torch.device = CPU,
    dtype: str = "float64",
    radii: Floats | None = None,
    progress: bool = False,
) -> Verification:
    """Lint a network and its card, then attack its certificates in L2, grade by grade, and its claimed constant.

    x: float32 (n, c, h, w) in [0, 1]; labels: int64 (n,); radii: float64 (n,), certified radii to be tested besides
    lipbench's own, for the label of each sample; out: the folder for witnesses, made only if there is one; folder and
    digest: of the model, for the witnesses' replay. Raises UnsupportedError for a network without a bound.
    """
    seed = arguments.seed("seed", seed)
    network = Network(module, card.input_shape, device, dtype)
    claimed = None if card.claimed is None else card.claimed.constant
    proof = certificate(network.module, card.input_shape, claimed, network.dtype)
    findings = linter.lint(module, card, proof, x=x, labels=labels)
    about = _About(card.name, folder, digest, dtype, out)
    x = x.to(device)
    by_grade = _radii(network, proof, x, labels, radii)
    steps = len(falsification.MINIMAL_NORM) + len(by_grade) + 2
    with tqdm(total=steps, desc=card.name, unit="step", leave=False, disable=not progress) as bar:
        search = Search(network, x, labels.to(device), seed)
        for spec in falsification.MINIMAL_NORM:
            search.attack(spec)
            bar.update()
        _attack_inside(search, by_grade, bar)
        exact = _Exact(module, card, claimed)
        verdicts = tuple(_verdict(grade, radius, proof, search, exact, about) for grade, radius in by_grade.items())
        pair = falsification.steepest_pair(network, proof, x[:PAIRS], seed=seed)
        bar.update()
        rounding = _rounding(network, proof, search, seed, about)
        bar.update()
    limits = falsification.constants(proof)
    refuted = {
        grade: about.save("lipschitz", grade, {"x": pair.x, "z": pair.z})
        for grade, limit in limits.items()
        if pair.ratio > limit
    }
    return Verification(
        model=card.name,
        dtype=dtype,
        bound=proof.bound,
        bound_witness=refuted.get("real"),
        steepest=pair.ratio,
        steepest_proven=pair.proven,
        claimed=proof.claimed,
        claim_confirmed=proof.claim_confirmed,
        claim_witness=refuted.get("nominal"),
        not_analysed=proof.not_analysed,
        findings=tuple(findings),
        verdicts=verdicts,
        rounding=rounding,
    )


@dataclass(frozen=True)
class _About:
    """What the witnesses of one model say of it."""

    name: str
    folder: Path
    digest: str
    dtype: str
    out: Path

    def save(self, kind: str, grade: str, tensors: Mapping[str, Tensor]) -> Path | NotWritten:
        """Write a witness; returns where, or why not: what was found does not depend on the disk."""
        witness = Witness(
            kind=kind,
            model=self.name,
            folder=str(self.folder.resolve()),
            digest=self.digest,
            grade=grade,
            dtype=self.dtype,
            threads=torch.get_num_threads(),
        )
        name = self.name
        if len(name.encode()) > LONGEST_NAME:
            name = f"{name.encode()[:LONGEST_NAME].decode(errors='ignore')}-{self.digest[:8]}"
        try:
            return witnesses.save(self.out / f"{name}-{kind}-{grade}.safetensors", witness, tensors)
        except (LipbenchError, OSError, ValueError) as error:
            return NotWritten(one_line(error))


def _radii(network: Network, proof: Certificate, x: Tensor, labels: Tensor, given: Floats | None) -> dict[str, Floats]:
    """Certified radii (n,) by grade; grades that the model does not have, and so are NaN throughout, are left out."""
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
    if given is not None:
        try:
            given = np.asarray(given)
        except (TypeError, ValueError) as error:
            raise LipbenchError(f"certified radii must be numbers: {one_line(error)}") from error
        if given.dtype.kind not in "iuf":
            raise LipbenchError(f"certified radii must be real numbers, got an array of {given.dtype}")
        given = given.astype(np.float64)
        if given.shape != (len(x),):
            raise LipbenchError(f"expected {len(x)} radii, one for each sample, got the shape {given.shape}")
        if not (np.isfinite(given) & (given >= 0)).all():
            raise LipbenchError("certified radii must be finite numbers of at least 0")
        by_grade[GIVEN] = given
    return by_grade


def _attack_inside(search: Search, by_grade: dict[str, Floats], bar: "tqdm[Any]") -> None:
    """Attack inside the radii of each grade, the widest first.

    Radii that lie within others which all hold are not attacked once more: what breaks them would break those.
    """
    attacked: list[Floats] = []
    for radius in sorted(by_grade.values(), key=lambda one: -float(one.sum())):
        covered = any((radius <= wider * (1 + 1e-9)).all() and not search.broken(wider).any() for wider in attacked)
        if not covered:
            for _ in range(falsification.SANDWICH_ROUNDS):
                search.narrow(radius)
            for spec in falsification.INSIDE:
                search.attack(spec, radius)
            attacked.append(radius)
        bar.update()


@dataclass(frozen=True)
class _Exact:
    """The network in float64, which decides about grades that speak of exact arithmetic."""

    module: nn.Module
    card: Card
    claimed: float | None

    def broken(self, grade: str, search: Search, rows: Bools) -> Bools:
        """Of the broken certificates, those that rounding cannot explain: radius and class anew, with room for errors.

        search: what was found; rows: bool (n,), where; returns bool (n,).
        """
        found = rows.copy()
        if not rows.any():
            return found
        network = Network(self.module, self.card.input_shape)
        proof = certificate(network.module, self.card.input_shape, self.claimed, network.dtype)
        index = torch.from_numpy(rows)
        x, z, classes = search.x.cpu()[index], search.best.cpu()[index], search.classes.cpu()[index]
        margins = falsification.margins(network, z, classes)
        # a margin is a difference of two logits, at the sample, where the radius comes from, and at the other point
        room = 2 * Outputs.of(network, proof).explained((x, z), -margins)
        inside = search.distance[rows] < proof.radii(network.predict(x), classes, grade).numpy()
        found[rows] = inside & (margins < -room).numpy()
        return found


def _verdict(grade: str, radius: Floats, proof: Certificate, search: Search, exact: _Exact, about: _About) -> Verdict:
    certified = radius > 0
    inside = search.broken(radius)
    broken = exact.broken(grade, search, inside) if grade in EXACT_GRADES else inside
    counted = certified & (broken | ~inside)  # not what rounding explains
    ratio = search.distance[counted] / radius[counted]
    witness = None
    if broken.any():
        rows = torch.from_numpy(broken)
        tensors = {
            "sample": torch.from_numpy(np.flatnonzero(broken)),
            "x": search.x.cpu()[rows],
            "x_adversarial": search.best.cpu()[rows],
            "label": search.classes.cpu()[rows],
            "certified_radius": torch.from_numpy(radius[broken]),
            "adversarial_distance": torch.from_numpy(search.distance[broken]),
        }
        witness = about.save("radius", grade, tensors)
    constants = {"nominal": proof.claimed, GIVEN: None}
    return Verdict(
        model=about.name,
        grade=grade,
        lipschitz=constants.get(grade, proof.bound),
        samples=int(certified.sum()),
        attacked=int(search.sample_attacks[certified].sum()),
        violations=int(broken.sum()),
        misclassified=int((broken & ~search.right).sum()),
        closest_approach=float(ratio.min()) if len(ratio) else float("inf"),
        witness=witness,
    )


def _rounding(
    network: Network, proof: Certificate, search: Search, seed: int, about: _About
) -> tuple[RoundingVerdict, ...]:
    """The rounding search from the first samples that have an adversarial input."""
    rows = torch.from_numpy(np.flatnonzero(search.right & np.isfinite(search.distance))[:ROUNDING_SAMPLES])
    if len(rows) == 0:
        return ()
    rows = rows.to(search.x.device)
    result = falsification.rounding_search(network, proof, search.x[rows], search.best[rows], seed=seed)
    grades = [grade for grade in GRADES if not (grade == "float" and proof.errors is None)]
    grades = [grade for grade in grades if not (grade == "nominal" and proof.claimed is None)]
    return tuple(_rounding_verdict(grade, result, about) for grade in grades)


def _rounding_verdict(grade: str, result: RoundingSearch, about: _About) -> RoundingVerdict:
    breaks = result.breaks.get(grade)
    if breaks is None:
        return RoundingVerdict(grade, result.points, result.certified[grade], 0, None)
    tensors = {
        "x": breaks.x,
        "x_adversarial": breaks.x_adversarial,
        "label": breaks.label,
        "batch": breaks.batch,
        "certified_radius": breaks.radius,
        "adversarial_distance": breaks.distance,
    }
    witness = about.save("rounding", grade, tensors)
    return RoundingVerdict(grade, result.points, result.certified[grade], len(breaks.radius), witness)
