"""The temperature of tau-BCE sets how sharp the boundary of a 1-Lipschitz network is; its shape hardly matters."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

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
from lipbench.experiments.measures import Estimate, below, logits, over_seeds, ratio_over_seeds
from lipbench.report import style

MEANS = np.array([-6, -3.5, -1.5, 1, 3.5, 6.5])  # of components that belong to the classes 0, 1, 0, 1, 0, 1
DEVIATIONS = np.array([0.5, 0.4, 0.4, 0.5, 0.6, 0.5])
LOW, RANGE = -9.0, 18.0  # inputs are clipped to LOW .. LOW + RANGE
POINTS = 6001  # of the grid on which a network is read
DRAWN = 601  # of them in the records
ALIKE = 2.0  # shapes whose widths differ by less than this factor count as alike
TENTHS = 2 * np.log(9)  # from sigmoid(z) = .1 to .9, in z


@dataclass(frozen=True)
class Settings:
    """What is trained. The first shape is the paper's."""

    taus: tuple[float, ...] = (1, 2, 4, 8, 64, 256)
    shapes: tuple[tuple[int, ...], ...] = ((256, 128, 64), (64, 32), (64, 64, 64, 64))
    free_taus: tuple[float, float] = (1, 64)  # of the unconstrained control; two of ``taus``
    seeds: tuple[int, ...] = (0, 1, 2)
    samples: int = 2000
    steps: int = 300
    batch_size: int = 200
    learning_rate: float = 5e-3


