"""Each check on a model with exactly that fault, and on the nearest right one; no error on any right model."""

import contextlib
import copy
import math
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from bundled import TAU4
from deel import torchlip
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from lipbench._internal.precision import precisions, set_precisions
from lipbench.certification.certificate import certificate
from lipbench.errors import UnsupportedError
from lipbench.models import cards
from lipbench.models.architectures import Normalize
from lipbench.models.cards import Card
from lipbench.models.stored import load_model
from lipbench.models.zoo import model_folders
from lipbench.verification import linter
from lipbench.verification.linter import Finding, lint, summaries
from lipbench.verification.linter.observation import relative
from lipbench.verification.linter.table import TABLE, check

SHAPE = (3, 6, 6)
SIZE = math.prod(SHAPE)


def card(claimed: float | None = 1.0, loss: str = "cross_entropy", hyperparameters: Any = None, **fields: Any) -> Card:
    return Card(
        **{
            "name": "model",
            "data": "digits",
            "input_shape": SHAPE,
            "num_classes": 4,
            "seed": 0,
            "weights_sha256": "0",
            "architecture": {"name": "mlp", "constrained": True},
            "loss": {"name": loss, "hyperparameters": hyperparameters or {}},
            "claimed": None if claimed is None else {"constant": claimed},
            **fields,
        }
    )


def orthogonal(inputs: int, outputs: int, gain: float = 1.0) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    return layer


def chain(*before: nn.Module, head: nn.Module | None = None, gain: float = 1.0) -> nn.Sequential:
    """A right network: constant ``gain`` times that of the layers before it."""
    torch.manual_seed(0)
    with torch.no_grad():
        features = nn.Sequential(*copy.deepcopy(before)).eval()(torch.rand(1, *SHAPE)).numel()
    body = (nn.Flatten(), orthogonal(features, 16, gain), torchlip.GroupSort2())
    return nn.Sequential(*before, *body, head or orthogonal(16, 4)).eval()


def findings(module: nn.Module, on: Card | None = None, **given: Any) -> list[Finding]:
    """What lint finds; the model must stay as it is."""
    on = on or card()
    before = copy.deepcopy(module.state_dict())
    modes = [part.training for part in module.modules()]
    try:
        proof = certificate(copy.deepcopy(module), on.input_shape)
    except UnsupportedError:
        proof = None
    seed = torch.get_rng_state()
    found = lint(module, on, proof, **given)
    assert torch.equal(seed, torch.get_rng_state())
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    return found


def codes(found: list[Finding]) -> list[str]:
    return [finding.code for finding in found]


# --- wrong models ----------------------------------------------------------------------------------------------------


def unit_rows(inputs: int, outputs: int, rows: Tensor | None = None) -> nn.Linear:
    """Rows of norm 1, the second minus the first: two logits differ by 2 per unit of input."""
    layer = nn.Linear(inputs, outputs)
    weight = F.normalize(torch.randn(outputs, inputs), dim=1) if rows is None else rows
    weight[1] = -weight[0]
    layer.weight.data = weight
    return layer


class Residual(nn.Module):
    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.f = nn.Sequential(orthogonal(16, 16), torchlip.GroupSort2())
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x + self.f(x))


def residual(scale: float) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), orthogonal(SIZE, 16), Residual(scale), Residual(scale), orthogonal(16, 4)).eval()


def padded(mode: str) -> nn.Module:
    """A convolution of norm 1, but for its padding: it takes the mean over 5 x 5."""
    conv = nn.Conv2d(3, 3, 5, padding=2, padding_mode=mode, bias=False)
    conv.weight.data = torch.zeros(3, 3, 5, 5)
    for channel in range(3):
        conv.weight.data[channel, channel] = 1 / 25
    return conv


