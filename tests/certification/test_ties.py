"""Margins that rounding decides: what no grade may take for the sign of a difference of logits."""

import math

import pytest
import torch
from torch import nn

import lipbench
from lipbench.attacks.network import Network
from lipbench.certification.certificate import Certificate, certificate

SHAPE = (1, 1, 4)
EXACT = ("real", "nominal")
GRADES = ("float", *EXACT)
BODIES = {
    "linear": lambda: [nn.Flatten(), nn.Linear(4, 6)],
    "dense": lambda: [nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6)],
    "no error analysis": lambda: [nn.Flatten(), nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 6)],
    "a constant that is computed": lambda: [Product()],
}


class Product(nn.Module):
    """A weight that the forward computes anew each time."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return nn.functional.linear(x.flatten(1), self.a @ self.b)


class Then(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def network(head: nn.Module, body: str = "dense", dtype=torch.float64) -> tuple[nn.Module, Certificate]:
    torch.manual_seed(0)
    module = nn.Sequential(*BODIES[body](), head).to(dtype)
    return module, certificate(module, SHAPE, claimed=1.0)


def head(rows, biases, dtype=torch.float64) -> nn.Linear:
    layer = nn.Linear(len(rows[0]), len(rows), dtype=dtype)
    layer.weight.data, layer.bias.data = torch.tensor(rows, dtype=dtype), torch.tensor(biases, dtype=dtype)
    return layer


ROW = [0.3, -0.2, 0.5, 0.1, 0.7, -0.4]
OTHER = [-0.3, 0.2, 0.1, -0.6, 0.2, 0.4]


def near(*margins: float) -> torch.Tensor:
    """Logits (1, K): 0 for the first class, and what it is ahead of the others."""
    return torch.tensor([[0.0, *(-margin for margin in margins)]], dtype=torch.float64)


# --- identical rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("noise", [1e-15, -1e-15, 0.0, 1e-13])
def test_identical_rows_and_biases_are_a_tie_whatever_was_computed(body, grade, noise):
    _, proof = network(head([ROW, ROW, OTHER], [0.1, 0.1, -5.0]), body)
    for label in (0, 1):
        radii = proof.pairwise_radii(near(noise, 5.0), torch.tensor([label]), grade)
        if not radii.isnan().any():
            assert radii[0, 1 - label] == 0
            assert proof.radii(near(noise, 5.0), torch.tensor([label]), grade) == 0
    assert grade == "float" or not radii.isnan().any()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("gap", [1e-300, 5e-324, 1e-20, 0.5])
def test_identical_rows_with_other_biases_keep_their_order(body, gap):
    """The difference is that of the biases everywhere, though it may vanish in the computed logits."""
    _, proof = network(head([ROW, ROW, OTHER], [gap, 0.0, -5.0]), body)
    for computed in (1e-15, 0.0, -1e-15):
        first, second = (proof.pairwise_radii(near(computed, 5.0), torch.tensor([label])) for label in (0, 1))
        assert first[0, 1] == math.inf
        assert second[0, 0] == 0
        assert 0 < first[0, 2] < math.inf
        nominal = proof.pairwise_radii(near(computed, 5.0), torch.tensor([0]), "nominal")[0, 1].item()
        assert 0 <= nominal == pytest.approx(gap / math.sqrt(2), rel=1e-12, abs=1e-323)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("body", [name for name in BODIES if name != "a constant that is computed"])
def test_a_network_of_identical_rows_has_no_radius(body, dtype):
    """End to end: among many columns a product may come out otherwise for equal rows."""
    torch.manual_seed(1)
    rows = torch.randn(37, 6).tolist()
    equal = [*rows, *rows]
    module, _ = network(head(equal, [0.0] * 74), body)
    module[-1].weight.data[37:] = module[-1].weight.data[:37]
    dtype = "float32" if dtype is torch.float32 else "float64"
    frame = lipbench.certify(module.float(), torch.rand(50, *SHAPE), claimed=1.0, dtype=dtype)
    for grade in GRADES:
        radii = frame[f"certified_radius_{grade}"]
        assert radii.isna().all() if grade == "float" and body == "no error analysis" else (radii == 0).all()


# --- margins within their own rounding -------------------------------------------------------------------------------

TIED = {  # heads whose first two logits are equal for every input, or nearly
    "rows that differ by 1e-300": lambda: head([[0.0, *ROW[1:]], [1e-300, *ROW[1:]], OTHER], [0.1, 0.1, -5.0]),
    "rows that differ in one bit": lambda: head([ROW, [math.nextafter(0.3, 1), *ROW[1:]], OTHER], [0.1, 0.1, -5.0]),
    "tiny rows": lambda: head([[1e-300] * 6, [-1e-300] * 6, OTHER], [0.1, 0.1, -5.0]),
    "denormal rows": lambda: head([[5e-324] * 6, [1e-320] * 6, OTHER], [0.1, 0.1, -5.0]),
    "a function after the head": lambda: nn.Sequential(
        head([ROW, ROW, OTHER], [0.1, 0.1, -5.0]), Then(lambda x: x * 0.5)
    ),
}


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("tied", TIED)
def test_a_margin_within_its_rounding_is_a_tie(tied, body, grade):
    _, proof = network(TIED[tied](), body)
    radius = proof.pairwise_radii(near(1e-16, 5.0), torch.tensor([0]), grade)[0, 1]
    assert radius.isnan() if grade == "float" and proof.errors is None else radius == 0
    assert proof.signed_margins(near(1e-16, 5.0), torch.tensor([0])) == 0
    assert -10 < proof.signed_margins(near(-1e-16, 5.0), torch.tensor([0])) <= 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_grade_real_pays_for_the_rounding_of_the_sample_and_grade_float_for_more(dtype):
    """Just above the proven error a margin counts, by what is left of it."""
    _, proof = network(head([ROW, OTHER], [0.1, 0.1], dtype), "dense", dtype)
    error = proof.difference_errors(torch.tensor([0]), proof.errors)[0][0, 1].item()
    distance = proof.pairwise[0, 1].item()
    for share in (0.5, 1.0, 1.5, 3.0):
        logits = torch.tensor([[0.0, -share * error]], dtype=torch.float64)
        real, nominal, floating = (proof.radii(logits, torch.tensor([0]), grade).item() for grade in (*EXACT, "float"))
        assert real == pytest.approx(max(share - 1, 0) * error / distance, rel=1e-9)
        assert real <= max(share - 1, 0) * error / distance
        counted = share > 1 or dtype is torch.float32  # in which papers know no rounding errors
        assert nominal == pytest.approx(share * error / math.sqrt(2) if counted else 0.0, rel=1e-9)
        assert (floating > 0) == (share > 2)
        assert floating <= real


def test_a_layer_without_an_error_analysis_costs_little_in_float32(digits):
    """The assumed roundings are those around each sample, as the proven ones are."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 10))
    single, double = (lipbench.certify(module, digits.test.x[:100], dtype=a) for a in ("float32", "float64"))
    assert single.certified_radius_float.isna().all()
    lost = 1 - single.certified_radius_real / double.certified_radius_real
    assert (lost[double.certified_radius_real > 0.01] > 0).all()
    assert lost[double.certified_radius_real > 0.01].max() < 0.1
    proof = certificate(Network(module, (1, 8, 8), dtype="float32").module, (1, 8, 8))
    assert proof.errors is None
    assert proof.not_analysed == "no error analysis is known for GELU"


