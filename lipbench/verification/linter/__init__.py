"""A linter of robustness claims: reads a model and its card, attacks nothing, and says what does not fit.

    lint.py         all checks of one model
    table.py        the table of checks, findings, and what a check looks at
    constants.py    L1: the claimed constant against the computed bound      layers.py     L2: layers behind the excess
    units.py        L3: units of inputs, eps, margins and hyperparameters    behaviour.py  L4: modes, state, randomness
    arithmetic.py   L5: precision of the weights and of the forward

An error means that radii read off the claim are not justified, or belong to another function or another scale of the
input; a warning is true and worth knowing, but breaks no certificate by itself. A new check is one decorated function.
"""

# These modules register their checks when they are imported.
from lipbench.verification.linter import arithmetic, behaviour, constants, layers, units  # noqa: F401
from lipbench.verification.linter.layers import unsupported
from lipbench.verification.linter.lint import checks, lint
from lipbench.verification.linter.table import Finding, Severity

__all__ = ["Finding", "Severity", "checks", "lint", "unsupported"]