class Lambda(nn.Module):
    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Counting(nn.Module):
    """Moves a buffer at each forward, and its output with it."""

    def __init__(self, step: float):
        super().__init__()
        self.register_buffer("scale", torch.ones(()))
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        self.scale = self.scale - self.step
        return x * self.scale


class Drifting(nn.Module):
    """Another output at each forward, without any tensor for its state."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x / self.calls


def in_bfloat16(x: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return F.linear(x, torch.eye(x.shape[-1])).float()


def stale() -> nn.Module:
    """deel-torchlip after an optimiser step, without the training forward that would bring the weight up to date."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), torchlip.SpectralLinear(SIZE, 16), torchlip.SpectralLinear(16, 4))
    model(torch.rand(2, *SHAPE))
    layer = model[1].parametrizations.weight
    layer.original.data += 0.1 * torch.randn_like(layer.original)
    return model.eval()


def refreshed() -> nn.Module:
    model = stale().train()
    for _ in range(20):
        model(torch.rand(2, *SHAPE))
    return model.eval()


def rounded(dtype: torch.dtype) -> nn.Module:
    model = chain(gain=0.99)
    for layer in (model[1], model[3]):
        layer.weight.data = (0.99 * layer.weight.data).to(dtype).float()
    return model


def training(module: nn.Module) -> nn.Module:
    return module.train()


def twins() -> nn.Linear:
    head = orthogonal(16, 4)
    head.weight.data[2], head.bias.data[2] = head.weight.data[0], head.bias.data[0]
    return head


STDS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.4, 0.5)}
X = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0))


def normalized() -> nn.Sequential:
    return chain(Normalize(**STDS))


def far_bias() -> nn.Sequential:
    model = chain()
    model[3].bias.data[0] = 30.0
    return model


@dataclass
class Case:
    code: str
    wrong: Any  # () -> model, or (model, card)
    severity: str
    says: str  # in the sentence
    right: Any = chain
    on: Card = field(default_factory=card)  # the card of the wrong one
    right_on: Card | None = None
    given: dict[str, Any] = field(default_factory=dict)
    right_given: dict[str, Any] | None = None


