"""zero-error: separable classes are classified without error, if the loss's hyperparameters are tuned for it.

The classes of a training set are separable if no two equal samples have different labels. The theorem then promises a
1-Lipschitz network without errors on it. The same network is trained over a grid of tau (cross-entropy) and of the
margin m (hinge), from the end that favours margins to the end that favours accuracy; its training errors are counted.
A network without errors cannot certify its tightest sample further than half of the smallest distance between classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import make_moons

from lipbench.data import Dataset
from lipbench.experiments.experiment import Check, Experiment, Records, failures
from lipbench.experiments.lab import Lab, TrainedModel
from lipbench.experiments.measures import certified_radii
from lipbench.experiments.separation import half_distances
from lipbench.report import style

CROSS_ENTROPY, HINGE = "tau_cross_entropy", "hinge_multiclass"
PARAMETER = {CROSS_ENTROPY: "tau", HINGE: "min_margin"}
MOONS, DIGITS = "moons", "digits"
COLOURS = {DIGITS: style.CERTIFIED, MOONS: style.ROBUST}


@dataclass(frozen=True)
class Network:
    """The network of one set, and how it is trained."""

    widths: tuple[int, ...]
    epochs: int
    batch_size: int
    learning_rate: float
    taus: tuple[float, ...]
    margins: tuple[float, ...]  # min_margin: twice the paper's m


@dataclass(frozen=True)
class Settings:
    """What the scales differ in."""

    moons: int  # samples
    networks: dict[str, Network]  # by the set
    seeds: tuple[int, ...]


def measure(lab: Lab, settings: Settings) -> Records:
    """Train over both grids on both sets; count the training errors, and certify the training samples."""
    sets = {MOONS: _moons(lab, settings.moons), DIGITS: lab.dataset(DIGITS)}
    distances, rows = [], []
    for name, network in settings.networks.items():
        dataset = sets[name]
        nearest = half_distances(dataset.train.x, dataset.train.labels).min()
        distances.append({"set": name, "samples": len(dataset.train.labels), "half_distance": nearest})
        models = lab.train(_recipe(network, settings.seeds), dataset, zoo=f"zoo-{name}")
        rows += [{"set": name, **_measured(model, dataset)} for model in models]
    return {"sets": pd.DataFrame(distances), "models": pd.DataFrame(rows)}


def _moons(lab: Lab, samples: int) -> Dataset:
    """Two half-moons without noise, moved and divided by 3 to fit into [0, 1]^2; the test set is the same."""
    points, labels = make_moons(samples, noise=None, shuffle=True, random_state=0)
    x = (points + 1) / 3
    return lab.stored(MOONS, x, labels, x, labels, 2)


def _recipe(network: Network, seeds: tuple[int, ...]) -> dict[str, object]:
    return {
        "seeds": seeds,
        "architecture": [{"name": "mlp", "args": {"widths": list(network.widths)}}],
        "training": {
            "epochs": network.epochs,
            "batch_size": network.batch_size,
            "learning_rate": network.learning_rate,
        },
        "history": {"every": network.epochs},
        "loss": [
            {"name": name, "hyperparameters": {PARAMETER[name]: list(values)}}
            for name, values in ((CROSS_ENTROPY, network.taus), (HINGE, network.margins))
        ],
    }


def _measured(model: TrainedModel, dataset: Dataset) -> dict[str, object]:
    loss = model.card.loss
    radii = certified_radii(model.module, dataset.train.x, dataset.train.labels)
    return {
        "loss": loss.name,
        "value": loss.hyperparameters[PARAMETER[loss.name]],
        "seed": model.card.seed,
        "errors": int((radii <= 0).sum()),
        "smallest_radius": radii.min(),
        "median_radius": np.median(radii),
    }


def judge(records: Records) -> tuple[Check, ...]:
    """Zero error at the end of the grid that favours accuracy, from there on, and not at the other end."""
    models = _models(records)
    tuned, untuned = models[models["place"] == 1], models[models["place"] == 0]
    most = {name: rows["errors"].max() for name, rows in tuned.groupby("loss")}
    lost, share = _lost(models), untuned["share"].min()
    perfect = models[models["errors"] == 0]
    quotient = perfect["of_half_distance"].max() if len(perfect) else 0.0
    seeds = f"{models['seed'].nunique()} seeds on each of {models['set'].nunique()} sets"
    return (
        Check(
            "cross-entropy reaches zero training error: errors at the largest tau, worst network",
            "no error",
            most[CROSS_ENTROPY] == 0,
            most[CROSS_ENTROPY],
            "errors",
            over=seeds,
        ),
        Check(
            "hinge reaches zero training error: errors at the smallest margin, worst network",
            "no error",
            most[HINGE] == 0,
            most[HINGE],
            "errors",
            over=seeds,
        ),
        Check(
            "zero error stays: networks that err although a smaller tau (larger margin) of the same seed has no error",
            "none, with at least one network without errors",
            len(perfect) > 0 and lost == 0,
            lost,
            "networks",
            over=f"{len(models)} networks",
        ),
        Check(
            "the loss must be tuned: training error at the smallest tau and at the largest margin, best network",
            "every network there makes errors",
            share > 0,
            100 * share,
            "%",
            over=f"both losses, {seeds}",
        ),
        Check(
            "without errors, the smallest certified radius stays below half of the smallest distance between classes: "
            "largest quotient",
            "at most 1 (a theorem: above 1, a certificate is false), for at least one network",
            len(perfect) > 0 and quotient <= 1,
            quotient,
            over=f"{len(perfect)} networks without errors",
        ),
    )


def _models(records: Records) -> pd.DataFrame:
    """With ``share`` of training errors, radii over half of the smallest distance, and the ``place`` on the grid.

    place: 0 at the end that favours margins (small tau, large margin), 1 at the end that favours accuracy.
    """
    models = records["models"].merge(records["sets"], on="set")
    rank = models["value"].where(models["loss"] == CROSS_ENTROPY, -models["value"])
    ranks = rank.groupby([models["set"], models["loss"]]).rank("dense")
    place = (ranks - 1) / (ranks.groupby([models["set"], models["loss"]]).transform("max") - 1)
    return models.assign(
        share=models["errors"] / models["samples"],
        of_half_distance=models["smallest_radius"] / models["half_distance"],
        median_of_half_distance=models["median_radius"] / models["half_distance"],
        place=place,
    )


def _lost(models: pd.DataFrame) -> int:
    """The number of networks with errors that come after one without errors on their grid."""
    lost = 0
    for _, grid in models.sort_values("place").groupby(["set", "loss", "seed"]):
        reached = (grid["errors"] == 0).cummax()
        lost += int((reached & (grid["errors"] > 0)).sum())
    return lost


def draw(records: Records) -> Figure:
    """Left and centre: training errors over both grids. Right: certified radii against half of the distances."""
    figure = style.new(style.WIDE.width, 2.4)
    left, centre, right = figure.subplots(1, 3)
    models = _models(records)
    values = {loss: sorted(rows["value"].unique()) for loss, rows in models.groupby("loss")}
    for axes, loss, label in (
        (left, CROSS_ENTROPY, "cross-entropy: temperature tau"),
        (centre, HINGE, "hinge: min_margin m (falling)"),
    ):
        for name, rows in models[models["loss"] == loss].groupby("set"):
            _over_grid(axes, rows, 100 * rows["share"], COLOURS[str(name)], str(name))
        axes.set_yscale("symlog", linthresh=0.1, linscale=0.4)  # with a place for 0
        style.value_ticks(axes.xaxis, values[loss], log=True, near=0.2)
        axes.set(xlabel=label, ylim=(-0.02, 100), yticks=[0, 0.1, 1, 10, 100])
        axes.set_yticklabels(["0", "0.1", "1", "10", "100"])
    centre.invert_xaxis()
    left.set_ylabel("training error (%)")
    left.legend()
    for name, rows in models[models["loss"] == CROSS_ENTROPY].groupby("set"):
        perfect = rows[rows["errors"] == 0]
        _over_grid(right, rows, rows["median_of_half_distance"], COLOURS[str(name)], None, "--")
        _over_grid(right, perfect, perfect["of_half_distance"], COLOURS[str(name)], None)
    right.axhline(1, color=style.FRONT, lw=0.8)
    corner = {"ha": "right", "va": "bottom", "transform": right.get_yaxis_transform()}
    right.text(1, 1.1, "limit of the tightest", fontsize=style.WIDE.small, **corner)
    style.value_ticks(right.xaxis, values[CROSS_ENTROPY], log=True, near=0.12)
    right.plot([], [], color="#595959", ls="--", label="median sample")
    right.plot([], [], color="#595959", label="tightest, no error")
    right.set_yscale("log")
    right.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    right.set(
        xlabel="cross-entropy: temperature tau",
        ylabel="certified radius / half of the\nsmallest distance between classes",
    )
    right.legend()
    return figure


def _over_grid(axes: Axes, rows: pd.DataFrame, y: pd.Series, colour: str, label: str | None, line: str = "-") -> None:
    """The mean over seeds as a line, and each seed as a point."""
    mean = y.groupby(rows["value"]).mean()
    axes.plot(mean.index, mean, color=colour, ls=line, lw=1.2, label=label)
    axes.plot(rows["value"], y, "o", color=colour, ms=2.5, alpha=0.6)


def tell(records: Records) -> str:
    """From which hyperparameter on there is no error, and how much of the room certificates take; failures first."""
    models = _models(records)
    found = [_threshold(str(name), str(loss), grid) for (name, loss), grid in models.groupby(["set", "loss"])]
    distances = [
        f"{row.half_distance:.3g} on {row.set} ({row.samples} samples)" for row in records["sets"].itertuples()
    ]
    perfect = models[models["errors"] == 0]["of_half_distance"]
    tightest = f"{perfect.max():.2g} times it at most" if len(perfect) else "not there: every network errs"
    medians = [_medians(str(name), rows) for name, rows in models[models["loss"] == CROSS_ENTROPY].groupby("set")]
    return failures(judge(records)) + (
        f"{' '.join(found)} Half of the smallest distance between two classes is {', '.join(distances)}. The "
        f"smallest radius of a network without errors is {tightest}, of both losses; the radius of the median sample "
        f"with cross-entropy is {'; '.join(medians)}. The right panel shows cross-entropy only. Dots are seeds, lines "
        "their means."
    )


def _medians(name: str, rows: pd.DataFrame) -> str:
    """The median sample's radius at both ends of a grid, in half distances."""
    means = rows.groupby("value")["median_of_half_distance"].mean()
    low, high = means.index.min(), means.index.max()
    return f"{means[low]:.2g} times it at tau {low:g} and {means[high]:.2g} times at tau {high:g} on {name}"