def test_a_shift_that_swallows_the_margin_is_no_margin_without_an_error_analysis_either():
    """1e15 is added and taken off again behind a GELU: in float64, that leaves eighths."""

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = head([[1.0, 0.0, 0.0, 0.0], [0.9, 0.0, 0.0, 0.0]], [0.0, 0.0])

        def forward(self, x):
            return (nn.functional.gelu(self.head(x.flatten(1))) + 1e15) - 1e15

    module = Shifted()
    x = torch.full((1, *SHAPE), 0.8, dtype=torch.float64)
    logits = module(x).detach()
    assert logits[0, 0] - logits[0, 1] == 0.125  # and is 0.09
    proof = certificate(module, SHAPE, claimed=1.0)
    assert all(proof.radii(logits, torch.tensor([0]), grade) == 0 for grade in EXACT)


def test_a_single_logit_within_its_rounding_is_a_tie():
    for bias in (1e-17, 0.0):
        _, proof = network(head([ROW], [bias]))
        logits = torch.tensor([[-bias / 2, bias / 2]], dtype=torch.float64)
        assert all(proof.radii(logits, torch.tensor([1]), grade) == 0 for grade in GRADES)


@pytest.mark.parametrize("bias", [0.25, -0.25, 1e-200])
def test_a_single_logit_without_weights_is_constant(bias):
    module, proof = network(head([[0.0] * 6], [bias]))
    logits = Network(module, SHAPE).predict(torch.rand(1, *SHAPE))
    label = int(bias > 0)
    assert proof.bound == 0
    assert proof.radii(logits, torch.tensor([label])) == math.inf
    assert proof.radii(logits, torch.tensor([1 - label])) == 0