CASES = {
    "claim": Case("L101", lambda: chain(gain=1.2), "error", r"claims L = 1, .* bound 1\.2000.* not confirmed"),
    "claim by a hair": Case("L101", lambda: chain(gain=1.00001), "error", r"1\.00001", lambda: chain(gain=1.000001)),
    "rows of the head": Case("L102", lambda: chain(head=unit_rows(16, 4)), "error", r"by 2(\.0000\d*)? per unit"),
    "largest std": Case("L104", normalized, "error", "largest std", normalized, card(2.0), card(4.00001)),
    "mean std": Case("L104", normalized, "error", "mean of the stds", normalized, card(1 / 0.38333), card(4.00001)),
    "no std": Case("L104", normalized, "error", "no std at all .1.", normalized, card(1.0), card(4.00001)),
    "one std": Case("L104", lambda: chain(Normalize([0.5], [0.5])), "error", "no std at all", on=card(1.0)),
    "std only on the card": Case(
        "L104", chain, "error", "constant 4:", normalized,
        card(4.0, preprocessing=STDS), card(4.00001, preprocessing=STDS),
    ),
    "pixels": Case("L103", lambda: chain(Normalize([0.0], [1 / 255])), "error", "255 times", on=card(1.0)),
    "no rule": Case("L201", lambda: chain(nn.LayerNorm(SHAPE)), "error", "LayerNorm"),
    "no rule, no claim": Case("L201", lambda: chain(nn.LayerNorm(SHAPE)), "warning", "LayerNorm", on=card(None)),
    "reflect": Case("L202", lambda: chain(padded("reflect")), "error", r"0 \(Conv2d\) .* 1\.\d+ through its reflect"),
    "replicate": Case("L202", lambda: chain(padded("replicate")), "error", "replicate", lambda: chain(padded("zeros"))),
    "reflecting layer": Case("L202", lambda: chain(nn.ReflectionPad2d(1)), "error", r"0 \(ReflectionPad2d\)"),
    "functional padding": Case(
        "L202", lambda: chain(Lambda(lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"))), "error", r"pad 1",
        lambda: chain(Lambda(lambda x: F.pad(x, (1, 1, 1, 1)))),
    ),
    "symmetric": Case(
        "L202", lambda: chain(torchlip.PadConv2d(3, 3, 5, padding=2, padding_mode="symmetric")), "error", "symmetric",
        on=card(0.01),
    ),
    "ceil mode": Case(
        "L202", lambda: chain(torchlip.ScaledAvgPool2d(4, ceil_mode=True)), "error", "ceil_mode",
        lambda: chain(torchlip.ScaledAvgPool2d(4)),
    ),
    "padding without a bound": Case(
        "L202", lambda: chain(padded("reflect"), nn.LayerNorm(SHAPE)), "warning", r"0 \(Conv2d, reflect",
        lambda: chain(padded("zeros"), nn.LayerNorm(SHAPE)),
    ),
    "padding within the claim": Case(
        "L202", lambda: chain(padded("reflect")), "error", "reflect", lambda: chain(padded("reflect")),
        right_on=card(2.0),
    ),
    "residual": Case("L203", lambda: residual(1.0), "warning", r"about 2\^2, .* 2 sums", lambda: residual(0.5)),
    "residual, not the cause": Case("L203", lambda: residual(1.0), "warning", r"sum", lambda: residual(0.75)),
    "rows": Case("L204", lambda: chain(Lambda(lambda x: x.flatten(1)), unit_rows(SIZE, 16)), "error",
                 r"1 \(Linear\) each have norm 1, its spectral norm is 1\.\d"),
    "power iteration": Case("L205", lambda: chain(gain=1.01), "warning", r"1 layer .* 1 \(Linear\) with 1\.01"),
    "pixels given": Case("L301", chain, "error", r"\[0, 255\]; all are integers",
                         given={"x": (X * 255).round().clamp(0, 255)}, right_given={"x": X}),
    "negative": Case("L301", chain, "error", r"\[-0\.49", given={"x": X - 0.5}, right_given={"x": X}),
    "divided by 255": Case("L302", lambda: chain(Normalize([0.0], [255.0])), "warning", r"0 \(Normalize\)"),
    "eps": Case("L303", chain, "warning", r"eps = 36 is above sqrt\(d\) = 10\.39.* 0\.1412",
                given={"eps": (0.1, 36.0)}, right_given={"eps": (0.1, 10.0)}),
    "far": Case("L304", far_bias, "warning", r"20 of 20 .* sqrt\(d\) = 10\.39",
                given={"x": X}, right_given={"x": X}),
    "ties": Case("L305", lambda: chain(head=twins()), "warning", r"\d+ of 20 samples .*never certified",
                 given={"x": X}, right_given={"x": X}),
    "twin rows": Case("L306", lambda: chain(head=twins()), "warning", "1 pair of rows .*classes 0, 2"),
    "alpha": Case("L307", chain, "warning", r"alpha = 10 .* 0\.90909",
                  on=card(loss="hkr_multiclass", hyperparameters={"alpha": 10.0, "min_margin": 1.0}),
                  right_on=card(loss="hkr_multiclass", hyperparameters={"alpha": 1.0, "min_margin": 1.0})),
    "negative alpha": Case("L307", chain, "warning", "no convention",
                           on=card(loss="hkr_multiclass", hyperparameters={"alpha": -0.1, "min_margin": 1.0}),
                           right_on=card(loss="hkr_multiclass", hyperparameters={"alpha": 0.0, "min_margin": 1.0})),
    "tau of pixels": Case("L308", chain, "warning", r"0\.05 .* 12\.75",
                          on=card(loss="tau_cross_entropy", hyperparameters={"tau": 0.05}),
                          right_on=card(loss="tau_cross_entropy", hyperparameters={"tau": 12.75})),
    "tau 0": Case("L308", chain, "warning", "not above 0",
                  on=card(loss="tau_cross_entropy", hyperparameters={"tau": 0.0}),
                  right_on=card(loss="tau_cross_entropy", hyperparameters={"tau": 0.25})),
    "tau twice": Case("L308", chain, "warning", "once too often",
                      on=card(loss="tau_cross_entropy", hyperparameters={"tau": 65280.0}),
                      right_on=card(loss="tau_cross_entropy", hyperparameters={"tau": 765.0})),
    "margin of pixels": Case("L309", chain, "warning", r"36 is above L sqrt\(d\) = 10\.39.* 0\.1412",
                             on=card(loss="hinge_multiclass", hyperparameters={"min_margin": 36.0}),
                             right_on=card(loss="hinge_multiclass", hyperparameters={"min_margin": 10.0})),
    "margin 0": Case("L309", chain, "warning", "not above 0",
                     on=card(loss="hinge_multiclass", hyperparameters={"min_margin": 0.0}),
                     right_on=card(loss="hinge_multiclass", hyperparameters={"min_margin": 0.1})),
    "train mode": Case("L401", lambda: training(chain(nn.BatchNorm2d(3))), "error", r"differ .* by \d",
                       lambda: chain(nn.BatchNorm2d(3)), right_on=card(1.1)),
    "harmless train mode": Case("L401", lambda: training(chain()), "warning", "though the outputs are"),
    "dropout": Case("L402", lambda: training(chain(nn.Dropout(0.5))), "error", r"bernoulli.* 0 \(Dropout\)",
                    lambda: chain(nn.Dropout(0.5))),
    "functional dropout": Case("L402", lambda: chain(Lambda(F.dropout)), "error", "bernoulli",
                               lambda: chain(Lambda(lambda x: F.dropout(x, training=False)))),
    "batch statistics": Case("L403", lambda: chain(nn.BatchNorm2d(3, track_running_stats=False)), "error",
                             r"by \d.*0 \(BatchNorm2d\) on", lambda: chain(nn.BatchNorm2d(3)), right_on=card(1.1)),
    "batch norm in train mode": Case("L403", lambda: training(chain(nn.BatchNorm2d(3))), "error", "BatchNorm2d",
                                     lambda: chain(nn.BatchNorm2d(3)), right_on=card(1.1)),
    "batch mean": Case("L403", lambda: chain(Lambda(lambda x: x - x.mean(dim=0))), "error", r"by \d"),
    "moving state": Case("L404", lambda: chain(Counting(1e-6)), "warning", r"1 tensor .*0\.scale", on=card(2.0)),
    "moving far": Case("L404", lambda: chain(Counting(0.1)), "error", r"0\.scale", on=card(2.0)),
    "drifting": Case("L404", lambda: chain(Drifting()), "error", r"differ by 0\.5", on=card(2.0)),
    "stale": Case("L405", stale, "warning", r"1 weight .* 1 \(SpectralLinear\)\.weight, by 0\.\d", refreshed),
    "stored in float16": Case("L502", lambda: chain().half(), "error", r"tensors .* 1\.weight \(torch\.float16\)"),
    "stored in bfloat16": Case("L502", lambda: chain().bfloat16(), "error", "bfloat16"),
    "cast": Case("L502", lambda: chain(Lambda(lambda x: x.half().float())), "error", "casts to torch.float16"),
    "autocast inside": Case("L502", lambda: chain(Lambda(in_bfloat16)), "error", "casts to torch.bfloat16"),
    "rounded to float16": Case("L503", lambda: rounded(torch.float16), "warning", "exactly torch.float16"),
    "rounded to bfloat16": Case("L503", lambda: rounded(torch.bfloat16), "warning", "exactly torch.bfloat16",
                                lambda: rounded(torch.float32)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_fault_is_found_and_its_absence_is_not(case):
    named = {finding.code: finding for finding in findings(case.wrong(), case.on, **case.given)}
    assert case.code in named, f"found only {sorted(named)}"
    finding = named[case.code]
    assert finding.severity == case.severity
    assert re.search(case.says, finding.sentence), finding.sentence
    assert finding.reference
    assert "\n" not in finding.sentence
    given = case.given if case.right_given is None else case.right_given
    assert case.code not in codes(findings(case.right(), case.right_on or card(), **given))


def test_each_check_has_a_case():
    assert set(summaries()) == {case.code for case in CASES.values()} | {"L501"}
    assert all(summaries().values())


def test_a_code_is_given_once():
    with pytest.raises(ValueError, match="L101 is taken"):
        check("L101", "again", "nowhere")(lambda subject: iter(()))


# --- right models ----------------------------------------------------------------------------------------------------


def trained(model: nn.Module, digits: Any, steps: int = 20) -> nn.Module:
    """After a few optimiser steps and one training forward, in eval mode."""
    x, labels = torch.from_numpy(digits.train.x), torch.from_numpy(digits.train.labels)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for step in range(steps):
        rows = slice(64 * step % 1024, 64 * step % 1024 + 64)
        optimizer.zero_grad()
        F.cross_entropy(8 * model.train()(x[rows]), labels[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        for _ in range(20):  # the power iteration follows the last step
            model(x[:64])
    return model.eval()


def torchlip_mlp() -> nn.Module:
    return torchlip.Sequential(
        nn.Flatten(), torchlip.SpectralLinear(64, 32), torchlip.GroupSort2(), torchlip.SpectralLinear(32, 10)
    )


def torchlip_cnn() -> nn.Module:
    return torchlip.Sequential(
        torchlip.SpectralConv2d(1, 8, 3, padding=1), torchlip.GroupSort2(), torchlip.ScaledL2NormPool2d(2),
        torchlip.SpectralConv2d(8, 16, 3, padding=1), torchlip.GroupSort2(), torchlip.ScaledAvgPool2d(2),
        nn.Flatten(), torchlip.SpectralLinear(64, 10),
    )  # fmt: skip


def aoc() -> nn.Module:
    layers = pytest.importorskip("orthogonium.layers")
    return nn.Sequential(
        layers.AdaptiveOrthoConv2d(1, 8, 3, padding=1, padding_mode="zeros"), layers.MaxMin(),
        layers.AdaptiveOrthoConv2d(8, 16, 3, stride=2, padding=1, padding_mode="zeros"), layers.MaxMin(),
        nn.Flatten(), layers.OrthoLinear(256, 10),
    )  # fmt: skip


class TorchlipResidual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Sequential(torchlip.SpectralLinear(32, 32), torchlip.GroupSort2())

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.f(x)) / 2


def torchlip_residual() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), torchlip.SpectralLinear(64, 32), TorchlipResidual(), TorchlipResidual(),
        torchlip.SpectralLinear(32, 10),
    )  # fmt: skip


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(512, 10)
    )


def exported(build: Any) -> Any:
    return lambda digits: trained(build(), digits).vanilla_export()


def aoc_exported(digits: Any) -> nn.Module:
    return torchlip.vanilla_model(trained(aoc(), digits), in_place=False)


RIGHT = {  # the model, its claim, and the warnings that are true of it
    "deel-torchlip mlp": (lambda digits: trained(torchlip_mlp(), digits), 1.0, set()),
    "deel-torchlip cnn": (lambda digits: trained(torchlip_cnn(), digits), 1.0, set()),
    "deel-torchlip residual": (lambda digits: trained(torchlip_residual(), digits), 1.0, set()),
    "deel-torchlip fresh": (lambda digits: torchlip_mlp().eval(), 1.0, set()),
    "deel-torchlip in training": (lambda digits: trained(torchlip_mlp(), digits).train(), 1.0, {"L401", "L404"}),
    "exported mlp as it comes": (exported(torchlip_mlp), 1.0, {"L401"}),
    "exported mlp": (lambda digits: exported(torchlip_mlp)(digits).eval(), 1.0, set()),
    "exported cnn": (lambda digits: exported(torchlip_cnn)(digits).eval(), 1.0, set()),
    "AOC": (lambda digits: trained(aoc(), digits), 1.0, {"L404"}),  # it moves its power iteration in eval mode too
    "exported AOC": (lambda digits: aoc_exported(digits).eval(), 1.0, set()),
    "normalised": (
        lambda digits: nn.Sequential(Normalize([0.3], [0.25]), *exported(torchlip_mlp)(digits)).eval(), 4.00002, set(),
    ),
    "plain": (lambda digits: trained(plain(), digits), None, set()),
    "plain in training": (lambda digits: trained(plain(), digits).train(), None, {"L402", "L403", "L404"}),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_right_models_have_no_error(name, digits):
    build, claimed, true = RIGHT[name]
    on = card(claimed, input_shape=(1, 8, 8), num_classes=10)
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build(digits))
    proof = certificate(models[0], on.input_shape)
    x, labels = torch.from_numpy(digits.test.x), torch.from_numpy(digits.test.labels)
    found = lint(models[1], on, proof, x=x, labels=labels, eps=(0.1, 0.5))
    assert {finding.code for finding in found} == true, [finding.sentence for finding in found]
    assert all(finding.severity == "warning" for finding in found)


def test_the_bundled_zoo_has_no_finding(digits, digits_zoo):
    x, labels = torch.from_numpy(digits.test.x), torch.from_numpy(digits.test.labels)
    folders = model_folders(digits_zoo)
    assert len(folders) == 57
    for folder in folders:
        model = load_model(folder)
        proof = certificate(model.module, model.card.input_shape)
        found = lint(model.module, model.card, proof, x=x, labels=labels, eps=(0.1, 0.3, 0.5))
        assert found == [], model.card.name


def test_a_false_card_of_the_bundled_zoo(digits, digits_zoo):
    model = load_model(digits_zoo / TAU4)
    on = model.card.model_copy(update={"claimed": cards.Lipschitz(constant=0.5)})
    assert codes(findings(model.module, on, x=torch.from_numpy(digits.test.x))) == ["L101"]


# --- one cause, one explanation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "on", "expected"),
    [
        (lambda: chain(head=unit_rows(16, 4)), card(), ["L101", "L102"]),  # not also L204, L205
        (lambda: chain(Normalize([0.0], [1 / 255])), card(1.0), ["L101", "L103"]),  # not also L104
        (lambda: chain(Normalize([0.0], [1 / 250])), card(1.0), ["L101", "L103"]),  # a bound has some slack
        (lambda: chain(Normalize([0.0], [1 / 200])), card(1.0), ["L101", "L104"]),
        (lambda: chain(padded("reflect")), card(), ["L101", "L202"]),  # not also L205
        (lambda: residual(1.0), card(), ["L101", "L203"]),
        (lambda: chain(gain=1.01), card(), ["L101", "L205"]),
        (lambda: chain(gain=2.1), card(), ["L101"]),  # a large norm is no power iteration that was stopped early
        (lambda: chain(gain=1.01), card(1.001), ["L101"]),  # nor where the claim is not 1
        (lambda: chain(gain=2.0, head=unit_rows(16, 4)), card(), ["L101", "L204"]),  # each logit alone is above, too
        (lambda: training(chain(nn.Dropout(0.5))), card(), ["L401", "L402"]),  # not also L403, L404
    ],
)
def test_faults_are_not_reported_twice(module, on, expected):
    assert codes(findings(module(), on)) == expected


@pytest.mark.parametrize(
    "module",
    [
        lambda: training(chain()),
        lambda: rounded(torch.float16),
        lambda: chain(gain=3.0),
        lambda: residual(1.0),
        lambda: chain(padded("reflect")),
        lambda: chain(Normalize(**STDS), head=unit_rows(16, 4)),
    ],
)
def test_without_a_claim_nothing_is_held_against_it(module):
    assert findings(module(), card(None), x=X) == []


def test_short_numbers_on_purpose_do_not_look_rounded():
    model = chain()
    for layer, (outputs, inputs) in ((model[1], (16, SIZE)), (model[3], (4, 16))):
        layer.weight.data = torch.eye(outputs, inputs)
    assert "L503" not in codes(findings(model))


def test_attention_without_dropout_draws_nothing():
    """The operation carries the tag of those that may draw random numbers."""
    attention = Lambda(lambda x: F.scaled_dot_product_attention(x, x, x))
    assert "L402" not in codes(findings(chain(attention)))


def test_the_explanation_names_the_layers_that_weights_compute():
    """A layer that was normalised with one step of a power iteration, as torch's spectral_norm does."""
    torch.manual_seed(0)
    layer = parametrizations.spectral_norm(nn.Linear(SIZE, 16), n_power_iterations=1)
    model = nn.Sequential(nn.Flatten(), layer, torchlip.GroupSort2(), orthogonal(16, 4)).eval()
    found = {finding.code: finding.sentence for finding in findings(model)}
    norm = torch.linalg.matrix_norm(layer.weight.detach().double(), ord=2).item()
    assert 1.00001 < norm < 1.5
    assert f"1 (Linear) with {norm:.7g}" in found["L205"]


# --- settings --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def precision(value: str):
    before = precisions()
    torch.set_float32_matmul_precision(value)
    try:
        yield
    finally:
        set_precisions(before)


SETTINGS = [
    (lambda: precision("high"), "mkldnn.matmul.*'tf32'"),
    (lambda: precision("medium"), "mkldnn.matmul.*'bf16'"),
    (lambda: torch.autocast("cpu", dtype=torch.bfloat16), "autocast is on for cpu: .*bfloat16"),
]


@pytest.mark.parametrize(("setting", "says"), SETTINGS)
def test_settings_of_torch(setting, says):
    model, on = chain(), card()
    proof = certificate(model, SHAPE)
    assert lint(model, on, proof) == []
    with setting():
        (found,) = lint(model, on, proof)
        assert (found.code, found.severity) == ("L501", "warning")
        assert re.search(says, found.sentence)
    assert lint(model, on, proof) == []


def test_settings_that_only_the_new_interface_can_read():
    """``torch.get_float32_matmul_precision`` raises where ``torch.backends...fp32_precision`` were set."""
    model = chain()
    proof = certificate(model, SHAPE)
    with precision("highest"):
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
        (found,) = lint(model, card(), proof)
    assert (found.code, found.severity) == ("L501", "warning")
    assert lint(model, card(), proof) == []


def test_settings_of_float32_do_not_concern_float64():
    model = chain().double()
    proof = certificate(model, SHAPE)
    with precision("medium"):
        assert lint(model, card(), proof) == []


def test_tf32_on_the_gpu(device):
    if device.type != "cuda":
        pytest.skip("no CUDA")
    model = chain().to(device)
    proof = certificate(model, SHAPE)
    assert lint(model, card(), proof, x=X.to(device)) == []
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    try:
        (found,) = lint(model, card(), proof, x=X)
    finally:
        set_precisions()
    assert (found.code, "cudnn" in found.sentence) == ("L501", True)


# --- what is given ---------------------------------------------------------------------------------------------------


def test_the_claim_is_the_card_s():
    model = chain(gain=1.2)
    for claimed in (None, 1.0, 5.0):
        assert codes(lint(model, card(), certificate(model, SHAPE, claimed))) == ["L101", "L205"]


@pytest.mark.parametrize("name", ["far", "ties", "rounded to float16", "rows of the head", "stale"])
def test_a_proof_in_float64_serves_as_well(name):
    """``verify`` certifies the network as it runs, in float64 by default."""
    case = CASES[name]
    proof = certificate(copy.deepcopy(case.wrong()).double(), SHAPE)
    found = lint(case.wrong(), case.on, proof, **case.given)
    assert {finding.code for finding in found} >= {case.code}
    assert codes(found) == codes(findings(case.wrong(), case.on, **case.given))


def test_the_finding_of_a_layer_without_a_rule_repeats_the_error():
    model = chain(nn.LayerNorm(SHAPE))
    with pytest.raises(UnsupportedError) as caught:
        certificate(model, SHAPE)
    (found,) = lint(model, card(), None)
    assert (found.code, found.severity) == ("L201", "error")
    assert found.reference == TABLE["L201"].reference
    assert found.sentence == f"no bound of the network exists, so nothing confirms a claim: {caught.value}"


def broken(x: Tensor) -> Tensor:
    raise KeyError("a user's mistake")


AWKWARD = {
    "raises": lambda: chain(head=Lambda(broken)),
    "gives a tuple": lambda: chain(head=Lambda(lambda x: (x, x))),
    "depends on data": lambda: chain(Lambda(lambda x: x if x.sum() > 0 else -x)),
    "takes other inputs": lambda: nn.Sequential(nn.Flatten(), orthogonal(7, 4)).eval(),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_a_model_that_does_not_run_is_a_finding(name):
    found = lint(AWKWARD[name](), card(), None, x=X, eps=(1.0,))
    assert codes(found) == ["L201"]


class OnlyServed(nn.Module):
    """A parametrisation that cannot be computed in train mode, as after its own buffers were dropped."""

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("not without the buffers")
        return weight


def test_a_weight_that_cannot_be_computed_anew():
    model = chain()
    parametrize.register_parametrization(model[3].eval(), "weight", OnlyServed().eval(), unsafe=True)
    assert findings(model.eval()) == []


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weights_that_cannot_be_copied():
    """The old weight_norm keeps a weight that is computed, which torch cannot copy."""
    model = chain()
    nn.utils.weight_norm(model[3])
    model(X)
    (found,) = lint(model, card(), None)
    assert found.code == "L201"
    assert "copied" in found.sentence


def test_a_single_logit():
    model = chain(head=orthogonal(16, 1))
    on = card(num_classes=2)
    assert findings(model, on, x=X, labels=(model(X)[:, 0] > 0).long()) == []
    model[3].bias.data[0] = 30.0
    (found,) = findings(model, on, x=X, labels=torch.ones(20, dtype=torch.int64))
    assert found.code == "L304"
    assert "20 of 20" in found.sentence


def test_radii_are_those_of_the_labels():
    assert codes(findings(far_bias(), x=X, labels=torch.zeros(20, dtype=torch.int64))) == ["L304"]
    assert findings(far_bias(), x=X, labels=torch.ones(20, dtype=torch.int64)) == []


def test_checks_without_their_material_are_left_out():
    assert findings(far_bias()) == []
    assert findings(chain(), x=X[:1]) == []
    assert findings(chain(), x=X[:0]) == []


@pytest.mark.parametrize(("a", "b"), [(math.nan, 1.0), (1.0, math.nan), (math.nan, math.nan), (math.inf, math.inf)])
def test_numbers_that_are_not_finite_are_never_close(a, b):
    assert relative(torch.tensor([a, 0.0]), torch.tensor([b, 0.0])) == math.inf


def test_outputs_of_nan_in_train_mode_are_an_error():
    class Spoilt(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10] * (math.nan if self.training else 1.0)

    found = {one.code: one for one in linter.lint(Spoilt().train(), card(1.0), None)}
    assert found["L401"].severity == "error"