def _threshold(name: str, loss: str, grid: pd.DataFrame) -> str:
    """The hyperparameter that favours margins most, from which on no network errs."""
    worst = grid.groupby("place").agg(errors=("errors", "max"), value=("value", "first"))
    kept = worst[(worst["errors"] > 0)[::-1].cummax()[::-1] == 0]
    what = f"On {name}, {'cross-entropy' if loss == CROSS_ENTROPY else 'hinge'}"
    if kept.empty:
        return f"{what} left at least {worst['errors'].min()} errors in one seed at every value that was tried."
    place, value = kept.index[0], kept["value"].iloc[0]
    quotient = grid.loc[grid["place"] == place, "of_half_distance"].mean()
    word = f"tau {value:g} on" if loss == CROSS_ENTROPY else f"m {value:g} down"
    return (
        f"{what} makes no training error from {word}, where its tightest certificate is {quotient:.2g} of half of the "
        "smallest distance."
    )


_MOONS = Network((64, 64, 64), 150, 250, 5e-3, (1, 4, 16, 64, 256), (2.0, 0.5, 0.125, 0.03125))
_DIGITS = Network((128, 128), 60, 250, 5e-3, (1, 4, 16, 64, 256), (4.0, 1.0, 0.25, 0.0625))
_HOW = (
    "MaxMin; cross-entropy over tau and hinge over min_margin. The moons are moved and divided by 3 to fit into "
    "[0, 1]^2: before it, the same tau would be a third of it, and the same margin three times as large."
)
EXPERIMENT = Experiment(
    name="zero-error",
    title="Zero error on separable classes",
    theme="accuracy",
    claim="If the classes are separable, a 1-Lipschitz network can reach zero error. The hyperparameters of the loss "
    "must be tuned for it.",
    source="Béthune et al. 2022, and the poster",
    paper="A theorem, without figures of its own.",
    setup={
        "small": "Training errors on two moons (500 points without noise; dense 64, 64, 64) and on the training set of "
        f"the digits (dense 128, 128), 3 seeds. {_HOW}",
        "paper": "The paper gives no set-up for it: all of it is our guess. Training errors on two moons (5,000 points "
        "without noise; dense 256, 256, 256) and on the training set of the digits (dense 512, 512), 5 seeds. "
        f"{_HOW}",
    },
    scales={
        "small": Settings(500, {MOONS: _MOONS, DIGITS: _DIGITS}, (0, 1, 2)),
        "paper": Settings(
            5000,
            {
                MOONS: Network((256, 256, 256), 1000, 500, 2e-3, _MOONS.taus, _MOONS.margins),
                DIGITS: Network((512, 512), 500, 250, 2e-3, _DIGITS.taus, _DIGITS.margins),
            },
            (0, 1, 2, 3, 4),
        ),
    },
    measure=measure, judge=judge, draw=draw, tell=tell, data=lambda settings: (DIGITS,),
)  # fmt: skip
