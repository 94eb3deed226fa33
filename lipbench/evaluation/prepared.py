"""A model made ready for evaluation."""

from dataclasses import dataclass

import torch

from lipbench.attacks.as_given import attackable, proof_of
from lipbench.attacks.network import Network
from lipbench.certification.uncertified import Proof
from lipbench.errors import LipbenchError
from lipbench.models.sources import ModelSource


@dataclass(frozen=True)
class PreparedModel:
    """The network of a model, and its certificate, or why it has none."""

    network: Network
    proof: Proof
    claimed: float | None

    @classmethod
    def load(cls, source: ModelSource, digest: str, device: torch.device, dtype: str) -> "PreparedModel":
        """Raises LipbenchError if the model is not the one with the digest any more."""
        model = source.load()
        if model.digest != digest:
            raise LipbenchError(f"{source.folder} was changed while it was evaluated; run the same command again")
        claimed = None if model.card.claimed is None else model.card.claimed.constant
        network = attackable(model.module, model.card.input_shape, device, dtype)
        return cls(network, proof_of(network, claimed), claimed)
