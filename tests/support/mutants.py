"""Ways to be wrong about a certificate, and right models beside them; what catches which.

    python tests/support/mutants.py    prints the table (Markdown)

Each mutant claims L = 1 (or what it says) for a network, or radii for samples, that do not hold. It is caught by

    load            the card and the weights do not belong together, or are no float32 weights
    bound           the computed constant is above the claim, or the network is refused as something without a bound
    linter          a finding of severity error, or one that the mutant is made for
    falsification   inputs that break a radius, or a pair of inputs that refutes the constant
"""

import math
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F

from lipbench import data
from lipbench._internal import files, resources
from lipbench._internal.precision import precisions, set_precisions
from lipbench._internal.words import at_least, at_most
from lipbench.attacks.network import Network
from lipbench.certification.certificate import certificate
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.architectures import Normalize
from lipbench.models.cards import Architecture, Card, Lipschitz, Loss
from lipbench.models.stored import load_model
from lipbench.verification import linter
from lipbench.verification.measurements import margins
from lipbench.verification.options import VerifyOptions
from lipbench.verification.verify import examine

SAMPLES = 24
SHOWN = 110  # characters of a message in the table
SHAPE = (1, 8, 8)
CLASSES = 4
PLAIN = Loss(name="tau_cross_entropy", hyperparameters={"tau": 4.0})


@dataclass(frozen=True)
class Claim:
    """A network and what is claimed about it."""

    module: nn.Module
    constant: float | None = 1.0
    loss: Loss = PLAIN
    radii: Callable[[Network, Tensor, Tensor], np.ndarray] | None = None  # (network, x, labels): radii to be tested
    labels: Callable[[Tensor], Tensor] | None = None  # predictions to labels, the same by default
    dtype: str = "float64"
    samples: Callable[[Network, Tensor], Tensor] | None = None  # other inputs than test images


@dataclass(frozen=True)
class Case:
    """A named claim. ``code``: the linter's finding that it is made for, if that is a warning."""

    name: str
    build: Callable[[], Claim]
    code: str | None = None


def inputs() -> Tensor:
    """Test images of the digits: float32 (n, 1, 8, 8)."""
    return torch.from_numpy(data.load("digits").test.x[:SAMPLES])


# --- right parts -----------------------------------------------------------------------------------------------------


