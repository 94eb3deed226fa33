"""Networks that no certificate covers, attacked all the same: which network runs, and why it has no certificate.

What forbids a certificate is a reason, an ``Uncertified``; what leaves nothing to attack, such as outputs that are no
logits, is an error. If the copy that certificates need is not the network that was given, another copy runs: a plain
one, in the network's own dtype. So another network than the user's never runs silently.
"""

import contextlib
import copy

import torch
from torch import Tensor, nn

from lipbench._internal.randomness import keeping_random_numbers, seeded
from lipbench.attacks.network import CHECKED, Network, class_logits
from lipbench.certification.certificate import Certificate, certificate, checked_claim
from lipbench.certification.lipschitz import agreement
from lipbench.certification.lipschitz.agreement import REORDERED
from lipbench.certification.lipschitz.freezing import refuse_compiled
from lipbench.certification.probabilities import ProbabilitiesError
from lipbench.certification.uncertified import Proof, Uncertified
from lipbench.errors import LipbenchError, one_line
from lipbench.models.unchanged import as_it_was

RANDOM = "two runs of the network on the same inputs differ (random numbers, or state)"
IN_A_BATCH = "the outputs for a sample depend on the others of its batch"
NO_GRADIENT = "no gradient reaches the inputs: attacks that follow gradients cannot succeed"


class NetworkAsGiven(Network):
    """A plain copy of a module in eval mode, in its own dtype: the one that it has weights of, else float32.

    ``surrogate`` is the network itself. Raises LipbenchError where even this copy would be another network, or gives no
    logits.
    """

    def __init__(
        self,
        module: nn.Module,
        input_shape: tuple[int, ...],
        device: str | torch.device = "cpu",
        *,
        refused: str,
    ):
        nn.Module.__init__(self)
        refuse_compiled(module)
        _refuse_replaced_forward(module)
        held = [one for one in (*module.parameters(), *module.buffers()) if one.is_floating_point()]
        self._hold(
            plain_copy(module).to(device), input_shape, torch.device(device), held[0].dtype if held else torch.float32
        )
        self.refused = refused
        _check_plain_copy(module, self)
        if self.single_logit:
            self.refuse_probabilities()

    @property
    def surrogate(self) -> Network:  # nothing to compute once
        """The network itself: no other form of it is known to be the same."""
        return self


def _refuse_replaced_forward(module: nn.Module) -> None:
    """Raise LipbenchError for a function in place of an instance's forward: a copy would share its closure."""
    for part in module.modules():
        forward = vars(part).get("forward")
        scripted = isinstance(part, torch.jit.ScriptModule)  # whose copies are torch's own
        if forward is not None and not scripted and getattr(forward, "__self__", None) is not part:
            raise LipbenchError(
                f"the forward of {type(part).__name__} was replaced by a function on this module, which a copy would "
                "share with it: define it in a class"
            )


def plain_copy(module: nn.Module) -> nn.Module:
    """A deep copy in eval mode. Raises LipbenchError for a module that cannot be copied."""
    try:
        with torch.no_grad():  # TorchScript computes its copies
            return copy.deepcopy(module).eval()
    except Exception as error:
        raise LipbenchError(f"the network cannot be copied: {one_line(error)}; export it first") from error


def _check_plain_copy(given: nn.Module, network: Network) -> None:
    """Raise LipbenchError if a deep copy computes something else than the module, and not only since it is random."""
    if any(isinstance(part, torch.jit.ScriptModule) for part in given.modules()):  # its copies are torch's own
        return
    x = agreement.probes(given, network.input_shape)
    x = x[((x >= 0) & (x <= 1)).flatten(1).all(dim=1)].to(network.dtype)
    try:
        with as_it_was(given), torch.no_grad():
            expected, again = (agreement.checked(given(x.clone()), finite=False) for _ in range(2))
    except Exception as error:  # whatever the network's own code raises
        raise LipbenchError(
            f"the network does not accept inputs of shape {network.input_shape}: {one_line(error)}"
        ) from error
    with keeping_random_numbers(network.device), torch.no_grad():
        found = agreement.checked(network.module(x.to(network.device, copy=True)), finite=False).to(x.device)
    if not _differ(again, expected, expected) and _differ(found, expected, expected):
        raise LipbenchError(
            "a copy of the network gives other outputs than the network: it copies itself in its own way; pass a "
            "module that copy.deepcopy copies"
        )


