import pytest
import torch
from torch import nn

from lipbench.attacks import guard
from lipbench.attacks.art import square
from lipbench.attacks.base import AttackCall
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import UnsupportedError


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # ART divides by zero on tiles of one pixel
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("size", [*range(1, 20), 28, 32])
def test_square_is_refused_where_art_fails_and_only_there(norm, size):
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(size * size, 3)), (1, size, size))
    x = torch.rand(3, 1, size, size, generator=torch.Generator().manual_seed(0))
    labels = network.predict(x).argmax(1)
    spec = AttackSpec(name="art/square", args={"max_iter": 30})
    args = {"max_iter": 30, "p_init": 0.8, "restarts": 1, "batch_size": 3}
    call = AttackCall(network, x, labels, norm, 1e-4, 0, args, AttackBatch.alone(3))
    library = square.ATTACK.configured(call)
    try:
        guard.supported(spec, 3, network.input_shape, norm)
    except UnsupportedError:
        with pytest.raises((ValueError, IndexError)):
            library.generate(x=x.numpy(), y=labels.numpy())
    else:
        library.generate(x=x.numpy(), y=labels.numpy())