def orthogonal(inputs: int, outputs: int, seed: int = 0) -> nn.Linear:
    """A dense layer of spectral norm 1 up to rounding."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(inputs, outputs)
    q, _ = torch.linalg.qr(torch.randn(max(inputs, outputs), min(inputs, outputs), generator=generator).double())
    layer.weight.data = (q if outputs >= inputs else q.T).float()
    layer.bias.data = 0.1 * torch.randn(outputs, generator=generator)
    return layer


def scaled(layer: nn.Module, shape: tuple[int, ...], constant: float = 1.0) -> nn.Module:
    """A layer with weights scaled so that its own bound is the constant."""
    with torch.no_grad():
        layer.weight *= constant / lipschitz_bound(layer, shape)
    return layer


def conv(inputs: int, outputs: int, seed: int = 0, shape: tuple[int, int] = (8, 8), **options: Any) -> nn.Conv2d:
    """A 3x3 convolution of norm 1 with zero padding; ``options`` are set afterwards, on the same weights."""
    torch.manual_seed(seed)
    plain = scaled(nn.Conv2d(inputs, outputs, 3, padding=1), (inputs, *shape))
    if not options:
        return plain
    changed = nn.Conv2d(inputs, outputs, 3, **{"padding": 1, **options})
    changed.load_state_dict(plain.state_dict())
    return changed


def mlp(*middle: nn.Module, head: nn.Module | None = None) -> nn.Sequential:
    """Dense layers of norm 1 on 64 pixels, with layers of 32 features in the middle."""
    return nn.Sequential(
        nn.Flatten(), orthogonal(64, 32, 1), torchlip.GroupSort2(), *middle, head or orthogonal(32, CLASSES, 2)
    ).eval()


def cnn(*layers: nn.Module, features: int = 256) -> nn.Sequential:
    """Layers on images, and a dense head of norm 1."""
    return nn.Sequential(*layers, nn.Flatten(), orthogonal(features, CLASSES, 3)).eval()


def bundled(name: str) -> nn.Module:
    """A model of the digits zoo."""
    return load_model(resources.folder("digits") / name).module


TAU4 = "mlp-tau_cross_entropy-tau4-seed0"
CNN = "cnn-tau_cross_entropy-tau16-seed0"


# --- wrong weights and layers ----------------------------------------------------------------------------------------


def times(factor: float) -> Callable[[], Claim]:
    def build() -> Claim:
        module = mlp()
        module[1].weight.data *= factor
        return Claim(module)

    return build


def power_iteration_stopped_early() -> Claim:
    torch.manual_seed(4)
    layer = nn.Linear(32, 32)
    u = torch.randn(32)
    for _ in range(2):  # from below: the estimate is never above the norm
        v = F.normalize(layer.weight.data.T @ u, dim=0)
        u = F.normalize(layer.weight.data @ v, dim=0)
    layer.weight.data /= u @ layer.weight.data @ v
    return Claim(mlp(layer))


def kernel_as_a_matrix() -> Claim:
    torch.manual_seed(5)
    layer = nn.Conv2d(1, 4, 3, padding=1)
    layer.weight.data /= torch.linalg.matrix_norm(layer.weight.data.flatten(1), ord=2)
    return Claim(cnn(layer, nn.ReLU()))


def row_normalised() -> Claim:
    torch.manual_seed(6)
    layer = nn.Linear(32, 32)
    layer.weight.data = F.normalize(layer.weight.data, dim=1)
    return Claim(mlp(layer))


def frobenius_linear() -> Claim:
    torch.manual_seed(7)
    net = torchlip.Sequential(
        nn.Flatten(), torchlip.SpectralLinear(64, 32), torchlip.GroupSort2(), torchlip.FrobeniusLinear(32, CLASSES)
    )
    with torch.no_grad():  # rows that point the same way, as training may leave them
        net[3].parametrizations.weight.original.abs_()
    net(inputs())
    return Claim(net.eval())


def wrong_stride() -> nn.ConvTranspose2d:
    """A kernel of norm 1 at stride 2, where windows do not overlap, used at stride 1, where they do."""
    apart = nn.ConvTranspose2d(4, 4, 2, stride=2)
    apart.weight.data = apart.weight.data.abs()
    overlapping = nn.ConvTranspose2d(4, 4, 2, padding=1)
    overlapping.load_state_dict(scaled(apart, (4, 24, 24)).state_dict())
    return overlapping


class Residual(nn.Module):
    """x + f(x), times a factor."""

    def __init__(self, branch: nn.Module, factor: float):
        super().__init__()
        self.branch, self.factor = branch, factor

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.branch(x)) * self.factor


class Twice(nn.Module):
    """Two branches side by side, times a factor."""

    def __init__(self, first: nn.Module, second: nn.Module, factor: float):
        super().__init__()
        self.first, self.second, self.factor = first, second, factor

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x)], dim=1) * self.factor


def positive_branch() -> nn.Sequential:
    """A branch that is near the identity, so that x + f(x) is near 2 x."""
    layer = nn.Linear(32, 32)
    layer.weight.data, layer.bias.data = torch.eye(32), torch.full((32,), 3.0)
    return nn.Sequential(layer, nn.ReLU())


def batch_norm(scale: float) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(4).eval()
    layer.weight.data.fill_(scale)
    layer.running_var.fill_(1 - layer.eps)
    return layer


def used_twice() -> Claim:
    shared = orthogonal(32, 32, 8)
    shared.weight.data *= 1.2
    return Claim(mlp(shared, torchlip.GroupSort2(), shared), constant=1.2)


# --- hidden behaviour ------------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn_like(x)


class Aliased(nn.Module):
    """y and its in-place relu are the same tensor: 2 relu(2 x), not 2 x + relu(2 x)."""

    def forward(self, x: Tensor) -> Tensor:
        y = x * 2
        z = y.relu_()
        return (y + z) / 4


class Switch(nn.Module):
    """Larger away from where it is usually looked at."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.abs().max()) < 0.9 else 10 * x


class HalfCast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.half().to(torch.float32)


class AlwaysDropout(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.1, training=True)


def hooked() -> Claim:
    module = mlp()
    module[3].register_forward_hook(lambda layer, args, output: 3 * output)
    return Claim(module)


def batch_statistics() -> Claim:
    module = cnn(conv(1, 4), batch_norm(1.0), nn.ReLU())
    module[1].train()
    return Claim(module)


