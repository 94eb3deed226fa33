"""Checks of an attack."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipbench import data
from lipbench._internal.randomness import keeping_random_numbers
from lipbench._internal.registry import ATTACKS
from lipbench.attacks import guard
from lipbench.attacks.base import Attack, AttackCall
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.models.stored import load_model
from lipbench.models.zoo import find_zoo, model_folders
from lipbench.testing.state import leaves_network, leaves_settings, named, random_numbers

EPS = {Norm.L2: 1.0, Norm.Linf: 0.2}
SLACK = 1e-5  # relative, of eps: roundings of float32


def check_attack(attack: Any, args: Mapping[str, Any] | None = None, *, samples: int = 16, finds: bool = True) -> None:
    """Check an attack on a network of the bundled zoo of digits, in each norm that it supports.

    attack: a registered name, an ``Attack``, or a function ``(model, x, labels, eps)``; args: those that differ from
    their defaults; samples: test samples, of which the correctly classified ones are attacked; finds: it must find an
    adversarial input at a large eps.

    Checked are the attack's own candidates, before lipbench clips them: their shape and type, that they lie in [0, 1]
    and within eps; that the same seed gives the same candidates, also after other calls; and that nothing is left
    behind: the inputs, the network's weights, modes, gradients and ``requires_grad``, settings of torch, and global
    random numbers that it has seeded. Raises AssertionError.
    """
    spec = AttackSpec(name=named(ATTACKS, attack), args=dict(args or {}))
    with keeping_random_numbers():
        _check(spec, guard.attack_of(spec), samples, finds)


def _check(spec: AttackSpec, made: Attack, samples: int, finds: bool) -> None:
    network = _network()
    x, labels = _samples(network, samples)
    for norm in sorted(made.norms):
        said, eps = f"the attack {spec} in {norm}", None if made.minimal_norm else EPS[norm]
        guard.supported(spec, network.num_classes, network.input_shape, norm)
        first = _candidates(made, spec, network, x, labels, norm, eps, seed=1)
        _check_range(first, x, norm, eps, said)
        _candidates(made, spec, network, x[:3].flip(3), labels[:3], norm, eps, seed=2)
        again = _candidates(made, spec, network, x, labels, norm, eps, seed=1)
        assert torch.equal(first, again), f"{said} gives other candidates from the same seed"
        if finds:
            adversarial, _, _ = guard.check_candidates(network, x, labels, first.clamp(0, 1), norm)
            large = "any distance" if eps is None else f"eps = {eps:g}"
            assert adversarial.any(), f"{said} finds no adversarial input of {len(x)} samples at {large}"


def _network() -> Network:
    folder = next(folder for folder in model_folders(find_zoo("digits")) if "unconstrained" not in folder.name)
    model = load_model(folder)
    return Network(model.module, model.card.input_shape, dtype="float32")


def _samples(network: Network, samples: int) -> tuple[Tensor, Tensor]:
    split = data.load("digits").test.first(samples)
    x, labels = torch.from_numpy(split.x), torch.from_numpy(np.array(split.labels))
    correct = network.predict(x).argmax(1) == labels
    return x[correct], labels[correct]


def _candidates(
    attack: Attack,
    spec: AttackSpec,
    network: Network,
    x: Tensor,
    labels: Tensor,
    norm: Norm,
    eps: float | None,
    seed: int,
) -> Tensor:
    """What ``run`` returns for one call, as it is; raises AssertionError for what it leaves behind."""
    said = f"the attack {spec} in {norm}"
    given_x, given_labels, ends = x.clone(), labels.clone(), []
    for start in (seed, seed + 1000):  # the second only to see whether it seeds anything itself
        _seed(start)
        arguments = {**attack.defaults, **spec.args}
        batch = AttackBatch.alone(len(x), seed)
        call = AttackCall(network.eval(), given_x, given_labels, norm, eps, seed, arguments, batch)
        with leaves_settings(said), leaves_network(network, said), torch.enable_grad():
            found = attack.run(call)
        assert torch.equal(given_x, x), f"{said} changes its inputs in place"
        assert torch.equal(given_labels, labels), f"{said} changes the labels in place"
        ends.append((found, random_numbers()))
    for library, one, other in zip(("torch", "NumPy", "random"), ends[0][1], ends[1][1], strict=True):
        assert one != other, f"{said} seeds the global random numbers of {library}: lipbench has seeded them"
    found = ends[0][0]
    assert isinstance(found, Tensor), f"{said} returns {type(found).__name__}, expected a tensor"
    return found.detach()


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def _check_range(found: Tensor, x: Tensor, norm: Norm, eps: float | None, said: str) -> None:
    assert found.shape == x.shape, f"{said} returns shape {tuple(found.shape)}, expected {tuple(x.shape)}"
    assert found.is_floating_point(), f"{said} returns {found.dtype}, expected floats"
    assert torch.isfinite(found).all(), f"{said} returns candidates that are not finite"
    low, high = float(found.min()), float(found.max())
    assert low >= -SLACK, f"{said} leaves the range [0, 1]: the smallest value is {low:.6g}"
    assert high <= 1 + SLACK, f"{said} leaves the range [0, 1]: the largest value is {high:.6g}"
    if eps is not None:
        delta = (found.double() - x.double()).flatten(1)
        most = float(delta.abs().max() if norm is Norm.Linf else delta.norm(dim=1).max())
        assert most <= eps * (1 + SLACK), f"{said} moves a sample by {most:.6g}, further than eps = {eps:g}"
