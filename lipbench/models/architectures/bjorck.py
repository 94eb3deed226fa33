"""Björck orthogonalisation as the layers of the libraries do it, on small matrices and without waiting for a GPU."""

from collections.abc import Callable
from typing import Any

import torch
from deel.torchlip.normalizers import DEFAULT_BJORK_DETACH, DEFAULT_MAXITER_BJORCK
from deel.torchlip.utils.bjorck_norm import _BjorckNorm
from torch import Tensor, nn

ORTHOGONAL = 100  # times the precision of the numbers: of |W W^T - I| in the Frobenius norm


def orthogonalize(weight: Tensor, eps: float, early: bool = True) -> Tensor:
    """Björck and Bowie (1971): W <- 1.5 W - .5 W W^T W until |dW| < eps, at most 15 times. weight: (k, ...).

    The same function as deel-torchlip's ``bjorck_normalization`` up to roundings, with the same gradient: from the
    fifth step on, that of 1.5 W alone. The iterates are W_n = P_n W, with P_n a polynomial of W W^T, so that a step
    costs k^3 for the smaller side k, and not k^2 times the larger one. Roundings in W W^T are not corrected by later
    steps, as those in W_n are; so it is formed anew after four, in float64, in which it is exact enough.
    ``early``: stop when the iteration does, for which the host waits; else go through all steps, the later ones without
    effect, for a GPU.
    """
    matrix = weight.flatten(1)
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.t()
    going = torch.ones((), dtype=torch.bool, device=weight.device)
    polynomial, _, going = _steps(wide @ wide.t(), DEFAULT_BJORK_DETACH, eps, going, early)
    near = polynomial @ wide
    if not early or going:
        with torch.no_grad():
            exact = near.double()
            left = DEFAULT_MAXITER_BJORCK - DEFAULT_BJORK_DETACH
            polynomial, count, _ = _steps(exact @ exact.t(), left, eps, going, early)
            found, slope = (polynomial @ exact).to(near.dtype), (1.5**count).to(near.dtype)
        near = found + slope * (near - near.detach())  # the value of the one, a multiple of the gradient of the other
    return (near if wide is matrix else near.t().contiguous()).reshape(weight.shape)


def _steps(gram: Tensor, most: int, eps: float, going: Tensor, early: bool) -> tuple[Tensor, Tensor, Tensor]:
    """P after some steps from the identity; the number of effective steps, and whether it still iterates, both ()."""
    p = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    count = torch.zeros((), dtype=gram.dtype, device=gram.device)
    for _ in range(most):
        if early and not going:
            break
        new = 1.5 * p - 0.5 * (p @ gram @ p @ p)
        change = new - p
        p, count = torch.where(going, new, p), count + going
        going = going & (((change @ gram) * change).sum().clamp_min(0).sqrt() >= eps)
    return p, count, going


def orthogonalize_by(weight: Tensor, steps: int) -> Tensor:
    """Björck and Bowie (1971): W <- 1.5 W - .5 W W^T W, ``steps`` times (at least once). weight: (k, n).

    The same function as orthogonium's ``BatchedBjorckOrthogonalization`` up to roundings, with the same gradient, that
    of all steps. For the smaller side k the iterates are W_n = P_n W, with P_n a polynomial of W W^T, as in
    ``orthogonalize``. A step at an orthogonal matrix changes neither the value nor the gradient, since its derivative
    is the projection on the tangent space there: the iteration stops once W_n W_n^T = I within ``ORTHOGONAL``. The
    value of the last step is that of a step on W_n itself, which corrects roundings in W W^T.
    """
    wide = weight if len(weight) <= weight.shape[1] else weight.t()
    gram = wide @ wide.t()
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    polynomial = eye
    for _ in range(steps - 1):
        if (gram.detach() - eye).norm() < ORTHOGONAL * torch.finfo(gram.dtype).eps:
            break
        factor = 1.5 * eye - 0.5 * gram
        polynomial, gram = factor @ polynomial, factor @ gram @ factor
    found = (1.5 * eye - 0.5 * gram) @ polynomial @ wide
    with torch.no_grad():
        near = polynomial @ wide
        corrected = 1.5 * near - 0.5 * (near @ near.t()) @ near
    found = found + (corrected - found).detach()
    return found if wide is weight else found.t().contiguous()


class BjorckBy(nn.Module):
    """orthogonium's ``BatchedBjorckOrthogonalization`` of a matrix, with ``orthogonalize_by`` on a CPU.

    A GPU takes the library's steps: they are fewer operations, which count there, and need no synchronisation.
    """

    def __init__(self, original: Any):
        super().__init__()
        if original.beta != 0.5 or original.pass_through or original.niters < 1:
            raise ValueError("expected beta = .5, pass_through = False and at least one step")
        self.original = original

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (m, n), same shape out."""
        if weight.is_cuda:
            found: Tensor = self.original(weight)
            return found
        return orthogonalize_by(weight, self.original.niters)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The stored form of an assigned weight: the weight itself."""
        return weight


class Bjorck(_BjorckNorm):
    """deel-torchlip's parametrisation, with ``orthogonalize``."""

    def __init__(self, original: _BjorckNorm):
        super().__init__(original._w_bjorck, original.eps)

    def forward(self, weight: Tensor) -> Tensor:
        """As the library's: in train mode orthogonalised, in eval mode the weight of the last training step."""
        if self.training:
            found = orthogonalize(weight, self.eps, early=not weight.is_cuda)
            self._w_bjorck = found.detach()
            return found
        return self._w_bjorck


def with_quick_bjorck(
    layer: Callable[..., nn.Module], slow: type[nn.Module] = _BjorckNorm, quick: Callable[[Any], nn.Module] = Bjorck
) -> Callable[..., nn.Module]:
    """The constructor of a library's layer, whose weights are then orthogonalised by ``quick`` in place of ``slow``."""

    def make(*args: object, **kwargs: object) -> nn.Module:
        made = layer(*args, **kwargs)
        parametrizations = made.parametrizations.weight  # type: ignore[union-attr]
        for place, one in enumerate(parametrizations):  # type: ignore[arg-type]
            if type(one) is slow:
                parametrizations[place] = quick(one)  # type: ignore[operator, assignment]
        return made

    return make
