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
from lipbench.experiments import placing
from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab
from lipbench.experiments.measures import Estimate, above, below, bisection, over_seeds
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
PAPERS: dict[str, Callable[[float], float]] = {  # from the units of the library's losses to the paper's
    "tau": lambda tau: tau / 255,
    "alpha": lambda alpha: alpha / (1 - alpha),
    "min_margin": lambda margin: margin * 255 / 2,
}
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
    models = records["models"]
    seeds = f"{models['seed'].nunique()} seeds"
    checks = [_trade(models, LINES, "clean accuracy rises as certified accuracy falls", seeds)]
    checks += [_trade(models, [line], f"along {line.title}", seeds) for line in LINES]
    far = {family: over_seeds(_distances(models, family)) for family in FAMILIES}
    furthest = max(far, key=lambda family: far[family].value)
    words = f"the families share one front: distance of the furthest, {FAMILIES[furthest]}, from the common front"
    rule = f"the interval lies below {NEAR:g} points"
    checks.append(Check(words, rule, unit="points", over=seeds, **below(NEAR, far[furthest])))
    means = models.groupby(["family", "tau", "alpha", "min_margin"], dropna=False)[["certified", "robust"]].mean()
    rho = float(stats.spearmanr(means["certified"], means["robust"]).statistic)
    found = Estimate(rho, *spearman_interval(rho, len(means)))
    words = (
        "what is certified best also withstands attacks best: rank correlation of certified and robust accuracy "
        "(partly forced: a certified sample is a robust one)"
    )
    over = f"{len(means)} settings, means over seeds"
    return (*checks, Check(words, ABOVE_0, over=over, **above(0, found)))


def _trade(models: pd.DataFrame, lines: Sequence[Line], words: str, seeds: str) -> Check:
    """Rank correlations with the order of the settings; the smaller of both, so that one alone does not suffice."""
    found = over_seeds(np.mean([_smaller(line.of(models)) for line in lines], axis=0))
    within = Estimate(found.value, max(found.lo, -1), min(found.hi, 1))
    several = len(lines) > 1
    statement = f"{words}: smaller of the two rank correlations" + (", mean of the lines" if several else "")
    over = f"{seeds}, {'each the mean of the lines, ' if several else ''}cut to -1 to 1"
    return Check(statement, ABOVE_0, over=over, **above(0, within))


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
    figure = style.new(6.75, 3.3)
    left, right = figure.subplots(1, 2)
    models, paper = records["models"], records["paper"]
    ends: dict[Axes, list[placing.Label]] = {left: [], right: []}
    for line in LINES:
        _draw_line(left, line, line.of(models), "robust")
        ends[left] += _draw_line(left, line, line.of(models), "certified")
        if line.title != "HKR: margin":  # of which the paper prints one
            ends[right] += _draw_line(right, line, line.of(paper), "certified", PAPERS[line.hyperparameter])
    left.set_title(f"ours, eps = {models['eps'].iloc[0]:.3g} (filled: certified, open: under attack)")
    right.set_title("the paper, CIFAR-10, certified at eps = 36/255")
    left.set_xlabel("clean accuracy (%)\nvalues in the units of lipbench")
    right.set_xlabel("clean accuracy (%)\nvalues in the paper's units, pixels in 0..255")
    for ax in (left, right):
        ax.margins(0.16, 0.12)
    left.set_ylabel("certified or robust accuracy (%)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    style.settle(figure)  # labels are placed on it, and must not move it
    for ax, labels in ends.items():
        placing.place(ax, labels)
    return figure


def _draw_line(
    ax: Axes, line: Line, rows: pd.DataFrame, metric: str, unit: Callable[[float], float] = lambda value: value
) -> list[placing.Label]:
    """Draw a line; the labels of its ends: text, point, colour."""
    colour, marker = style.FAMILIES[line.family]
    means = rows.groupby(line.hyperparameter)[["clean", metric]].mean().sort_index(ascending=line.rises)
    x, y = 100 * means["clean"], 100 * means[metric]
    line_style = "--" if line.title == "HKR: margin" else "-"
    open_ = metric == "robust"
    look: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.6, "markerfacecolor": "white"} if open_ else {"linewidth": 1}
    name = None if open_ else line.title.replace("tau", "τ").replace("alpha", "α")
    ax.plot(x, y, marker, linestyle=line_style, color=colour, markersize=4, label=name, zorder=3 - open_, **look)
    ends = (means.index[0], means.index[-1])
    return [placing.Label(f"{SYMBOLS[line.hyperparameter]} {unit(end):.3g}", (x[end], y[end]), colour) for end in ends]


