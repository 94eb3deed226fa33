"""Growth: the Lipschitz constant of an unconstrained network through training, and its robust accuracy.

The trainer keeps the weights of the last epoch only. At a constant learning rate, with the same seed, the training of
k epochs is the beginning of that of K: so a network at epoch k is one that is trained for k epochs.
"""

import copy
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.experiments.experiment import Check, Experiment, Records
from lipbench.experiments.lab import Lab
from lipbench.experiments.measures import Estimate, bisection, over_seeds
from lipbench.report import style

ADAM, SGD, CONSTRAINED = "unconstrained, Adam", "unconstrained, SGD", "1-Lipschitz, Adam"
UNCONSTRAINED = (ADAM, SGD)
PAPER_GROWTH = {ADAM: 131 / 16, SGD: 65 / 16}  # of the largest Frobenius norm of a layer, over 25 epochs
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
    x = torch.from_numpy(dataset.test.first(settings.samples).x)
    keys = itertools.product(settings.learning_rates, settings.epochs, range(settings.seeds))
    rows = [
        {
            "network": network, "epoch": epoch, "seed": seed, "eps": settings.eps,
            "bound": lipschitz_bound(model.module, dataset.input_shape), "gradient": largest_jacobian(model.module, x),
            **layer_norms(model.module, x[:1]),
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


def largest_jacobian(module: nn.Module, x: Tensor) -> float:
    """The largest spectral norm of the Jacobian at given inputs: a lower bound of the Lipschitz constant.

    module: gives logits (n, K); x: (n, ...) in [0, 1]. In float64.
    """
    precise = copy.deepcopy(module).double().requires_grad_(False)
    point = x.double().requires_grad_()
    logits = precise(point)
    rows = [torch.autograd.grad(one.sum(), point, retain_graph=True)[0].flatten(1) for one in logits.unbind(1)]
    return float(torch.linalg.matrix_norm(torch.stack(rows, dim=1), ord=2).max())


def layer_norms(module: nn.Module, x: Tensor) -> dict[str, float]:
    """The largest Frobenius norm of a layer's weights, and the largest bound of a layer's own constant.

    x: one input, (1, ...). A layer's constant is its spectral norm; a convolution's depends on the size of its input.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, _: shapes.update({layer: tuple(inputs[0].shape[1:])}))
        for layer in layers
    ]
    with torch.no_grad():
        module(x)
    for hook in hooks:
        hook.remove()
    return {
        "frobenius": max(float(layer.weight.detach().double().norm()) for layer in layers),
        "spectral": max(lipschitz_bound(layer, shapes[layer]) for layer in layers),
    }


def judge(records: Records) -> tuple[Check, ...]:
    """Growth of bound and norms; then robust accuracy; then the bound of the constrained network."""
    frame = records["epochs"]
    eps, beginning = frame.eps.iloc[0], {network: _fitted(frame, network) for network in UNCONSTRAINED}
    held = frame[frame.network == CONSTRAINED].bound
    return (
        *(
            Check(
                statement=f"{network}: the Lipschitz bound grows from the first measured epoch to the last",
                rule=GROWS,
                **_above(1, _growth(frame, "bound", network), frame),
            )
            for network in UNCONSTRAINED
        ),
        *(
            Check(
                statement=f"{network}: so does the largest Frobenius norm of a layer",
                rule=GROWS,
                paper=PAPER_GROWTH[network],
                **_above(1, _growth(frame, "frobenius", network), frame),
            )
            for network in UNCONSTRAINED
        ),
        *(
            Check(
                statement=f"{network}: at the end it is less robust at {eps:g} than the 1-Lipschitz network",
                rule="the interval of the difference in robust accuracy, paired over seeds, lies above 0",
                unit="points",
                **_above(0, _less_robust(frame, network), frame),
            )
            for network in UNCONSTRAINED
        ),
        *(
            Check(
                statement=f"{network}: robust accuracy at {eps:g} falls from epoch {epoch}, when clean accuracy has "
                f"come within {LEARNT:g} points of its last value, to the last",
                rule="the interval of the fall, paired over seeds, lies above 0",
                unit="points",
                **_above(0, _fall(frame, network, epoch), frame),
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


def _growth(frame: pd.DataFrame, column: str, network: str) -> Estimate:
    """The last value over the first: the geometric mean over seeds."""
    table = _by_epoch(frame, column, network)
    logs = over_seeds(np.log((table[max(table.columns)] / table[min(table.columns)]).to_numpy()))
    return Estimate(*np.exp([logs.value, logs.lo, logs.hi]))


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


def _above(least: float, estimate: Estimate, frame: pd.DataFrame) -> dict[str, Any]:
    """Of a check: it holds where the interval lies above a value."""
    return {
        "holds": estimate.lo > least, "ours": estimate.value, "lo": estimate.lo, "hi": estimate.hi,
        "over": f"{frame.seed.nunique()} seeds",
    }  # fmt: skip


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
    """Bound, largest gradient and accuracies of every network, at the first and the last measured epoch."""
    frame = records["epochs"]
    lines, ends = [], (frame.epoch.min(), frame.epoch.max())
    for network in COLOURS:
        means = {
            column: [_by_epoch(frame, column, network)[epoch].mean() for epoch in ends]
            for column in ("bound", "gradient", "accuracy", "robust")
        }
        lines.append(
            f"{network}: {', '.join(f'{WORDS[column]} {a:.3g} to {b:.3g}' for column, (a, b) in means.items())}."
        )
    fallen = [network for network in UNCONSTRAINED if _fall(frame, network, _fitted(frame, network)).lo > 0]
    ending = (
        "Once accuracy is there, robust accuracy falls while the constant goes on growing."
        if len(fallen) == len(UNCONSTRAINED)
        else "Robust accuracy does not fall, for all of them, by more than seeds differ: the constant alone says "
        "little of it. Margins grow as well, and the distance to the boundary is about the margin over the slope."
    )
    return (
        f"From epoch {ends[0]} to {ends[1]}, means over seeds. {' '.join(lines)} {ending} Bands: smallest to largest."
    )


EXPERIMENT = Experiment(
    name="lipschitz-growth",
    title="The constant grows without a constraint",
    theme="robustness",
    claim="Training without a constraint makes the Lipschitz constant grow without control, and with it the "
    "vulnerability to adversarial attacks.",
    source="Béthune et al. 2022, and their poster",
    paper="A convolutional network on MNIST, 25 epochs: the largest Frobenius norm of a layer grows from 16 to 131 "
    "with Adam, from 16 to 65 with SGD.",
    setup="A convolutional network (8 and 16 channels, dense 32) on digits at constant learning rates, measured after "
    "1, 4, 16 and 64 epochs of 20 steps; three seeds. Adam at 5e-3, SGD with momentum .9 at 5e-2, and the 1-Lipschitz "
    "network of that shape with tau 4 and Adam. 200 test samples are attacked with bisection over PGD. The largest "
    "spectral norm of the Jacobian at them bounds the constant from below, lipbench's bound from above.",
    scales={
        "small": Settings(
            data=("digits",), channels=(8, 16), widths=(32,), tau=4.0, epochs=(1, 4, 16, 64), batch_size=64,
            learning_rates={ADAM: 5e-3, SGD: 5e-2, CONSTRAINED: 5e-3}, seeds=3, eps=0.3, samples=200,
        ),
        "paper": Settings(
            data=("mnist",), channels=(16, 32), widths=(64,), tau=16.0, epochs=(1, 2, 4, 8, 16, 25), batch_size=128,
            learning_rates={ADAM: 1e-3, SGD: 1e-2, CONSTRAINED: 1e-3}, seeds=3, eps=1.0, samples=500,
        ),
    },
    measure=measure,
    judge=judge,
    draw=draw,
    tell=tell,
)  # fmt: skip
