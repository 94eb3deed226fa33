"""Rules of layers of this package; importing the module registers them."""

import lipbench
from lipbench.certification.lipschitz.norms import rounded_up, spectral_norm, times
from lipbench_example.architecture import Reflection


@lipbench.rule(Reflection)
def _reflection(layer: Reflection, input_shape: tuple[int, ...]) -> float:
    """The Jacobian is I - 2 W^T D W with 0 <= D <= 1, and its eigenvalues lie in [1 - 2 |W|^2, 1]."""
    norm = spectral_norm(layer.weight)
    return max(1.0, rounded_up(2 * times(norm, norm)) - 1)
