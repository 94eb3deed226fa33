"""Verifications that tests run: of stored models, of models whose card was edited, and of networks in memory."""

import mutants
import safetensors.torch
import torch

from lipbench._internal import files
from lipbench.models import cards
from lipbench.models.cards import Lipschitz
from lipbench.models.sources import StoredSource
from lipbench.verification.options import VerifyOptions
from lipbench.verification.result import Verification
from lipbench.verification.verify import examine, examine_source


def verify(folder, digits, out, device="cpu", samples=100, **options) -> Verification:
    """Examine the model in a folder, without a record."""
    chosen = VerifyOptions(samples=samples, **options)
    return examine_source(
        StoredSource(folder), digits, out, options=chosen, device=torch.device(device), progress=False
    )


def edit(folder, claimed: float | None = None, scale: float = 1.0) -> None:
    """Change the claim on a card, or scale the weights, with a card whose hash fits."""
    state = safetensors.torch.load_file(folder / cards.WEIGHTS)
    state = {name: tensor * scale if name.endswith("weight") else tensor for name, tensor in state.items()}
    data = safetensors.torch.save(state)
    files.write_bytes(folder / cards.WEIGHTS, data)
    update = {"weights_sha256": files.sha256_bytes(data)}
    card = cards.read(folder)
    if claimed is not None:
        update["claimed"] = Lipschitz(constant=claimed)
    cards.write(folder, card.model_copy(update=update))


def examined(net, claimed: float | None, out, dtype: str = "float64") -> Verification:
    """What is found on test images, with the predictions for labels."""
    x = mutants.inputs()
    logits = net(x)
    card = mutants.card(claimed, classes=logits.shape[1])
    return examine(net, card, x, logits.argmax(dim=1), out, options=VerifyOptions(dtype=dtype))
