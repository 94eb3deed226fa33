"""Networks that have a bound and no error analysis, with the constant that each truly has."""

import math

import torch
from deel import torchlip
from torch import nn

from lipbench._internal import files, resources
from lipbench.certification.lipschitz import frozen
from lipbench.models import cards
from lipbench.models.cards import Architecture, Lipschitz
from lipbench.models.stored import serialize
from lipbench.models.zoo import model_folders

GELU_SLOPE = 0.5 * (1 + math.erf(1)) + math.exp(-1) / math.sqrt(math.pi)  # at sqrt(2), its largest: 1.1289


def smooth(layers=None, input_shape=(1, 8, 8), num_classes=10, *, offset: float = 0.0) -> list[nn.Module]:
    """8 times the mean of the input, less 1, through a GELU, to logits on one line: L is GELU's largest slope.

    An architecture for the registry. offset: of every logit; it changes no slope and no class. Classes 0 and 1 meet
    where the slope is largest, between test images of the digits.
    """
    pixels = math.prod(input_shape)
    first, last = nn.Linear(pixels, 1), nn.Linear(1, num_classes)
    with torch.no_grad():
        first.weight.fill_(pixels**-0.5), first.bias.fill_(-1.0)
        last.weight.zero_(), last.bias.fill_(offset - 10)
        last.weight[:2, 0] = torch.tensor([2**-0.5, -(2**-0.5)])
        last.bias[:2] = torch.tensor([offset - 1.3 * 2**-0.5, offset + 1.3 * 2**-0.5])
    return [nn.Flatten(), first, nn.GELU(), last]


def smooth_network(**options) -> nn.Sequential:
    return nn.Sequential(*smooth(**options)).eval()


def householder() -> nn.Sequential:
    """A rotation, a reflection where needed, a rotation: L = 1."""
    torch.manual_seed(0)
    first, last = nn.Linear(64, 8), nn.Linear(8, 8)
    nn.init.orthogonal_(first.weight), nn.init.orthogonal_(last.weight)
    return nn.Sequential(nn.Flatten(), first, torchlip.HouseHolder(8), last).eval()


def batch_lip_norm() -> nn.Sequential:
    """An affine network: L is the norm of its matrix."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), torchlip.BatchLipNorm(4), nn.Flatten(), nn.Linear(256, 4))
    for _ in range(5):
        net(torch.rand(20, 1, 8, 8))
    return net.eval()


@torch.no_grad()
def affine_norm(net: nn.Module) -> float:
    """The spectral norm of an affine network on (1, 8, 8), from its dense matrix."""
    exact = frozen(net).double()
    images = exact(torch.eye(64, dtype=torch.float64).view(64, 1, 8, 8))
    return torch.linalg.matrix_norm(images - exact(torch.zeros(1, 1, 8, 8, dtype=torch.float64)), ord=2).item()


class Double(nn.Module):
    """Twice its input."""

    def forward(self, x):
        return 2 * x


def doubled(layers=None, input_shape=(1, 8, 8), num_classes=10) -> list[nn.Module]:
    """The mean of the input, times 8, doubled, as one of the logits: L = 2. An architecture for the registry."""
    pixels = math.prod(input_shape)
    last = nn.Linear(pixels, num_classes)
    with torch.no_grad():
        last.weight.zero_(), last.bias.zero_()
        last.weight[0] = pixels**-0.5
    return [nn.Flatten(), Double(), last]


def store(folder, claimed: float | None, name: str = "smooth"):
    """A model of an architecture here as a folder of a zoo; returns the folder."""
    source = cards.read(model_folders(resources.folder("digits"))[0])
    data = serialize(nn.Sequential(*{"smooth": smooth, "doubled": doubled}[name]()))
    update = {
        "name": name,
        "architecture": Architecture(name=name, constrained=True),
        "weights_sha256": files.sha256_bytes(data),
        "claimed": None if claimed is None else Lipschitz(constant=claimed),
        "preprocessing": None,
    }
    files.write_bytes(folder / cards.WEIGHTS, data)
    cards.write(folder, source.model_copy(update=update))
    return folder
