import copy
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from bundled import TAU4
from deel import torchlip
from torch import nn

from lipbench._internal.precision import precisions, set_precisions
from lipbench.attacks.network import Network
from lipbench.certification.certificate import certificate
from lipbench.certification.lipschitz import lipschitz_bound
from lipbench.errors import LipbenchError
from lipbench.models import architectures
from lipbench.models.stored import load_model


def linear(weight, bias=None) -> nn.Sequential:
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data = torch.tensor(weight, dtype=torch.float32)
    layer.bias.data = torch.zeros(len(weight)) if bias is None else torch.tensor(bias, dtype=torch.float32)
    return nn.Sequential(nn.Flatten(), layer)


def radii(module, x, labels, grade="real", claimed=None):
    x = torch.tensor(x, dtype=torch.float64).view(len(x), 1, 1, -1)
    proof = certificate(module.double(), x.shape[1:], claimed)
    return proof.radii(module(x), torch.tensor(labels), grade)


def test_linear_classifier_gets_its_exact_distance():
    """For a linear network the pairwise radius is the distance to the nearest hyperplane."""
    weight = [[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]]
    x = [[0.9, 0.1], [0.2, 0.9]]
    first = min((0.9 - 0.2) / math.hypot(1, -2), (0.9 + 1.0) / math.hypot(2, 1))
    second = min((1.8 - 0.2) / math.hypot(-1, 2), (1.8 + 1.1) / math.hypot(1, 3))
    assert radii(linear(weight), x, [0, 1]).tolist() == pytest.approx([first, second], rel=1e-12)


def test_misclassified_and_tied_samples_have_no_radius():
    weight = [[1.0, 0.0], [0.0, 1.0]]
    assert radii(linear(weight), [[0.9, 0.1], [0.5, 0.5]], [1, 0]).tolist() == [0.0, 0.0]


def test_identical_rows_with_a_tie_have_no_radius():
    assert radii(linear([[1.0, 0.0], [1.0, 0.0]]), [[0.9, 0.1]], [0]).tolist() == [0.0]


def test_never_looser_than_the_margin_over_sqrt2_l():
    torch.manual_seed(0)
    for _ in range(20):
        net = nn.Sequential(nn.Flatten(), nn.Linear(9, 16), nn.ReLU(), nn.Linear(16, 5)).double()
        x = torch.rand(50, 1, 3, 3, dtype=torch.float64)
        logits = net(x).detach()
        top = logits.sort(dim=1).values
        usual = (top[:, -1] - top[:, -2]) / (math.sqrt(2) * lipschitz_bound(net, (1, 3, 3)))
        got = certificate(net, (1, 3, 3)).radii(logits, logits.argmax(1))
        assert (got >= usual * (1 - 1e-9)).all()
        assert (got > usual * 1.0001).any()  # and usually better


def test_single_logit_head():
    """|f| / L, with L the constant of f itself, and no factor sqrt(2)."""
    net = linear([[3.0, 4.0]], [-1.0]).double()
    proof = certificate(net, (1, 1, 2), claimed=5.0)
    f = net(torch.tensor([[[[0.5, 0.5]]]], dtype=torch.float64)).detach()
    logits = torch.cat([-f / 2, f / 2], dim=1)
    assert f.item() == pytest.approx(2.5)
    assert proof.radii(logits, torch.tensor([1])).item() == pytest.approx(0.5, rel=1e-12)
    assert proof.radii(logits, torch.tensor([1]), "nominal").item() == pytest.approx(0.5, rel=1e-12)


def test_head_that_is_not_linear():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU()).double()
    proof = certificate(net, (1, 2, 2))
    expected = math.sqrt(2) * lipschitz_bound(net, (1, 2, 2))
    assert proof.pairwise[0, 1].item() == pytest.approx(expected)


def test_nominal_radii_follow_the_claim_only():
    net = linear([[1.0, 0.0], [0.0, 1.0]])
    real = radii(net, [[0.9, 0.1]], [0], claimed=0.5).item()
    nominal = radii(net, [[0.9, 0.1]], [0], "nominal", claimed=0.5).item()
    assert real == pytest.approx(0.8 / math.sqrt(2))
    assert nominal == pytest.approx(2 * real)
    assert math.isnan(radii(net, [[0.9, 0.1]], [0], "nominal").item())


