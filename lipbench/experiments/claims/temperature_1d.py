"""The temperature of tau-BCE sets how sharp the boundary of a 1-Lipschitz network is; its shape hardly matters."""

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from lipbench._internal.arrays import Floats
from lipbench.data import Dataset
from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab, TrainedModel
from lipbench.experiments.measures import logits, over_seeds
from lipbench.report import style

MEANS = np.array([-6, -3.5, -1.5, 1, 3.5, 6.5])  # of components that belong to the classes 0, 1, 0, 1, 0, 1
DEVIATIONS = np.array([0.5, 0.4, 0.4, 0.5, 0.6, 0.5])
LOW, RANGE = -9.0, 18.0  # inputs are clipped to LOW .. LOW + RANGE
POINTS = 6001  # of the grid on which a network is read
DRAWN = 601  # of them in the records
TENTHS = 2 * np.log(9)  # from sigmoid(z) = .1 to .9, in z


@dataclass(frozen=True)
class Settings:
    """What is trained. The first shape is the paper's."""

    taus: tuple[float, ...] = (1, 2, 4, 8, 64, 256)
    shapes: tuple[tuple[int, ...], ...] = ((256, 128, 64), (64, 32), (64, 64, 64, 64))
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 2000
    steps: int = 300
    batch_size: int = 200
    learning_rate: float = 5e-3


def measure(lab: Lab, settings: Settings) -> Records:
    """Train every shape at every temperature, and measure the width of each boundary on a grid."""
    dataset = _mixture(lab, settings.samples)
    epochs = settings.steps // (settings.samples // settings.batch_size)
    recipe = {
        "seeds": list(settings.seeds),
        "training": {
            "epochs": epochs,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
        },
        "history": {"every": epochs},
        "preprocessing": {"mean": [-LOW / RANGE], "std": [1 / RANGE]},  # back to the units of the mixture
        "architecture": [
            {"name": "mlp", "label": "-".join(map(str, shape)), "args": {"widths": list(shape)}}
            for shape in settings.shapes
        ],
        "loss": [{"name": "tau_binary_cross_entropy", "hyperparameters": {"tau": list(settings.taus)}}],
    }
    models = lab.train(recipe, dataset)
    first = "-".join(map(str, settings.shapes[0]))
    shown = [one for one in models if one.card.architecture.label == first and one.card.seed == settings.seeds[0]]
    return {
        "widths": pd.DataFrame([_width(model, dataset) for model in models]),
        "curves": pd.concat([_curve(model) for model in shown], ignore_index=True),
    }


def _mixture(lab: Lab, samples: int) -> Dataset:
    rng = np.random.default_rng(0)
    component = rng.integers(0, len(MEANS), 2 * samples)
    x = (np.clip(rng.normal(MEANS[component], DEVIATIONS[component]), LOW, LOW + RANGE) - LOW) / RANGE
    inputs, labels = x[:, None].clip(0, 1), component % 2
    return lab.stored("mixture", inputs[:samples], labels[:samples], inputs[samples:], labels[samples:], 2)


def densities(x: Floats) -> Floats:
    """The density of each class, times its share of the mixture: x (n,), in its units; (2, n)."""
    each = stats.norm.pdf(x, MEANS[:, None], DEVIATIONS[:, None]) / len(MEANS)
    return np.stack([each[::2].sum(axis=0), each[1::2].sum(axis=0)])


def _width(model: TrainedModel, dataset: Dataset) -> dict[str, object]:
    """The median over all boundaries of the 10-90 % width of sigmoid(tau f), at the slope that f has there.

    A boundary is where f changes its sign; the probability's logit is tau f, so the width is 2 log 9 / (tau |f'|).
    """
    grid = np.linspace(0, 1, POINTS)
    tau, f = model.card.loss.hyperparameters["tau"], _values(model, grid)
    boundaries = np.flatnonzero(np.sign(f[1:]) != np.sign(f[:-1]))
    slopes = np.abs(np.diff(f))[boundaries] * (POINTS - 1) / RANGE
    test = dataset.test
    correct = (_values(model, test.x[:, 0].astype(np.float64)) > 0) == test.labels
    return {
        "architecture": model.card.architecture.label,
        "tau": tau,
        "seed": model.card.seed,
        "boundaries": len(boundaries),
        "width": float(np.median(TENTHS / (tau * slopes))) if len(boundaries) else np.nan,
        "accuracy": float(correct.mean()),
    }


