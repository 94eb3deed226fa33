"""Björck orthogonalisation as layers of the libraries do it, on small matrices and without waiting for a GPU."""

from collections.abc import Callable

import torch
from deel.torchlip.normalizers import DEFAULT_BJORK_DETACH, DEFAULT_MAXITER_BJORCK
from deel.torchlip.utils.bjorck_norm import _BjorckNorm
from torch import Tensor, nn

ORTHOGONAL = 1e-5  # of |W W^T - I| in the Frobenius norm


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
    """Steps of P from the identity; how many had an effect, and whether the iteration still goes on, both ()."""
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


def orthogonalize_by(weight: Tensor, steps: int, early: bool = True) -> Tensor:
    """Björck and Bowie (1971): W <- 1.5 W - .5 W W^T W, ``steps`` times. weight: (m, n).

    The same function as orthogonium's ``BatchedBjorckOrthogonalization`` up to roundings, with the same gradient, that
    of all steps; as in ``orthogonalize`` on W W^T, for the smaller side of W. Steps at an orthogonal matrix change
    neither the value nor, since their derivative is the projection on the tangent space there, the gradient: the
    iteration ends at W W^T = I within ``ORTHOGONAL``, and the last step, on W itself, corrects roundings in W W^T.
    ``early``: as there.
    """
    wide = weight if len(weight) <= weight.shape[1] else weight.t()
    gram = wide @ wide.t()
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    polynomial, done = eye, torch.zeros((), dtype=torch.bool, device=gram.device)
    for _ in range(steps):
        factor = torch.where(done, eye, 1.5 * eye - 0.5 * gram)
        done = (gram.detach() - eye).norm() < ORTHOGONAL
        polynomial = factor @ polynomial
        if early and done:
            break
        gram = factor @ gram @ factor
    found = polynomial @ wide
    with torch.no_grad():
        corrected = torch.where(done, 1.5 * found - 0.5 * (found @ found.t()) @ found, found)
    found = found + (corrected - found).detach()
    return found if wide is weight else found.t().contiguous()


class BjorckBy(nn.Module):
    """``orthogonalize_by`` in place of orthogonium's parametrisation, for weights of two dimensions."""

    steps = 12  # the library's default

    def __init__(self, weight_shape: tuple[int, ...]):
        super().__init__()

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (m, n), same shape out."""
        return orthogonalize_by(weight, self.steps, early=not weight.is_cuda)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What an assignment stores: the weight as it is."""
        return weight


class Bjorck(_BjorckNorm):
    """deel-torchlip's parametrisation, with ``orthogonalize``."""

    def __init__(self, original: _BjorckNorm):
        super().__init__(original._w_bjorck, original.eps)

    def forward(self, weight: Tensor) -> Tensor:
        """As the library's: in train mode orthogonalised, in eval mode what the last training step had."""
        if self.training:
            found = orthogonalize(weight, self.eps, early=not weight.is_cuda)
            self._w_bjorck = found.detach()
            return found
        return self._w_bjorck


def with_quick_bjorck(layer: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The constructor of a layer of deel-torchlip, whose weights are then orthogonalised by ``Bjorck``."""

    def make(*args: object, **kwargs: object) -> nn.Module:
        made = layer(*args, **kwargs)
        parametrizations = made.parametrizations.weight  # type: ignore[union-attr]
        for place, one in enumerate(parametrizations):  # type: ignore[arg-type]
            if type(one) is _BjorckNorm:
                parametrizations[place] = Bjorck(one)  # type: ignore[operator]
        return made

    return make
