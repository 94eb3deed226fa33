"""Verifying a claim: attack every sample inside its certified radius, without pruning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from lipbench import backends, files, zoo
from lipbench.certificates import Certificate, certificate
from lipbench.data import Dataset
from lipbench.ledger import Floats, Ints
from lipbench.network import Network
from lipbench.suites import AttackSpec
from lipbench.threat import Norm

# from the cheapest to the dearest; PGD starts from random points inside each sample's own radius
MINIMAL_NORM = (
    AttackSpec(backend="gradient", name="bisection"),
    AttackSpec(backend="autoattack", name="fab-t-minimal"),
)
INSIDE = AttackSpec(backend="gradient", name="pgd", args={"restarts": 1})
GRADES = ("real", "nominal")


@dataclass(frozen=True)
class Verdict:
    """What the attacks found inside the radii of one grade of one model. Radii and distances are L2."""

    model: str
    grade: str  # "real" or "nominal"
    lipschitz: float  # the constant behind the radii: computed for real, claimed for nominal
    samples: int  # correct samples with a certified radius above 0, all of them attacked
    attacked: int  # sample-attacks
    violations: int  # samples with an adversarial input inside their radius
    closest_approach: float  # smallest adversarial_distance / certified_radius; below 1 the certificate is false
    witness: Path | None  # adversarial inputs of the violations

    @property
    def holds(self) -> bool:
        """True if no certificate of this grade was broken."""
        return self.violations == 0


@dataclass(frozen=True)
class Verification:
    """The verdicts of one model, and whether its claim follows from its weights."""

    model: str
    bound: float
    claimed: float | None
    claim_confirmed: bool | None
    verdicts: tuple[Verdict, ...]

    @property
    def holds(self) -> bool:
        """True if no certificate of any grade was broken."""
        return all(verdict.holds for verdict in self.verdicts)


def verify(
    folder: Path,
    dataset: Dataset,
    out: Path,
    *,
    samples: int | None = None,
    seed: int = 0,
    device: torch.device,
    progress: bool = True,
) -> Verification:
    """Attack each certified sample of a model, in L2, and compare what is found with its radius, grade by grade.

    samples: the first so many test samples, all for None; out: the folder for witnesses, made only if there is one.
    Raises LipbenchError if the model and the data do not fit together.
    """
    model = zoo.load(folder)
    card = model.card
    zoo.check_fits(card, dataset)
    split = dataset.test.first(samples)
    network = Network(model.module, card.input_shape, device)
    proof = certificate(network.module, card.input_shape, None if card.claimed is None else card.claimed.constant)
    x, labels = torch.from_numpy(split.x), torch.from_numpy(split.labels)
    logits = network.predict(x)
    radii = {grade: proof.radii(logits, labels, grade).numpy() for grade in GRADES}
    if proof.claimed is None:
        del radii["nominal"]
    rows = np.flatnonzero((logits.argmax(dim=1) == labels).numpy())
    search = _Search(network, x[rows].to(device), labels[rows].to(device), seed)
    with tqdm(
        total=len(MINIMAL_NORM) + len(GRADES),
        desc=card.name,
        unit="attack",
        leave=False,
        disable=not progress,
    ) as bar:
        for spec in MINIMAL_NORM:
            search.attack(spec, None)
            bar.update()
        for radius in radii.values():
            # no input lies further than the diameter of [0, 1]^d, though a (false) radius may
            search.attack(INSIDE, radius[rows].clip(max=x[0].numel() ** 0.5))
            bar.update()
    verdicts = tuple(_verdict(card.name, grade, proof, rows, radius, search, out) for grade, radius in radii.items())
    return Verification(card.name, proof.bound, proof.claimed, proof.claim_confirmed, verdicts)


class _Search:
    """The smallest adversarial perturbation found so far for each of some correct samples."""

    def __init__(self, network: Network, x: Tensor, labels: Tensor, seed: int):
        self.network, self.x, self.labels, self.seed = network, x, labels, seed
        self.distance = np.full(len(x), np.inf)
        self.best = x.clone()
        self.sample_attacks = np.zeros(len(x), dtype=np.int64)

    def attack(self, spec: AttackSpec, radius: Floats | None) -> None:
        """Run one attack on all samples, or inside the given radii (n,) on those where the radius is above 0."""
        rows = np.arange(len(self.x)) if radius is None else np.flatnonzero(radius > 0)
        if len(rows) == 0:
            return
        index = torch.from_numpy(rows).to(self.x.device)
        x, labels = self.x[index], self.labels[index]
        eps = None if radius is None else torch.from_numpy(radius[rows]).to(x.device)
        candidates = backends.search(spec, self.network, x, labels, norm=Norm.L2, eps=eps, seed=self.seed)
        _, distance, _ = backends.judge(self.network, x, labels, candidates, Norm.L2)
        self.sample_attacks[rows] += 1
        better = distance < self.distance[rows]
        self.distance[rows[better]] = distance[better]
        self.best[index[torch.from_numpy(better)]] = candidates[torch.from_numpy(better).to(x.device)]


def _verdict(
    model: str, grade: str, proof: Certificate, rows: Ints, radii: Floats, search: _Search, out: Path
) -> Verdict:
    radius = radii[rows]
    certified = radius > 0
    broken = certified & (search.distance < radius)
    ratio = search.distance[certified] / radius[certified]
    witness = None
    if broken.any():
        witness = out / f"{model}-{grade}.safetensors"
        _save_witness(witness, rows[broken], torch.from_numpy(broken), radius[broken], search)
    constant = proof.bound if grade == "real" or proof.claimed is None else proof.claimed
    return Verdict(
        model=model,
        grade=grade,
        lipschitz=constant,
        samples=int(certified.sum()),
        attacked=int(search.sample_attacks[certified].sum()),
        violations=int(broken.sum()),
        closest_approach=float(ratio.min()) if len(ratio) else float("inf"),
        witness=witness,
    )


def _save_witness(path: Path, rows: Ints, broken: Tensor, radius: Floats, search: _Search) -> None:
    """Inputs, adversarial inputs, and the two numbers that contradict each other."""
    distance = search.distance[broken.numpy()]
    content: Mapping[str, Tensor] = {
        "sample": torch.from_numpy(rows),
        "x": search.x.cpu()[broken],
        "x_adversarial": search.best.cpu()[broken],
        "label": search.labels.cpu()[broken],
        "certified_radius": torch.from_numpy(radius),
        "adversarial_distance": torch.from_numpy(distance),
    }
    files.write_bytes(path, safetensors.torch.save(dict(content), metadata={"norm": Norm.L2.value}))