def _curve(model: TrainedModel) -> pd.DataFrame:
    grid = np.linspace(0, 1, DRAWN)
    tau = model.card.loss.hyperparameters["tau"]
    probability = 1 / (1 + np.exp(-tau * _values(model, grid)))
    return pd.DataFrame({"tau": tau, "x": LOW + RANGE * grid, "probability": probability.astype(np.float32)})


def _values(model: TrainedModel, inputs: Floats) -> Floats:
    """f at inputs (n,) in [0, 1]: (n,)."""
    found: Floats = logits(model.module, inputs[:, None])[:, 0].numpy()
    return found


def judge(records: Records) -> tuple[Check, ...]:
    """Direction, steps, and what shares of the variance the temperature and the shape explain."""
    widths = records["widths"].assign(log=lambda frame: np.log(frame["width"]))
    count = widths["seed"].nunique()
    slopes = widths.groupby(["seed", "architecture"])[["tau", "log"]].apply(_slope).groupby("seed").mean()
    slope = over_seeds(slopes.to_numpy())
    by_tau = widths.pivot_table(index="seed", columns="tau", values="log").sort_index(axis=1)
    steps = [
        over_seeds(by_tau[after] - by_tau[before]) for before, after in zip(by_tau, by_tau.columns[1:], strict=False)
    ]
    slowest = max(steps, key=lambda step: step.hi)
    shares = {name: 100 * _explained(widths, name) for name in ("tau", "architecture")}
    return (
        Check(
            "the boundary sharpens with tau: slope of log width over log tau (-1: width in proportion to 1 / tau)",
            "the interval lies below 0",
            slope.hi < 0,
            slope.value,
            lo=slope.lo,
            hi=slope.hi,
            over=f"{count} seeds, each the mean over shapes",
        ),
        Check(
            "it sharpens at every step of tau: ratio of widths, at the step that changes least",
            "the interval of every step lies below 1",
            slowest.hi < 0,
            np.exp(slowest.value),
            lo=np.exp(slowest.lo),
            hi=np.exp(slowest.hi),
            over=f"{count} seeds, each the mean over shapes",
        ),
        Check(
            "share of the variance of log width that tau explains",
            "at least 90 %",
            shares["tau"] >= 90,
            shares["tau"],
            "%",
        ),
        Check(
            "share that the network's shape explains",
            "under 5 %",
            shares["architecture"] < 5,
            shares["architecture"],
            "%",
        ),
    )


def _slope(frame: pd.DataFrame) -> float:
    known = frame.dropna()
    return float(np.polyfit(np.log(known["tau"]), known["log"], 1)[0])


def _explained(widths: pd.DataFrame, name: str) -> float:
    """The share of the sum of squares of log width between the means of a factor's levels (analysis of variance)."""
    known = widths.dropna(subset=["log"])
    means = known.groupby(name)["log"].transform("mean")
    mean = known["log"].mean()
    return float(((means - mean) ** 2).sum() / ((known["log"] - mean) ** 2).sum())


