"""Growth: the Lipschitz constant of an unconstrained network through training, and its robust accuracy.

The trainer keeps the weights of the last epoch only. At a constant learning rate, with the same seed, the training of
k epochs is the beginning of that of K: so a network at epoch k is one that is trained for k epochs.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab
from lipbench.experiments.measures import Estimate, above, bisection, over_seeds, ratio_over_seeds
from lipbench.experiments.slopes import largest_jacobian, layer_norms, margins
from lipbench.report import style

ADAM, SGD, CONSTRAINED = "unconstrained, Adam", "unconstrained, SGD", "1-Lipschitz, Adam"
UNCONSTRAINED = (ADAM, SGD)
LEARNT = 3  # points of accuracy that may still be missing where a network counts as fitted
WORDS = {"bound": "bound", "gradient": "largest slope found", "accuracy": "accuracy in %", "robust": "robust in %"}
GROWS = "the interval of the ratio, a geometric mean paired over seeds, lies above 1"
COLOURS = {ADAM: style.FAMILIES["unconstrained"][0], SGD: "#E69F00", CONSTRAINED: style.CERTIFIED}
MARKERS = {ADAM: "X", SGD: "s", CONSTRAINED: "o"}


@dataclass(frozen=True)
class Settings:
    """One scale."""

    data: tuple[str, ...]
    channels: tuple[int, ...]
    widths: tuple[int, ...]
    tau: float  # of the 1-Lipschitz network
    epochs: tuple[int, ...]  # at which networks are measured, ascending
    batch_size: int
    learning_rates: dict[str, float]  # by network
    seeds: int
    eps: float  # of the attack, L2, in units of the input range
    samples: int  # of the test set: attacked, and searched for the largest gradient


def measure(lab: Lab, settings: Settings) -> Records:
    """Train every network for every number of epochs, and measure norms, bound, gradients and robust accuracy."""
    dataset = lab.dataset(*settings.data)
    models = lab.train(recipe(settings), dataset)
    accuracies = (
        lab.evaluate(models, dataset, bisection(settings.eps), samples=settings.samples).summary().set_index("model")
    )
    attacked = dataset.test.first(settings.samples)
    x, labels = torch.from_numpy(attacked.x), torch.from_numpy(attacked.labels)
    keys = itertools.product(settings.learning_rates, settings.epochs, range(settings.seeds))
    rows = [
        {
            "network": network, "epoch": epoch, "seed": seed, "eps": settings.eps,
            "bound": lipschitz_bound(model.module, dataset.input_shape), "gradient": largest_jacobian(model.module, x),
            **layer_norms(model.module, x[:1]), **margins(model.module, x, labels),
            "accuracy": accuracies.clean[model.name], "robust": accuracies.robust[model.name],
        }
        for (network, epoch, seed), model in zip(keys, models, strict=True)
    ]  # fmt: skip
    return {"epochs": pd.DataFrame(rows)}


def recipe(settings: Settings) -> dict[str, Any]:
    """One block for each network and number of epochs."""
    return {
        "seeds": list(range(settings.seeds)),
        "architecture": [
            {"name": "cnn", "args": {"channels": list(settings.channels), "widths": list(settings.widths)}}
        ],
        "loss": [
            {
                **(
                    {"name": "tau_cross_entropy", "hyperparameters": {"tau": settings.tau}}
                    if network == CONSTRAINED
                    else {"name": "cross_entropy", "constrained": False}
                ),
                "label": f"{'sgd' if network == SGD else 'adam'}-epoch{epochs}",
                "training": {
                    "epochs": epochs, "learning_rate": rate, "optimizer": "sgd" if network == SGD else "adam",
                },
            }
            for network, rate in settings.learning_rates.items()
            for epochs in settings.epochs
        ],
        "training": {"epochs": 1, "batch_size": settings.batch_size, "schedule": "constant"},
        "history": {"samples": 1, "every": max(settings.epochs)},
    }  # fmt: skip


def judge(records: Records) -> tuple[Check, ...]:
    """Growth of bound and norms; then robust accuracy; then the bound of the constrained network."""
    frame = records["epochs"]
    eps, beginning = frame.eps.iloc[0], {network: _fitted(frame, network) for network in UNCONSTRAINED}
    held, over = frame[frame.network == CONSTRAINED].bound, f"{frame.seed.nunique()} seeds"
    return (
        *(
            Check(
                statement=f"{network}: the Lipschitz bound grows from the first measured epoch to the last",
                rule=GROWS,
                **above(1, _growth(frame, "bound", network)),
                over=over,
            )
            for network in UNCONSTRAINED
        ),
        *(
            Check(
                statement=f"{network}: so does the largest Frobenius norm of a layer",
                rule=GROWS,
                **above(1, _growth(frame, "frobenius", network)),
                over=over,
            )
            for network in UNCONSTRAINED
        ),
        *(
            Check(
                statement=f"{network}: at the end it is less robust at {eps:g} than the 1-Lipschitz network",
                rule="the interval of the difference in robust accuracy, paired over seeds, lies above 0",
                unit="points",
                **above(0, _less_robust(frame, network)),
                over=over,
            )
            for network in UNCONSTRAINED
        ),
        *(
            Check(
                statement=f"{network}: robust accuracy at {eps:g} falls from epoch {epoch}, when clean accuracy has "
                f"come within {LEARNT:g} points of its last value, to the last",
                rule="the interval of the fall, paired over seeds, lies above 0",
                unit="points",
                **above(0, _fall(frame, network, epoch)),
                over=over,
            )
            for network, epoch in beginning.items()
        ),
        Check(
            statement="the bound of the 1-Lipschitz network never exceeds 1",
            rule="no bound at any epoch is above 1.001",
            holds=held.max() < 1.001,
            ours=held.max(),
            over=f"the largest of {len(held)} networks",
        ),
    )


def _by_epoch(frame: pd.DataFrame, column: str, network: str) -> pd.DataFrame:
    """A row per seed, a column per epoch; accuracies in percent."""
    table = frame[frame.network == network].pivot_table(index="seed", columns="epoch", values=column)
    return 100 * table if column in ("accuracy", "robust") else table


def _growth(frame: pd.DataFrame, column: str, network: str, start: int | None = None) -> Estimate:
    """The last value over that of an epoch, the first if none is given: the geometric mean over seeds."""
    table = _by_epoch(frame, column, network)
    first = table[min(table.columns) if start is None else start]
    return ratio_over_seeds((table[max(table.columns)] / first).to_numpy())


def _less_robust(frame: pd.DataFrame, network: str) -> Estimate:
    constrained, free = _by_epoch(frame, "robust", CONSTRAINED), _by_epoch(frame, "robust", network)
    return over_seeds((constrained[max(constrained.columns)] - free[max(free.columns)]).to_numpy())


def _fall(frame: pd.DataFrame, network: str, epoch: int) -> Estimate:
    table = _by_epoch(frame, "robust", network)
    return over_seeds((table[epoch] - table[max(table.columns)]).to_numpy())


def _fitted(frame: pd.DataFrame, network: str) -> int:
    """The first epoch at which the mean accuracy is within LEARNT of that at the last."""
    means = _by_epoch(frame, "accuracy", network).mean()
    return int(means.index[means > means.iloc[-1] - LEARNT][0])


def draw(records: Records) -> Figure:
    """Bound and largest gradient, norms of layers, accuracies: over epochs."""
    frame = records["epochs"]
    figure = style.new(style.WIDE.width, 2.6)
    constant, norms, accuracies = figure.subplots(1, 3)
    eps = f"{records['epochs'].eps.iloc[0]:g}"
    panels = (
        (constant, "Lipschitz constant", {"bound": ("-", "bound"), "gradient": (":", "largest slope found")}),
        (norms, "largest norm of a layer", {"frobenius": ("-", "Frobenius"), "spectral": (":", "spectral")}),
        (accuracies, "accuracy, %", {"robust": ("-", f"robust at {eps}"), "accuracy": (":", "clean")}),
    )
    for axes, label, columns in panels:
        for column, (line, _) in columns.items():
            for network in COLOURS:
                _curve(axes, _by_epoch(frame, column, network), network, line)
        (_, solid), (_, dotted) = columns.values()
        axes.set_title(f"solid: {solid}\ndotted: {dotted}", loc="left")
        style.value_ticks(axes.xaxis, sorted(frame.epoch.unique()), log=True, near=0.05)
        axes.set_xlabel("epochs of training")
        axes.set_ylabel(label)
    style.log_axis(constant.yaxis)
    norms.set_ylim(bottom=0)
    handles = [constant.plot([], [], MARKERS[one], color=COLOURS[one], label=one)[0] for one in COLOURS]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure


def _curve(axes: Axes, table: pd.DataFrame, network: str, line: str) -> None:
    """The mean over seeds, and a band from the smallest to the largest."""
    axes.plot(table.columns, table.mean(), line, color=COLOURS[network], marker=MARKERS[network], markersize=3)
    axes.fill_between(table.columns, table.min(), table.max(), color=COLOURS[network], alpha=0.15, linewidth=0)


def tell(records: Records) -> str:
    """Whether networks become more vulnerable; then constants, margins and accuracies at both ends."""
    frame = records["epochs"]
    ends = (frame.epoch.min(), frame.epoch.max())
    weaker = [
        estimate.lo > 0
        for network in UNCONSTRAINED
        for estimate in (_less_robust(frame, network), _fall(frame, network, _fitted(frame, network)))
    ]
    lines = []
    for network in COLOURS:
        means = {
            column: [_by_epoch(frame, column, network)[epoch].mean() for epoch in ends]
            for column in ("bound", "gradient", "accuracy", "robust")
        }
        lines.append(
            f"{network}: {', '.join(f'{WORDS[column]} {a:.3g} to {b:.3g}' for column, (a, b) in means.items())}."
        )
    grows = "grows" if all(weaker) else "grows only in part" if any(weaker) else "does not grow"
    opening = f"Vulnerability {grows} with the constant: {sum(weaker)} of {len(weaker)} checks of it hold."
    return (
        f"{opening} {' '.join(_vulnerability(frame, network) for network in UNCONSTRAINED)} From epoch {ends[0]} to "
        f"{ends[1]}, means over seeds. {' '.join(lines)} Bands: smallest to largest over seeds."
    )


def _vulnerability(frame: pd.DataFrame, network: str) -> str:
    """Robust accuracy of an unconstrained network, and how its margins went with its slopes once it was fitted."""
    start, robust = _fitted(frame, network), _by_epoch(frame, "robust", network)
    first, last = min(robust.columns), max(robust.columns)
    fall, less = _fall(frame, network, start), _less_robust(frame, network)
    bound, margin, linear = (_growth(frame, one, network, start) for one in ("bound", "margin", "linear"))
    return (
        f"{network}: robust accuracy goes from {robust[first].mean():.0f} % at epoch {first} to "
        f"{robust[last].mean():.0f} % at {last}; from epoch {start}, when the network is fitted, it changes by "
        f"{-fall.value:+.1f} [{-fall.hi:+.1f}, {-fall.lo:+.1f}] points, and ends {-less.value:+.1f} "
        f"[{-less.hi:+.1f}, {-less.lo:+.1f}] points from the 1-Lipschitz network's. From epoch {start}, the bound "
        f"becomes {_times(bound)} as large, the median margin of correct samples {_times(margin)}, and that margin "
        f"over its own slope {_times(linear)}"
        + (": slopes do not outgrow margins beyond what seeds differ by." if linear.hi >= 1 else ".")
    )


def _times(ratio: Estimate) -> str:
    return f"{ratio.value:.2f} [{ratio.lo:.2f}, {ratio.hi:.2f}] times"


EXPERIMENT = Experiment(
    name="lipschitz-growth",
    title="The constant without a constraint, and vulnerability",
    theme="robustness",
    claim="Training without a constraint makes the Lipschitz constant grow without control, and with it the "
    "vulnerability to adversarial attacks.",
    source="Béthune et al. 2022, and their poster",
    paper="A convolutional network on MNIST, 25 epochs: the largest Frobenius norm of a layer grows from 16 to 131 "
    "with Adam, from 16 to 65 with SGD, over the whole training. Ours are ratios from the first measured epoch on, "
    "which leave the beginning out, so that no figure of the paper stands beside them.",
    setup={
        "small": "A convolutional network (8 and 16 channels, dense 32) on digits at constant learning rates, measured "
        "after 1, 4, 16 and 64 epochs of 20 steps; three seeds. Adam at 5e-3, SGD with momentum .9 at 5e-2, and the "
        "1-Lipschitz network of that shape with tau 16, that of the bundled convolutional networks, and Adam. 200 test "
        "samples are attacked with bisection over PGD. The largest spectral norm of the Jacobian at them bounds the "
        "constant from below, lipbench's bound from above. Chosen after pilot runs: learning rates five times as large, "
        "and tau 16 in place of 4, with which the 1-Lipschitz network was the least accurate.",
        "paper": "MNIST, 25 epochs, with Adam and SGD, and three seeds. Guesses: convolutions of 16 and 32 channels, "
        "dense 64; batches of 128; constant learning rates of 1e-3 for Adam and 1e-2 for SGD with momentum .9. Ours: "
        "the 1-Lipschitz network of that shape with tau 16, and the attack on 500 test samples at 1.",
    },
    scales={
        "small": Settings(
            data=("digits",), channels=(8, 16), widths=(32,), tau=16.0, epochs=(1, 4, 16, 64), batch_size=64,
            learning_rates={ADAM: 5e-3, SGD: 5e-2, CONSTRAINED: 5e-3}, seeds=3, eps=0.3, samples=200,
        ),
        "paper": Settings(
            data=("mnist",), channels=(16, 32), widths=(64,), tau=16.0, epochs=(1, 2, 4, 8, 16, 25), batch_size=128,
            learning_rates={ADAM: 1e-3, SGD: 1e-2, CONSTRAINED: 1e-3}, seeds=3, eps=1.0, samples=500,
        ),
    },
    data=lambda settings: settings.data,
    measure=measure,
    judge=judge,
    draw=draw,
    tell=tell,
)  # fmt: skip
