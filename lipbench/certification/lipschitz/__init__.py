"""Upper bounds of Lipschitz constants (L2 to L2), from the weights as they are stored, in float64.

bound.py        the bound of a whole network          graph.py        a network as steps, and how to run it
tracing.py      a network to its graph, checked       steps.py        the steps of a graph, with their effects
freezing.py     its weights as plain tensors          forward.py      its torch.fx graph
agreement.py    do network, copies and graph agree?   state.py        does anything move while a network runs?
batch.py        values that depend on the number of samples
calls.py        calls, bound to the signatures of functions and rules
table.py        the table of rules                    effects.py      what a rule gives
rules/          lipbench's own rules                  selections.py   steps that only move numbers
plugin_rules.py rules of other packages
replaced.py     layers that compute something else than their type says
norms.py        norms of matrices and convolutions    kernels.py      norms of padded convolutions
affine.py       rounding errors of affine steps       cache.py        norms on disk
"""

from lipbench.certification.lipschitz import built_in  # noqa: F401  importing it registers lipbench's own rules
from lipbench.certification.lipschitz.bound import lipschitz_bound
from lipbench.certification.lipschitz.effects import Effect, Flow, Rounding
from lipbench.certification.lipschitz.freezing import copied, frozen
from lipbench.certification.lipschitz.selections import selects
from lipbench.certification.lipschitz.table import layer_effect, rule
from lipbench.certification.lipschitz.tracing import trace

__all__ = [
    "Effect",
    "Flow",
    "Rounding",
    "copied",
    "frozen",
    "layer_effect",
    "lipschitz_bound",
    "rule",
    "selects",
    "trace",
]
