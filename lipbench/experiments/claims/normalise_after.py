"""Normalising after training: f = g / L(g) for an unconstrained g and its Lipschitz bound, against a constrained f."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from lipbench.attacks import suites
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab, TrainedModel
from lipbench.experiments.measures import Estimate, logits, over_seeds
from lipbench.models.model import Model
from lipbench.report import style

CONSTRAINED, NORMALISED = "constrained", "normalised"
JUDGED = 0.3  # eps at which certificates are judged, L2, in units of the input range
USELESS = 10  # % of samples: certificates that cover fewer are useless
APART = 25  # points of accuracy between the two networks, and between certificate and attack


@dataclass(frozen=True)
class Settings:
    """One scale."""

    data: tuple[str, ...]
    architectures: dict[str, dict[str, Any]]  # by name, their arguments
    tau: float  # of the constrained networks
    epochs: int
    batch_size: int
    learning_rate: float
    seeds: int
    eps: tuple[float, ...]  # of the attack, L2, in units of the input range
    samples: int  # of the test set that are certified and attacked


def measure(lab: Lab, settings: Settings) -> Records:
    """Train both networks of each architecture, normalise the unconstrained ones, certify and attack all."""
    dataset = lab.dataset(*settings.data)
    models = lab.train(recipe(settings), dataset)
    free, constrained = models[: len(models) // 2], models[len(models) // 2 :]
    bounds = [lipschitz_bound(model.module, dataset.input_shape) for model in free]
    normalised = [_normalised(model, bound) for model, bound in zip(free, bounds, strict=True)]
    attack = [{"name": "gradient/bisection"}]
    suite = suites.parse({"name": "bisection", "norm": "L2", "eps": list(settings.eps), "attack": attack}, "the suite")
    found = lab.evaluate([*constrained, *normalised], dataset, suite, samples=settings.samples).samples
    networks, samples = [], []
    for before, bound, after, other in zip(free, bounds, normalised, constrained, strict=True):
        key: dict[str, Any] = {"architecture": before.card.architecture.name, "seed": before.card.seed}
        classes = [logits(one.module, dataset.test.x).argmax(1) for one in (before, after)]
        networks.append(
            {
                **key, "bound": bound, "bound_after": lipschitz_bound(after.module, dataset.input_shape),
                "samples": len(classes[0]), "same": int((classes[0] == classes[1]).sum()),
            }
        )  # fmt: skip
        for training, model in ((CONSTRAINED, other), (NORMALISED, after)):
            samples.append(found[found.model == model.name].assign(**key, training=training))
    columns = {
        "certified_radius_nominal": "plain", "certified_radius_real": "pairwise", "adversarial_distance": "distance",
    }  # fmt: skip
    kept = ["architecture", "training", "seed", "sample", "correct", *columns.values()]
    return {
        "networks": pd.DataFrame(networks),
        "samples": pd.concat(samples, ignore_index=True).rename(columns=columns)[kept],
    }


def recipe(settings: Settings) -> dict[str, Any]:
    """The unconstrained networks, then as many constrained ones."""
    return {
        "seeds": list(range(settings.seeds)),
        "architecture": [{"name": name, "args": args} for name, args in settings.architectures.items()],
        "loss": [
            {"name": "cross_entropy", "constrained": False},
            {"name": "tau_cross_entropy", "hyperparameters": {"tau": settings.tau}},
        ],
        "training": {
            "epochs": settings.epochs, "batch_size": settings.batch_size, "learning_rate": settings.learning_rate,
        },
        "history": {"samples": 1, "every": settings.epochs},
    }  # fmt: skip


def _normalised(model: TrainedModel, bound: float) -> Model:
    """As its author would give it to lipbench: with the claim that its constant is 1."""
    module, seed = normalise(model.module, bound), model.card.seed
    return Model(module, f"normalised-{model.name}", claimed=1.0, constrained=False, seed=seed)


def normalise(module: nn.Module, bound: float) -> nn.Module:
    """f = g / bound: a copy of g whose last linear layer, which gives the logits, is divided by the bound."""
    divided = copy.deepcopy(module)
    head = [layer for layer in divided.modules() if isinstance(layer, nn.Linear)][-1]
    for weight in head.parameters():
        weight.data /= bound
    return divided


def judge(records: Records) -> tuple[Check, ...]:
    """The certificates of both networks, by the constant and by the tightest bound; then predictions and robustness."""
    networks, seeds = records["networks"], records["networks"].seed.nunique()
    architectures = list(networks.architecture.unique())
    shares = {name: _shares(records, name, JUDGED) for name in architectures}
    certified, withstood = ("pairwise", NORMALISED), ("distance", NORMALISED)
    apart = [_less(table, ("pairwise", CONSTRAINED), certified) for table in shares.values()]
    least = min(apart, key=lambda one: one.value)
    over = f"{seeds} seeds"
    return (
        Check(
            statement=f"at {JUDGED:g}, fewer samples of normalised networks than of constrained ones are certified, by "
            "the tightest bound of each",
            rule=f"the interval of the smallest difference, over architectures, lies above {APART} points",
            holds=least.lo > APART,
            **_figures(least, "points", over),
        ),
        *(
            _useless(f"{name}, normalised: few samples are certified at {JUDGED:g} {words}", table, column, over)
            for name, table in shares.items()
            for column, words in (("plain", "by the constant 1"), ("pairwise", "even by the tightest bound"))
        ),
        Check(
            statement="normalising changes no prediction, and the bound is 1 after it",
            rule="all predictions on test samples are the same, and every bound is within 1e-6 of 1",
            holds=bool((networks.same == networks.samples).all() and (networks.bound_after - 1).abs().max() < 1e-6),
            ours=100 * networks.same.sum() / networks.samples.sum(),
            unit="%",
            over=f"{networks.samples.sum()} predictions of {len(networks)} networks",
        ),
        *(
            Check(
                statement=f"{name}, normalised: the certificates are useless, not the network: at {JUDGED:g} it "
                "withstands the attack on far more samples than are certified",
                rule=f"the interval of robust minus certified accuracy (tightest bound) lies above {APART} points",
                holds=gap.lo > APART,
                **_figures(gap, "points", over),
            )
            for name, table in shares.items()
            for gap in [_less(table, withstood, certified)]
        ),
        *(
            Check(
                statement=f"{name}: certified radii (tightest bound) of the constrained network are larger",
                rule="the interval of the ratio of medians, over samples that both classify correctly, lies above 1",
                holds=ratio.lo > 1,
                **_figures(ratio, "", over),
            )
            for name in architectures
            for ratio in [_ratio(records, name)]
        ),
    )


def _useless(statement: str, table: pd.DataFrame, column: str, over: str) -> Check:
    share = over_seeds(table[column, NORMALISED].to_numpy())
    return Check(
        statement=statement,
        rule=f"the interval of the share lies below {USELESS} %",
        holds=share.hi < USELESS,
        **_figures(share, "%", over),
    )


def _figures(estimate: Estimate, unit: str, over: str) -> dict[str, Any]:
    return {"ours": estimate.value, "lo": estimate.lo, "hi": estimate.hi, "unit": unit, "over": over}


def _shares(records: Records, architecture: str, eps: float) -> pd.DataFrame:
    """% of samples with a radius, or distance, above eps: a row per seed, columns (which, training)."""
    frame = records["samples"].query("architecture == @architecture")
    passed = frame.assign(
        **{column: 100.0 * (frame.correct & (frame[column] > eps)) for column in ("plain", "pairwise")},
        distance=100.0 * (frame.correct & (frame.distance > eps)),
    )
    return passed.pivot_table(index="seed", columns="training", values=["plain", "pairwise", "distance"])


def _less(table: pd.DataFrame, more: tuple[str, str], less: tuple[str, str]) -> Estimate:
    return over_seeds((table[more] - table[less]).to_numpy())


def _ratio(records: Records, architecture: str) -> Estimate:
    """Median radius of the constrained network over that of the normalised one, where both are correct.

    The geometric mean over seeds.
    """
    frame = records["samples"].query("architecture == @architecture")
    radii = frame[frame.correct].pivot_table(index=["seed", "sample"], columns="training", values="pairwise").dropna()
    medians = radii.groupby("seed").median()
    logs = over_seeds(np.log((medians[CONSTRAINED] / medians[NORMALISED]).to_numpy()))
    return Estimate(*np.exp([logs.value, logs.lo, logs.hi]))


def draw(records: Records) -> Figure:
    """Certified and robust accuracy over eps, a panel for each architecture."""
    architectures = list(records["networks"].architecture.unique())
    figure = style.new(style.WIDE.width, 2.8)
    panels = figure.subplots(1, len(architectures), sharey=True, squeeze=False)[0]
    grid = np.linspace(0, 0.5, 51)
    lines = {"pairwise": ("-", "certified, tightest bound"), "plain": (":", "certified, constant 1"),
             "distance": ("--", "robust under attack")}  # fmt: skip
    colours = {CONSTRAINED: style.CERTIFIED, NORMALISED: style.FAMILIES["unconstrained"][0]}
    for axes, name in zip(panels, architectures, strict=True):
        tables = [_shares(records, name, eps) for eps in grid]
        for training, colour in colours.items():
            for column, (line, _) in lines.items():
                over = [table[column, training] for table in tables]
                axes.plot(grid, [seeds.mean() for seeds in over], line, color=colour)
                if column != "plain":
                    least, most = [seeds.min() for seeds in over], [seeds.max() for seeds in over]
                    axes.fill_between(grid, least, most, color=colour, alpha=0.15, linewidth=0)
        bound = records["networks"].query("architecture == @name").bound
        axes.set_title(f"{name}: L(g) = {bound.min():.3g} to {bound.max():.3g}", loc="left")
        axes.set_xlabel("eps, L2, pixels in [0, 1]")
    panels[0].set_ylabel("test samples, %")
    handles = [panels[0].plot([], [], color=colour, label=name)[0] for name, colour in colours.items()]
    handles += [panels[0].plot([], [], line, color=style.FRONT, label=words)[0] for line, words in lines.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


def tell(records: Records) -> str:
    """What the figure shows."""
    return "todo"


EXPERIMENT = Experiment(
    name="normalise-after",
    title="Normalising after training",
    theme="robustness",
    claim="c", source="s", paper="p", setup="s",
    scales={
        "small": Settings(
            data=("digits",),
            architectures={"mlp": {"widths": [64, 64]}, "cnn": {"channels": [8, 16], "widths": [32]}},
            tau=4.0, epochs=30, batch_size=64, learning_rate=5e-3, seeds=3,
            eps=(0.1, 0.2, 0.3, 0.4, 0.5), samples=200,
        ),
        "paper": Settings(
            data=("cifar10",),
            architectures={"mlp": {"widths": [1024, 1024]}, "vgg": {}},
            tau=10.0, epochs=200, batch_size=1000, learning_rate=1e-3, seeds=3,
            eps=(0.1, 0.2, 0.3, 0.4, 0.5), samples=1000,
        ),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    tell=tell,
)  # fmt: skip
