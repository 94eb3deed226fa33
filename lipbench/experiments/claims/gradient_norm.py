"""An optimal 1-Lipschitz classifier has gradients of norm 1 almost everywhere: how far trained networks are from it."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab
from lipbench.experiments.measures import Estimate, above, below, bisection, over_seeds
from lipbench.report import style
from lipbench.report.intervals import spearman_interval
from lipbench.runs.results import ModelResults

ALMOST_ONE = 0.95
FULL = 0.99  # the norm from which on a gradient counts as 1
DENSE, SPECTRAL, ORTHOGONAL = "dense", "spectral conv", "orthogonal conv"
COLOURS = {DENSE: "#0072B2", SPECTRAL: "#D55E00", ORTHOGONAL: "#009E73"}
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST = 30  # samples of a network that counts
DOTS = 400  # samples of a set of layers in the scatter
REVISED = (
    "Chosen after pilot runs: the losses are judged one by one, KR first, as the theorem is about its minimiser. "
    f"A median is taken only of networks with at least {FEWEST} correct samples."
)


@dataclass(frozen=True)
class Settings:
    """What is trained: a dense and a convolutional shape, the latter on two sets of layers."""

    data: str = "digits"
    dense: tuple[tuple[str, Any], ...] = (("widths", (128, 64)),)
    conv: str = "cnn"
    conv_args: tuple[tuple[str, Any], ...] = (("channels", (4, 8)), ("widths", (32,)))
    taus: tuple[float, ...] = (4, 64)  # of a robust and of an accurate network
    alpha: float = 0.95
    min_margin: float = 0.5
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 30
    conv_epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 5e-3
    samples: int = 200


def measure(lab: Lab, settings: Settings) -> Records:
    """Train every loss on every set of layers, then certify, attack, and measure the gradients of the margins."""
    dataset = lab.dataset(settings.data)
    shorter = {"epochs": settings.conv_epochs}
    architectures: list[dict[str, Any]] = [
        {"name": "mlp", "label": DENSE, "args": dict(settings.dense)},
        {"name": settings.conv, "label": "spectral", "args": dict(settings.conv_args), "training": shorter},
    ]
    if importlib.util.find_spec("orthogonium") is not None:  # an extra
        architectures.append(architectures[1] | {"label": "orthogonal", "layers": "orthogonium"})
    recipe = {
        "seeds": list(settings.seeds),
        "training": {
            "epochs": settings.epochs,
            "batch_size": settings.batch_size,
            "learning_rate": settings.learning_rate,
        },
        "history": {"every": settings.epochs, "samples": settings.samples},
        "architecture": architectures,
        "loss": [
            {"name": "tau_cross_entropy", "hyperparameters": {"tau": list(settings.taus)}},
            {
                "name": "hkr_multiclass",
                "hyperparameters": {"alpha": settings.alpha, "min_margin": settings.min_margin},
            },
            {"name": "hinge_multiclass", "hyperparameters": {"min_margin": settings.min_margin}},
            {"name": "kr_multiclass"},
        ],
    }
    models = lab.train(recipe, dataset)
    results = lab.evaluate(models, dataset, bisection(0.1), samples=settings.samples)
    found = {"samples": [_samples(item) for item in results.items], "blocks": [_blocks(item) for item in results.items]}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items()}


def _samples(item: ModelResults) -> pd.DataFrame:
    """The samples with a certificate: |grad g| / L_cj of the margin g that decides it, and its tightness.

    The product of what the layers keep of the gradient is exactly that ratio, see ``certification.gradients``.
    """
    factors = item.factors
    norm = factors.kept_product * factors.head
    known = np.isfinite(norm) & np.isfinite(factors.tightness)
    measured = {"norm": norm[known], "tightness": factors.tightness[known]}
    return pd.DataFrame(_names(item) | {name: values.astype(np.float32) for name, values in measured.items()})


def _blocks(item: ModelResults) -> pd.DataFrame:
    """What each layer keeps of the gradient's norm, median over the samples with a certificate."""
    factors = item.factors
    return pd.DataFrame(_names(item) | {"block": factors.blocks, "kept": np.nanmedian(factors.kept, axis=1)})


