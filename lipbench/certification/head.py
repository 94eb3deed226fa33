"""The head of a network: its last linear layer, which gives each pair of classes a bound of its own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipbench.certification.lipschitz.graph import Graph
from lipbench.certification.lipschitz.norms import scaled_norms
from lipbench.certification.rounding import ROUND_UP, TINY

SQRT2 = 2.0**0.5


@dataclass(frozen=True)
class Head:
    """The last linear layer, which follows the body; or nothing, where the logits are the body's own outputs."""

    spread: Tensor  # float64 (K, K), |w_i - w_j|_2, rounded up, 0 only for identical rows
    rows: Tensor  # float64 (K,), |w_i|_2, rounded up
    bias: Tensor  # float64 (K,), b_i
    operations: int = 0  # of each logit; 0 where the logits are the body's own outputs
    underflows: float = 0.0  # of each difference of logits


def head_of(graph: Graph) -> tuple[int, Head]:
    """The index of the body's last step, and the head: the last layer if it is linear, else differences of logits."""
    last = graph.output
    size = max(2, last.shape[0])
    if type(last.layer) is nn.Linear and last.shape[0] > 1 and len(graph.steps[last.inputs[0]].shape) == 1:
        weight = last.layer.weight.detach().cpu().double()
        bias = torch.zeros(size) if last.layer.bias is None else last.layer.bias.detach().cpu()
        return last.inputs[0], Head(
            torch.stack([_norms(row - weight) for row in weight]),
            _norms(weight) + TINY,
            bias.double(),
            weight.shape[1] + 1,
            2.0 * weight.shape[1],
        )
    # of a single logit f the difference is f itself; otherwise |f_i - f_j| <= sqrt(2) |f|
    constant = 1.0 if last.shape[0] == 1 else SQRT2 * ROUND_UP
    spread = torch.full((size, size), constant, dtype=torch.float64).fill_diagonal_(0)
    nothing = torch.zeros(size, dtype=torch.float64)
    return len(graph.steps) - 1, Head(spread, nothing, nothing)


def _norms(rows: Tensor) -> Tensor:
    """L2 norms (K,) of float64 rows (K, m), rounded up, each on its own scale: 0 only for rows of zeros."""
    norms = scaled_norms(rows)
    rounding = 1 + (rows.shape[1] + 10) * 2.0**-53  # gamma_n, Higham 2002, section 3.1
    return norms * rounding + TINY * (norms > 0)
