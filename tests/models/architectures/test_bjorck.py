import pytest
import torch
from deel import torchlip
from deel.torchlip.normalizers import bjorck_normalization

from lipbench.models import architectures
from lipbench.models.architectures.bjorck import Bjorck, BjorckBy, orthogonalize, orthogonalize_by

SHAPES = [(8, 8), (6, 40), (40, 6), (8, 3, 3, 3), (64, 4, 3, 3), (1, 10), (10, 1)]


def weights(shape, least, dtype):
    """Singular values from ``least`` to 1, as after a spectral normalisation."""
    generator = torch.Generator().manual_seed(0)
    u, s, v = torch.linalg.svd(
        torch.randn(shape, generator=generator, dtype=torch.float64).flatten(1), full_matrices=False
    )
    return (u @ torch.diag(torch.linspace(1, least, len(s), dtype=s.dtype)) @ v).reshape(shape).to(dtype)


def with_gradient(function, weight):
    weight = weight.clone().requires_grad_()
    found = function(weight)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)).to(found.dtype)
    return found.detach(), torch.autograd.grad(found, weight, direction)[0]


@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("least", [0.9999, 0.99, 0.9, 0.3, 0.01])  # 1 to 15 steps
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_library_s_function_and_gradient(shape, least, early):
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-6)):
        weight = weights(shape, least, dtype)
        value, gradient = with_gradient(lambda w: bjorck_normalization(w, 1e-3), weight)
        mine, slope = with_gradient(lambda w: orthogonalize(w, 1e-3, early), weight)
        assert (mine - value).abs().max() < tolerance
        assert (slope - gradient).norm() < tolerance * gradient.norm()


@pytest.mark.parametrize("least", [0.99, 0.9, 0.5, 0.1])
def test_float32_ends_as_near_to_orthogonal_as_the_library_s(least):
    def excess(weight):
        return float(torch.linalg.svdvals(weight.double())[0]) - 1

    weight = weights((64, 300), least, torch.float32)
    assert excess(orthogonalize(weight, 1e-3)) < max(2 * excess(bjorck_normalization(weight, 1e-3)), 1e-6)


def test_layers_have_it_and_go_on_as_the_library_s():
    torch.manual_seed(0)
    mine = architectures.CONSTRAINED.conv(3, 8, 3, padding=1)
    torch.manual_seed(0)
    library = torchlip.SpectralConv2d(3, 8, 3, padding=1)
    assert any(isinstance(part, Bjorck) for part in mine.parametrizations.weight)
    assert mine.state_dict().keys() == library.state_dict().keys()
    x = torch.randn(4, 3, 8, 8)
    for layer in (mine, library):
        optimizer = torch.optim.SGD(layer.parameters(), lr=1e-4)
        for _ in range(5):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    assert torch.allclose(mine(x), library(x), atol=1e-5)
    assert torch.equal(mine.eval()(x), mine(x))
    exported = mine.vanilla_export()
    assert torch.equal(exported(x), mine(x))


@pytest.mark.parametrize("least", [1, 1 - 4e-6, 0.99, 0.9, 0.3, 0.1, 0.03, 0.01, 0])  # of .03, 12 steps are not enough
@pytest.mark.parametrize("shape", [(8, 8), (6, 40), (40, 6), (64, 300), (1, 10)])
def test_a_number_of_steps_is_orthogonium_s_function_and_gradient(shape, least):
    reparametrizers = pytest.importorskip("orthogonium.reparametrizers")
    library = reparametrizers.BatchedBjorckOrthogonalization(shape)
    exact, gradient = with_gradient(library, weights(shape, least, torch.float64))
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 5e-6 if least >= 0.1 else 1e-3)):
        mine, slope = with_gradient(BjorckBy(library), weights(shape, least, dtype))
        assert (mine - exact).abs().max() < min(tolerance, 2e-5)
        assert (slope - gradient).norm() < tolerance * gradient.norm()
        assert torch.linalg.svdvals(mine.double())[0] - 1 < 1e-6  # claims hold up to 3e-6


def test_a_row_of_zeros_stays_one():
    weight = weights((6, 40), 0.5, torch.float32)
    weight[2] = 0
    found = orthogonalize_by(weight, 12)
    assert torch.equal(found[2], torch.zeros(40))
    assert torch.linalg.svdvals(found.double())[4] == pytest.approx(1, abs=1e-6)


def test_layers_of_orthogonium_train_as_the_library_s():
    library = pytest.importorskip("orthogonium.layers").OrthoLinear
    found = []
    for make in (architectures.layers_of("orthogonium", True).linear, library):
        torch.manual_seed(0)
        layer, x = make(40, 8), torch.randn(16, 40)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        for _ in range(10):
            optimizer.zero_grad()
            layer(x).relu().sum().backward()
            optimizer.step()
        found.append((layer.state_dict().keys(), layer(x)))
    assert found[0][0] == found[1][0]
    assert torch.allclose(found[0][1], found[1][1], atol=1e-4)


def test_nothing_that_is_not_finite_is_iterated_on():
    assert orthogonalize(torch.full((2, 3), torch.nan), 1e-3).isnan().all()
    assert orthogonalize_by(torch.full((2, 3), torch.nan), 12).isnan().all()