def attackable(
    module: nn.Module, input_shape: tuple[int, ...], device: str | torch.device = "cpu", dtype: str = "float64"
) -> Network:
    """The network as certificates need it, or, if they refuse it, as it was given, with the reason in ``refused``.

    Raises LipbenchError for a module that cannot be attacked either.
    """
    try:
        return Network(module, input_shape, device, dtype)
    except ProbabilitiesError as error:
        reason = str(error)
        network = Network(module, input_shape, device, dtype, probabilities=True)
        if network.single_logit:  # the sign of a probability says nothing
            raise
        network.refused = reason
        return network
    except LipbenchError as error:
        if not isinstance(module, nn.Module):
            raise
        reason = str(error)
        try:
            return NetworkAsGiven(module, input_shape, device, refused=reason)
        except LipbenchError:
            raise error from None


def proof_of(network: Network, claimed: float | None = None) -> Proof:
    """The certificate of a network, or why it has none; claimed: the constant on its card.

    Raises LipbenchError for a claim that is no finite number above 0, and for a single output that is a probability.
    """
    claimed = checked_claim(claimed)
    if network.refused is not None:
        return _without(network, network.refused, claimed)
    try:
        return certificate(network.module, network.input_shape, claimed, network.dtype)
    except LipbenchError as error:  # not of the network: it was run
        if network.single_logit and isinstance(error, ProbabilitiesError):
            raise
        return _without(network, str(error), claimed)


def proof_at(network: Network, proof: Proof, x: Tensor, logits: Tensor) -> Proof:
    """The proof, unless the network computes something else for these samples than its graph, see ``check_batch``.

    x: float32 (n, c, h, w); logits: float64 (n, classes), of ``predict(x)``.
    """
    if not isinstance(proof, Certificate):
        return proof
    try:
        network.check_batch(proof.graph, x, logits)
    except LipbenchError as error:
        return _without(network, str(error), proof.claimed)
    return proof


def _without(network: Network, reason: str, claimed: float | None) -> Uncertified:
    return Uncertified(reason, claimed, network.input_shape, network.single_logit)


def cautions(network: Network, x: Tensor) -> list[str]:
    """What makes the robust accuracy of a network an estimate, as seen at some of the samples x (n, c, h, w).

    The evaluations are not counted.
    """
    some = torch.linspace(0, len(x) - 1, min(len(x), CHECKED)).long().unique()
    points = x[some.to(x.device)].to(network.device, network.dtype)
    if len(points) == 0:
        return []
    found = list[str]()
    with seeded(0, network.device), torch.no_grad():
        first, second = network.outputs(points.clone()), network.outputs(points.clone())
        rows = sorted({0, len(points) // 2, len(points) - 1})
        if _differ(second, first, first):
            found.append(RANDOM)
        else:
            with contextlib.suppress(Exception):  # a forward that refuses single samples depends on the batch
                alone = torch.cat([network.module(points[row, None].clone()) for row in rows])
                found += [IN_A_BATCH] * _differ(alone, first[rows], first)
    if bool((first != first[0]).any()) and not _has_gradient(network, points):
        found.append(NO_GRADIENT)
    return found


def _differ(value: Tensor, expected: Tensor, among: Tensor) -> bool:
    share = agreement.share_of_sums(expected.dtype)
    return agreement.differ(value, expected, among, share=share, roundings=REORDERED)


def _has_gradient(network: Network, points: Tensor) -> bool:
    points = points.clone().requires_grad_()
    with seeded(0, network.device), torch.enable_grad():
        out = class_logits(network.module(points.clone()))
        if not out.requires_grad:
            return False
        margins = out.amax(dim=1) - out.amin(dim=1)
        (gradient,) = torch.autograd.grad(margins.sum(), points, allow_unused=True)
    return gradient is not None and bool((gradient != 0).any())
