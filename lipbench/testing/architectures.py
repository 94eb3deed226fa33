"""Checks of an architecture, and of a set of layers."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lipbench._internal import files
from lipbench._internal.randomness import keeping_random_numbers
from lipbench._internal.registry import ARCHITECTURES, LAYERS
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models import architectures, cards
from lipbench.models.architectures import Layers
from lipbench.models.cards import Architecture, Card, Loss
from lipbench.models.stored import load_model, serialize
from lipbench.testing.jacobians import SLACK, steepest
from lipbench.testing.state import leaves_settings, named

STEPS = 3
CHAINS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mlp", {"widths": [16, 8]}),
    ("cnn", {"channels": [4, 6], "widths": [8]}),
    ("cnn", {"channels": [4], "widths": [8], "padding": "circular"}),
    ("resnet", {"channels": [4], "widths": [8]}),
)


def check_architecture(
    architecture: str,
    args: Mapping[str, Any] | None = None,
    *,
    layers: str | Layers = "torchlip",
    input_shape: tuple[int, int, int] = (1, 8, 8),
    num_classes: int = 10,
    claimed: float = 1.0,
    twin: bool = True,
) -> None:
    """Check an architecture and its layers: that it trains, is stored, comes back equal and keeps what it claims.

    architecture: a registered name; args: its arguments; layers: a registered set of layers, or a ``Layers`` object;
    input_shape: (c, h, w); claimed: the Lipschitz constant by construction; twin: the unconstrained twin is built as
    well.

    Checked are: that it is a chain of modules with ``num_classes`` finite outputs, the same for the same seed; that
    steps of training change it; that its plain form computes the same, has a Lipschitz bound, and is loaded from a
    folder bit for bit; and that neither Jacobians nor slopes exceed the bound, nor the bound what is claimed. Raises
    AssertionError, and LipbenchError where lipbench itself refuses it.
    """
    given, chosen = dict(args or {}), named(LAYERS, layers)
    said = f"the architecture {architecture!r} with layers {chosen!r}"
    ARCHITECTURES.get(architecture)
    with keeping_random_numbers(), leaves_settings(said):
        made = architectures.layers_of(chosen, True)
        first, again = (_build(architecture, made, input_shape, num_classes, given) for _ in range(2))
        torch.manual_seed(1)
        x = torch.rand(16, *input_shape)
        _check_outputs(first.train(), again.train(), x, num_classes, said)
        before = {name: tensor.clone() for name, tensor in first.named_parameters()}
        _train(first, x, num_classes)
        changed = [name for name, tensor in first.named_parameters() if not torch.equal(tensor, before[name])]
        assert changed, f"{said} does not change in training: no parameter has a gradient"
        plain = architectures.export(first, x, made.plain_forms)
        stored_as = chosen if made.exported is not None else None
        on_card = Architecture(name=architecture, constrained=True, layers=chosen, stored_as=stored_as, args=given)
        _check_round_trip(plain, _card(on_card, input_shape, num_classes), x, said)
        _check_constant(plain, input_shape, claimed * (1 + made.claimed_over_1), said)
        if twin:
            other = _build(architecture, architectures.UNCONSTRAINED, input_shape, num_classes, given)
            _check_outputs(other, other, x, num_classes, f"the unconstrained twin of {architecture!r}")


def check_layers(layers: str | Layers, *, claimed: float = 1.0) -> None:
    """Check a set of layers in the bundled architectures, with every pool that it has, as ``check_architecture`` does.

    layers: a registered name, or a ``Layers`` object; claimed: the Lipschitz constant by construction.
    """
    name = named(LAYERS, layers)
    pools = list(architectures.layers_of(name, True).pools)
    assert pools, f"the set of layers {name!r} has no pool: architectures need l2norm and average"
    for architecture, args in CHAINS:
        for pool in pools if architecture != "mlp" else [None]:
            chosen = args if pool is None else {**args, "pool": pool}
            check_architecture(architecture, chosen, layers=name, claimed=claimed, twin=False)


def _build(
    name: str, layers: Layers, input_shape: tuple[int, int, int], num_classes: int, args: dict[str, Any]
) -> nn.Sequential:
    torch.manual_seed(0)
    return architectures.build(name, layers, input_shape, num_classes, args)


def _check_outputs(model: nn.Module, again: nn.Module, x: Tensor, num_classes: int, said: str) -> None:
    with torch.no_grad():
        out, other = model(x), again(x)
    assert out.shape == (len(x), num_classes), (
        f"{said} has outputs of shape {tuple(out.shape)}, expected {(len(x), num_classes)}"
    )
    assert torch.isfinite(out).all(), f"{said} has outputs that are not finite"
    assert torch.equal(out, other), f"{said} is built differently from the same seed: draw from torch's generator only"


def _train(model: nn.Module, x: Tensor, num_classes: int) -> None:
    optimizer, labels = torch.optim.Adam(model.parameters(), lr=0.01), torch.arange(len(x)) % num_classes
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(10 * model.train()(x), labels).backward()
        optimizer.step()


def _card(chosen: Architecture, input_shape: tuple[int, int, int], num_classes: int) -> Card:
    return Card(
        name="model",
        data="digits",
        input_shape=input_shape,
        num_classes=num_classes,
        seed=0,
        weights_sha256="",
        architecture=chosen,
        loss=Loss(name="cross_entropy"),
    )


def _check_round_trip(plain: nn.Sequential, card: Card, x: Tensor, said: str) -> None:
    data = serialize(plain)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / cards.WEIGHTS).write_bytes(data)
        cards.write(folder, card.model_copy(update={"weights_sha256": files.sha256_bytes(data)}))
        try:
            loaded = load_model(folder).module
        except LipbenchError as error:
            raise AssertionError(f"{said} cannot be loaded again: {error}") from error
        with torch.no_grad():
            assert torch.equal(loaded(x), plain(x)), f"{said} computes something else when it is loaded again"


def _check_constant(plain: nn.Sequential, input_shape: tuple[int, ...], claimed: float, said: str) -> None:
    bound, found = lipschitz_bound(plain, input_shape), steepest(plain, input_shape, points=3)
    assert found <= bound * (1 + SLACK), f"{said} changes by a factor of {found:.9g}, above its bound {bound:.9g}"
    assert bound <= claimed * (1 + 1e-6), f"{said} has the Lipschitz bound {bound:.9g}, above the claim {claimed:.9g}"