def stale_weights() -> Claim:
    torch.manual_seed(9)
    net = torchlip.Sequential(nn.Flatten(), torchlip.SpectralLinear(64, 32), torchlip.GroupSort2(), orthogonal(32, 4))
    net(inputs())
    net.eval()
    net(inputs())
    with torch.no_grad():
        net[1].parametrizations.weight.original.normal_()  # trained on since, and no train-mode forward came after
    return Claim(net)


def half_weights() -> Claim:
    module = mlp()
    for parameter in module.parameters():
        parameter.data = parameter.data.half().float()
    return Claim(module)


def reduced_precision() -> Claim:
    torch.set_float32_matmul_precision("medium")
    return Claim(mlp(), dtype="float32")


# --- wrong radii -----------------------------------------------------------------------------------------------------


def of_the_margin(factor: float) -> Callable[[Network, Tensor, Tensor], np.ndarray]:
    def radii(network: Network, x: Tensor, labels: Tensor) -> np.ndarray:
        return (margins(network, x, labels) / factor).clamp_min(0).numpy()

    return radii


def with_the_label(network: Network, x: Tensor, labels: Tensor) -> np.ndarray:
    """|f_label - max of the others|, which is above 0 where the label is not predicted."""
    return (margins(network, x, labels).abs() / math.sqrt(2)).numpy()


def of_the_prediction(network: Network, x: Tensor, labels: Tensor) -> np.ndarray:
    """The radius of the predicted class, also where that is not the label."""
    return (margins(network, x, network.predict(x).argmax(dim=1)) / math.sqrt(2)).numpy()


def an_estimate(network: Network, x: Tensor, labels: Tensor) -> np.ndarray:
    """The distance to an adversarial input that an attack found, shortened by 1 %: no lower bound of anything."""
    from lipbench.verification.falsification import MINIMAL_NORM, AttackedSamples

    samples = AttackedSamples(network, x, labels, 1)
    samples.attack(MINIMAL_NORM[0].model_copy(update={"args": {"rounds": 1, "steps": 2}}))
    return np.where(np.isfinite(samples.distance), samples.distance * 0.99, 0)


def second_class_only(network: Network, x: Tensor, labels: Tensor) -> np.ndarray:
    """The pairwise radius against the class with the largest distance |w_i - w_j|, not the smallest quotient."""
    proof = certificate(network.module, SHAPE)
    logits = network.predict(x)
    quotients = (logits.gather(1, labels[:, None]) - logits) / proof.pairwise[labels]
    return quotients.nan_to_num(-1).amax(dim=1).clamp_min(0).numpy()


def tied() -> Claim:
    head = orthogonal(32, CLASSES, 2)
    head.weight.data[1], head.bias.data[1] = head.weight.data[0], head.bias.data[0]
    head.bias.data[:2] += 5
    head.weight.data /= math.sqrt(2)

    def radii(network: Network, x: Tensor, labels: Tensor) -> np.ndarray:
        return np.full(len(x), 0.1)

    return Claim(mlp(head=head), radii=radii)


def at_the_boundary(network: Network, x: Tensor) -> Tensor:
    """The last float32 inputs before the class changes, between test images."""
    own = network.predict(x).argmax(dim=1)
    others = torch.stack([x[int((own != label).nonzero()[0])] for label in own])
    low, high = x, others
    for _ in range(50):
        middle = ((low.double() + high.double()) / 2).float()
        inside = (network.predict(middle).argmax(dim=1) == own)[:, None, None, None]
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


def without_rounding(network: Network, x: Tensor, labels: Tensor) -> np.ndarray:
    """Radii of grade real, claimed for the float32 network; a millionth is no margin for rounding."""
    proof = certificate(network.module, SHAPE)
    return proof.radii(network.predict(x), labels, "real").numpy() + 1e-6


def preprocessing(constant: float) -> Callable[[], Claim]:
    """Normalisation by two stds, .25 and .5: the right constant is 4."""

    def build() -> Claim:
        split = nn.Sequential(nn.PixelUnshuffle(2), Normalize([0.1, 0.1, 0.1, 0.1], [0.25, 0.5, 0.5, 0.5]))
        return Claim(
            nn.Sequential(*split, nn.Flatten(), orthogonal(64, 32, 1), nn.ReLU(), orthogonal(32, 4, 2)), constant
        )

    return build