def _names(item: ModelResults) -> dict[str, object]:
    label, loss = item.card.architecture.label, item.card.loss
    layers = DENSE if label == DENSE else f"{label} conv"
    return {"layers": layers, "loss": _name(loss.name, loss.hyperparameters), "seed": item.card.seed}


def _name(loss: str, hyperparameters: dict[str, float]) -> str:
    short = {"tau_cross_entropy": "CE", "hkr_multiclass": "HKR", "hinge_multiclass": "hinge", "kr_multiclass": "KR"}
    return f"CE, τ = {hyperparameters['tau']:g}" if "tau" in hyperparameters else short[loss]


def medians(samples: pd.DataFrame) -> pd.DataFrame:
    """One row per model: medians over its samples. Without models that have hardly any: they classify next to none."""
    grouped = samples.groupby(["layers", "loss", "seed"], sort=False)[["norm", "tightness"]]
    return grouped.median()[grouped.size() >= FEWEST].reset_index()


def counts(records: Records) -> pd.DataFrame:
    """How many correct samples every model has: a row per set of layers and loss, a column per seed.

    Models without any are in the record of the blocks alone.
    """
    names = ["layers", "loss", "seed"]
    trained = pd.MultiIndex.from_frame(records["blocks"][names].drop_duplicates())
    found = records["samples"].groupby(names).size().reindex(trained, fill_value=0).rename("count").reset_index()
    return found.pivot_table(index=["layers", "loss"], columns="seed", values="count", sort=False)


def judge(records: Records) -> tuple[Check, ...]:
    """The norm on dense layers, loss by loss, KR first: the theorem's own; on convolutions; tightness against it."""
    models = medians(records["samples"])
    fewest: Any = counts(records).min(axis=1)  # with two levels, which the stubs of pandas do not know
    over = f"{models['seed'].nunique()} seeds"
    spectral, least = _table(models, fewest, SPECTRAL), fewest.loc[DENSE]
    checks = [_dense(models, loss, int(least.get(loss, 0)), over) for loss in sorted({"KR", *least.index}, key=_rank)]
    found = over_seeds(spectral.mean(axis=1).to_numpy())
    words, rule = "convolutions under spectral normalisation lose of it: median norm, mean of", "lies below"
    words = f"{words} {'; '.join(map(str, spectral))}"
    checks.append(Check(words, f"the interval {rule} {ALMOST_ONE:g}", over=over, **below(ALMOST_ONE, found)))
    if ORTHOGONAL in fewest:
        kept = (_table(models, fewest, ORTHOGONAL) - spectral).dropna(axis=1)
        more = over_seeds(kept.mean(axis=1).to_numpy())
        words = "orthogonal convolutions keep more than those: difference of the median norm, mean of "
        words += "; ".join(map(str, kept))
        checks.append(Check(words, "the interval lies above 0", over=over, **above(0, more)))
    means = models.groupby(["layers", "loss"])[["norm", "tightness"]].mean()
    rho = float(stats.spearmanr(means["norm"], means["tightness"]).statistic)
    found = Estimate(rho, *spearman_interval(rho, len(means)))
    words = "certificates are tight where the gradient's norm is near 1: rank correlation of both medians"
    over = f"{len(means)} settings of layers and loss, means over seeds"
    return (*checks, Check(words, "the interval lies above 0", over=over, **above(0, found)))


def _rank(loss: str) -> tuple[bool, bool, str]:
    return loss != "KR", loss != "HKR", loss


def _dense(models: pd.DataFrame, loss: str, fewest: int, over: str) -> Check:
    """The norm on dense layers, which fails where a network is left with too few samples to measure it on."""
    words, rule = f"dense orthogonal layers, {loss}", f"the interval of the median norm lies above {ALMOST_ONE:g}"
    if fewest < FEWEST:
        words = f"{words}: correct samples of the network that has fewest"
        return Check(words, f"at least {FEWEST}, and {rule}", False, fewest, "samples")
    own = models[(models["layers"] == DENSE) & (models["loss"] == loss)]
    found = over_seeds(own.sort_values("seed")["norm"].to_numpy(np.float64))
    return Check(f"{words}: median norm of the gradient", rule, over=over, **above(ALMOST_ONE, found))


