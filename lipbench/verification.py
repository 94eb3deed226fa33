"""Verifying a claim: read the model, attack every sample inside its certified radius, refute the constant itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from lipbench import falsification, linter, witnesses, zoo
from lipbench.cards import Card
from lipbench.certificates import CLAIM_TOLERANCE, EXACT_GRADES, Certificate, certificate
from lipbench.data import Dataset
from lipbench.errors import LipbenchError
from lipbench.falsification import Outputs, RoundingSearch, Search
from lipbench.ledger import Bools, Floats
from lipbench.linter import Finding
from lipbench.network import Network
from lipbench.records import GRADES
from lipbench.witnesses import Witness

GIVEN = "given"  # the grade of radii that came in a file
PAIRS = 64  # samples from which the constant is attacked
CPU = torch.device("cpu")
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
    witness: Path | None  # adversarial inputs of the violations

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
    witness: Path | None


@dataclass(frozen=True)
class Verification:
    """What was found about one model."""

    model: str
    arithmetic: str
    bound: float  # computed Lipschitz constant: never below the true one
    steepest: float  # slope of a pair of inputs, less what errors explain
    steepest_proven: bool  # True: no Lipschitz constant is smaller; False: measured, without an error analysis
    claimed: float | None
    claim_confirmed: bool | None
    claim_witness: Path | None  # a pair of inputs that refutes the claimed constant
    not_analysed: str | None  # why there is no grade float
    findings: tuple[Finding, ...]  # of the linter
    verdicts: tuple[Verdict, ...]
    rounding: tuple[RoundingVerdict, ...]

    @property
    def holds(self) -> bool:
        """True if no certificate of any grade was broken, the claim not refuted, and grade float not by rounding.

        Grades real and nominal speak of exact arithmetic: rounding next to the boundary does not refute them.
        """
        rounded = any(verdict.broken for verdict in self.rounding if verdict.grade == "float")
        return all(verdict.holds for verdict in self.verdicts) and self.claim_witness is None and not rounded


def verify(
    folder: Path,
    dataset: Dataset,
    out: Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    device: torch.device,
    arithmetic: str = "float64",
    radii: Floats | None = None,
    progress: bool = True,
) -> Verification:
    """Verify the model in ``folder`` on a data set's test samples; see ``examine``.

    samples: the first so many test samples, all for None. Raises LipbenchError if the model and the data do not fit.
    """
    model = zoo.load(folder)
    zoo.check_fits(model.card, dataset)
    split = dataset.test.first(samples)
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
        arithmetic=arithmetic,
        radii=radii,
        progress=progress,
    )


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
    arithmetic: str = "float64",
    radii: Floats | None = None,
    progress: bool = False,
) -> Verification:
    """Lint a network and its card, then attack its certificates in L2, grade by grade, and its claimed constant.

    x: float32 (n, c, h, w) in [0, 1]; labels: int64 (n,); radii: float64 (n,), certified radii to be tested besides
    lipbench's own, for the label of each sample; out: the folder for witnesses, made only if there is one; folder and
    digest: of the model, for the witnesses' replay. Raises UnsupportedError for a network without a bound.
    """
    network = Network(module, card.input_shape, device, arithmetic)
    claimed = None if card.claimed is None else card.claimed.constant
    proof = certificate(network.module, card.input_shape, claimed, network.dtype)
    findings = linter.lint(module, card, proof, x=x, labels=labels)
    about = _About(card.name, folder, digest, arithmetic, device, out)
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
    claim_witness = None
    if proof.claimed is not None and pair.ratio > proof.claimed * (1 + CLAIM_TOLERANCE):
        claim_witness = about.save("lipschitz", "nominal", {"x": pair.x, "z": pair.z})
    return Verification(
        model=card.name,
        arithmetic=arithmetic,
        bound=proof.bound,
        steepest=pair.ratio,
        steepest_proven=pair.proven,
        claimed=proof.claimed,
        claim_confirmed=proof.claim_confirmed,
        claim_witness=claim_witness,
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
    arithmetic: str
    device: torch.device
    out: Path

    def save(self, kind: str, grade: str, tensors: Mapping[str, Tensor]) -> Path:
        witness = Witness(
            kind=kind,
            model=self.name,
            folder=str(self.folder.resolve()),
            digest=self.digest,
            grade=grade,
            arithmetic=self.arithmetic,
            device=self.device.type,
            threads=torch.get_num_threads(),
        )
        return witnesses.save(self.out / f"{self.name}-{kind}-{grade}.safetensors", witness, tensors)


def _radii(network: Network, proof: Certificate, x: Tensor, labels: Tensor, given: Floats | None) -> dict[str, Floats]:
    """Certified radii (n,) by grade; grades that the model does not have are left out."""
    found = proof.radii_of(x, network.predict(x), labels)
    by_grade = {grade: radius.numpy() for grade, radius in found.items() if not radius.isnan().any()}
    if given is not None:
        if given.shape != (len(x),):
            raise LipbenchError(f"expected {len(x)} radii, one for each sample, got {len(given)}")
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