def pixels(constant: float) -> Callable[[], Claim]:
    """A network on 0..255 pixels, shown [0, 1]."""
    return lambda: Claim(nn.Sequential(Normalize([0.0], [1 / 255]), *mlp()), constant)


def loss(name: str, **hyperparameters: float) -> Callable[[], Claim]:
    return lambda: Claim(mlp(), loss=Loss(name=name, hyperparameters=hyperparameters))


def module(build: Callable[[], nn.Module], constant: float | None = 1.0) -> Callable[[], Claim]:
    return lambda: Claim(build(), constant)


def radii(formula: Callable[[Network, Tensor, Tensor], np.ndarray], **rest: Any) -> Callable[[], Claim]:
    return lambda: Claim(bundled(TAU4), radii=formula, **rest)


MUTANTS = (
    Case("weights times 1 + 1e-3 after the claim", times(1 + 1e-3)),
    Case("weights times 1 + 1e-5 after the claim", times(1 + 1e-5)),
    Case("weights times 2 after the claim", times(2.0)),
    Case("card claims half of the constant", module(lambda: mlp(), 0.5)),
    Case("power iteration stopped after two steps", power_iteration_stopped_early),
    Case("convolution normalised as a matrix (out, in k k)", kernel_as_a_matrix),
    Case("rows normalised, spectral norm claimed", row_normalised),
    Case("sqrt(2) for separately 1-Lipschitz heads (FrobeniusLinear)", frobenius_linear),
    Case("zero padding swapped for reflect", module(lambda: cnn(conv(1, 4, padding_mode="reflect"), nn.ReLU()))),
    Case("zero padding swapped for replicate", module(lambda: cnn(conv(1, 4, padding_mode="replicate"), nn.ReLU()))),
    Case("stride ignored in a transposed convolution", module(
        lambda: cnn(scaled(nn.ConvTranspose2d(1, 4, 3, stride=3), (1, 8, 8)), wrong_stride(), features=2116)
    )),
    Case("average pool with ceil_mode", module(
        lambda: cnn(conv(1, 4), torchlip.ScaledAvgPool2d(3, ceil_mode=True), features=36)
    )),
    Case("L2-norm pool with ceil_mode", module(
        lambda: cnn(conv(1, 4), nn.LPPool2d(2, 3, ceil_mode=True), features=36)
    )),
    Case("overlapping max pool counted as 1", module(
        lambda: cnn(conv(1, 4), nn.MaxPool2d(3, stride=1), features=144)
    )),
    Case("overlapping L2-norm pool: stride one too small", module(
        lambda: cnn(conv(1, 4), nn.LPPool2d(2, 2, stride=1), features=196)
    )),
    Case("residual without its 1/2", module(lambda: mlp(Residual(positive_branch(), 1.0)))),
    Case("concatenation without its 1/sqrt(2)", module(
        lambda: mlp(Twice(orthogonal(32, 32, 5), orthogonal(32, 32, 6), 1.0), head=orthogonal(64, 4))
    )),
    Case("batch norm's scale left out", module(lambda: cnn(conv(1, 4), batch_norm(1.7), nn.ReLU()))),
    Case("leaky ReLU with slope 1.5 counted as 1", module(lambda: mlp(nn.LeakyReLU(1.5)))),
    Case("GELU counted as 1", module(lambda: mlp(orthogonal(32, 32, 9), nn.GELU()))),
    Case("a layer used twice, counted once", used_twice),
    Case("preprocessing left out (1 / std)", preprocessing(1.0)),
    Case("normalisation by the largest std", preprocessing(2.0)),
    Case("constant in units of 0..255 pixels", pixels(1.0)),
    Case("a forward hook that multiplies", hooked),
    Case("noise in the forward", module(lambda: mlp(Noisy()))),
    Case("a tensor overwritten in place and read again", module(lambda: mlp(Aliased()))),
    Case("control flow that depends on the data", module(lambda: mlp(Switch()))),
    Case("dropout that stays active", module(lambda: mlp(AlwaysDropout()))),
    Case("batch norm on batch statistics", batch_statistics),
    Case("stale weights served in eval mode", stale_weights, code="L405"),
    Case("weights rounded to float16 after the claim", half_weights, code="L503"),
    Case("float16 inside the forward", module(lambda: mlp(HalfCast()))),
    Case("matrix products in bfloat16 or TF32", reduced_precision, code="L501"),
    Case("alpha in the paper's convention", loss("hkr_multiclass", alpha=10.0, min_margin=0.5), code="L307"),
    Case("tau of 0..255 pixels", loss("tau_cross_entropy", tau=0.05), code="L308"),
    Case("margin / L without sqrt(2)", radii(of_the_margin(1.0))),
    Case("radius computed with the label, its margin's sign lost", radii(
        with_the_label, labels=lambda labels: labels.roll(1)
    )),
    Case("certificate for a misclassified sample", radii(of_the_prediction, labels=lambda labels: labels.roll(1))),
    Case("a radius for a tie", tied),
    Case("an estimate shown as a lower bound", radii(an_estimate)),
    Case("pairwise radius of the wrong pair", radii(second_class_only)),
    Case("rounding left out next to the boundary", lambda: Claim(
        bundled(TAU4), radii=without_rounding, dtype="float32", samples=at_the_boundary
    )),
)  # fmt: skip


