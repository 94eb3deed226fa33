"""A network's outputs up to their rounding errors: how much of a difference between outputs rounding can explain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lipbench.attacks.as_given import NetworkAsGiven
from lipbench.attacks.network import Network
from lipbench.certification.lipschitz.agreement import REORDERED
from lipbench.certification.rounding import unit_roundoff
from lipbench.certification.uncertified import Proof
from lipbench.errors import LipbenchError
from lipbench.verification.measurements import norms

COARSER = 2.0**-10  # of float32's error is allowed for float64: 2^19 times what the unit roundoffs let expect
RESOLVED = 1 / 16  # of a difference: where float32 errs by more, its error says nothing about float64's
LEAST = 2.0**-40  # of the outputs, should both types agree by chance: 2^13 roundings of float64


@dataclass(frozen=True)
class InexactOutputs:
    """A network's own outputs, (n, K), or (n, 1) for a single logit, and how much of a difference errors can explain.

    With an error analysis, all outputs together err by at most ``error`` (L2) everywhere in [0, 1]^d: that is proven.

    Without one nothing is proven, and errors are measured: ``network`` is in float64, ``single`` is the same network in
    float32, and float32's error is the difference of both, up to a share of 2^-29. To first order the errors of both
    are one quantity times the unit roundoff (Higham 2002, section 3.1), 2^-24 and 2^-53, whatever the layers magnify or
    cancel: 2^-10 of float32's error leaves room for a factor of 2^19. That fails where float32 has lost the difference
    itself, as (h + 1e17) - 1e17 loses h. There the whole of float32's error is taken off, which leaves, by the triangle
    inequality, only what both types agree on.

    A network that runs as it was given has no other form: ``single`` is the network itself, and REORDERED roundings of
    its outputs count as errors.
    """

    network: Network
    error: float | None
    single: Network | None

    @classmethod
    def of(cls, network: Network, proof: Proof) -> "InexactOutputs":
        """The outputs of a network whose certificate is ``proof``; of its float64 copy if it has no error analysis."""
        if proof.output_error is not None:
            return cls(network, proof.output_error, None)
        if isinstance(network, NetworkAsGiven):  # no other form is known to be the same
            return cls(network, None, network)
        double = network if network.dtype is torch.float64 else _copy(network, "float64")
        try:
            single = network if network.dtype is torch.float32 else _copy(network, "float32")
        except LipbenchError:  # its forward asks for float64
            single = None
        return cls(double, None, single)

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs for x: float (n, ...)."""
        return _outputs(self.network, x)

    @torch.no_grad()
    def explained(self, points: tuple[Tensor, ...], apart: Tensor) -> Tensor:
        """How much of the differences ``apart``, float64 (n,), the errors at all points (n, ...) can explain."""
        if self.error is not None:
            return torch.full_like(apart, len(points) * self.error)
        if self.single is None:
            return apart
        fine = [self(point) for point in points]
        if self.single is self.network:
            unit = REORDERED * unit_roundoff(self.network.dtype)
            return unit * torch.stack([norms(one) for one in fine]).sum(dim=0).to(apart)
        coarse = [_outputs(self.single, point) for point in points]
        size = torch.stack([norms(one) for one in fine]).sum(dim=0).to(apart)
        lost = torch.stack([norms(one - other) for one, other in zip(fine, coarse, strict=True)]).sum(dim=0).to(apart)
        return torch.where(lost < RESOLVED * apart, COARSER * lost, lost) + LEAST * size


def _copy(network: Network, dtype: str) -> Network:
    return Network(network.module, network.input_shape, network.device, dtype, probabilities=True)


def _outputs(network: Network, x: Tensor) -> Tensor:
    logits = network.logits(x)
    return logits[:, 1:] - logits[:, :1] if network.single_logit else logits
