"""FAB's projections: the library's in float64, and what defines them."""

import pytest
import torch
from torch import nn

from lipbench.attacks import guard
from lipbench.attacks.autoattack import projection
from lipbench.attacks.guard import AttackSpec
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm

SIZES = pytest.mark.parametrize("size", [1, 2, 5, 64, 784])
SCALES = pytest.mark.parametrize("scale", [0.02, 0.3, 3.0, 100.0])  # of the offsets: the last ones miss the box
NORMS = pytest.mark.parametrize("norm", ["l2", "linf"])


def ours(norm):
    return getattr(projection, f"projection_{norm}")


def cases(size, scale, count=300):
    """Points of which some coordinates are on the box, normals with zeros, hyperplanes near and far: float64."""
    generator = torch.Generator().manual_seed(size)
    points = torch.rand(count, size, generator=generator, dtype=torch.float64)
    points = torch.where(points < 0.1, 0.0, torch.where(points > 0.9, 1.0, points))
    normals = torch.randn(count, size, generator=generator, dtype=torch.float64)
    normals *= 10 ** (4 * torch.rand(count, 1, generator=generator, dtype=torch.float64) - 2)
    normals[torch.rand(count, size, generator=generator) < 0.1] = 0.0
    away = torch.randn(count, generator=generator, dtype=torch.float64)
    return points, normals, (normals * points).sum(1) + scale * normals.norm(dim=1) * away


@NORMS
@SIZES
@SCALES
def test_the_steps_are_the_librarys(norm, size, scale):
    from pyautoattack import fab_projections

    points, normals, offsets = cases(size, scale)
    theirs = getattr(fab_projections, f"projection_{norm}")(points, normals, offsets)
    assert torch.allclose(ours(norm)(points, normals, offsets), theirs, rtol=1e-9, atol=1e-12)


@NORMS
@SIZES
@SCALES
def test_the_steps_stay_in_the_box_and_reach_the_hyperplane_or_the_corner_nearest_to_it(norm, size, scale):
    points, normals, offsets = cases(size, scale)
    ends = points + ours(norm)(points, normals, offsets)
    assert ends.min() >= -1e-12
    assert ends.max() <= 1 + 1e-12
    height = (normals * points).sum(1) - offsets
    corners = torch.where(height[:, None] * normals > 0, 0.0, torch.where(normals == 0, points, 1.0))
    missed = ((normals * corners).sum(1) - offsets).sign() == height.sign()
    assert torch.allclose(ends[missed], corners[missed], atol=1e-12)
    left = ((normals * ends).sum(1) - offsets).abs() / normals.norm(dim=1).clamp_min(1e-12)
    assert (left[~missed] < 1e-11).all()
    assert missed.any() or scale < 100.0
    assert not missed.all() or scale > 0.02


@NORMS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_normal_of_zeros_moves_nothing(norm, dtype):
    points = torch.rand(3, 7, dtype=dtype)
    steps = ours(norm)(points, torch.zeros_like(points), torch.tensor([-1.0, 0.0, 1.0], dtype=dtype))
    assert torch.equal(steps, torch.zeros_like(points))


def test_in_l2_a_weight_that_is_next_to_nothing_moves_nothing():
    points, normals, offsets = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 1e-9]]), torch.tensor([-1.0])
    assert torch.equal(projection.projection_l2(points, normals, offsets), torch.tensor([[-0.5, 0.0]]))


def test_by_hand():
    points, normals, offsets = torch.tensor([[0.5, 0.5]]), torch.tensor([[3.0, 4.0]]), torch.tensor([3.0])
    # c = .5, |w|^2 = 25: a = .02; in L_inf a = .5 / 7
    assert torch.allclose(projection.projection_l2(points, normals, offsets), torch.tensor([[-0.06, -0.08]]))
    assert torch.allclose(projection.projection_linf(points, normals, offsets), torch.tensor([[-0.5, -0.5]]) / 7)
    # the second coordinate meets the box at .1, the first makes up for it
    points = torch.tensor([[0.5, 0.1]])
    offsets = torch.tensor([0.9])  # c = 1: .4 by the second, .6 by the first
    for norm in ("l2", "linf"):
        assert torch.allclose(ours(norm)(points, normals, offsets), torch.tensor([[-0.2, -0.1]]))


@NORMS
def test_rows_do_not_depend_on_how_many_are_projected_at_once(norm, monkeypatch):
    batch = [part.float() for part in cases(64, 0.3)]
    together = ours(norm)(*batch)
    monkeypatch.setattr(projection, "CACHE", 64 * 7)
    assert torch.equal(ours(norm)(*batch), together)


@NORMS
def test_float32_is_as_near_to_float64_as_the_librarys(norm):
    from pyautoattack import fab_projections

    batch = cases(784, 0.3)
    exact = ours(norm)(*batch)
    single = [part.float() for part in batch]
    error = (ours(norm)(*single) - exact).abs().max()
    theirs = (getattr(fab_projections, f"projection_{norm}")(*single) - exact).abs().max()
    assert error <= 2 * theirs


@NORMS
def test_fab_projects_with_them_and_leaves_the_librarys_alone(norm, monkeypatch):
    from pyautoattack import fab_base, fab_projections

    asked = []
    function = ours(norm)
    monkeypatch.setattr(projection, f"projection_{norm}", lambda *args: asked.append(args) or function(*args))
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)), (3, 8, 8))
    x = torch.rand(5, 3, 8, 8)
    labels = network(x).argmax(1)
    spec = AttackSpec(name="autoattack/fab-t", args={"n_iter": 4})
    found = guard.search(spec, network, x, labels, norm=Norm.parse(norm), eps=None, seed=0)
    assert len(asked) == 4  # one batch holds both targets
    assert (network(found).argmax(1) != labels).any()
    assert getattr(fab_base, f"projection_{norm}") is getattr(fab_projections, f"projection_{norm}")