def single_logit() -> Claim:
    return Claim(nn.Sequential(nn.Flatten(), orthogonal(64, 32), torchlip.GroupSort2(), orthogonal(32, 1)).eval())


def torchlip_net() -> torchlip.Sequential:
    torch.manual_seed(1)
    net = torchlip.Sequential(
        torchlip.SpectralConv2d(1, 8, 3, padding=1), torchlip.GroupSort2(), torchlip.ScaledL2NormPool2d(2),
        nn.Flatten(), torchlip.SpectralLinear(128, CLASSES),
    )  # fmt: skip
    for _ in range(3):
        net(inputs())
    return net.eval()


def aoc_net() -> nn.Module:
    from orthogonium.layers import AdaptiveOrthoConv2d, MaxMin, OrthoLinear

    torch.manual_seed(2)
    net = nn.Sequential(
        AdaptiveOrthoConv2d(1, 8, 3, padding=1, padding_mode="circular"), MaxMin(),
        AdaptiveOrthoConv2d(8, 16, 4, stride=2, padding=1, padding_mode="circular"), MaxMin(),
        nn.Flatten(), OrthoLinear(256, CLASSES),
    ).eval()  # fmt: skip
    net(inputs())
    return torchlip.vanilla_model(net).eval()


CONTROLS = (
    Case("digits mlp, tau 4", module(lambda: bundled(TAU4))),
    Case("digits cnn, tau 16", module(lambda: bundled(CNN))),
    Case("digits mlp, unconstrained, no claim", module(lambda: bundled("mlp-cross_entropy-unconstrained-seed0"), None)),
    Case("deel-torchlip, parametrised", module(torchlip_net)),
    Case("deel-torchlip, exported", module(lambda: torchlip_net().vanilla_export().eval())),
    Case("orthogonium AOC, exported", module(aoc_net)),
    Case("residual with its 1/2", module(lambda: mlp(Residual(positive_branch(), 0.5)))),
    Case("concatenation with its 1/sqrt(2)", module(
        lambda: mlp(Twice(orthogonal(32, 32, 5), orthogonal(32, 32, 6), 1 / math.sqrt(2)), head=orthogonal(64, 4))
    )),
    Case("normalisation, claim 1 / min std", preprocessing(4.0)),
    Case("batch norm in eval mode, counted", module(lambda: cnn(conv(1, 4), batch_norm(1.7), nn.ReLU()), 1.7)),
    Case("reflect padding, claim from its own norm", module(
        lambda: cnn(scaled(nn.Conv2d(1, 4, 3, padding=1, padding_mode="reflect"), (1, 8, 8)), nn.ReLU())
    )),
    Case("a single logit", single_logit),
)  # fmt: skip


@dataclass(frozen=True)
class Caught:
    """What was said of a case."""

    name: str
    by: tuple[str, ...]
    says: str


def card(constant: float | None = 1.0, loss: Loss = PLAIN, classes: int = CLASSES) -> Card:
    """The card of a network that is in no zoo."""
    return Card(
        name="mutant",
        data="digits",
        input_shape=SHAPE,
        num_classes=classes,
        seed=0,
        weights_sha256="",
        architecture=Architecture(name="mlp", constrained=True),
        loss=loss,
        claimed=None if constant is None else Lipschitz(constant=constant),
    )


def run(case: Case, out: Path) -> Caught:
    """Verify a claim as ``lipbench verify`` does, and say what caught it."""
    held = precisions()
    try:
        return _run(case, out)
    finally:
        set_precisions(held)


