"""Moving along the front between accuracy and certified robustness by the loss's hyperparameters alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from lipbench._internal.arrays import Floats
from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab
from lipbench.experiments.measures import Estimate, bisection, over_seeds
from lipbench.report import literature, style
from lipbench.report.intervals import spearman_interval

# the paper's values, for pixels in 0..255 and a radius of 36, each family from the robust to the accurate end
TAUS = (0.005, 0.02, 0.05, 0.1, 0.3, 1, 3)
HINGE_MARGINS = (100, 50, 36, 20, 10, 2)
ALPHAS, HKR_MARGIN = (5, 10, 30, 50, 100, 300), 20
HKR_MARGINS, HKR_ALPHA = (100, 50, 36, 10, 2), 30  # and 20, which the line of alphas holds
RADIUS = 36
METRICS = ("train", "clean", "certified")  # of the table
ABOVE_0 = "the interval lies above 0"
NEAR = 3.0  # percentage points: families this close share a front
SYMBOLS = {"tau": "τ", "alpha": "α", "min_margin": "m"}
AUGMENTATION = {"flip": True, "resized_crop": 0.8, "brightness": 0.2, "contrast": 0.25, "saturation": 0.2}
FAMILIES = {"tau_cross_entropy": "cross-entropy", "hkr_multiclass": "HKR", "hinge_multiclass": "hinge"}


@dataclass(frozen=True)
class Settings:
    """What is trained, and the radius at which it is judged."""

    data: str = "digits"
    architecture: str = "mlp"
    args: tuple[tuple[str, Any], ...] = (("widths", (64, 64)),)
    eps: float = 0.3
    seeds: tuple[int, ...] = (0, 1, 2)
    training: tuple[tuple[str, Any], ...] = (("epochs", 20), ("learning_rate", 5e-3))
    samples: int = 500


@dataclass(frozen=True)
class Line:
    """Settings that differ in one hyperparameter, from the robust end to the accurate one."""

    title: str
    family: str
    hyperparameter: str
    mine: Callable[[pd.DataFrame], "pd.Series[bool]"]  # which of a family's rows are its own
    rises: bool  # whether the accurate end is the largest value
    labels: tuple[tuple[int, int], tuple[int, int]]  # in the figure: of both ends, from their points, in pt

    def of(self, models: pd.DataFrame) -> pd.DataFrame:
        """Its models, in order; ``models``: the record of this name."""
        family = models[models["family"] == self.family]
        return family[self.mine(family)].sort_values(self.hyperparameter, ascending=self.rises, kind="stable")


LINES = (
    Line("cross-entropy: tau", "tau_cross_entropy", "tau", lambda rows: rows["tau"].notna(), True, ((-4, -7), (4, -6))),
    Line(
        "HKR: alpha", "hkr_multiclass", "alpha", lambda rows: _commonest(rows["min_margin"]), True, ((-2, -9), (-5, -8))
    ),
    Line(
        "HKR: margin",
        "hkr_multiclass",
        "min_margin",
        lambda rows: _commonest(rows["alpha"]),
        False,
        ((3, -9), (-4, -6)),
    ),
    Line(
        "hinge: margin",
        "hinge_multiclass",
        "min_margin",
        lambda rows: rows["min_margin"].notna(),
        False,
        ((-3, 6), (-5, -8)),
    ),
)


def _commonest(values: "pd.Series[float]") -> "pd.Series[bool]":
    """Where a hyperparameter has the value at which the other one varies."""
    return pd.Series(np.isclose(values, values.mode().iloc[0]), index=values.index)


def measure(lab: Lab, settings: Settings) -> Records:
    """Train the paper's grid, in proportion to the radius, then certify and attack every network."""
    dataset = lab.dataset(settings.data)
    training = dict(settings.training)
    recipe = {
        "seeds": list(settings.seeds),
        "training": training,
        "history": {"every": training["epochs"], "samples": settings.samples, "eps": [settings.eps]},
        "architecture": [{"name": settings.architecture, "args": dict(settings.args)}],
        "loss": _losses(settings.eps),
    }
    models = lab.train(recipe, dataset)
    results = lab.evaluate(models, dataset, bisection(settings.eps), samples=settings.samples)
    summary = results.summary().rename(columns=lambda name: name.removeprefix("loss."))
    last = {model.name: float(model.history["train_accuracy"].iloc[-1]) for model in models}
    summary["train"] = summary["model"].map(last)
    known = ["family", "tau", "alpha", "min_margin", "seed", "eps", "train", "clean", "certified", "robust"]
    return {"models": summary[known].reset_index(drop=True), "paper": _published()}