# --- constant bodies -------------------------------------------------------------------------------------------------


def constant(value: float) -> nn.Sequential:
    """A body whose output is the same for every input."""
    layer = nn.Linear(4, 6, dtype=torch.float64)
    layer.weight.data.zero_(), layer.bias.data.fill_(value)
    return nn.Sequential(nn.Flatten(), layer)


def test_a_constant_body_decides_by_a_margin_above_its_rounding():
    module = nn.Sequential(constant(0.3), head([ROW, OTHER], [0.0, 0.0]))
    proof = certificate(module, SHAPE, claimed=1.0)
    logits = module(torch.rand(1, *SHAPE).double()).detach()
    assert (proof.pairwise == 0).all()
    assert proof.radii(logits, torch.tensor([0])) == math.inf
    assert proof.radii(logits, torch.tensor([1])) == 0
    assert proof.radii(near(1e-17), torch.tensor([0])) == 0
    assert proof.signed_margins(near(1e-17), torch.tensor([0])) == 0


# --- the mean certifiable robustness ---------------------------------------------------------------------------------


def test_signed_margins_of_identical_rows_are_those_of_their_biases():
    _, proof = network(head([ROW, ROW, OTHER], [0.0, 0.0, -5.0]))
    for noise in (1e-15, -1e-15):
        assert proof.signed_margins(near(noise, 5.0), torch.tensor([0])) == 0
    _, proof = network(head([ROW, ROW, OTHER], [0.5, 0.0, -5.0]))
    assert 0 < proof.signed_margins(near(0.5, 5.0), torch.tensor([0])) < math.inf  # to the third class
    assert proof.signed_margins(near(0.5, 5.0), torch.tensor([1])) == -math.inf  # never predicted


# --- norms of the head's rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e-163, 1e-200, 1e-280])
def test_small_rows_beside_large_ones_keep_their_distance(size):
    """Their squares vanish, and beside 1e30 they vanish themselves: the constant of the pair must not."""
    layer = head([[size, 0.0], [0.0, size], [1e30, 1e30]], [0.0, 0.0, -9e30])
    module = nn.Sequential(nn.Flatten(), layer)
    proof = certificate(module, (1, 1, 2))
    x = torch.tensor([[[[0.6, 0.4]]]], dtype=torch.float64)
    assert size * math.sqrt(2) <= proof.pairwise[0, 1].item() <= size * 1.5
    assert size <= proof.head.rows[0].item() <= size * 1.1
    for grade in ("float", "real"):
        assert proof.pairwise_radii(module(x).detach(), torch.tensor([0]), grade)[0, 1] <= 0.2 / math.sqrt(2)