def _table(models: pd.DataFrame, fewest: Any, layers: str) -> pd.DataFrame:
    """The median norm on a set of layers: a row per seed, a column per loss that left every seed with samples."""
    own, enough = models[models["layers"] == layers], fewest.loc[layers]
    columns = list(enough.index[enough >= FEWEST])
    return own.pivot_table(index="seed", columns="loss", values="norm")[columns].astype(np.float64)


def draw(records: Records) -> Figure:
    """The distribution of the norm per loss and set of layers, and tightness against it."""
    samples = records["samples"]
    figure = style.new(6.75, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_distributions(left, records)
    models = medians(samples)
    for layers, part in models.groupby("layers", sort=False):
        dots = samples[samples["layers"] == layers].sample(frac=1, random_state=0).head(DOTS)
        colour = COLOURS[str(layers)]
        right.plot(dots["norm"], dots["tightness"], ".", color=colour, markersize=1.5, alpha=0.35, zorder=1)
        right.plot(part["norm"], part["tightness"], "o", color=colour, markersize=4, markeredgecolor="white", zorder=3)
    right.plot([0, 1], [0, 1], ":", color=style.FRONT, linewidth=1)
    right.set(xlabel="norm of the margin's gradient / its bound", ylabel="certified radius / adversarial distance")
    right.set(xlim=(0, 1.03), ylim=(0, 1.03))
    right.text(0.03, 0.97, "large: median of a network\nsmall: samples", va="top", fontsize=6.5)
    return figure


def _draw_distributions(ax: Axes, records: Records) -> None:
    """Quantile strips: 5 to 95 % thin, 25 to 75 % thick, the median white."""
    samples, number = records["samples"], counts(records)
    losses, sets = list(number.index.unique("loss")), list(number.index.unique("layers"))
    for (layers, loss), each in zip(number.index, number.to_numpy(), strict=True):
        y, colour = losses.index(loss) + 0.26 * (sets.index(layers) - (len(sets) - 1) / 2), COLOURS[layers]
        if each.min() < FEWEST:
            words = f"n/a: {_from_to(each)} correct samples a network"
            ax.text(0.02, y, words, color=colour, fontsize=6, va="center")
            continue
        norm = samples.loc[(samples["layers"] == layers) & (samples["loss"] == loss), "norm"]
        low, lower, middle, upper, high = norm.quantile(LEVELS)
        ax.plot([low, high], [y, y], color=colour, linewidth=1)
        ax.plot([lower, upper], [y, y], color=colour, linewidth=4, solid_capstyle="butt")
        name = layers if loss == losses[0] else None
        ax.plot(middle, y, "o", color=colour, markersize=4.5, markeredgecolor="white", label=name)
    ax.set_yticks(range(len(losses)), losses)
    ax.set(xlabel="norm of the margin's gradient / its bound", xlim=(0, 1.03))
    ax.set_ylim(len(losses) - 0.5, -0.5)
    ax.axvline(1, color=style.FRONT, linewidth=0.8, linestyle=":")
    ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=6.5)


def _from_to(numbers: Any) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low}" if low == high else f"{low} to {high}"


