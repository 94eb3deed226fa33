"""A linter of robustness claims: it reads a model and its card, attacks nothing, and reports what does not fit.

lint.py     all checks of one model          table.py        the table of checks, and findings
subject.py  what a check looks at            observation.py  how a model behaves when it is run
checks/     L1xx constants.py: the claimed constant against the computed bound
            L2xx layers.py: layers behind the excess
            L3xx units.py: units of inputs, eps, margins and hyperparameters
            L4xx behaviour.py: modes, state, randomness
            L5xx precision.py: precision of the weights and of the forward

An error means that radii read off the claim are not justified, or belong to another function or another scale of the
input. A warning is true and worth knowing, but breaks no certificate by itself. A new check is one decorated function.
"""

from lipbench.verification.linter.lint import lint, summaries
from lipbench.verification.linter.subject import Severity
from lipbench.verification.linter.table import Finding

__all__ = ["Finding", "Severity", "lint", "summaries"]
