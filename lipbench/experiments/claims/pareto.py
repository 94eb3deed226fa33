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
from lipbench.experiments.measures import bisection, over_seeds
from lipbench.report import literature, style
from lipbench.report.intervals import spearman_interval

# the paper's values, for pixels in 0..255 and a radius of 36, each family from the robust to the accurate end
TAUS = (0.005, 0.02, 0.05, 0.1, 0.3, 1, 3)
HINGE_MARGINS = (100, 50, 36, 20, 10, 2)
ALPHAS, HKR_MARGIN = (5, 10, 30, 50, 100, 300), 20
HKR_MARGINS, HKR_ALPHA = (100, 50, 36, 10, 2), 30  # and 20, which the line of alphas holds
RADIUS = 36
NEAR = 3.0  # percentage points: families this close share a front
FAMILIES = ("tau_cross_entropy", "hkr_multiclass", "hinge_multiclass")


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

    def of(self, models: pd.DataFrame) -> pd.DataFrame:
        """Its models, in order; ``models``: the record of this name."""
        family = models[models["family"] == self.family]
        return family[self.mine(family)].sort_values(self.hyperparameter, ascending=self.rises, kind="stable")


LINES = (
    Line("cross-entropy: tau", "tau_cross_entropy", "tau", lambda rows: rows["tau"].notna(), True),
    Line("HKR: alpha", "hkr_multiclass", "alpha", lambda rows: _commonest(rows["min_margin"]), True),
    Line("HKR: margin", "hkr_multiclass", "min_margin", lambda rows: _commonest(rows["alpha"]), False),
    Line("hinge: margin", "hinge_multiclass", "min_margin", lambda rows: rows["min_margin"].notna(), False),
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
    known = ["family", "tau", "alpha", "min_margin", "seed", "eps", "clean", "certified", "robust", "n"]
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
    checks = [
        _trade(models, paper, LINES, "towards accuracy, clean accuracy rises and certified accuracy falls", seeds)
    ]
    checks += [_trade(models, paper, [line], f"along {line.title}", seeds) for line in LINES]
    far = {family: over_seeds(_distances(models, family)) for family in FAMILIES}
    furthest = max(far, key=lambda family: far[family].value)
    checks.append(
        Check(
            f"the families share one front: distance of the furthest, {_short(furthest)}, from the common front",
            f"the interval lies below {NEAR:g} points",
            far[furthest].hi < NEAR,
            far[furthest].value,
            "points",
            lo=far[furthest].lo,
            hi=far[furthest].hi,
            over=seeds,
            paper=max(_distances(paper, family)[0] for family in FAMILIES),
        )
    )
    means = models.groupby(["family", "tau", "alpha", "min_margin"], dropna=False)[["certified", "robust"]].mean()
    rho = float(stats.spearmanr(means["certified"], means["robust"]).statistic)
    lo, hi = spearman_interval(rho, len(means))
    checks.append(
        Check(
            "what is certified best also withstands attacks best: rank correlation of certified and robust accuracy",
            "the interval lies above 0",
            lo > 0,
            rho,
            lo=lo,
            hi=hi,
            over=f"{len(means)} settings",
        )
    )
    return tuple(checks)


def _trade(models: pd.DataFrame, paper: pd.DataFrame, lines: Sequence[Line], words: str, seeds: str) -> Check:
    """Rank correlations with the order of the settings; the smaller of both, so that one alone does not suffice."""
    found = over_seeds(np.mean([_smaller(line.of(models)) for line in lines], axis=0))
    published = [_smaller(line.of(paper))[0] for line in lines if line.of(paper)[line.hyperparameter].nunique() > 2]
    return Check(
        f"{words}: smaller of the two rank correlations" + (", mean of the lines" if len(lines) > 1 else ""),
        "the interval lies above 0",
        found.lo > 0,
        found.value,
        lo=found.lo,
        hi=found.hi,
        over=seeds,
        paper=float(np.mean(published)) if published else None,
    )


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


def _short(family: str) -> str:
    return {"tau_cross_entropy": "cross-entropy", "hkr_multiclass": "HKR", "hinge_multiclass": "hinge"}[family]


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
        ax.set(xlabel="clean accuracy (%)", ylim=(-3, None))
    left.set_ylabel("certified or robust accuracy (%)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_line(ax: Axes, line: Line, rows: pd.DataFrame, metric: str) -> None:
    colour, marker = style.FAMILIES[line.family]
    means = rows.groupby(line.hyperparameter)[["clean", metric]].mean().sort_index(ascending=line.rises)
    open_ = metric == "robust"
    ax.plot(
        100 * means["clean"],
        100 * means[metric],
        marker,
        linestyle={"HKR: margin": "--"}.get(line.title, "-"),
        linewidth=0.5 if open_ else 1,
        alpha=0.6 if open_ else 1,
        color=colour,
        markersize=4,
        markerfacecolor="white" if open_ else colour,
        label=None if open_ else line.title.replace("tau", "τ").replace("alpha", "α"),
        zorder=2 if open_ else 3,
    )
    if not open_:
        for place, ha in ((0, "right"), (-1, "left")):
            name = {"tau": "τ", "alpha": "α", "min_margin": "m"}[line.hyperparameter]
            ax.annotate(
                f"{name} {means.index[place]:.3g}",
                (100 * means["clean"].iloc[place], 100 * means[metric].iloc[place]),
                (-4 if ha == "right" else 4, -2),
                textcoords="offset points",
                ha=ha,
                va="top",
                fontsize=6,
                color=colour,
            )


def tell(records: Records) -> str:
    """Both correlations of each line, and where a front ends."""
    models = records["models"]
    rows = []
    for line in LINES:
        part = line.of(models)
        means = part.groupby(line.hyperparameter)[["clean", "certified", "robust"]].mean()
        clean, certified = (correlations(part, metric).mean() for metric in ("clean", "certified"))
        best = means["certified"].idxmax()
        rows.append(
            f"| {line.title} | {clean:+.2f} | {certified:+.2f} | {means['clean'].min():.1%} to "
            f"{means['clean'].max():.1%} | {means['certified'].min():.1%} to {means['certified'].max():.1%} "
            f"| {best:.3g} |"
        )
    apart = ", ".join(f"{_short(family)} {_distances(models, family).mean():.1f}" for family in FAMILIES)
    return "\n".join(
        [
            "Each line follows one hyperparameter from its robust to its accurate end; nothing else differs.",
            "",
            "| line | rank correlation of clean accuracy | of certified accuracy | clean | certified | most at |",
            "|---|---:|---:|---:|---:|---:|",
            *rows,
            "",
            f"Mean distance from the common front, in points of certified accuracy: {apart}. "
            "Beyond the setting that is certified most, a still more robust one loses clean accuracy and "
            "certifies less at this eps too: what it gains lies at radii above eps. There the two accuracies move "
            "together, and a line has left the front.",
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
            training=(
                ("epochs", 45),
                ("batch_size", 256),
                ("learning_rate", 1e-3),
                (
                    "augmentation",
                    {"flip": True, "resized_crop": 0.8, "brightness": 0.2, "contrast": 0.25, "saturation": 0.2},
                ),
            ),
            samples=10_000,
        ),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    tell=tell,
)
