import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from lipbench.certification.lipschitz.table import RULES
from lipbench.errors import LipbenchError
from lipbench.training.fit import DeviceSplit, Fit, PlainLoss, decay, forward_precision, measure
from lipbench.training.recipes import History, Training


def test_schedules():
    assert decay("constant", 0.7) == 1
    assert [decay("cosine", share) for share in (0, 0.5, 1)] == pytest.approx([1, 0.5, 0])
    assert [decay("one_cycle", share) for share in (0, 0.15, 0.3, 0.65, 1)] == pytest.approx([0.04, 0.52, 1, 0.5, 0])


def fit(**how):
    torch.manual_seed(0)
    x, labels = torch.rand(64, 1, 2, 2), torch.randint(2, (64,))
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    training = Training(**{"epochs": 2, "batch_size": 16, "optimizer": "sgd", "schedule": "constant", **how})
    return Fit(model, PlainLoss(nn.CrossEntropyLoss()), training, DeviceSplit(x, labels), 0, torch.Generator())


class Squared(nn.Module):
    takes_targets = True

    def forward(self, logits, targets):
        return ((logits[:, 0] - targets) ** 2).mean()


def test_a_loss_may_take_targets_in_place_of_labels():
    torch.manual_seed(0)
    x, labels = torch.rand(64, 1, 2, 2), torch.randint(2, (64,))
    targets = 3 * x[:, 0, 1, 0] - x[:, 0, 0, 1] + 0.5
    model = nn.Sequential(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(4, 1)))
    training = Training(epochs=300, batch_size=16, learning_rate=0.05)
    fitted = Fit(model, PlainLoss(Squared()), training, DeviceSplit(x, labels, targets), 0, torch.Generator())
    for _ in range(training.epochs):
        fitted.history.append(fitted.epoch())
    assert weight(fitted).flatten().tolist() == pytest.approx([0, -1, 3, 0], abs=0.02)
    with pytest.raises(LipbenchError, match="targets_train"):
        Fit(model, PlainLoss(Squared()), training, DeviceSplit(x, labels), 0, torch.Generator())


def weight(fitted):
    return fitted.model[1][1].weight.detach().clone()


def test_the_gradient_is_clipped_as_a_whole():
    free, clipped = fit(learning_rate=1.0), fit(learning_rate=1.0, gradient_clip=1e-3)
    before = weight(free)
    free.epoch(), clipped.epoch()
    assert (weight(free) - before).norm() > 0.05
    # four steps of nesterov momentum, of length at most 1e-3 each
    assert (weight(clipped) - before).norm() < 4e-3 * (1 + 0.9 + 0.81 + 0.73 + 0.66)


def test_weights_decay():
    plain, decayed = fit(learning_rate=1e-1), fit(learning_rate=1e-1, weight_decay=1.0)
    plain.epoch(), decayed.epoch()
    assert weight(decayed).norm() < 0.8 * weight(plain).norm()


def test_the_average_follows_the_weights():
    fitted = fit(learning_rate=1.0, ema=0.5)
    start, path = weight(fitted), []
    step = fitted.optimizer.step
    fitted.optimizer.step = lambda: (step(), path.append(weight(fitted)))
    fitted.epoch()
    mean = start
    for point in path:
        mean = 0.5 * mean + 0.5 * point
    assert torch.allclose(fitted.averaged[1][1].weight, mean, atol=1e-6)
    assert not torch.allclose(fitted.averaged[1][1].weight, weight(fitted), atol=1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_running_statistics_that_are_not_finite_have_diverged(value):
    """Training uses the statistics of the batch, so that neither the loss nor the weights tell."""
    fitted = fit(learning_rate=1e-3)
    fitted.model[1].append(nn.BatchNorm1d(2))
    assert fitted.epoch()["epoch"] == 1
    fitted.model[1][2].running_var[0] = value
    with pytest.raises(LipbenchError, match="training diverged: running statistics are not finite in epoch"):
        fitted.epoch()


class Undefined(nn.Module):
    """NaN where the first pixel is above one half."""

    def forward(self, x):
        return x + torch.where(x[:, :1] > 0.5, math.nan, 0.0)


def test_the_accuracy_of_logits_that_are_not_finite_is_none(monkeypatch):
    x, labels = torch.rand(20, 1, 2, 2), torch.zeros(20, dtype=torch.int64)
    monkeypatch.setitem(RULES, Undefined, lambda layer, input_shape: 1.0)
    history = History(eps=(0.1,))
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert measure(module, DeviceSplit(x, labels), history)["accuracy"] <= 1
    with pytest.raises(LipbenchError, match="finite"):
        measure(nn.Sequential(nn.Flatten(), Undefined(), nn.Linear(4, 2)), DeviceSplit(x, labels), history)


def test_bytes_and_floats_are_the_same_images():
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    labels = torch.zeros(1, dtype=torch.int64)
    x = DeviceSplit(images, labels).x(slice(None))
    assert torch.equal(x, DeviceSplit(images.float() / 255, labels).x(slice(None)))
    assert (x.min(), x.max()) == (0, 1)


def test_bfloat16_is_for_the_forward_pass_only():
    """Weights that are computed from others are computed in float32, once."""
    kinds = []

    class Scaled(nn.Module):
        def forward(self, weights):
            kinds.append((weights @ weights.T).dtype)
            return weights * 0.5

    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "weight", Scaled())
    kinds.clear()
    with forward_precision(layer, "bfloat16", torch.device("cpu")):
        out = layer(torch.rand(3, 4)) + layer(torch.rand(3, 4))
    assert out.dtype == torch.bfloat16
    assert kinds == [torch.float32]
    out.float().sum().backward()
    assert layer.parametrizations.weight.original.grad.dtype == torch.float32