def measure(lab: Lab, settings: Settings) -> Records:
    """Train every shape at every temperature, and measure the width of each boundary on a grid; so for the control."""
    dataset = _mixture(lab, settings.samples)
    epochs = settings.steps // (settings.samples // settings.batch_size)
    recipe: dict[str, Any] = {
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
    loss = {"constrained": False, "hyperparameters": {"tau": list(settings.free_taus)}}
    free = lab.train(recipe | {"loss": [recipe["loss"][0] | loss]}, dataset, zoo="unconstrained")
    first = "-".join(map(str, settings.shapes[0]))
    shown = [one for one in models if one.card.architecture.label == first and one.card.seed == settings.seeds[0]]
    return {
        "widths": pd.DataFrame([_width(model, dataset) for model in models]),
        "control": pd.DataFrame([_width(model, dataset) for model in free]),
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
    """Direction, beside that of the control; steps; what temperature and shape explain, and shapes at one temperature.

    For one and the same f the width is in proportion to 1 / tau by definition. What is measured is whether training
    undoes that: a slope of log |f'| over log tau of -1 gives a slope of the width of 0.
    """
    widths = _logs(records["widths"])
    over = f"{widths['seed'].nunique()} seeds, each the mean over shapes"
    slopes = widths.groupby(["seed", "architecture"])[["tau", "log"]].apply(_slope).groupby("seed").mean()
    control = _logs(records["control"])
    beside = (_change(widths, control["tau"]) - _change(control, control["tau"])).to_list()
    means = widths.pivot_table(index="seed", columns="tau", values="log").sort_index(axis=1)
    steps = [ratio_over_seeds(np.exp(means[after] - means[before])) for before, after in pairwise(means)]
    slowest = max(steps, key=lambda step: step.hi)
    by_tau, by_shape = (100 * _explained(widths, name) for name in ("tau", "architecture"))
    apart, tau = _furthest(widths)
    return (
        Check(
            "the boundary sharpens with tau, training does not undo it: slope of log width over log tau (-1: |f'| at "
            "the boundary does not depend on tau, 0: |f'| falls as 1 / tau)",
            "the interval lies below 0",
            over=over,
            **below(0, over_seeds(slopes.to_list())),
        ),
        Check(
            "the constraint is what prevents that: the same slope between the temperatures of the unconstrained "
            "control, minus that of the control",
            "the interval lies below 0",
            over=over,
            **below(0, over_seeds(beside)),
        ),
        Check(
            "it sharpens at every step of tau: ratio of widths, at the step that changes least",
            "the interval of every step lies below 1",
            over=over,
            **below(1, slowest),
        ),
        Check("share of the variance of log width that tau explains", "at least 90 %", by_tau >= 90, by_tau, "%"),
        Check("share that the network's shape explains", "under 5 %", by_shape < 5, by_shape, "%"),
        Check(
            f"at one temperature shapes are alike: largest ratio of the widths of two shapes, at tau = {tau:g}",
            f"the interval lies below {ALIKE:g}",
            over=f"{widths['seed'].nunique()} seeds",
            **below(ALIKE, apart),
        ),
    )


def _logs(widths: pd.DataFrame) -> pd.DataFrame:
    """Widths with their logarithm and |f'| at the boundary, without networks that have no boundary."""
    known = widths.dropna(subset=["width"])
    return known.assign(log=np.log(known["width"]), slope=TENTHS / (known["tau"] * known["width"]))


def _change(widths: pd.DataFrame, taus: "pd.Series[float]") -> "pd.Series[float]":
    """The slope of log width over log tau between the least and the largest of these temperatures, seed by seed."""
    low, high = taus.min(), taus.max()
    by_tau = widths.pivot_table(index=["seed", "architecture"], columns="tau", values="log")
    return ((by_tau[high] - by_tau[low]) / np.log(high / low)).groupby("seed").mean()


def _furthest(widths: pd.DataFrame) -> tuple[Estimate, float]:
    """The largest ratio of the widths of two shapes at the same temperature, with that temperature."""
    found = []
    for tau, rows in widths.groupby("tau"):
        by_shape = rows.pivot_table(index="seed", columns="architecture", values="log")
        order = by_shape.mean().sort_values().index
        found.append((ratio_over_seeds(np.exp((by_shape[order[-1]] - by_shape[order[0]]).dropna())), float(str(tau))))
    return max(found, key=lambda each: each[0].value)


def _slope(frame: pd.DataFrame) -> float:
    return float(np.polyfit(np.log(frame["tau"]), frame["log"], 1)[0])


def _explained(widths: pd.DataFrame, name: str) -> float:
    """The share of the sum of squares of log width between the means of a factor's levels (analysis of variance)."""
    means, mean = widths.groupby(name)["log"].transform("mean"), widths["log"].mean()
    return float(((means - mean) ** 2).sum() / ((widths["log"] - mean) ** 2).sum())


def draw(records: Records) -> Figure:
    """Probabilities over the data, and width over tau with one line per shape."""
    figure = style.new(6.75, 2.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_curves(left, records["curves"])
    _draw_widths(right, records["widths"], records["control"])
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


def _draw_widths(ax: Axes, widths: pd.DataFrame, control: pd.DataFrame) -> None:
    for (name, part), marker in zip(
        widths.groupby("architecture", sort=False), ("o", "s", "^", "D", "v", "P"), strict=False
    ):
        by_tau = part.groupby("tau")["width"]
        mean, low, high = np.exp(by_tau.apply(lambda each: np.log(each).mean())), by_tau.min(), by_tau.max()
        line = ax.plot(mean.index, mean, f"-{marker}", markersize=3.5, linewidth=1, label=name)
        ax.vlines(mean.index, low, high, color=line[0].get_color(), linewidth=1)
    free = np.exp(_logs(control).groupby("tau")["log"].mean())
    ax.plot(free.index, free, "x:", color="#777777", markersize=4, linewidth=1, label="unconstrained")
    taus = np.array(sorted(widths["tau"].unique()))
    ax.plot(taus, TENTHS / taus, ":", color=style.FRONT, linewidth=1, label="least of a 1-Lipschitz f")
    ax.axhline(_bayes(), linestyle="--", color=style.FRONT, linewidth=0.8, label="Bayes")
    ax.set(xlabel="τ", ylabel="width from 10 to 90 % (units of x)")
    style.log_axis(ax.yaxis)
    style.value_ticks(ax.xaxis, list(taus), True, 0.05)
    ax.legend(fontsize=6.5)


def tell(records: Records) -> str:
    """What was found, which part of it is definitional, and what training adds."""
    checks, widths, control = judge(records), _logs(records["widths"]), _logs(records["control"])
    failed = "; ".join(
        f"{one.statement.partition(' (')[0]}: {one.ours:.3g}{one.unit}" for one in checks if not one.holds
    )
    medians, free = widths.groupby("tau")[["width", "slope"]].median(), np.exp(control.groupby("tau")["log"].mean())
    low, high, rate, posterior = medians.index.min(), medians.index.max(), checks[0].ours, _bayes()
    first, last = medians.loc[low], medians.loc[high]
    narrow = ", ".join(f"{tau:g}" for tau in medians.index[medians["width"] < posterior])
    shapes = widths.groupby("architecture")["log"].mean()
    odd = widths["architecture"] == (shapes - shapes.median()).abs().idxmax()
    shares = [_explained(widths[~odd], name) for name in ("tau", "architecture")]
    accuracies = [f"{each.min():.1%} to {each.max():.1%}" for _, each in widths["accuracy"].groupby(~odd)]
    return (
        (f"What fails: {failed}. " if failed else "")
        + "Half of the direction is definitional: for one and the same f, the width is 2 log 9 / (tau |f'|), in "
        "proportion to 1 / tau. Training decides the rest, the slope |f'| at the boundary. Its median goes from "
        f"{first['slope']:.2g} at tau = {low:g} to {last['slope']:.2g} at tau = {high:g}, and the median width from "
        f"{first['width']:.2g} to {last['width']:.2g}: {'slower than' if rate > -1 else 'not slower than'} 1 / tau; "
        f"slopes over log tau of {-1 - rate:.2f} for log |f'| and {rate:.2f} for log width. Unconstrained "
        f"networks of the same shapes can undo tau by their scale: their width goes from {free.iloc[0]:.2g} at tau = "
        f"{free.index[0]:g} to {free.iloc[-1]:.2g} at tau = {free.index[-1]:g}, a slope of "
        f"{_change(control, control['tau']).mean():.2f}, against {_change(widths, control['tau']).mean():.2f} of the "
        "1-Lipschitz ones between these temperatures. No 1-Lipschitz f is sharper than 2 log 9 / tau. The mixture's "
        f"own posterior is {posterior:.2g} wide, which such an f can reach from tau = {TENTHS / posterior:.3g} on; the "
        f"median width lies below it at {f'tau = {narrow}' if narrow else 'no tau'}. After the fact: "
        f"{widths.loc[odd, 'architecture'].iloc[0]} differs most from the other shapes, with accuracies of "
        f"{accuracies[0]} against {accuracies[-1]}; without it tau explains {shares[0]:.0%} of the variance, the shape "
        f"{shares[1]:.1%}. {(records['widths']['boundaries'] == len(MEANS) - 1).sum()} of {len(records['widths'])} "
        f"networks have exactly the {len(MEANS) - 1} boundaries of the mixture. Left: the probability sigmoid(tau "
        "f(x)) of one network of the paper's shape per temperature. Right: the width from 10 to 90 % probability, "
        "median over the boundaries of a network; lines are geometric means, bars the range over seeds."
    )


SETUP = (
    "The paper's temperatures, steps and MLP, {} other shapes, and {} seeds; the unconstrained control is trained at "
    "tau = 1 and 64. We guess the mixture, 2,000 samples of three components per class, the batch size and the "
    "learning rate. Inputs are stored in [0, 1]; the network's preprocessing returns them to the mixture's own units, "
    "in which tau, the width and the network's constant of 1 are meant. Chosen after pilot runs: the control and the "
    "comparison of shapes at one temperature, added because tau is part of the width by definition."
)
EXPERIMENT = Experiment(
    name="temperature-1d",
    title="Temperature and the sharpness of a boundary in one dimension",
    theme="accuracy",
    claim="The temperature of the cross-entropy, not the architecture, sets how sharp the decision boundary is.",
    source="Béthune et al. 2022, and its poster",
    paper="tau-BCE on a mixture of Gaussians in one dimension, tau = 1, 2, 4, 8, 64, 256, 300 steps, an MLP of widths "
    "256-128-64: the boundary sharpens with tau. The paper draws the curves and prints no number.",
    setup={"small": SETUP.format("two", "three"), "paper": SETUP.format("five", "five")},
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