@pytest.mark.parametrize(("factor", "confirmed"), [(1.0, True), (1.02, False), (1.00001, False), (0.98, True)])
def test_a_claim_is_held_against_the_weights(factor, confirmed):
    net = linear([[factor, 0.0], [0.0, factor]])
    assert certificate(net, (1, 1, 2), claimed=1.0).claim_confirmed is confirmed
    assert certificate(net, (1, 1, 2)).claim_confirmed is None


def test_mcr_terms_are_signed():
    net = linear([[1.0, 0.0], [0.0, 1.0]]).double()
    proof = certificate(net, (1, 1, 2))
    logits = torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    right, wrong = (proof.signed_margins(logits, torch.tensor([label])).item() for label in (0, 1))
    assert right == pytest.approx(0.8 / math.sqrt(2))
    assert wrong == pytest.approx(-right)


# --- radii to each class ---


THREE = [[1.0, 0.0], [0.0, 2.0], [-1.0, -1.0]]


@pytest.mark.parametrize(
    ("x", "label", "margins"),
    [
        ([0.9, 0.1], 0, [math.inf, 0.9 - 0.2, 0.9 + 1.0]),
        ([0.2, 0.9], 1, [1.8 - 0.2, math.inf, 1.8 + 1.1]),
        ([0.2, 0.9], 0, [math.inf, 0.0, 0.2 + 1.1]),  # misclassified: class 1 is there, class 2 is not
        ([0.4, 0.2], 0, [math.inf, 0.0, 0.4 + 0.6]),  # tied with class 1
    ],
)
def test_the_radius_to_each_class_of_a_linear_classifier_is_the_distance_to_its_hyperplane(x, label, margins):
    module = linear(THREE).double()
    point = torch.tensor(x, dtype=torch.float32).double().view(1, 1, 1, 2)
    logits, proof = module(point).detach(), certificate(module, (1, 1, 2))
    got = proof.pairwise_radii(logits, torch.tensor([label]))
    weight = torch.tensor(THREE, dtype=torch.float64)
    spread = (weight[label] - weight).norm(dim=1).tolist()
    expected = [margin if math.isinf(margin) else margin / norm for margin, norm in zip(margins, spread, strict=True)]
    expected[label] = math.inf
    assert got.tolist() == [pytest.approx(expected, rel=1e-6, abs=1e-12)]
    # just beyond its radius, straight at it, each class outranks the label; just within it does not
    for other in range(3):
        radius = got[0, other].item()
        if 0 < radius < math.inf:
            towards = (weight[other] - weight[label]) / spread[other]
            for factor, wins in ((1 - 1e-9, False), (1 + 1e-9, True)):
                moved = module(point + (factor * radius * towards).view(1, 1, 1, 2))[0]
                assert (moved[other] > moved[label]).item() is wins


