"""FAB's projections, without the sort that took most of its time.

From a point t in [0, 1]^d to a hyperplane w . x = b within the box (Croce and Hein 2020, arXiv 1907.02044, problem
(3)). With the sign of w such that c = w . t - b >= 0, the smallest step in L2 is -min(a, r_i) w_i, in L_inf
-min(a, r_i) sign(w_i), where a coordinate meets the box at r_i, and a solves sum_i v_i min(a, r_i) = c with
v_i = w_i^2 or |w_i|. The left side is concave in a: Newton's method from 0 comes up to the solution from below and ends
there after finitely many steps, each linear in d; pyautoattack sorts r. Where the hyperplane misses the box, both step
to the corner nearest to it.
"""

import torch
from torch import Tensor

from lipbench.attacks.norm import Norm

TINY = 1e-8  # in L2, a weight below it counts as 0, as in pyautoattack
STEPS = 100  # of Newton's method; about 5 are needed, 28 at worst among weights made to be bad
CACHE = 2**17  # elements of the arrays that the steps read again and again: they stay in the cache of a core


def projection_l2(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """The steps in L2: float (m, d). points t in [0, 1] and normals w: (m, d); offsets b: (m,)."""
    return _projections(points, normals, offsets, Norm.L2)


def projection_linf(points: Tensor, normals: Tensor, offsets: Tensor) -> Tensor:
    """The steps in L_inf, as ``projection_l2``."""
    return _projections(points, normals, offsets, Norm.Linf)


def _projections(points: Tensor, normals: Tensor, offsets: Tensor, norm: Norm) -> Tensor:
    size = max(1, CACHE // points.shape[1]) if points.device.type == "cpu" else max(1, len(points))
    parts = zip(points.split(size), normals.split(size), offsets.split(size), strict=True)
    return torch.cat([_projection(*part, norm) for part in parts])


def _projection(points: Tensor, normals: Tensor, offsets: Tensor, norm: Norm) -> Tensor:
    c = (normals * points).sum(dim=1, keepdim=True) - offsets[:, None]
    w = torch.where(c >= 0, normals, -normals)
    c = c.abs()
    room = torch.where(w > 0, points, points - 1)  # signed: -room is the longest step
    if norm is Norm.L2:
        w = torch.where(w.abs() > TINY, w, 0)
        direction, r, weights = w, torch.where(w == 0, 0, room / w), w * w
    else:
        direction, r, weights = w.sign(), torch.where(w == 0, 0, room.abs()), w.abs()
    return -torch.minimum(r, _solved(r, weights, c)) * direction


def _solved(r: Tensor, weights: Tensor, c: Tensor) -> Tensor:
    """a with sum_i weights_i min(a, r_i) = c: (m, 1); infinite where no a is large enough."""
    a = torch.zeros_like(c)
    for _ in range(STEPS):
        missing = c - (torch.minimum(r, a) * weights).sum(dim=1, keepdim=True)
        slope = torch.where(r > a, weights, 0).sum(dim=1, keepdim=True)
        further = a + missing / slope  # infinite where every coordinate has met the box
        step = (missing > 0) & (further > a)
        if not step.any():
            break
        a = torch.where(step, further, a)
    return a
