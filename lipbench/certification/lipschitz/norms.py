"""Operator norms (L2 to L2) of matrices and convolutions: float64, rounded up, never below the true norm.

Rounding is bounded by the standard model: a sum of n products is off by at most gamma_n = n u / (1 - n u) times the
sum of their absolute values (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. 2002, section 3.1), and
a backward stable eigenvalue or singular value by p(n) u times the norm, with a slowly growing p (LAPACK Users' Guide,
3rd ed., sections 4.7 and 4.9); p(n) = 10 n is used.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lipbench.certification.lipschitz.cache import cached

UNIT_ROUNDOFF = 2.0**-53
CHUNK = 2**22  # complex numbers in one batch of Fourier blocks: 64 MiB
CHEAP = 2**32  # multiplications for a norm through a dense matrix
COSTLY = 2**37  # the same, where no other way is nearly as good: about 10 s on one core
DENSE_ENTRIES = 2**26  # 512 MiB
FREQUENCIES = 128  # per axis; a longer torus is sampled with so many, see ``torus_norm``


def rounded_up(value: float, operations: int = 4) -> float:
    """``value`` >= 0, raised by so many relative roundings of float64."""
    raised = value * (1 + 2 * operations * UNIT_ROUNDOFF)
    return math.nextafter(raised, math.inf) if raised > 0 else raised  # subnormal numbers are not raised by a factor


def times(a: float, b: float) -> float:
    """a b for a, b >= 0, rounded up; 0 only where one of them is."""
    if a == 0 or b == 0:
        return 0.0
    return rounded_up(max(a * b, math.ulp(0.0)))


def scaled(values: Tensor) -> tuple[Tensor, float]:
    """Values over a power of two, and it: their squares neither overflow nor vanish."""
    largest = values.abs().max().item()
    scale = math.ldexp(0.5, math.frexp(largest)[1]) if 0 < largest < math.inf else 1.0
    return values / scale, scale


# --- vectors ---------------------------------------------------------------------------------------------------------


def norms_of(values: Tensor) -> Tensor:
    """L2 norms (n,) of (n, ...), summed in float64, rounded up."""
    flat = values.reshape(len(values), -1)
    lost = 2e-154 * math.sqrt(flat.shape[1])  # squares of smaller numbers vanish
    size = torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64)
    return size * (1 + 2 * (flat.shape[1] + 10) * UNIT_ROUNDOFF) + lost


def scaled_norms(rows: Tensor) -> Tensor:
    """L2 norms (n,) of float64 rows (n, m), each on its own scale, so that no square overflows or vanishes.

    They are not rounded up.
    """
    largest = rows.abs().amax(dim=1)
    return (rows / torch.where(largest > 0, largest, 1.0)[:, None]).norm(dim=1) * largest


# --- matrices --------------------------------------------------------------------------------------------------------


def spectral_norm(matrix: Tensor) -> float:
    """Largest singular value of real matrices (..., m, n), over all of them, rounded up. Small or single matrices."""
    if matrix.numel() == 0:
        return 0.0
    matrix, scale = scaled(matrix.detach().cpu().double())
    if min(matrix.shape[-2:]) == 1:  # a vector
        norms = matrix.flatten(-2).norm(dim=-1)
        return times(rounded_up(norms.max().item(), max(matrix.shape[-2:]) + 10), scale)
    largest = torch.linalg.matrix_norm(matrix, ord=2).max().item()
    return times(rounded_up(largest, 10 * max(matrix.shape[-2:])), scale)


def gram_norm(blocks: Tensor) -> float:
    """Largest singular value of matrices (batch, m, n), real or complex, through their Gram matrices, rounded up.

    lambda_max(B B^H) is off by the rounding of the products, gamma_n |B|_F^2, and of the eigenvalues, 10 m u |B|_F^2;
    complex products take up to 4 more roundings. On the device of ``blocks``.
    """
    if blocks.numel() == 0:
        return 0.0
    if blocks.shape[-2] > blocks.shape[-1]:
        blocks = blocks.mH
    largest = torch.linalg.eigvalsh(blocks @ blocks.mH)[:, -1].clamp_min(0)
    squares = (blocks.abs() ** 2).sum(dim=(1, 2))
    m, n = blocks.shape[-2:]
    return rounded_up(math.sqrt((largest + 2 * (n + 10 * m + 10) * UNIT_ROUNDOFF * squares).max().item()))


# --- convolutions ----------------------------------------------------------------------------------------------------


@cached
def torus_norm(
    weight: Tensor,
    torus: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> float:
    """Operator norm of the circular convolution of ``weight`` (out, in, kh, kw) on a torus, rounded up.

    torus: (height, width), multiples of the stride. The Fourier transform block-diagonalises the convolution
    (Sedghi, Gupta, Long, ICLR 2019, arXiv 1805.10408); a stride s is a convolution without stride of the s^2 phases
    of the input as channels. Kernels are real, so that half of the frequencies suffice. Blocks are summed tap by
    tap, chunk by chunk, on the GPU where the weight lies on one.

    Where an axis has more than ``FREQUENCIES`` points, so many equidistant ones are taken: v^H B(w)^H B(w) v is a
    trigonometric polynomial in w of degree d < kernel extent, and its largest value is at most 1 / cos(pi d / N) times
    the largest of N equidistant ones (Ehlich and Zeller, Math. Z. 86, 1964, theorem 1); the kernel must fit (N > 2 d).
    """
    weight, scale = scaled(weight.detach().double())
    taps, phase_of = _phases(weight, torus, stride, dilation)
    sizes, excess = [], 1.0
    for axis in (0, 1):
        points = torus[axis] // stride[axis]
        degree = max(tap[axis] for tap, _ in taps)
        if points > FREQUENCIES and 2 * degree < FREQUENCIES:
            excess /= math.cos(math.pi * degree / FREQUENCIES)
            points = FREQUENCIES
        sizes.append(points)
    frequencies = torch.cartesian_prod(torch.arange(sizes[0]), torch.arange(sizes[1] // 2 + 1))
    columns = weight.shape[1] * math.prod(stride)
    largest = 0.0
    for part in frequencies.split(max(1, CHUNK // (weight.shape[0] * columns))):
        largest = max(largest, gram_norm(_blocks(part, taps, phase_of, sizes, columns)))
    total = sum(matrix.norm().item() for _, matrix in taps)  # of the sums over taps, in Frobenius norm
    largest += (len(taps) + 16) * UNIT_ROUNDOFF * total
    return times(rounded_up(largest * math.sqrt(excess), 8), scale)


Tap = tuple[tuple[int, int], Tensor]  # (place on the coarse torus, (out, in))


def _phases(
    weight: Tensor, torus: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[list[Tap], list[int]]:
    """The taps of a kernel on the coarse torus, and the phase of the stride that each belongs to."""
    taps, phases = [], []
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            y, x = i * dilation[0] % torus[0], j * dilation[1] % torus[1]
            taps.append(((y // stride[0], x // stride[1]), weight[:, :, i, j]))
            phases.append(y % stride[0] * stride[1] + x % stride[1])
    return taps, phases


def _blocks(frequencies: Tensor, taps: list[Tap], phase_of: list[int], sizes: list[int], columns: int) -> Tensor:
    """Fourier blocks (f, out, in * phases) at frequencies (f, 2), angles reduced exactly before cos and sin."""
    device = taps[0][1].device
    period = sizes[0] * sizes[1]
    parts = []
    for phase in range(max(phase_of) + 1):
        chosen = [tap for tap, of in zip(taps, phase_of, strict=True) if of == phase]
        if not chosen:
            continue
        places = torch.tensor([place for place, _ in chosen])
        turns = frequencies[:, :1] * places[:, 0] * sizes[1] + frequencies[:, 1:] * places[:, 1] * sizes[0]
        angles = (-2 * math.pi / period) * (turns % period).double()
        waves = torch.polar(torch.ones_like(angles), angles).to(device)
        matrices = torch.stack([matrix for _, matrix in chosen])
        kernel = matrices.flatten(1).to(waves.dtype)
        parts.append((waves @ kernel).view(len(frequencies), *matrices.shape[1:]))
    return torch.cat(parts, dim=2) if parts else torch.zeros(1, 1, columns)


# --- any linear map --------------------------------------------------------------------------------------------------


@torch.no_grad()
def dense_norm(
    apply: Callable[[Tensor], Tensor], shape: tuple[int, ...], *, error: float, costly: bool = False
) -> float | None:
    """Norm of a linear map through its dense matrix, rounded up; None where that takes too many multiplications.

    apply: float64 (n, *shape) to (n, *out), linear; error: bounds its own rounding errors, in the operator norm;
    costly: the limit is ``COSTLY``, not ``CHEAP``.
    """
    limit = COSTLY if costly else CHEAP
    inputs = math.prod(shape)
    outputs = apply(torch.zeros(1, *shape, dtype=torch.float64)).numel()
    if inputs * outputs > DENSE_ENTRIES or inputs * outputs * min(inputs, outputs) > limit:
        return None
    basis = torch.eye(inputs, dtype=torch.float64)
    rows = [apply(part.view(-1, *shape)).flatten(1) for part in basis.split(256)]
    matrix, scale = scaled(torch.cat(rows))
    return rounded_up(times(gram_norm(matrix[None]), scale) + error)
