"""The guard between lipbench and every attack: the only caller of ``Attack.run``.

An attack turns inputs into candidates, and nothing else of what it says is trusted. ``search`` checks its input,
restores the global state that attack libraries change, and brings the candidates into the input range;
``check_candidates`` classifies them again and measures them in float64.
"""

import contextlib
import math
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lipbench._internal.registry import ATTACKS
from lipbench.attacks import base
from lipbench.attacks.base import Attack, AttackCall
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.isolation import preserved
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import LARGEST_EPS, AttackSpec
from lipbench.data.arrays import RANKS
from lipbench.errors import AttackError, LipbenchError, NetworkError, UnsupportedError, quoted, reason, unknown_name


def attack_of(spec: AttackSpec) -> Attack:
    """The attack of ``spec``.

    Raises LipbenchError for an unknown attack or argument, and for an argument outside its limits.
    """
    attack = base.named(spec.name)
    parameters = attack.parameters
    for key, value in spec.args.items():
        if key not in parameters:
            raise unknown_name(f"argument of {spec}", key, parameters)
        parameter = parameters[key]
        if parameter.choices and isinstance(value, str) and value not in parameter.choices:
            raise unknown_name(f"{key} of {spec}", value, parameter.choices)
        if not parameter.accepts(value):
            raise LipbenchError(
                f"argument {key!r} of {spec} must be {parameter.expected}, got {quoted(value)} ({parameter.meaning})"
            )
    return attack


def supported(spec: AttackSpec, num_classes: int, input_shape: tuple[int, ...], norm: Norm) -> Attack:
    """The attack of ``spec``; raises UnsupportedError if it cannot run there, and names those that can.

    ``input_shape``: of one input. Raises LipbenchError as ``attack_of`` does.
    """
    attack, why = attack_of(spec), obstacle(spec, num_classes, input_shape, norm)
    if why is None:
        return attack
    others = []
    for name in base.names():
        with contextlib.suppress(LipbenchError), ATTACKS.calling(name):  # one that fails serves nothing
            other = base.named(name)
            if other.minimal_norm == attack.minimal_norm and not _obstacle(other, {}, num_classes, input_shape, norm):
                others.append(name)
    raise UnsupportedError(f"{spec} {why}; attacks that serve this case: {', '.join(others) or 'none'}")


def obstacle(spec: AttackSpec, num_classes: int, input_shape: tuple[int, ...], norm: Norm) -> str | None:
    """Why the attack of ``spec`` cannot run there, to follow its name; None where it can. See ``supported``."""
    attack = attack_of(spec)
    with ATTACKS.calling(spec.name):
        return _obstacle(attack, spec.args, num_classes, input_shape, norm)


def _obstacle(
    attack: Attack, args: Mapping[str, Any], num_classes: int, input_shape: tuple[int, ...], norm: Norm
) -> str | None:
    if len(input_shape) not in attack.ranks:
        served = " and ".join(RANKS[rank] for rank in sorted(attack.ranks))
        return f"serves {served}, got inputs of shape {input_shape}"
    if norm not in attack.norms:
        return f"does not support the norm {norm}, only {', '.join(sorted(attack.norms))}"
    if num_classes < attack.min_classes:
        return f"needs at least {attack.min_classes} classes, the network has {num_classes}"
    if attack.max_classes is not None and num_classes > attack.max_classes:
        return f"takes at most {attack.max_classes} classes, the network has {num_classes}"
    return attack.obstacle({**attack.defaults, **args}, num_classes, input_shape, norm)


def inner_eps(eps: float | Tensor, norm: Norm, dimension: int) -> float | Tensor:
    """The radius given to an attack so that its float32 candidates, measured in float64, lie within ``eps``.

    A candidate x + delta is rounded to float32, by up to 2^-25 for each pixel of [0, 1]; libraries also reach
    a norm about 2e-7 (relative) above the one they were given. So this takes off 1e-6 eps and twice the
    rounding: 2^-24 in Linf, 2^-24 sqrt(d) in L2, but never more than half of eps. Below an eps of about 1e-7
    float32 inputs are too coarse for any promise. ``eps`` may be a tensor.
    """
    rounding = 2.0**-24 * (math.sqrt(dimension) if norm is Norm.L2 else 1.0)
    if isinstance(eps, Tensor):
        return torch.maximum(eps * (1 - 1e-6) - rounding, eps / 2)
    return max(eps * (1 - 1e-6) - rounding, eps / 2)