def _losses(eps: float) -> list[dict[str, Any]]:
    """The paper's grid where margin / eps and tau eps are the paper's; in the units of the library's losses."""

    def margin(value: float) -> float:  # the library's is twice the paper's
        return 2 * value * eps / RADIUS

    def alpha(value: float) -> float:
        return value / (1 + value)

    grids = (
        ("tau_cross_entropy", {"tau": [value * RADIUS / eps for value in TAUS]}),
        ("hkr_multiclass", {"alpha": [alpha(value) for value in ALPHAS], "min_margin": margin(HKR_MARGIN)}),
        ("hkr_multiclass", {"alpha": alpha(HKR_ALPHA), "min_margin": [margin(value) for value in HKR_MARGINS]}),
        ("hinge_multiclass", {"min_margin": [margin(value) for value in HINGE_MARGINS]}),
    )
    return [{"name": name, "hyperparameters": grid} for name, grid in grids]


def _published() -> pd.DataFrame:
    """The paper's points, in the form of ``models``."""
    rows = [one for one in literature.read() if one.paper.startswith("Bethune") and one.data == "cifar10"]
    found = [
        {"family": one.loss, "seed": 0, "eps": float(one.eps), "clean": one.clean, "certified": one.certified}
        | {name: one.hyperparameters.get(name, np.nan) for name in ("tau", "alpha", "min_margin")}
        for one in rows
    ]
    return pd.DataFrame(found)


def judge(records: Records) -> tuple[Check, ...]:
    """The trade along each line, the distance of the families' fronts, and certified beside robust accuracy."""
    models, paper = records["models"], records["paper"]
    seeds = f"{models['seed'].nunique()} seeds"
    checks = [_trade(models, paper, LINES, "clean accuracy rises as certified accuracy falls", seeds)]
    checks += [_trade(models, paper, [line], f"along {line.title}", seeds) for line in LINES]
    far = {family: over_seeds(_distances(models, family)) for family in FAMILIES}
    furthest = max(far, key=lambda family: far[family].value)
    words = f"the families share one front: distance of the furthest, {FAMILIES[furthest]}, from the common front"
    published = max(_distances(paper, family)[0] for family in FAMILIES)
    rule = f"the interval lies below {NEAR:g} points"
    checks.append(_check(words, rule, far[furthest].hi < NEAR, far[furthest], seeds, "points", published))
    means = models.groupby(["family", "tau", "alpha", "min_margin"], dropna=False)[["certified", "robust"]].mean()
    rho = float(stats.spearmanr(means["certified"], means["robust"]).statistic)
    found = Estimate(rho, *spearman_interval(rho, len(means)))
    words = "what is certified best also withstands attacks best: rank correlation of certified and robust accuracy"
    checks.append(_check(words, ABOVE_0, found.lo > 0, found, f"{len(means)} settings"))
    return tuple(checks)


def _check(
    statement: str, rule: str, holds: bool, found: Estimate, over: str, unit: str = "", paper: float | None = None
) -> Check:
    return Check(statement, rule, holds, found.value, unit, found.lo, found.hi, over, paper)


