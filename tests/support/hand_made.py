"""Models and names that several tests of reports share; what they give is worked out by hand there."""

import numpy as np

from lipbench.report.resampling import Draws, Measured

HAND = {
    "correct": [1, 1, 1, 1, 0],
    "floating": [0.15, 0.25, 0.5, 0.0, 0.0],
    "real": [0.2, 0.26, 0.5, 0.0, 0.0],
    "nominal": [0.3, 0.26, 0.5, 0.1, 0.0],
    "distance": [0.25, 0.25, np.inf, 0.1, 0.0],
    "margin": [0.2, 0.26, 0.5, 0.0, -0.46],
}


NOTHING = [np.inf, np.inf]


SQUARE = ["gradient/minimal", "art/PGD", "autoattack/square"]


SIGNS = {
    "correct": [1, 1, 1, 1, 0],
    "real": [0.0] * 5,
    "distance": [np.inf] * 5,
    "found": {
        "gradient/minimal": [0.05, 0.3, np.inf, np.inf, 0.0],
        ("art/PGD", 0.2): [np.inf, np.inf, 0.15, np.inf, 0.0],
        ("autoattack/square", 0.1): [np.inf, 0.09, np.inf, np.inf, 0.0],
        ("autoattack/square", 0.2): [np.inf, np.inf, 0.18, np.inf, 0.0],
        ("alone", 0.1): [0.05, np.inf, np.inf, np.inf, 0.0],
        ("alone", 0.2): [np.inf, 0.12, np.inf, np.inf, 0.0],
        ("alone", 0.4): [0.3, 0.3, 0.3, 0.39, 0.0],
    },
    "zero_gradient": [0, 3],
    "loss_stuck": [1],
}


FAILING = {  # worked out in test_signs
    "correct": [1, 1, 1, 1, 0],
    "real": [0.0] * 5,
    "distance": [np.inf] * 5,
    "found": {
        "gradient/minimal": [0.05, 0.3, np.inf, np.inf, 0.0],
        ("art/PGD", 0.2): [np.inf, np.inf, 0.15, np.inf, 0.0],
        ("autoattack/square", 0.1): [np.inf, 0.09, np.inf, np.inf, 0.0],
        ("alone", 0.1): [0.05, np.inf, np.inf, np.inf, 0.0],
        ("alone", 0.2): [np.inf, 0.12, np.inf, np.inf, 0.0],
        ("alone", 0.4): [0.3, 0.3, 0.3, 0.39, 0.0],
    },
    "zero_gradient": [0, 3],
    "loss_stuck": [1],
}


def seeds(make_model, values, **setting):
    """One model per value, which is its number of certified samples of four."""
    return [
        make_model(
            correct=[1] * 4,
            real=[0.15] * count + [0.0] * (4 - count),
            distance=[0.9] * 4,
            name=f"{setting.get('hyperparameters')}{seed}",
            seed=seed,
            **setting,
        )
        for seed, count in enumerate(values)
    ]


CLASHES = (
    *(
        "robust",
        "gap",
        "grade",
        "model",
        "eps",
        "seed",
        "n",
        "loss",
        "certified",
        "clean_mean",
        "family",
        "suite",
        "norm",
    ),
    *("setting", "constrained", "adversarial", "adversarial_eps", "adversarial.eps", "training.epochs", "loss.tau"),
    *("n_models", "_suite", "_unconstrained", "_", "__class__", "size", "index", "columns", "iloc", "name", "copy_of"),
    *(
        "two words",
        "a,b",
        'a"b',
        "a|b",
        "α",
        "Tau",
        "tau",
        "TAU",
        "$x_1^$",
        "%s",
        "{}",
        "two\nlines",
        "attacked:art/PGD",
    ),
)


def inside(outer, inner):
    return outer.x0 <= inner.x0 and outer.y0 <= inner.y0 and inner.x1 <= outer.x1 and inner.y1 <= outer.y1


def draws(correct, radius, distance, settings=None, grid=(0.1, 0.2)):
    """The resamples of models given by their bounds, each (m, n)."""
    correct, radius, distance = (
        np.asarray(each, dtype) for each, dtype in ((correct, bool), (radius, float), (distance, float))
    )
    return Draws(Measured(tuple(settings or ["a"] * len(correct)), correct, radius, distance, tuple(grid)))
