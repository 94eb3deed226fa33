"""Upper bounds of Lipschitz constants (L2 to L2), from the weights as they are stored, in float64.

bound.py          the bound of a whole network         graph.py      a network as steps
freezing.py       its weights as plain tensors        tracing.py    its torch.fx graph
agreement.py      whether network, copies and graph compute the same
state.py          what moves while a network runs     batch.py      what depends on the number of samples
calls.py          calls, bound to the signatures of functions and rules
rules.py          the table of rules, and what a rule gives
linear.py  activations.py  pools.py  normalization.py  functions.py      the rules
selections.py     steps that only move numbers: they are run on the numbers' places
norms.py          norms of matrices and convolutions, rounded up; cache.py keeps them on disk
"""

# These modules register their rules when they are imported.
from lipbench.certification.lipschitz import activations, functions, linear, normalization, pools  # noqa: F401
from lipbench.certification.lipschitz.bound import lipschitz_bound
from lipbench.certification.lipschitz.freezing import frozen
from lipbench.certification.lipschitz.graph import trace
from lipbench.certification.lipschitz.rules import Effect, Flow, Rounding, layer_effect, rule
from lipbench.certification.lipschitz.selections import selects

__all__ = ["Effect", "Flow", "Rounding", "frozen", "layer_effect", "lipschitz_bound", "rule", "selects", "trace"]
