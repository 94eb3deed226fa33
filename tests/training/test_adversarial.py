import pytest
import torch
from torch import nn

from lipbench.training.adversarial import AdversarialLoss, divergence
from lipbench.training.recipes import PGDTraining, Trades


class Watched(nn.Module):
    """A small network that keeps what it was asked, and in which mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 5))
        self.seen = []

    def forward(self, x):
        self.seen.append((x.detach().clone(), self.training))
        return self.net(x)


@pytest.fixture
def model():
    return Watched().train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(32, 3, 4, 4, generator=generator), torch.randint(5, (32,), generator=generator)


def made(how):
    return AdversarialLoss(how, nn.CrossEntropyLoss(), torch.Generator().manual_seed(0))


def sizes(delta, norm):
    return torch.linalg.vector_norm(delta.flatten(1), ord=2 if norm == "L2" else float("inf"), dim=1)


@pytest.mark.parametrize(("norm", "eps"), [("L2", 0.5), ("Linf", 0.05)])
def test_pgd_raises_the_loss_within_the_ball(model, batch, norm, eps):
    x, labels = batch
    loss = made(PGDTraining(norm=norm, eps=eps, steps=10))
    value, logits = loss(model, x, labels)
    found, training = model.seen[-1]
    assert training
    assert model.training
    assert not any(training for _, training in model.seen[:-1])
    assert len(model.seen) == 11
    assert (sizes(found - x, norm) <= eps * (1 + 1e-5)).all()
    assert (sizes(found - x, norm) > eps / 2).float().mean() > 0.9
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(value, nn.CrossEntropyLoss()(logits, labels))
    model.eval()
    noise = x + loss.random_start(x) * eps
    rise = [nn.CrossEntropyLoss()(model(points), labels).item() for points in (x, noise.clamp(0, 1), found)]
    assert rise[2] > rise[0] + 0.05
    assert rise[2] > rise[1] + 0.05
    value.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_share_of_the_batch(model, batch):
    x, labels = batch
    made(PGDTraining(eps=0.5, steps=2, ratio=0.25))(model, x, labels)
    moved = (model.seen[-1][0] != x).flatten(1).any(1)
    assert moved[:8].all()
    assert not moved[8:].any()


def test_trades_is_the_loss_at_x_and_the_divergence(model, batch):
    x, labels = batch
    value, logits = made(Trades(eps=0.5, steps=10, beta=6))(model, x, labels)
    (clean, first), (found, second) = model.seen[-2:]
    assert first
    assert second
    assert torch.equal(clean, x)
    assert (sizes(found - x, "L2") <= 0.5 * (1 + 1e-5)).all()
    model.net[2].eval()
    model.train()
    p, q = model.net(x).softmax(1), model.net(found).softmax(1)
    kl = (p * (p / q).log()).sum(1).mean()
    assert float(value) == pytest.approx(float(nn.CrossEntropyLoss()(model.net(x), labels) + 6 * kl), rel=1e-5)
    assert torch.allclose(logits, model.net(found), atol=1e-6)
    model.eval()
    with torch.no_grad():
        still = model.net(x)
        noise = (x + made(Trades(eps=0.5, beta=6)).random_start(x) * 0.5).clamp(0, 1)
        assert divergence(model.net(found), still) > 2 * divergence(model.net(noise), still)


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_random_starts_fill_the_ball(norm):
    loss = made(PGDTraining(norm=norm, eps=1.0))
    size = sizes(loss.random_start(torch.zeros(4000, 1, 1, 2)), norm)
    assert size.max() <= 1 + 1e-6
    for radius in (0.3, 0.6, 0.9):  # in the plane, the share within a radius is its square
        assert (size <= radius).float().mean() == pytest.approx(radius**2, abs=0.03)


class Confident(nn.Module):
    """Logits whose gap is about ``gap`` and falls along the first pixel."""

    def __init__(self, gap):
        super().__init__()
        self.gap = gap

    def forward(self, x):
        other = -self.gap * (1.5 - x[:, :1, 0, 0])
        return torch.cat([torch.zeros_like(other), other], dim=1)


@pytest.mark.parametrize("gap", [1.0, 30.0, 60.0])
def test_pgd_moves_however_sure_the_model_is(gap):
    """The gradient of cross-entropy is of the size of exp(-gap), and its square is 0 in float32."""
    x, labels = torch.full((256, 3, 4, 4), 0.5), torch.zeros(256, dtype=torch.int64)
    _, logits = made(PGDTraining(eps=0.4, steps=10))(Confident(gap), x, labels)
    reached = (gap - (logits[:, 0] - logits[:, 1])) / (0.4 * gap)  # of the largest fall in the ball
    assert reached.mean() > 0.9


def test_trades_has_a_gradient_where_a_softmax_is_zero():
    clean = torch.tensor([[200.0, 0.0], [1.0, 0.0]], requires_grad=True)
    moved = torch.tensor([[150.0, 0.0], [0.0, 1.0]], requires_grad=True)
    divergence(moved, clean).backward()
    assert clean.grad.isfinite().all()
    assert moved.grad.isfinite().all()
    assert clean.grad[1].abs().sum() > 0