def tell(records: Records) -> str:
    """What fails, the share of gradients of norm 1, where it is lost, and what the theorem speaks of."""
    samples, blocks, number = records["samples"], records["blocks"], counts(records)
    enough = number.min(axis=1) >= FEWEST
    norms = medians(samples).groupby(["layers", "loss"])["norm"].mean()[lambda found: enough[found.index]]
    losses, rows = list(number.index.unique("loss")), []
    for layers in number.index.unique("layers"):
        values = [f"{norms[layers, loss]:.2f}" if (layers, loss) in norms else "n/a" for loss in losses]
        full = float((samples.loc[samples["layers"] == layers, "norm"] >= FULL).mean())
        rows.append(f"| {layers} | {' | '.join(values)} | {full:.0%} |")
    few = "; ".join(
        f"{loss} on {layers}: {_from_to(number.loc[layers, loss])}" for layers, loss in enough.index[~enough]
    )
    missing = f"n/a: networks that classify too few test samples correctly, under {FEWEST} ({few})." if few else ""
    kept = blocks.groupby(["layers", "block"], sort=False)["kept"].median()
    lost = {
        str(layers): part.droplevel(0)[part.to_numpy() < FULL] for layers, part in kept.groupby("layers", sort=False)
    }
    where = "; ".join(
        f"{layers}: " + (", ".join(f"{name} keeps {value:.2f}" for name, value in part.items()) or "nowhere")
        for layers, part in lost.items()
    )
    kr = samples[(samples["layers"] == DENSE) & (samples["loss"] == "KR")]["norm"]
    own = f" On dense layers under KR alone, the share is {(kr >= FULL).mean():.0%}." if len(kr) else ""
    sets = (
        "The convolutions are the spectral ones of deel-torchlip and the orthogonal ones of orthogonium (AOC)."
        if ORTHOGONAL in lost
        else "The convolutions are the spectral ones of deel-torchlip. The extra `orthogonium` was not installed, so "
        "orthogonal convolutions are not tested."
    )
    wrong = [f"{one.statement}, {one.ours:.3g}" for one in judge(records) if not one.holds]
    failed = f"What fails: {'; '.join(wrong)}. " if wrong else ""
    return "\n".join(
        [
            f"{failed}The theorem is about the exact minimiser of KR and HKR over all 1-Lipschitz "
            "functions: almost everywhere on the paths of the optimal transport its gradient has norm 1. A trained "
            "network need not be near that minimiser. The experiment measures the gradient of the margin that decides "
            "a sample's certificate, over its pairwise Lipschitz bound, at correct test samples: at 1 the certificate "
            f"is exact to first order. {sets} Medians, and the share of gradients with a norm of at least {FULL:g}:",
            "",
            f"| layers | {' | '.join(losses)} | share |",
            f"|---|{'---:|' * len(losses)}---:|",
            *rows,
            "",
            f"{missing}{own}".strip(),
            "",
            f"Where the norm is lost, as the median of what a layer keeps: {where}. An orthogonal layer that does not "
            "widen keeps the norm by construction, whatever the loss. Through one that widens, a gradient keeps its "
            "norm only if it lies in the image of the layer; a random gradient keeps the square root of inputs over "
            "outputs. Strips on the left run from the 5 to the 95 % quantile over the samples of all seeds, their "
            "thick part holds the middle half. The dotted line on the right is tightness = norm, the certificate of a "
            "linear margin.",
        ]
    )


EXPERIMENT = Experiment(
    name="gradient-norm",
    title="The norm of the gradient",
    theme="robustness",
    claim="An optimal 1-Lipschitz classifier has gradients of norm 1 almost everywhere.",
    source="Béthune et al. 2022",
    paper="A property of the minimiser of KR and HKR over all 1-Lipschitz functions; the paper builds its networks "
    "from layers that preserve the norm of gradients where it can, and prints no distribution.",
    setup={
        "small": "Digits; five losses on a dense network of widths 128-64 and on a small convolutional one; three "
        f"seeds. Distances are found by bisection over the radius of PGD on the margin, on 200 test samples. {REVISED}",
        "paper": "The paper describes no experiment for this claim. CIFAR-10, five losses on a dense network of widths "
        "1024-1024 and on the paper's VGG; temperatures, alpha and the margin are values of its Pareto front, in the "
        "units of pixels in [0, 1]. Epochs, batch size and learning rate are our guess. Distances are found by "
        f"bisection over the radius of PGD on the margin, on 1,000 test samples; three seeds. {REVISED}",
    },
    scales={
        "small": Settings(),
        "paper": Settings(
            data="cifar10",
            dense=(("widths", (1024, 1024)),),
            conv="vgg",
            conv_args=(),
            taus=(12.75, 255),
            alpha=30 / 31,
            min_margin=40 / 255,
            epochs=45,
            conv_epochs=45,
            batch_size=256,
            learning_rate=1e-3,
            samples=1000,
        ),
    },
    measure=measure, judge=judge, draw=draw, tell=tell, data=lambda settings: (settings.data,),
)  # fmt: skip
