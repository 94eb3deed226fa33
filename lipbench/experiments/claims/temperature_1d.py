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


def _bayes() -> float:
    """The same width of the mixture's own posterior: the median over its boundaries."""
    x = np.linspace(LOW, LOW + RANGE, 10 * POINTS)
    first, second = densities(x)
    return _median_width(np.log(second) - np.log(first), x[1] - x[0])


def _median_width(logit: Floats, step: float) -> float:
    """The median over the boundaries of 2 log 9 / slope, NaN without one; logit: on a grid of this step, (n,)."""
    boundaries = np.flatnonzero(np.sign(logit[1:]) != np.sign(logit[:-1]))
    return float(np.median(TENTHS * step / np.abs(np.diff(logit))[boundaries])) if len(boundaries) else np.nan


def _width(model: TrainedModel, dataset: Dataset) -> dict[str, object]:
    """The median over all boundaries of the 10-90 % width of sigmoid(tau f), at the slope that f has there.

    A boundary is where f changes its sign; the probability's logit is tau f, so the width is 2 log 9 / (tau |f'|).
    """
    tau, f = model.card.loss.hyperparameters["tau"], _values(model, np.linspace(0, 1, POINTS))
    correct = (_values(model, dataset.test.x[:, 0].astype(np.float64)) > 0) == dataset.test.labels
    return {
        "architecture": model.card.architecture.label,
        "tau": tau,
        "seed": model.card.seed,
        "boundaries": int((np.sign(f[1:]) != np.sign(f[:-1])).sum()),
        "width": _median_width(tau * f, RANGE / (POINTS - 1)),
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
        over_seeds((by_tau[after] - by_tau[before]).to_numpy())
        for before, after in zip(by_tau, by_tau.columns[1:], strict=False)
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
    ax.axhline(_bayes(), linestyle="--", color=style.FRONT, linewidth=0.8, label="Bayes")
    ax.set(xlabel="τ", ylabel="width from 10 to 90 % (units of x)")
    style.log_axis(ax.yaxis)
    style.value_ticks(ax.xaxis, list(taus), True, 0.05)
    ax.legend(fontsize=6.5)


def tell(records: Records) -> str:
    """What was found, and why tau does not explain all of it."""
    widths = records["widths"]
    by_tau = widths.groupby("tau")["width"].median()
    least, low, high = by_tau.index.to_numpy(dtype=np.float64), by_tau.index.min(), by_tau.index.max()
    ratio = by_tau / (TENTHS / least)
    shapes = widths.assign(log=np.log(widths["width"])).groupby("architecture")["log"].mean()
    odd = str((shapes - shapes.median()).abs().idxmax())
    rest = widths[widths["architecture"] != odd].assign(log=lambda frame: np.log(frame["width"]))
    shares = [100 * _explained(rest, name) for name in ("tau", "architecture")]
    found = widths[widths["boundaries"] == len(MEANS) - 1]
    return (
        "Left: the probability sigmoid(tau f(x)) of one network of the paper's shape per temperature. Right: the "
        "width of the boundary from 10 to 90 % probability, median over the boundaries of a network; lines are "
        f"geometric means over seeds, bars their range. The median over networks falls from {by_tau[low]:.2g} at tau "
        f"= {low:g} to {by_tau[high]:.2g} at tau = {high:g}. Two limits frame it. No 1-Lipschitz f is sharper than 2 "
        f"log 9 / tau: the networks are {ratio[low]:.2g} times as wide as that at tau = {low:g}, {ratio[high]:.3g} "
        f"times at tau = {high:g}. And where the classes overlap, cross-entropy asks for the posterior, whose own "
        f"width is {_bayes():.2g}: a slope below 1 reaches it, so the width stops following 1 / tau there, and falls "
        f"below it only as the network overfits. Shapes matter where one of them is undertrained: {odd} differs most "
        f"from the others, and without it tau explains {shares[0]:.0f} % of the variance, the shape {shares[1]:.1f} "
        f"%. {len(found)} of {len(widths)} networks have exactly the {len(MEANS) - 1} boundaries of the mixture; "
        f"accuracy is {widths['accuracy'].min():.1%} to {widths['accuracy'].max():.1%}."
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
