"""The highest accuracy with the largest certificates: the classifier of the nearest neighbour.

Its certificate is derived in ``neighbours``.

No classifier without training error does better everywhere on the training set: balls of the radii r_a and r_b around
samples of two classes cannot overlap, so that r_a + r_b <= |x_a - x_b|. The smallest radius is therefore at most half
the smallest distance between two classes, which is that of the nearest neighbour. The largest possible mean radius is
bounded by a linear programme over these inequalities.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lipbench.data import Split
from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab, TrainedModel
from lipbench.experiments.measures import Estimate, certified_radii, over_seeds
from lipbench.experiments.neighbours import boundary_distances, neighbours
from lipbench.experiments.separation import half_distances
from lipbench.experiments.transport import largest_mean_radius
from lipbench.report import style

NEAREST = "1-NN"
SETS = {"train": "training set", "test": "test set"}
EPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.2)  # of the text; the last one is beyond most of 1-NN's radii
CHECKED = {"train": (0.5, 1.2), "test": (0.0, 0.25, 0.5)}  # of the checks: where 1-NN is ahead most, where least
MARGIN = 1.0  # points by which 1-NN may be behind
LEAST = 1.0  # % that some network certifies, where an eps is judged: below it, no one could be behind by the margin
ROUNDING = 1e-9  # of distances in float64
PROPERTIES = {"tau_cross_entropy": ("tau", "cross-entropy, τ = "), "hinge_multiclass": ("min_margin", "hinge, m = ")}


@dataclass(frozen=True)
class Settings:
    """What differs between the scales."""

    images: str
    widths: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    taus: tuple[float, ...]
    margins: tuple[float, ...]
    seeds: tuple[int, ...]
    attacked: int  # samples of each split whose distance to the boundary of 1-NN is bisected
    neighbours: int  # of other classes, per sample, in the linear programme


SMALL = Settings("digits", (128, 64), 60, 128, 5e-3, (1, 8, 64, 512), (0.25, 1, 2), (0, 1, 2), 500, 10)
PAPER = Settings(
    "cifar10", (1024, 1024, 512), 300, 1000, 1e-3, (1, 8, 64, 256, 1024), (0.1, 0.5, 1, 2), (0, 1, 2), 500, 5
)


def measure(lab: Lab, settings: Settings) -> Records:
    """Certified radii of 1-NN and of the networks on the training and the test samples."""
    dataset = lab.dataset(settings.images)
    losses = {
        "tau_cross_entropy": {"tau": list(settings.taus)},
        "hinge_multiclass": {"min_margin": list(settings.margins)},
    }
    models = lab.train(
        {
            "seeds": list(settings.seeds),
            "architecture": [{"name": "mlp", "args": {"widths": list(settings.widths)}}],
            "training": {key: getattr(settings, key) for key in ("epochs", "batch_size", "learning_rate")},
            "history": {"every": settings.epochs},
            "loss": [{"name": name, "hyperparameters": values} for name, values in losses.items()],
        },
        dataset,
    )
    with lab.execution.computing() as device:
        reference, classes = _tensors(dataset.train, device)
        on_train = neighbours(reference, classes, reference, classes, settings.neighbours)
        x, labels = _tensors(dataset.test, device)
        on_test = neighbours(reference, classes, x, labels)
        radii = {"train": {NEAREST: on_train.radii(classes.cpu())}, "test": {NEAREST: on_test.radii(labels.cpu())}}
        attacked = []
        for split, (points, wanted) in {"train": (reference, classes), "test": (x, labels)}.items():
            rows = torch.nonzero(radii[split][NEAREST] > 0)[: settings.attacked, 0]
            found = boundary_distances(reference, classes, points[rows.to(device)], wanted[rows.to(device)])
            attacked.append(pd.DataFrame({"split": split, "radius": radii[split][NEAREST][rows], "distance": found}))
    for model in models:
        for split, samples in (("train", dataset.train), ("test", dataset.test)):
            radii[split][model.name] = torch.from_numpy(certified_radii(model.module, samples.x, samples.labels))
    ceiling = {
        "smallest": float(half_distances(dataset.train.x, dataset.train.labels).min()),
        "mean": largest_mean_radius(on_train.others.numpy(), on_train.distances.numpy()),
    }
    return {
        "networks": _networks(models),
        **{split: pd.DataFrame({name: one.numpy() for name, one in by.items()}) for split, by in radii.items()},
        "boundary": pd.concat(attacked),
        "ceiling": pd.DataFrame([ceiling]),
    }


def _tensors(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(split.x).reshape(len(split.labels), -1)
    return x.to(device, torch.float64), torch.from_numpy(split.labels).to(device)


def _networks(models: list[TrainedModel]) -> pd.DataFrame:
    """The column of each network in the tables of radii, its loss in words, its seed."""
    rows = []
    for model in models:
        key, words = PROPERTIES[model.card.loss.name]
        value = model.card.loss.hyperparameters[key]
        rows.append((model.name, f"{words}{value:g}", model.card.loss.name, model.card.seed))
    return pd.DataFrame(rows, columns=["name", "loss", "family", "seed"])


def _by_loss(records: Records) -> dict[str, list[str]]:
    """The networks of each loss, seeds in order."""
    return {str(loss): list(one["name"]) for loss, one in records["networks"].groupby("loss", sort=False)}


def _without_error(records: Records) -> dict[str, list[str]]:
    """The losses all of whose networks classify every training sample correctly."""
    train = records["train"]
    return {loss: names for loss, names in _by_loss(records).items() if (train[names] > 0).all(axis=None)}


def judge(records: Records) -> tuple[Check, ...]:
    """On the training set, where 1-NN is the best by a theorem in one sense; and on the test set, where it is not."""
    return (
        _mean_radius(records),
        _smallest_radius(records),
        _boundary(records),
        *(check for split in SETS for eps in CHECKED[split] if (check := _certified(records, split, eps))),
    )


def _mean_radius(records: Records) -> Check:
    train, seeds = records["train"], records["networks"]["seed"].nunique()
    means = {loss: train[names].mean().to_numpy() for loss, names in _without_error(records).items()}
    best = max(means, key=lambda loss: float(means[loss].mean()), default=None)
    lead = float(train[NEAREST].mean()) - (means[best] if best else np.zeros(seeds))
    over = over_seeds(lead)
    return Check(
        f"training set: 1-NN's mean radius less that of the best networks without training error ({best or 'none'})",
        "the interval lies above 0, and some loss leaves no training error",
        best is not None and over.lo > 0,
        over.value,
        "",
        over.lo,
        over.hi,
        f"{seeds} seeds",
    )


def _smallest_radius(records: Records) -> Check:
    train, ceiling = records["train"], float(records["ceiling"]["smallest"].iloc[0])
    networks = [name for names in _without_error(records).values() for name in names]
    best = float(train[networks].min().max()) if networks else 0.0
    attained = abs(float(train[NEAREST].min()) / ceiling - 1) < ROUNDING
    return Check(
        "training set: the largest smallest radius of a network without training error, as a share of half the "
        "smallest distance between classes",
        f"at most 100 %, for at least one network, and 1-NN's is that half distance but for {ROUNDING:g} of it",
        attained and bool(networks) and best <= ceiling,
        100 * best / ceiling,
        "%",
        over=f"{len(networks)} networks",
    )


def _boundary(records: Records) -> Check:
    shares = records["boundary"]["distance"] / records["boundary"]["radius"]
    return Check(
        "1-NN's boundary is never closer than its certificate: the smallest distance found, in radii",
        f"at least 1, but for {ROUNDING:g}",
        bool(shares.min() >= 1 - ROUNDING),
        float(shares.min()),
        over=f"{len(shares)} samples of both splits",
    )


def _certified(records: Records, split: str, eps: float) -> Check | None:
    """1-NN against the loss that has the highest certified accuracy at eps: chosen after the fact, against 1-NN.

    None where no loss certifies more than LEAST.
    """
    certified = _certified_at(records, split, eps)
    best, lead = lead_at(records, split, eps)
    if 100 * certified[_by_loss(records)[best]].to_numpy().mean() <= LEAST:
        return None
    seeds, n = records["networks"]["seed"].nunique(), len(certified)
    over = f"{seeds} seeds" if split == "train" else f"{n} samples, paired; networks averaged over {seeds} seeds"
    what = "accuracy" if eps == 0 else f"certified accuracy at eps = {eps:g}"
    return Check(
        f"{SETS[split]}: 1-NN's {what} less that of the best networks ({best})",
        f"the interval lies above -{MARGIN:g} point; judged where networks reach more than {LEAST:g} %",
        100 * lead.lo > -MARGIN,
        100 * lead.value,
        "points",
        100 * lead.lo,
        100 * lead.hi,
        over,
    )


def _certified_at(records: Records, split: str, eps: float) -> pd.DataFrame:
    return records[split] > 0 if eps == 0 else records[split] >= eps


def lead_at(records: Records, split: str, eps: float) -> tuple[str, Estimate]:
    """The best loss at eps, and 1-NN's lead in certified accuracy.

    The training samples are all there are, so that the interval is over seeds; a normal one over paired test samples.
    """
    certified, by_loss = _certified_at(records, split, eps), _by_loss(records)
    best = max(by_loss, key=lambda loss: float(certified[by_loss[loss]].to_numpy().mean()))
    if split == "train":
        return best, over_seeds(float(certified[NEAREST].mean()) - certified[by_loss[best]].mean().to_numpy())
    leads = (certified[NEAREST] - certified[by_loss[best]].mean(axis=1)).to_numpy(dtype=np.float64)
    half = 1.96 * float(leads.std(ddof=1)) / np.sqrt(len(leads))
    return best, Estimate(float(leads.mean()), float(leads.mean()) - half, float(leads.mean()) + half)


def draw(records: Records) -> Figure:
    """Certified accuracy over eps on both splits: 1-NN, and the networks of each loss."""
    figure = style.new(6.75, 3.0)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _curves(left, records, "train", SETS["train"])
    _curves(right, records, "test", SETS["test"])
    left.axvline(records["ceiling"]["smallest"].iloc[0], color=style.GAP, linewidth=1.5, zorder=0)
    note = "yellow: half the smallest\ndistance between classes"
    left.text(0.98, 0.97, note, ha="right", va="top", fontsize="small", transform=left.transAxes)
    left.set_ylabel("certified accuracy (%)")
    right.legend(loc="upper right", fontsize="small")
    return figure


def _curves(axes: Axes, records: Records, split: str, title: str) -> None:
    radii, eps = records[split], np.linspace(0, float(records["train"][NEAREST].max()), 201)[1:]
    families = records["networks"].groupby("family", sort=False)
    for family, of_family in families:
        losses = list(dict.fromkeys(of_family["loss"]))
        for place, loss in enumerate(losses):
            names = of_family.loc[of_family["loss"] == loss, "name"]
            shade = 0.35 + 0.65 * (place + 1) / len(losses)
            curve = [100 * float((radii[names] >= one).mean(axis=None)) for one in eps]
            line = ("-", "--", "-.", ":")[place % 4]
            axes.plot(eps, curve, line, color=style.FAMILIES[str(family)][0], alpha=shade, linewidth=1, label=loss)
    axes.plot(eps, [100 * float((radii[NEAREST] >= one).mean()) for one in eps], color=style.FRONT, label=NEAREST)
    axes.set_xlabel(f"eps, L2: {title}")
    axes.set_ylim(0, 102)


def tell(records: Records) -> str:
    """Where 1-NN is behind, first on the test set; then its radii and their limits."""
    train, ceiling = records["train"], records["ceiling"].iloc[0]
    by_loss, without = _by_loss(records), _without_error(records)
    leads = {split: {eps: lead_at(records, split, eps)[1] for eps in EPS} for split in ("test", "train")}
    largest = max(float(train[names].mean().mean()) for names in by_loss.values())
    tight = records["boundary"]["radius"] / records["boundary"]["distance"]
    medians = tight.groupby(records["boundary"]["split"]).median()
    return (
        f"{' '.join(_comparison(split, by_eps) for split, by_eps in leads.items())} The comparison is with the loss "
        f"that is best at each eps, chosen after the fact.\n\n"
        f"The references of 1-NN are the training set, on which it makes {int((train[NEAREST] <= 0).sum())} errors. "
        f"{len(without)} of {len(by_loss)} losses leave none ({'; '.join(without) or 'none'}). 1-NN's smallest radius "
        f"there is {train[NEAREST].min():.3f}; half the smallest distance between two classes is "
        f"{ceiling['smallest']:.3f}, a bound for any classifier without training error. 1-NN's mean radius there "
        f"is {train[NEAREST].mean():.3f}, the largest of any loss {largest:.3f}; a linear programme bounds that of any "
        f"classifier without training error by {ceiling['mean']:.3f}.\n\n"
        f"In the median, 1-NN's certificate is {100 * medians['train']:.0f} % of the distance to the nearest point of "
        f"another class that bisection found on the training set, and {100 * medians['test']:.0f} % on the test set. "
        "It subtracts the distance to the nearest sample of the same class, 0 on the training set."
    )


def _comparison(split: str, leads: dict[float, Estimate]) -> str:
    """At which eps 1-NN is behind and ahead on a split, by how much; where the interval leaves it open."""
    found: dict[str, list[str]] = {"behind": [], "ahead": [], "undecided": []}
    for eps, lead in leads.items():
        word = "behind" if lead.hi < 0 else "ahead" if lead.lo > 0 else "undecided"
        found[word].append(f"{100 * lead.value:+.1f} {'in accuracy' if eps == 0 else f'at eps = {eps:g}'}")
    words = "; ".join(f"{word}: {', '.join(each)}" for word, each in found.items() if each)
    behind = f"at {len(found['behind'])} of {len(leads)} eps"
    return f"On the {SETS[split]}, 1-NN is behind the best networks {behind} (points): {words}."


_HOW = (
    "Dense 1-Lipschitz networks, trained on the same samples with cross-entropy over tau and with the hinge over its "
    "margin, 3 seeds each. Radii: L2. Chosen after pilot runs: fewer eps are checked than are told of, and 1-NN may "
    f"be behind by {MARGIN:g} point at most, where its not being shown to be behind was enough."
)
EXPERIMENT = Experiment(
    name="nearest-neighbour",
    title="The nearest neighbour",
    theme="robustness",
    claim="The highest accuracy with the largest certificates corresponds to the classifier of the nearest neighbour, "
    "whose certificate is half the difference of the distances to the nearest sample of another class and of its own.",
    source="Béthune et al. 2022",
    paper="A remark without a figure: the limit of a perfectly accurate classifier with the largest margins.",
    setup={
        "small": f"The embedded digits: their 1,297 training samples are the references. {_HOW}",
        "paper": "The paper gives no set-up for it: all of it is our guess. The training set of CIFAR-10 is the "
        f"references. {_HOW}",
    },
    scales={"small": SMALL, "paper": PAPER},
    measure=measure, judge=judge, draw=draw, tell=tell, data=lambda settings: (settings.images,),
)  # fmt: skip