@pytest.fixture(scope="module")
def small_network():
    """Float64, claimed to be 1-Lipschitz, with a sample of every kind: right, wrong, tied."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, 16), torchlip.GroupSort2(), nn.Linear(16, 5)).double()
    logits = module(torch.rand(40, 1, 3, 3).double()).detach()
    labels = logits.argmax(1)
    labels[::4] = (labels[::4] + 1) % 5
    logits[1, (labels[1] + 2) % 5] = logits[1, labels[1]]
    return certificate(module, (1, 3, 3), claimed=1.0), logits, labels


@pytest.mark.parametrize("grade", ["float", "real", "nominal"])
def test_the_radius_of_a_sample_is_that_to_its_nearest_class(small_network, grade):
    proof, logits, labels = small_network
    pairwise, radii = proof.pairwise_radii(logits, labels, grade), proof.radii(logits, labels, grade)
    assert pairwise.shape == (40, 5)
    assert torch.equal(pairwise.amin(dim=1), radii)
    own = torch.nn.functional.one_hot(labels, 5).bool()
    assert (pairwise[own] == torch.inf).all()
    assert torch.isfinite(pairwise[~own]).all()
    ahead = logits >= logits.gather(1, labels[:, None])
    assert torch.equal(pairwise == 0, ahead & ~own)
    assert (radii[::4] == 0).all()
    assert radii[1] == 0
    assert (radii[2::4] > 0).all()


def test_grade_float_is_below_grade_real_for_each_class(small_network):
    proof, logits, labels = small_network
    exact, float64 = (proof.pairwise_radii(logits, labels, grade) for grade in ("real", "float"))
    open_classes = torch.isfinite(exact) & (exact > 0)
    assert (float64[open_classes] < exact[open_classes]).all()
    within = open_classes & (exact < proof.diameter)
    assert float64[within].numpy() == pytest.approx(exact[within].numpy(), rel=1e-6)


def test_the_nominal_radius_to_each_class_follows_the_claim(small_network):
    proof, logits, labels = small_network
    margins = (logits.gather(1, labels[:, None]) - logits).clamp_min(0)
    expected = (margins / math.sqrt(2)).scatter(1, labels[:, None], torch.inf)
    assert torch.allclose(proof.pairwise_radii(logits, labels, "nominal"), expected, rtol=1e-12)


@pytest.mark.parametrize("grade", ["nominal", "float"])
def test_radii_that_are_not_known_are_nan_for_each_class(small_network, grade):
    """Nominal without a claim, float without an error analysis."""
    proof, logits, labels = small_network
    unknown = replace(proof, claimed=None, errors=None)
    assert torch.isnan(unknown.pairwise_radii(logits, labels, grade)).all()
    assert unknown.pairwise_radii(logits, labels, grade).shape == (40, 5)
    assert torch.isnan(unknown.radii(logits, labels, grade)).all()


def test_the_classes_of_identical_rows_are_never_reached():
    """Their difference is the same everywhere: infinitely far if it is positive, there already if it is not."""
    module = linear([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.5, 0.0, 0.0]).double()
    logits = module(torch.tensor([[[[0.9, 0.1]]]], dtype=torch.float64)).detach()
    proof = certificate(module, (1, 1, 2))
    assert proof.pairwise_radii(logits, torch.tensor([0])).tolist() == [
        [math.inf, math.inf, pytest.approx(1.3 / math.sqrt(2))]
    ]
    assert proof.pairwise_radii(logits, torch.tensor([1]))[0, 0] == 0


def test_unknown_grade():
    with pytest.raises(LipbenchError, match="grade"):
        radii(linear([[1.0], [2.0]]), [[0.5]], [1], grade="exact")


# --- grade float ---


class Residual(nn.Module):
    """x + 0.5 conv(x), beside x: a sum and a concatenation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return torch.cat([x + 0.5 * self.conv(x), x], dim=1)


def shifted(channels: int) -> nn.BatchNorm2d:
    """A batch norm with statistics as after training."""
    layer = nn.BatchNorm2d(channels)
    layer.running_mean.uniform_(-1, 1)
    layer.running_var.uniform_(0.1, 2)
    layer.weight.data.uniform_(0.5, 2)
    return layer


def combined(branch: nn.Module, weight: float) -> architectures.Residual:
    block = architectures.Residual(branch, architectures.ConvexCombination())
    block.shortcut.weight.data.fill_(weight)
    return block


BODIES = {  # from (2, 6, 6) to (n, features)
    "dense": lambda: [nn.Flatten(), nn.Linear(72, 40), nn.ReLU(), nn.Linear(40, 20), nn.LeakyReLU(0.3)],
    "convolutions": lambda: [
        nn.Conv2d(2, 4, 3, padding=1, stride=2),
        nn.Hardtanh(),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    ],
    "transposed convolution": lambda: [nn.ConvTranspose2d(2, 3, 3, stride=2), nn.ReLU(), nn.AvgPool2d(2)],
    "l2-norm pool": lambda: [torchlip.ScaledL2NormPool2d((2, 2)), nn.Conv2d(2, 4, 2), nn.MaxPool2d(2)],
    "batch norm": lambda: [nn.Conv2d(2, 4, 3), shifted(4), torchlip.GroupSort2()],
    "sum and concatenation": lambda: [Residual(), nn.ReLU(), nn.Conv2d(4, 2, 3)],
    "convex combination": lambda: [combined(nn.Conv2d(2, 2, 3, padding=1), 0.3), nn.ReLU()],
    "spectral layers": lambda: [torchlip.SpectralConv2d(2, 4, 3, padding=1), torchlip.GroupSort2()],
}
DTYPES = ("float32", "float64")


