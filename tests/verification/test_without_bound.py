"""Verifying networks without a bound: their claim is tested, and nothing else."""

import mutants
import pytest
import torch
import unbounded

import lipbench
from lipbench.errors import LipbenchError
from lipbench.verification import records
from lipbench.verification.verify import examine

WITHIN, BEYOND = 1000.0, 0.5  # claims


@pytest.fixture
def some(digits):
    return digits.test.x[:12], digits.test.labels[:12]


def model(name: str, claimed: float | None) -> lipbench.Model:
    return lipbench.Model(unbounded.network(name), name=name, claimed=claimed)


@pytest.mark.parametrize("name", ["branching", "softmax", "scripted", "autocast"])
def test_a_claim_is_tested_without_a_bound(name, some, tmp_path):
    """By attacks inside the nominal radii, and by pairs of inputs; a witness is measured again."""
    result = lipbench.verify(model(name, BEYOND), data=some, out=tmp_path)
    (found,) = result.models
    assert not result.passed
    assert [(verdict.grade, verdict.lipschitz) for verdict in found.verdicts] == [("nominal", BEYOND)]
    assert found.verdicts[0].violations > 0
    assert found.constant.refuted
    assert found.constant.bound is found.constant.claim_confirmed is None
    assert "L201" in [finding.code for finding in found.findings]
    said = str(result)
    assert f"NO CERTIFICATE {name}: {found.no_certificate}" in said
    assert "no bound computed; the card claims 0.5, witness" in said
    assert said.endswith("1 claims refuted")
    assert records.load(tmp_path).models == result.models
    for witness in result.witnesses:
        assert lipbench.replay(witness, model(name, BEYOND)).reproduced > 0


@pytest.mark.parametrize("name", ["branching", "scripted"])
def test_a_claim_that_nothing_refutes_is_not_confirmed(name, some, tmp_path):
    result = lipbench.verify(model(name, WITHIN), data=some, out=tmp_path)
    assert result.passed
    assert "not confirmed, and not refuted" in str(result)
    assert str(result).splitlines()[-1].endswith("1 claims not confirmed by the weights (FLAG)")
    assert records.load(tmp_path).models == result.models


@pytest.mark.parametrize(
    ("name", "claimed", "reason"),
    [
        ("branching", None, "no claim, and no certificate: .*control flow"),
        ("noisy", BEYOND, "no function of a sample: two runs"),
        ("batch statistics", BEYOND, "no function of a sample: .*others of its batch"),
    ],
)
def test_where_there_is_nothing_to_verify_that_is_said(name, claimed, reason, some, tmp_path):
    with pytest.raises(LipbenchError, match=f"nothing to verify.*{reason}"):
        lipbench.verify(model(name, claimed), data=some, out=tmp_path)
    assert not records.has_records(tmp_path)


def test_radii_of_the_user_are_tested_without_a_bound(some, tmp_path):
    x, labels = map(torch.tensor, some)
    radii = (unbounded.network("branching")(x).argmax(dim=1) == labels).double().numpy() * 3.0
    found = lipbench.verify(model("branching", None), data=some, out=tmp_path, radii=radii)
    assert [verdict.grade for verdict in found.models[0].verdicts] == ["given"]
    assert found.violations > 0


def test_a_network_with_a_bound_is_verified_as_before(tmp_path):
    x = mutants.inputs()[:5]
    net = unbounded.network("dense")
    card = mutants.card(None, classes=10)
    found = examine(net, card, x, net(x).argmax(dim=1), tmp_path)
    assert found.no_certificate is None
    assert "no_certificate" not in found.plain()
    assert [verdict.grade for verdict in found.verdicts] == ["float", "real"]
