"""Networks that no certificate covers: which copy runs, why they have none, and what is refused nevertheless."""

import copy

import pytest
import torch
import unbounded
from torch import nn

from lipbench.attacks import as_given, guard
from lipbench.attacks.as_given import IN_A_BATCH, NO_GRADIENT, RANDOM, NetworkAsGiven, attackable, cautions, proof_of
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.certification.certificate import Certificate
from lipbench.errors import AttackError, LipbenchError

SHAPE = (1, 8, 8)
PREPARED, GIVEN = False, True  # the copy that certificates need, or a plain one
CASES = {  # which copy runs, its dtype, a part of the reason, the cautions
    "batch statistics": (PREPARED, torch.float64, "batch norm without running statistics", [IN_A_BATCH]),
    "softmax": (PREPARED, torch.float64, "probabilities, which sum to 1", []),
    "attention": (PREPARED, torch.float64, "no Lipschitz rule", []),
    "scaled products": (PREPARED, torch.float64, "scaled_dot_product_attention", []),
    "rounded": (PREPARED, torch.float64, "torch.round", [NO_GRADIENT]),
    "branching": (PREPARED, torch.float64, "control flow", []),
    "hooked": (PREPARED, torch.float64, "forward hook", []),
    "noisy": (GIVEN, torch.float32, "two runs of the network", [RANDOM]),
    "counting": (GIVEN, torch.float32, "two runs of the network", [RANDOM]),
    "autocast": (GIVEN, torch.float32, "frozen copy", []),
    "scripted": (GIVEN, torch.float32, "TorchScript", []),
    "quantised": (GIVEN, torch.float32, "in float64", [IN_A_BATCH, NO_GRADIENT]),
    "bfloat16": (GIVEN, torch.bfloat16, "is bfloat16", []),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_network_without_a_bound_runs_as_it_was_given(name, digits):
    given, dtype, reason, expected = CASES[name]
    module, x = unbounded.network(name), torch.tensor(digits.test.x[:40])
    modes = [part.training for part in module.modules()]
    network = attackable(module, SHAPE)
    assert (isinstance(network, NetworkAsGiven), network.dtype) == (given, dtype)
    assert [part.training for part in module.modules()] == modes
    proof = proof_of(network, 1.0)
    assert reason in proof.no_certificate
    assert "\n" not in proof.no_certificate
    assert cautions(network, x) == expected
    if RANDOM not in expected:  # it is the network that was given
        own = next((one.dtype for one in module.parameters()), torch.float32)
        torch.testing.assert_close(
            network.predict(x), module(x.to(own)).double(), rtol=1e-4, atol=1e-4, check_dtype=False
        )


@pytest.mark.parametrize("name", ["batch norm", "dense", "detached"])
def test_a_network_with_a_bound_is_certified(name, digits):
    network = attackable(unbounded.network(name), SHAPE)
    assert network.refused is None
    assert isinstance(proof_of(network), Certificate)
    assert cautions(network, torch.tensor(digits.test.x[:40])) == ([NO_GRADIENT] if name == "detached" else [])


@pytest.mark.parametrize("name", ["noisy", "quantised", "scripted", "bfloat16"])
@pytest.mark.filterwarnings("ignore")
def test_every_kind_is_attacked(name, digits):
    """Also where layers give no gradient: then it is 0, and Square, which needs none, still succeeds."""
    network = attackable(unbounded.network(name), SHAPE)
    x, labels = torch.tensor(digits.test.x[:30]), torch.tensor(digits.test.labels[:30])
    found = {}
    for attack in ("gradient/pgd", "autoattack/square"):
        candidates = guard.search(AttackSpec(name=attack), network, x, labels, norm=Norm.L2, eps=1.0, seed=0)
        found[attack] = guard.check_candidates(network, x, labels, candidates, Norm.L2)[0].sum()
    assert found["autoattack/square"] >= 8
    assert (found["gradient/pgd"] < 8) == (name == "quantised")


def test_where_the_gradient_is_cut_attacks_that_follow_it_fail_by_name(digits):
    network = attackable(unbounded.network("detached"), SHAPE)
    x, labels = torch.tensor(digits.test.x[:30]), torch.tensor(digits.test.labels[:30])
    with pytest.raises(AttackError, match=r"gradient/pgd failed: RuntimeError: .* does not require grad"):
        guard.search(AttackSpec(name="gradient/pgd"), network, x, labels, norm=Norm.L2, eps=1.0, seed=0)
    square = AttackSpec(name="autoattack/square")
    candidates = guard.search(square, network, x, labels, norm=Norm.L2, eps=1.0, seed=0)
    assert guard.check_candidates(network, x, labels, candidates, Norm.L2)[0].sum() >= 8


class Returning(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.dense, self.give = nn.Linear(64, 1), give

    def forward(self, x):
        return self.give(self.dense(x.flatten(1)))


MEANINGLESS = {
    "a single probability": (lambda: Returning(torch.sigmoid), "probabilities"),
    "a single random probability": (
        lambda: Returning(lambda z: torch.sigmoid(z + 0.1 * torch.randn(1))),
        "probabilit|runs",
    ),
    "two outputs": (lambda: Returning(lambda z: (z, z)), "tuple of 2"),
    "another shape": (lambda: Returning(lambda z: z[:, :, None]), "shape"),
    "an error": (lambda: Returning(lambda z: {}["a"]), "does not accept inputs"),
    "no module": (lambda: "mlp", "torch.nn.Module"),
    "compiled": (lambda: torch.compile(nn.Flatten()), "compiled"),
    "a copy of another kind": (unbounded.Selfish, "copies itself in its own way"),
}


@pytest.mark.parametrize("name", MEANINGLESS)
@pytest.mark.filterwarnings("ignore")
def test_what_leaves_nothing_to_attack_is_an_error(name):
    make, message = MEANINGLESS[name]
    with pytest.raises(LipbenchError, match=message) as caught:
        proof_of(attackable(make(), SHAPE))
    assert "\n" not in str(caught.value)


def test_a_plain_copy_that_differs_is_never_run(monkeypatch, digits):
    """Without the check another network than the user's would be attacked."""
    module = unbounded.network("autocast")
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.second.weight.mul_(1.1)
    monkeypatch.setattr(as_given, "plain_copy", lambda _: other)
    with pytest.raises(LipbenchError, match="frozen copy"):  # the first reason is the one that is named
        attackable(module, SHAPE)


@pytest.mark.parametrize("claimed", [0, -1.0, float("nan"), "1"])
def test_a_claim_that_is_no_constant_is_refused(claimed):
    with pytest.raises(LipbenchError, match="claimed"):
        proof_of(attackable(unbounded.network("rounded"), SHAPE), claimed)


def test_a_forward_that_was_replaced_on_the_module_is_never_copied():
    """A deep copy would run the original through the closure: its own weights would mean nothing."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    module.forward = lambda x, own=module: own[1](own[0](x)).tanh()
    with pytest.raises(LipbenchError):
        attackable(module, SHAPE)