def _trade(models: pd.DataFrame, paper: pd.DataFrame, lines: Sequence[Line], words: str, seeds: str) -> Check:
    """Rank correlations with the order of the settings; the smaller of both, so that one alone does not suffice."""
    found = over_seeds(np.mean([_smaller(line.of(models)) for line in lines], axis=0))
    within = Estimate(found.value, max(found.lo, -1), min(found.hi, 1))
    published = [_smaller(line.of(paper))[0] for line in lines if line.of(paper)[line.hyperparameter].nunique() > 2]
    statement = f"{words}: smaller of the two rank correlations" + (", mean of the lines" if len(lines) > 1 else "")
    printed = float(np.mean(published)) if published else None
    return _check(statement, ABOVE_0, found.lo > 0, within, seeds, paper=printed)


def correlations(line: pd.DataFrame, metric: str) -> Floats:
    """Spearman's rank correlation of a metric with the place on a line, seed by seed: (seeds,)."""
    found = [stats.spearmanr(np.arange(len(rows)), rows[metric]).statistic for _, rows in line.groupby("seed")]
    return np.nan_to_num(np.array(found, dtype=np.float64))  # all values equal: no order


def _smaller(line: pd.DataFrame) -> Floats:
    return np.minimum(correlations(line, "clean"), -correlations(line, "certified"))


def _distances(models: pd.DataFrame, family: str) -> Floats:
    """How far a family's front lies below the common one, in points: mean over clean accuracy, seed by seed.

    Between two settings lies what a random choice between their networks gives; over the clean accuracies that every
    family reaches.
    """
    found = []
    for _, rows in models.groupby("seed"):
        parts = [part for _, part in rows.groupby("family")]
        low, high = (max(part["clean"].min() for part in parts), min(part["clean"].max() for part in parts))
        levels = np.linspace(low, max(low, high), 101)
        gaps = _front(rows, levels) - _front(rows[rows["family"] == family], levels)
        found.append(100 * float(gaps.mean()))
    return np.array(found)


def _front(rows: pd.DataFrame, levels: Floats) -> Floats:
    """The most that is certified at a clean accuracy of at least each level: the upper concave hull, (levels,)."""
    points = rows[["clean", "certified"]].sort_values(["clean", "certified"]).to_numpy(dtype=np.float64)
    points = np.vstack([[min(points[0, 0], levels[0]), points[:, 1].max()], points])  # less accuracy is no obstacle
    hull: list[Floats] = []
    for point in points:
        while len(hull) > 1 and np.linalg.det(np.stack([hull[-1] - hull[-2], point - hull[-2]])) >= 0:
            hull.pop()
        hull.append(point)
    x, y = np.stack(hull).T
    return np.interp(levels, x, np.maximum.accumulate(y[::-1])[::-1])


def draw(records: Records) -> Figure:
    """Ours, certified and robust, beside the paper's."""
    figure = style.new(6.75, 3.2)
    left, right = figure.subplots(1, 2)
    models, paper = records["models"], records["paper"]
    for line in LINES:
        _draw_line(left, line, line.of(models), "robust")
        _draw_line(left, line, line.of(models), "certified")
        if line.title != "HKR: margin":  # of which the paper prints one
            _draw_line(right, line, line.of(paper), "certified")
    left.set_title(f"ours, eps = {models['eps'].iloc[0]:.3g} (filled: certified, open: under attack)")
    right.set_title("the paper, CIFAR-10, certified at eps = 36/255")
    for ax in (left, right):
        ax.set(xlabel="clean accuracy (%)")
        ax.margins(0.12, 0.08)
    left.set_ylabel("certified or robust accuracy (%)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_line(ax: Axes, line: Line, rows: pd.DataFrame, metric: str) -> None:
    colour, marker = style.FAMILIES[line.family]
    means = rows.groupby(line.hyperparameter)[["clean", metric]].mean().sort_index(ascending=line.rises)
    x, y = 100 * means["clean"], 100 * means[metric]
    line_style = "--" if line.title == "HKR: margin" else "-"
    open_ = metric == "robust"
    look: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.6, "markerfacecolor": "white"} if open_ else {"linewidth": 1}
    name = None if open_ else line.title.replace("tau", "τ").replace("alpha", "α")
    ax.plot(x, y, marker, linestyle=line_style, color=colour, markersize=4, label=name, zorder=3 - open_, **look)
    if open_:
        return
    for end, offset in zip((means.index[0], means.index[-1]), line.labels, strict=True):
        ax.annotate(
            f"{SYMBOLS[line.hyperparameter]} {end:.3g}",
            (x[end], y[end]),
            offset,
            textcoords="offset points",
            ha="right" if offset[0] < 0 else "left",
            va="center",
            fontsize=6,
            color=colour,
        )