def search(
    spec: AttackSpec,
    network: Network,
    x: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    eps: float | Tensor | None,
    seed: int,
    batch: AttackBatch | None = None,
) -> Tensor:
    """Candidate inputs for x, found by the attack of ``spec``: float32 (n, ...) in [0, 1]; x itself where
    none.

    x: float32 (n, ...) in [0, 1]; labels: int64 (n,) in 0..K-1; both on the network's device. ``eps`` >
    0, in units of the input range; None for a minimal-norm attack; a tensor (n,) where the attack takes one
    radius for each sample (``per_sample_eps``). ``batch``: by default every sample is its own row, of a shard of
    its own, and any class can be reached; the evaluations are counted there. A misclassified sample is its own
    adversarial input, so the attack does not see it. Random state, trace function, modes and gradients are
    afterwards as before, also after an error.

    Raises LipbenchError for inputs that do not fit; AttackError for any exception of the attack; UnsupportedError as
    ``supported`` does; NetworkError where the network is to blame: it raises, memory is short, or its logits are not
    finite somewhere in [0, 1] where the attack looked.
    """
    attack = supported(spec, network.num_classes, network.input_shape, norm)
    _check_inputs(network, x, labels)
    _check_eps(attack, eps, len(x))
    batch = AttackBatch.alone(len(x), seed) if batch is None else batch
    x = x.detach()
    candidates = x.clone()
    if len(x) == 0:
        return candidates
    before = replace(network.evaluations)
    with preserved(network, seed):
        network.eval()
        correct = (network.predict(x).argmax(1) == labels.cpu()).to(x.device)
        seen = batch.of(correct)
        if correct.any():
            if isinstance(eps, Tensor):
                eps = eps.to(x.device, torch.float64)[correct]
            inside = None if eps is None else inner_eps(eps, norm, x[0].numel())
            arguments = {**attack.defaults, **spec.args}
            call = AttackCall(network, x[correct], labels[correct], norm, inside, seed, arguments, seen)
            candidates[correct] = _candidates(attack, call)
    batch.add(correct, seen)
    after = network.evaluations
    batch.share_out(after.forward - before.forward, after.backward - before.backward)
    return candidates


def _candidates(attack: Attack, call: AttackCall) -> Tensor:
    """The attack's own candidates, brought into [0, 1]. Raises AttackError, NetworkError or UnsupportedError."""
    network, origin = call.network, call.x.clone()  # the attack may overwrite its input
    try:
        fast = network.surrogate.watched(attack.name) if attack.exact else contextlib.nullcontext()
        with network.watched(attack.name), fast:
            found = attack.run(call)
        return _cleaned(attack, found, origin)
    except (AttackError, NetworkError, UnsupportedError):
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:  # the machine's: with more memory the attack would run
        raise NetworkError(f"out of memory in {attack.name}: {reason(error)}") from error
    except LipbenchError as error:
        raise AttackError(str(error)) from error
    except Exception as error:  # libraries raise IndexError, AssertionError and others for what they do not serve
        raise AttackError(f"{attack.name} failed: {reason(error)}") from error