def _run(case: Case, out: Path) -> Caught:
    claim = case.build()
    x = inputs()
    about = card(claim.constant, claim.loss, classes=10 if claim.radii else CLASSES)
    try:
        network = Network(claim.module, SHAPE, dtype=claim.dtype)
        if claim.samples is not None:
            x = claim.samples(network, x)
        labels = network.predict(x).argmax(dim=1)
        if claim.labels is not None:
            labels = claim.labels(labels)
        radii = None if claim.radii is None else claim.radii(network, x, labels)
        options = VerifyOptions(dtype=claim.dtype, radii=radii)
        found = examine(claim.module, about, x, labels, out, options=options)
    except LipbenchError as error:
        findings = linter.lint(claim.module, about, None, x=x)
        by = ("bound", "linter") if any(finding.severity == "error" for finding in findings) else ("bound",)
        return Caught(case.name, by, str(error))
    wrong = [finding for finding in found.findings if finding.severity == "error" or finding.code == case.code]
    broken = [verdict.grade for verdict in found.verdicts if not verdict.holds]
    caught = {
        "bound": found.constant.claim_confirmed is False,
        "linter": bool(wrong),
        "falsification": not found.holds,
    }
    says = [f"L <= {at_most(found.constant.bound, 7)}" if caught["bound"] else "", *(finding.code for finding in wrong)]
    says += [f"grade {grade} broken" for grade in broken] + [
        f"L >= {at_least(found.constant.steepest, 7)}" if found.constant.claim_witness is not None else ""
    ]
    return Caught(case.name, tuple(name for name, is_true in caught.items() if is_true), ", ".join(filter(None, says)))


def forged(folder: Path) -> Caught:
    """Weights changed on the disk, the card left as it was."""
    import safetensors.torch

    source = resources.folder("digits") / TAU4
    state = safetensors.torch.load_file(source / cards.WEIGHTS)
    files.write_bytes(folder / cards.WEIGHTS, safetensors.torch.save({k: v * 1.01 for k, v in state.items()}))
    files.write_bytes(folder / cards.CARD, (source / cards.CARD).read_bytes())
    return _loaded("weights that are not the card's", folder)


def half_precision_file(folder: Path) -> Caught:
    """Weights stored as float16, with a card whose hash fits."""
    import safetensors.torch

    source = resources.folder("digits") / TAU4
    state = safetensors.torch.load_file(source / cards.WEIGHTS)
    stored = safetensors.torch.save({name: tensor.half() for name, tensor in state.items()})
    files.write_bytes(folder / cards.WEIGHTS, stored)
    cards.write(folder, cards.read(source).model_copy(update={"weights_sha256": files.sha256_bytes(stored)}))
    return _loaded("weights stored as float16", folder)


def _loaded(name: str, folder: Path) -> Caught:
    try:
        load_model(folder)
    except LipbenchError as error:
        return Caught(name, ("load",), str(error).replace(f"{folder}/", ""))
    return Caught(name, (), "")


FILES = (forged, half_precision_file)


def cut(text: str) -> str:
    """The first whole words of a text, at most SHOWN characters; dots where some are left out."""
    shown = " ".join(text.split())
    return shown if len(shown) <= SHOWN else f"{shown[: SHOWN - 3].rsplit(' ', 1)[0].rstrip(',;:')} ..."


def table(rows: list[Caught]) -> str:
    """Markdown."""
    body = [f"| {row.name} | {', '.join(row.by) or 'nothing'} | {cut(row.says)} |" for row in rows]
    return "\n".join(["| wrong | caught by | says |", "|---|---|---|", *body])


def main() -> int:
    """Print the table of all mutants and controls; exit status 1 if one escapes or a control is flagged."""
    torch.set_num_threads(1)
    rows, controls = [], []
    with tempfile.TemporaryDirectory() as temporary:
        for number, check in enumerate(FILES):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            rows.append(check(folder))
        for case in (*MUTANTS, *CONTROLS):
            (rows if case in MUTANTS else controls).append(run(case, Path(temporary) / "witnesses"))
    print(table(rows))
    print()
    print(table(controls).replace("| wrong |", "| right |"))
    return 1 if any(not row.by for row in rows) or any(row.by for row in controls) else 0


if __name__ == "__main__":
    sys.exit(main())