def tell(records: Records) -> str:
    """The correlations of each line, and where and why one leaves the front."""
    models, rows = records["models"], []
    for line in LINES:
        part = line.of(models)
        means = part.groupby(line.hyperparameter)[list(METRICS)].mean()
        order = " | ".join(f"{correlations(part, metric).mean():+.2f}" for metric in METRICS)
        ranges = " | ".join(f"{100 * means[metric].min():.1f} to {100 * means[metric].max():.1f}" for metric in METRICS)
        rows.append(f"| {line.title} | {order} | {ranges} | {means['certified'].idxmax():.3g} |")
    apart = ", ".join(f"{name} {_distances(models, family).mean():.1f}" for family, name in FAMILIES.items())
    return "\n".join(
        [
            "Each line follows one hyperparameter from its robust to its accurate end; nothing else differs. Rank "
            "correlations with the place on the line, means over seeds; accuracies in percent:",
            "",
            "| line | training accuracy | clean | certified | training accuracy | clean | certified | best at |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            f"Mean distance from the common front, in points of certified accuracy: {apart}; on the paper's points "
            "the families share a narrow range of clean accuracy only. A line can leave the front at both ends. At "
            "the robust one, a setting beyond the one that is certified most loses clean accuracy and certifies "
            "less at this eps as well: what it gains lies at larger radii. At the accurate one, a looser loss gains "
            "accuracy only while it is short on the training set: where that is fitted already, such a loss only gives "
            "up margin, and clean test accuracy falls with it. The paper's VGG is far from there (86.9 % of validation "
            "samples at most), and its lines keep trading.",
        ]
    )


EXPERIMENT = Experiment(
    name="pareto",
    title="The front between accuracy and certified robustness",
    theme="robustness",
    claim="The hyperparameters of the loss alone (temperature, HKR's alpha, margins) move a 1-Lipschitz network along "
    "the front between accuracy and certified robustness.",
    source="Béthune et al. 2022, Pareto front on CIFAR-10, and its poster",
    paper="CIFAR-10, a VGG of 0.4 million parameters, Adam with a cosine schedule, augmentation. Validation "
    "accuracy and certified accuracy at 36/255 are read off its plot: HKR from 57.5 / 43.7 % (alpha 5) to 80.4 / 17 "
    "% (alpha 300), hinge from 69.7 / 43.7 % (margin 100) to 86.4 / 0 % (margin 2), cross-entropy from 79.4 / 25.5 "
    "% (tau .05) to 86.9 / 0 % (tau 3), for pixels in 0..255.",
    setup="Digits, an MLP of widths 64-64, three seeds, and eps = 0.3. Margins and 1 / tau are the paper's in "
    "proportion to eps, alpha is the paper's; the line over HKR's margin is ours. The attack is bisection over the "
    "radius of PGD on the margin, on 500 test samples.",
    scales={
        "small": Settings(),
        "paper": Settings(
            data="cifar10",
            architecture="vgg",
            args=(),
            eps=36 / 255,
            training=(("epochs", 45), ("batch_size", 256), ("learning_rate", 1e-3), ("augmentation", AUGMENTATION)),
            samples=10_000,
        ),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    tell=tell,
)