def _check_inputs(network: Network, x: Tensor, labels: Tensor) -> None:
    if x.dtype != torch.float32 or tuple(x.shape[1:]) != network.input_shape:
        expected = ", ".join(str(size) for size in network.input_shape)
        raise LipbenchError(f"expected x float32 of shape (n, {expected}), got {x.dtype} of {tuple(x.shape)}")
    if labels.dtype != torch.int64 or labels.shape != (len(x),):
        raise LipbenchError(f"expected labels int64 of shape ({len(x)},), got {labels.dtype} of {tuple(labels.shape)}")
    for name, tensor in (("x", x), ("labels", labels)):
        if tensor.device.type != network.device.type:
            raise LipbenchError(f"{name} is on {tensor.device}, the network on {network.device}: move one of them")
    if len(x) == 0:
        return
    if not torch.isfinite(x).all():
        raise LipbenchError("x holds NaN or infinite values; attacks need inputs in [0, 1]")
    if x.min() < 0 or x.max() > 1:
        raise LipbenchError(
            f"attacks need inputs in [0, 1], x lies in [{x.min():g}, {x.max():g}]: put the scaling into the network"
        )
    if labels.min() < 0 or labels.max() >= network.num_classes:
        raise LipbenchError(
            f"labels must lie in 0..{network.num_classes - 1}, got {int(labels.min())}..{int(labels.max())}"
        )


def _check_eps(attack: Attack, eps: float | Tensor | None, n: int) -> None:
    if attack.minimal_norm:
        if eps is not None:
            raise LipbenchError(f"{attack.name} searches the smallest perturbation and takes no eps, got {eps}")
        return
    if eps is None:
        raise LipbenchError(f"{attack.name} needs an eps above 0, got None")
    if isinstance(eps, Tensor):
        if not attack.per_sample_eps:
            raise LipbenchError(
                f"{attack.name} takes one eps for all samples, got a tensor of shape {tuple(eps.shape)}"
            )
        if eps.shape != (n,):
            raise LipbenchError(f"expected eps of shape ({n},), one for each sample, got {tuple(eps.shape)}")
    elif isinstance(eps, bool) or not isinstance(eps, Real):
        raise LipbenchError(f"eps must be a number, got {quoted(eps)}")
    radii = torch.as_tensor(eps, dtype=torch.float64)
    if not bool(((radii > 0) & (radii <= LARGEST_EPS)).all()):  # false for NaN
        raise LipbenchError(f"eps must be finite and above 0, and at most {LARGEST_EPS:g}, got {eps}")


def _cleaned(attack: Attack, found: Tensor, x: Tensor) -> Tensor:
    if not isinstance(found, Tensor):
        raise LipbenchError(
            f"{attack.name} returned {type(found).__name__}, expected a tensor of shape {tuple(x.shape)}"
        )
    if found.shape != x.shape:
        raise LipbenchError(f"{attack.name} returned shape {tuple(found.shape)}, expected {tuple(x.shape)}")
    found = found.detach().to(x.device, torch.float32)
    return torch.where(torch.isfinite(found), found, x).clamp(0, 1)


def check_candidates(
    network: Network, x: Tensor, labels: Tensor, candidates: Tensor, norm: Norm
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.int64]]:
    """Classify and measure the candidates: (is_adversarial (n,), distance (n,), adversarial_label (n,)), in
    float64.

    A candidate is adversarial if it lies in [0, 1] and the largest float64 logit is not its label's.
    ``distance`` is the norm of candidate - x and ``adversarial_label`` the class predicted there; inf and -1
    where not adversarial. x, candidates: float32 (n, ...); labels: int64 (n,).
    """
    if candidates.shape != x.shape or candidates.dtype != torch.float32:
        raise LipbenchError(
            f"expected candidates float32 of shape {tuple(x.shape)}, "
            f"got {candidates.dtype} of {tuple(candidates.shape)}"
        )
    if len(x) == 0:
        return np.zeros(0, dtype=np.bool_), np.zeros(0), np.zeros(0, dtype=np.int64)
    predicted = network.predict(candidates).argmax(1)
    pixels = candidates.detach().cpu().flatten(1)
    in_range = ((pixels >= 0) & (pixels <= 1)).all(1)  # False for NaN
    adversarial = in_range & (predicted != labels.cpu())
    distance = torch.cat(
        [
            torch.linalg.vector_norm(part.double() - origin.double(), ord=2 if norm is Norm.L2 else math.inf, dim=1)
            for part, origin in zip(pixels.split(1000), x.detach().cpu().flatten(1).split(1000), strict=True)
        ]
    )
    distance = torch.where(adversarial, distance, math.inf)
    return adversarial.numpy(), distance.numpy(), torch.where(adversarial, predicted, -1).numpy()