def tell(records: Records) -> str:
    """What fails, the correlations of each line, and where one leaves the front."""
    models, paper, rows, turns = records["models"], records["paper"], [], []
    for line in LINES:
        part = line.of(models)
        means = part.groupby(line.hyperparameter, sort=False)[list(METRICS)].mean()
        order = " | ".join(f"{correlations(part, metric).mean():+.2f}" for metric in METRICS)
        ranges = " | ".join(f"{100 * means[metric].min():.1f} to {100 * means[metric].max():.1f}" for metric in METRICS)
        rows.append(f"| {line.title} | {order} | {ranges} | {means['certified'].idxmax():.3g} |")
        for metric, end, words in (("certified", 0, "robust"), ("clean", -1, "accurate")):
            best, last = float(str(means[metric].idxmax())), float(str(means.index[end]))
            if best != last:
                at_best, at_end = (f"{100 * means[metric][value]:.1f} % at {value:.3g}" for value in (best, last))
                trained = f" (on training samples {100 * means['train'][best]:.1f}, {100 * means['train'][last]:.1f} %)"
                turns.append(f"{line.title}, {words} end: {metric} {at_best}, {at_end}{trained if end else ''}")
    apart = ", ".join(f"{name} {_distances(models, family).mean():.1f}" for family, name in FAMILIES.items())
    theirs = max(_distances(paper, family)[0] for family in FAMILIES)
    orders = [f"{line.title} {_smaller(line.of(paper))[0]:.2g}" for line in LINES if line.title != "HKR: margin"]
    checks = [check for check in judge(records) if not check.holds]
    failed = "; ".join(f"{check.statement.partition(': smaller')[0]}, {check.ours:.2g}" for check in checks)
    certified = (models["certified"] / models["robust"]).to_numpy()
    return "\n".join(
        [
            (f"What fails: {failed}. " if failed else "") + "Each line follows one hyperparameter from its "
            "robust to its accurate end; nothing else differs. Rank correlations with the place on the line, means "
            "over seeds; accuracies in percent:",
            "",
            "| line | training accuracy | clean | certified | training accuracy | clean | certified | best at |",
            "|---|---:|---:|---:|---:|---:|---:|---:|",
            *rows,
            "",
            (f"Where an end is not the best of its line: {'; '.join(turns)}. " if turns else "")
            + f"Mean distance from the common front, in points of certified accuracy: {apart}. We compute the same of "
            f"the points read off the paper's plot, one network for each: the furthest family is {theirs:.1f} points "
            f"away, {'more' if theirs >= NEAR else 'less'} than our rule allows; the smaller rank correlations are "
            f"{', '.join(orders)}. Of the robust samples, {np.nanmin(certified):.0%} to {np.nanmax(certified):.0%} are "
            "certified.",
        ]
    )


COMMON = (
    f"The line over HKR's margin is ours, and so is the limit of {NEAR:g} points, which those read off the paper's "
    "plot exceed. The attack is bisection over the radius of PGD on the margin."
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
    setup={
        "small": "Digits, an MLP of widths 64-64, three seeds, and eps = 0.3. Margins and 1 / tau are the paper's in "
        f"proportion to eps, alpha is the paper's. The test has 500 samples. {COMMON}",
        "paper": "CIFAR-10, the paper's VGG, values of the hyperparameters and eps; epochs, batch size and the "
        f"strength of the augmentation are our guess; three seeds. The test has 10,000 samples. {COMMON}",
    },
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
    measure=measure, judge=judge, draw=draw, tell=tell, data=lambda settings: (settings.data,),
)  # fmt: skip
