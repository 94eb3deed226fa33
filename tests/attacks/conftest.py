"""One small 1-Lipschitz network on digits, trained once, and the heads for fewer classes cut out of it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from deel import torchlip
from sklearn.datasets import load_digits
from torch import Tensor, nn

from lipbench.attacks.network import Network

torch.set_num_threads(1)


@dataclass(frozen=True)
class Case:
    network: Network
    x: Tensor  # float32 (n, 1, 8, 8), classified correctly
    labels: Tensor

    def first(self, n: int) -> "Case":
        return Case(self.network, self.x[:n], self.labels[:n])


@pytest.fixture(scope="session")
def exported() -> tuple[nn.Sequential, Tensor, Tensor]:
    torch.manual_seed(0)
    pixels, classes = load_digits(return_X_y=True)
    order = torch.randperm(len(pixels))
    x = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 16
    labels = torch.tensor(classes)[order]
    layers = [torchlip.SpectralLinear(64, 64), torchlip.GroupSort2(), torchlip.SpectralLinear(64, 32)]
    model = torchlip.Sequential(nn.Flatten(), *layers, torchlip.GroupSort2(), torchlip.SpectralLinear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(250):
        batch = torch.randint(0, 1200, (128,))
        loss = nn.functional.cross_entropy(16 * model(x[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model(x[:2])
    model.eval()
    return model.vanilla_export().eval(), x[1200:], labels[1200:]


@pytest.fixture(scope="session")
def case(exported) -> Callable[..., Case]:
    """``case(classes, n)``; classes = 1 is a single-logit head that tells 1 from 0."""
    model, x, labels = exported

    def make(classes: int, n: int = 40, scale: float = 1.0, device: str = "cpu") -> Case:
        body, last = list(model)[:-1], list(model)[-1]
        head = nn.Linear(last.in_features, classes)
        with torch.no_grad():
            if classes == 1:
                head.weight.copy_(last.weight[1:2] - last.weight[0:1])
                head.bias.copy_(last.bias[1:2] - last.bias[0:1])
            else:
                head.weight.copy_(last.weight[:classes])
                head.bias.copy_(last.bias[:classes])
            head.weight.mul_(scale)
            head.bias.mul_(scale)
        network = Network(nn.Sequential(*body, head), (1, 8, 8), device)
        keep = (labels < max(classes, 2)) & (network.predict(x.to(device)).argmax(1) == labels)
        return Case(network, x[keep][:n].to(device), labels[keep][:n].to(device))

    return make