def random_network(body: str, seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [*BODIES[body](), nn.Flatten()]
    features = nn.Sequential(*layers).eval()(torch.zeros(1, 2, 6, 6)).shape[1]
    return nn.Sequential(*layers, nn.Linear(features, 5)).eval()


def centres_and_labels(network: Network, n: int = 20):
    x = torch.rand(n, 2, 6, 6)
    logits = network.predict(x)
    return x, logits, logits.argmax(1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("body", BODIES)
def test_grade_float_is_never_above_grade_real_and_follows_it(body, dtype):
    network = Network(random_network(body, 0), (2, 6, 6), dtype=dtype)
    proof = certificate(network.module, (2, 6, 6))
    x, logits, labels = centres_and_labels(network)
    errors = {"range": None, "samples": proof.sample_errors(x), "fast": proof.sample_errors(x, sharp=False)}
    floating, real = (
        {name: proof.radii(logits, labels, grade, error) for name, error in errors.items()}
        for grade in ("float", "real")
    )
    for name, radius in floating.items():
        assert (radius <= real[name]).all()
        assert (radius < real[name])[real[name] > 0].all()
        assert (radius > (0.9 if dtype == "float32" else 1 - 1e-9) * real[name])[real[name] > 0.05].all()
    for by_errors in (floating, real):
        assert (by_errors["samples"] >= by_errors["fast"]).all()
        assert by_errors["samples"].sum() > by_errors["range"].sum()
    wrong = (labels + 1) % 5
    assert (proof.radii(logits, wrong, "float") == 0).all()


def in_ball(x: torch.Tensor, rho: float) -> torch.Tensor:
    """Float32 points of [0, 1]^d at a distance of at most rho."""
    step = torch.randn_like(x)
    step *= rho / step.flatten(1).norm(dim=1)[:, None, None, None]
    return (x + 0.999 * step).clamp(0, 1)


def computed_and_exact(network: Network, points: torch.Tensor, labels: torch.Tensor):
    """The differences f_i - f_j of float32 logits, and the same in float64, whose errors are 1e-9 of float32's."""
    exact = copy.deepcopy(network.module).double()(points.double())
    return ((f.gather(1, labels[:, None]) - f) for f in (network.predict(points), exact.detach()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("body", BODIES)
def test_float32_logits_lie_within_the_proven_errors_of_the_exact_ones(body, seed):
    network = Network(random_network(body, seed), (2, 6, 6), dtype="float32")
    proof = certificate(network.module, (2, 6, 6))
    x, _, labels = centres_and_labels(network)
    for errors in (proof.sample_errors(x), proof.sample_errors(x, sharp=False), proof.errors):
        constant, slope = proof.difference_errors(labels, errors)
        assert constant.max() < 2e-3  # and the bound says something
        for rho in (0.0, 0.1, 1.0):
            points = in_ball(x, rho) if rho else x
            computed, exact = computed_and_exact(network, points, labels)
            # the errors of the whole range hold without a slope
            bound = constant + (0 if errors is proof.errors else slope * rho)
            assert ((computed - exact).abs() <= bound * (1 + 1e-6)).all()


def far_from_zero(size: float = 4096.0) -> nn.Sequential:
    """The logits (0, x - 0.5), computed through x + size: in float32, x is rounded to multiples of size / 2^23."""
    first, second = nn.Linear(1, 1), nn.Linear(1, 2)
    first.weight.data, first.bias.data = torch.ones(1, 1), torch.tensor([size])
    second.weight.data, second.bias.data = torch.tensor([[0.0], [1.0]]), torch.tensor([0.0, -size - 0.5])
    return nn.Sequential(nn.Flatten(), first, second)


def test_the_bound_is_near_the_errors_that_occur():
    """Where one rounding is all there is, the bound is a handful of it: a bound of nothing would not be above it."""
    network = Network(far_from_zero(), (1, 1, 1), dtype="float32")
    proof = certificate(network.module, (1, 1, 1))
    x = torch.rand(500, 1, 1, 1)
    labels = torch.ones(500, dtype=torch.int64)
    computed, exact = computed_and_exact(network, x, labels)
    constant, _ = proof.difference_errors(labels, proof.sample_errors(x))
    share = (computed - exact).abs() / constant
    assert share[:, 0].max() <= 1
    assert share[:, 0].max() > 0.05


def test_errors_grow_with_the_distance_from_the_sample():
    """At x = 0, without biases, nothing rounds: what rounds in the ball is in the slope alone."""
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(72, 40, bias=False), nn.ReLU(), nn.Linear(40, 5, bias=False)]
    network = Network(nn.Sequential(*layers), (2, 6, 6), dtype="float32")
    proof = certificate(network.module, (2, 6, 6))
    x, labels = torch.zeros(100, 2, 6, 6), torch.zeros(100, dtype=torch.int64)
    constant, slope = proof.difference_errors(labels, proof.sample_errors(x))
    for rho in (0.1, 1.0):
        computed, exact = computed_and_exact(network, in_ball(x, rho), labels)
        assert ((computed - exact).abs() <= constant + slope * rho).all()
        assert ((computed - exact).abs() > 1e3 * constant)[:, 1:].any(dim=0).all()


@pytest.mark.parametrize(("dtype", "u"), [("float32", 2.0**-24), ("float64", 2.0**-53)])
def test_errors_and_radii_of_one_pixel_by_hand(dtype, u):
    """f = W (b (a x + p) + q) + v at x = 0.5, by the recurrences of ``rounding``: two roundings per layer."""
    a, p, b, q = 3.0, -1.0, 2.0, 0.25
    w, v = (4.0, -1.0), (0.5, 1.0)
    layers = [nn.Flatten(), nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 2)]
    for layer, weight, bias in zip(layers[1:], ([[a]], [[b]], [[w[0]], [w[1]]]), ([p], [q], v), strict=True):
        layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    network = Network(nn.Sequential(*layers), (1, 1, 1), dtype=dtype)
    proof = certificate(network.module, (1, 1, 1))
    x, label = torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    logits = network.predict(x)
    h1, h2 = 0.5, 1.25
    gamma = 2 * u / (1 - 2 * u)
    d1 = c1 = gamma * (a * 0.5 + abs(p))
    s1 = gamma * a * 1.0
    d2 = b * d1 + gamma * (b * h1 + q)
    c2 = b * c1 + gamma * (b * h1 + q + b * (d1 + c1))
    s2 = b * s1 + gamma * b * (a + s1)
    size, growth = h2 + d2 + c2, a * b + s2
    constant = 5.0 * c2 + gamma * (5.0 * size + 1.5)
    slope = 5.0 * s2 + gamma * 5.0 * growth
    errors = proof.sample_errors(x)
    assert errors.constant.item() == pytest.approx(c2, rel=1e-11)
    assert errors.slope == pytest.approx(s2, rel=1e-11)
    found = [part[0, 1].item() for part in proof.difference_errors(label, errors)]
    assert found == pytest.approx([constant, slope], rel=1e-11)
    assert found[0] >= constant * (1 - 1e-13)
    # the margin pays for the errors of two points, each of two logits, and for their growth on the way
    assert logits[0].tolist() == [5.5, -0.25]
    radius = min((5.75 - 2 * constant) / (30.0 + slope), 1.0)
    assert proof.radii(logits, label, "float", errors).item() == pytest.approx(radius, rel=1e-14)
    assert proof.radii(logits, label, "float", errors).item() < radius


def test_rounding_breaks_what_the_margin_and_the_bound_alone_promise():
    """A point closer than margin / L that the float32 network puts into another class; in float64 it does not."""
    network = Network(far_from_zero(), (1, 1, 1), dtype="float32")
    proof = certificate(network.module, (1, 1, 1))
    x, moved = torch.tensor([0.5004]).view(1, 1, 1, 1), torch.tensor([0.5002]).view(1, 1, 1, 1)
    logits, label = network.predict(x), torch.tensor([1])
    assert network.predict(x).argmax(1) == label != network.predict(moved).argmax(1)
    assert (logits[0, 1] - logits[0, 0]) / proof.pairwise[0, 1] > (x - moved).abs().item()
    for errors in (None, proof.sample_errors(x)):
        assert all(proof.radii(logits, label, grade, errors) == 0 for grade in ("float", "real"))
    exact = Network(far_from_zero(), (1, 1, 1))
    found = certificate(exact.module, (1, 1, 1)).radii_of(x, exact.predict(x), label)
    assert [found[grade].item() for grade in ("float", "real")] == pytest.approx([0.0004, 0.0004], rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_margin_is_certified_from_twice_its_error_on_and_more_of_it_gives_more(dtype):
    network = Network(random_network("dense", 0), (2, 6, 6), dtype=dtype)
    proof = certificate(network.module, (2, 6, 6))
    label = torch.tensor([3])
    error = proof.difference_errors(label, proof.errors)[0][0, 0].item()
    margins = error * torch.tensor([0.0, 0.5, 1.0, 1.99, 2.1, 3.0, 100.0, 1e4], dtype=torch.float64)
    logits = torch.full((len(margins), 5), -1.0, dtype=torch.float64)
    logits[:, 0], logits[:, 3] = 0.0, margins
    radius = proof.radii(logits, label.expand(len(margins)), "float")
    assert (radius[:4] == 0).all()  # a tie is the first of them
    assert (radius[4:] > 0).all()
    assert (radius.diff() >= 0).all()


def test_a_radius_of_grade_float_ends_at_the_diameter():
    """The errors are bounded on [0, 1]^d only, and no input lies further away."""
    proof = certificate(linear([[1e-3, 0.0], [0.0, 1e-3]], [1.0, 0.0]), (1, 1, 2))
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert proof.radii(logits, torch.tensor([0])) > 100
    assert proof.radii(logits, torch.tensor([0]), "float").item() == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(("dtype", "lost"), [("float64", 1e-9), ("float32", 0.03)])
def test_what_grade_float_costs_on_a_real_network(digits_zoo, digits, dtype, lost):
    network = Network(load_model(digits_zoo / TAU4).module, (1, 8, 8), dtype=dtype)
    proof = certificate(network.module, (1, 8, 8), 1.0)
    x, labels = torch.from_numpy(digits.test.x[:50]), torch.from_numpy(digits.test.labels[:50])
    radii = proof.radii_of(x, network.predict(x), labels)
    large = radii["real"] > 0.05
    assert large.sum() > 40
    assert (radii["float"] <= radii["real"]).all()
    assert (radii["float"] > (1 - lost) * radii["real"])[large].all()


def not_analysed(module: nn.Module) -> str:
    """The reason, which is there exactly if the radii are not. Grade real is there where a layer is the reason."""
    proof = certificate(module.eval(), (1, 2, 2))
    logits, labels = torch.tensor([[1e30, 0.0]], dtype=torch.float64), torch.tensor([0])
    assert (proof.not_analysed is not None) == bool(proof.radii(logits, labels, "float").isnan())
    reason = proof.not_analysed or ""
    exact = not reason or "no error analysis" in reason
    errors = proof.sample_errors(torch.rand(1, 1, 2, 2, dtype=proof.dtype))
    assert (errors is not None) == (proof.radii(logits, labels) > 0) == exact
    assert bool(proof.radii(logits, labels, "float", errors).isnan()) == bool(reason)
    return reason


def test_a_layer_without_an_error_analysis_is_named():
    assert "GELU" in not_analysed(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_grade_float_where_numbers_may_overflow(dtype):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2)).to(dtype)
    for layer in net[1:]:
        layer.weight.data *= 9e18  # the logits themselves are below 1e37
    assert ("may overflow" in not_analysed(net)) == (dtype is torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_grade_float_in_lower_precision(dtype):
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(dtype)
    assert not_analysed(net) == ""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert "autocast" in not_analysed(net)
    before = precisions()
    try:
        for setting in (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv):
            set_precisions()
            setting.fp32_precision = "bf16"  # which float64 is not concerned by
            assert ("mkldnn" in not_analysed(net)) == (dtype is torch.float32)
        set_precisions()
        torch.set_float32_matmul_precision("medium")
        assert ("mkldnn" in not_analysed(net)) == (dtype is torch.float32)
    finally:
        set_precisions(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_arithmetic_of_a_network_without_parameters(dtype):
    """Averages alone, and buffers alone: their errors are those of the arithmetic that runs."""
    for net in (
        nn.Sequential(nn.AvgPool2d(3, 2), nn.Flatten()),
        nn.Sequential(nn.BatchNorm2d(1, affine=False), nn.Flatten()),
    ):
        proof = certificate(net.to(dtype).eval(), (1, 5, 5), dtype=dtype)
        assert proof.dtype is dtype
        unit = 2.0**-24 if dtype is torch.float32 else 2.0**-53
        assert unit < proof.output_error < 1000 * unit


# --- the ends of the range of numbers --------------------------------------------------------------------------------


class Forward(nn.Module):
    """A forward given as a function, and a flat output."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers).flatten(1)


def dense(*rows: list[float], dtype=torch.float32) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), bias=False, dtype=dtype)
    layer.weight.data = torch.tensor(rows, dtype=dtype)
    return layer


def test_squares_that_vanish_do_not_make_a_constant_vanish():
    """Side by side, after numbers so small that their squares are 0 in float64."""
    net = Forward(lambda x: torch.cat([x * 2.0**-580, x * 2.0**-580], 1) * 2.0**580)
    assert lipschitz_bound(net, (1, 1, 2)) >= 2**0.5


def test_products_that_vanish_do_not_make_a_constant_vanish():
    small, large = [dense([1e-38]) for _ in range(10)], [dense([1e38]) for _ in range(10)]
    assert lipschitz_bound(nn.Sequential(*small, *large), (1,)) >= 1


def test_rows_of_the_head_whose_squares_vanish():
    net = nn.Sequential(nn.Flatten(), dense([1e-170, 0.0], [0.0, 1e-170], dtype=torch.float64))
    proof = certificate(net, (1, 1, 2))
    x = torch.tensor([[[[0.6, 0.4]]]], dtype=torch.float64)
    for grade in ("float", "real"):
        assert 0 < proof.radii(net(x), torch.tensor([0]), grade).item() <= 0.2 / 2**0.5 * (1 + 1e-9)


OVERFLOW = {
    "squares": (nn.LPPool2d(2, 2), 1e10),
    "sums": (nn.AvgPool2d(2), 1e19),
    "means": (Forward(lambda x: x.mean((2, 3), keepdim=True)), 1e19),
}


@pytest.mark.parametrize("name", OVERFLOW)
def test_no_grade_float_where_a_step_may_overflow_on_the_way(name):
    """What it gives is small; what it computes is not."""
    layer, factor = OVERFLOW[name]
    net = Forward(lambda x, layer: layer(x * factor * factor) / factor / factor, layer)
    assert "may overflow" in certificate(net, (1, 2, 2), dtype=torch.float32).not_analysed
    assert certificate(net, (1, 2, 2), dtype=torch.float64).not_analysed is None


def test_no_grade_float_where_the_forward_computes_a_constant():
    """Each run may sum it in another order; its bound is that of float64."""

    class LowRank(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(3, 5)), nn.Parameter(torch.randn(5, 4))

        def forward(self, x):
            return nn.functional.linear(x.flatten(1), self.a @ self.b)

    torch.manual_seed(0)
    net = LowRank()
    proof = certificate(net, (1, 2, 2))
    assert "computes a constant" in proof.not_analysed
    true = torch.linalg.matrix_norm((net.a.double() @ net.b.double()).detach(), ord=2).item()
    assert true <= proof.bound <= true * (1 + 1e-9)


def test_no_grade_float_for_factors_at_the_end_of_the_range():
    net = Forward(lambda x, head: head(x * 0.8e-45), nn.Flatten())
    assert "no error analysis" in certificate(net, (1, 1, 2), dtype=torch.float32).not_analysed


def test_no_grade_float_where_subnormal_operands_are_flushed():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        assert "flushed" in not_analysed(net)
    finally:
        torch.set_flush_denormal(False)
    assert not_analysed(net) == ""


# --- claims that are none --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [0, 0.0, -1.0, math.nan, math.inf, -math.inf, "1", "one", True, [1.0], 1j])
def test_a_claim_is_a_finite_number_above_0(claimed):
    with pytest.raises(LipbenchError, match="finite number above 0, got"):
        certificate(linear([[1.0, 0.0], [0.0, 1.0]]), (1, 1, 2), claimed=claimed)


@pytest.mark.parametrize("claimed", [2, np.float32(2), np.int64(2), Fraction(2)])
def test_a_claim_may_be_any_real_number(claimed):
    proof = certificate(linear([[1.0, 0.0], [0.0, 1.0]]), (1, 1, 2), claimed=claimed)
    assert (type(proof.claimed), proof.claimed) == (float, 2.0)
    assert proof.claim_confirmed is True