def draw(records: Records) -> Figure:
    """Probabilities over the data, and width over tau with one line per shape."""
    figure = style.new(6.75, 2.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_curves(left, records["curves"])
    _draw_widths(right, records["widths"])
    return figure


def _draw_curves(ax: Axes, curves: pd.DataFrame) -> None:
    taus = sorted(curves["tau"].unique())
    colours = mpl.colormaps["viridis"](np.linspace(0.92, 0.05, len(taus)))
    x = curves.loc[curves["tau"] == taus[0], "x"].to_numpy()
    density = densities(x)
    for each, colour, name in zip(density, (style.ROBUST, style.CERTIFIED), ("class 0", "class 1"), strict=True):
        ax.fill_between(x, -0.35, -0.35 + 0.3 * each / density.max(), color=colour, alpha=0.5, linewidth=0, label=name)
    ax.plot(x, density[1] / density.sum(axis=0), "--", color=style.FRONT, linewidth=0.8, label="Bayes", zorder=1)
    for tau, colour in zip(taus, colours, strict=True):
        part = curves[curves["tau"] == tau]
        ax.plot(part["x"], part["probability"], color=colour, linewidth=1.1, label=f"τ = {tau:g}")
    ax.set(xlabel="x", ylabel="probability of class 1", xlim=(x[0], x[-1]), ylim=(-0.38, 1.03))
    ax.set_yticks([0, 0.5, 1])
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside left upper", fontsize=6.5)


def _draw_widths(ax: Axes, widths: pd.DataFrame) -> None:
    for (name, part), marker in zip(
        widths.groupby("architecture", sort=False), ("o", "s", "^", "D", "v", "P"), strict=False
    ):
        by_tau = part.groupby("tau")["width"]
        mean, low, high = np.exp(by_tau.apply(lambda each: np.log(each).mean())), by_tau.min(), by_tau.max()
        line = ax.plot(mean.index, mean, f"-{marker}", markersize=3.5, linewidth=1, label=name)
        ax.vlines(mean.index, low, high, color=line[0].get_color(), linewidth=1)
    taus = np.array(sorted(widths["tau"].unique()))
    ax.plot(taus, TENTHS / taus, ":", color=style.FRONT, linewidth=1, label="least of a 1-Lipschitz f")
    ax.set(xscale="log", yscale="log", xlabel="τ", ylabel="width from 10 to 90 % (units of x)")
    style.value_ticks(ax.xaxis, list(taus), True, 0.05)
    ax.legend(fontsize=6.5)


def tell(records: Records) -> str:
    """What was found, with the networks that miss boundaries."""
    widths = records["widths"]
    median = widths.groupby("tau")["width"].median()
    found = widths["boundaries"] == len(MEANS) - 1
    wider = (widths["width"] * widths["tau"] / TENTHS).groupby(widths["tau"]).median()
    low, high = median.index.min(), median.index.max()
    return (
        "Left: the probability sigmoid(tau f(x)) of one network of the paper's shape per temperature. Right: the "
        "width of the boundary, from 10 to 90 % probability, median over the boundaries of a network; lines are "
        f"geometric means over seeds, bars their range. The median width falls from {median[low]:.2g} at tau = "
        f"{low:g} to {median[high]:.2g} at tau = {high:g}. No 1-Lipschitz f can be sharper than 2 log 9 / tau; at "
        f"tau = {low:g} the median network is {wider[low]:.2g} times as wide as that, at tau = {high:g} "
        f"{wider[high]:.2g} times. A large tau has satisfied the loss long before the slope of f is 1: what training "
        f"has not yet pushed the network to do then counts as well, and the shape with it. {int(found.sum())} of "
        f"{len(widths)} networks have exactly the {len(MEANS) - 1} boundaries of the mixture; accuracy is "
        f"{widths['accuracy'].min():.1%} to {widths['accuracy'].max():.1%}."
    )


EXPERIMENT = Experiment(
    name="temperature-1d",
    title="Temperature and the sharpness of a boundary in one dimension",
    theme="accuracy",
    claim="The temperature of the cross-entropy, not the architecture, sets how sharp the decision boundary is.",
    source="Béthune et al. 2022, and its poster",
    paper="tau-BCE on a mixture of Gaussians in one dimension, tau = 1, 2, 4, 8, 64, 256, 300 steps, an MLP of widths "
    "256-128-64: the boundary sharpens with tau. The paper draws the curves and prints no number.",
    setup="The paper's temperatures, steps and MLP, two other shapes, and three seeds; 2,000 samples of a mixture "
    "of three components per class. Inputs are stored in [0, 1]; the network's preprocessing returns them to the "
    "mixture's own units, in which tau, the width and the network's constant of 1 are meant.",
    scales={
        "small": Settings(),
        "paper": Settings(
            shapes=((256, 128, 64), (32, 16), (64, 32), (64, 64, 64, 64), (512, 256, 128), (128,) * 6),
            seeds=(0, 1, 2, 3, 4),
        ),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    tell=tell,
)
