import json

import mutants
import pytest
import safetensors.torch
import torch
import unanalysed
from bundled import CNN, TAU4
from torch import nn
from unanalysed import GELU_SLOPE, smooth_network, store
from verifying import edit, examined, verify

import lipbench
from lipbench import cli
from lipbench._internal import files
from lipbench.attacks.network import Network
from lipbench.certification.certificate import Certificate
from lipbench.certification.grades import GRADES
from lipbench.certification.lipschitz.effects import EXACT, Effect
from lipbench.certification.lipschitz.table import rule
from lipbench.errors import LeftOutWarning, LipbenchError
from lipbench.models import cards
from lipbench.models.stored import load_model
from lipbench.verification import falsification, records
from lipbench.verification import verify as verification
from lipbench.verification.result import VerificationResult
from lipbench.verification.rounding_search import RoundingSearch


@pytest.mark.parametrize("name", [TAU4, CNN])
def test_a_right_model_passes(name, zoo_of, digits, tmp_path, device):
    result = verify(zoo_of(name) / name, digits, tmp_path / "out", device)
    assert result.holds
    assert result.constant.claim_confirmed
    assert [verdict.grade for verdict in result.verdicts] == ["float", "real", "nominal"]
    for verdict in result.verdicts:
        assert verdict.samples > 90
        assert verdict.attacked >= 5 * verdict.samples
        assert 1 <= verdict.closest_approach < (1.2 if name == TAU4 else 5)
    assert result.constant.steepest <= result.constant.bound
    assert not [finding for finding in result.findings if finding.severity == "error"]
    assert all(verdict.broken == 0 and verdict.certified > 0 for verdict in result.rounding)
    assert not (tmp_path / "out" / "witnesses").exists()


def test_half_the_constant_is_refuted_with_a_witness(zoo_of, digits, tmp_path):
    """Done when 6: a card that claims L = 0.5 on a network with L = 1."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    result = verify(folder, digits, tmp_path / "out")
    computed, real, nominal = result.verdicts
    assert computed.holds
    assert real.holds
    assert not nominal.holds
    assert nominal.violations > 50
    assert result.constant.claim_confirmed is False
    witness = safetensors.torch.load_file(nominal.witness)
    network = Network(load_model(folder).module, (1, 8, 8))
    moved = (witness["x_adversarial"].double() - witness["x"].double()).flatten(1).norm(dim=1)
    assert torch.allclose(moved, witness["adversarial_distance"], rtol=1e-12)
    assert (moved < witness["certified_radius"]).all()
    assert (network.predict(witness["x_adversarial"]).argmax(1) != witness["label"]).all()
    assert (network.predict(witness["x"]).argmax(1) == witness["label"]).all()


def test_weights_scaled_after_the_claim(zoo_of, digits, tmp_path):
    """Done when 6: scaled by 1.02, `real` stays sound and `nominal` is flagged."""
    folder = zoo_of(TAU4) / TAU4
    before = verify(folder, digits, tmp_path / "out")
    edit(folder, scale=1.02)
    after = verify(folder, digits, tmp_path / "out")
    assert after.constant.bound == pytest.approx(before.constant.bound * 1.02**3, rel=1e-6)
    assert after.constant.claim_confirmed is False
    assert after.verdicts[1].holds
    assert after.verdicts[1].closest_approach >= 1


def test_a_scale_of_two_is_refuted(zoo_of, digits, tmp_path):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, scale=2.0)
    result = verify(folder, digits, tmp_path / "out")
    assert [verdict.holds for verdict in result.verdicts] == [True, True, False]


def test_a_model_without_a_claim_has_no_nominal_verdict(zoo_of, digits, tmp_path):
    name = "mlp-cross_entropy-unconstrained-seed0"
    result = verify(zoo_of(name) / name, digits, tmp_path / "out")
    assert [verdict.grade for verdict in result.verdicts] == ["float", "real"]
    assert result.holds
    assert result.verdicts[0].closest_approach > 1.2  # valid, and loose


def test_the_closest_approach_is_the_smallest_quotient(zoo_of, digits, tmp_path, monkeypatch):
    """Every attack shut off but one sample at a known distance."""

    def one_hit(self, spec, radius=None):
        self.distance[0] = 100.0

    monkeypatch.setattr(falsification.AttackedSamples, "attack", one_hit)
    monkeypatch.setattr(
        verification, "rounding_search", lambda *args, **kwargs: RoundingSearch(0, 0, dict.fromkeys(GRADES, 0), {})
    )
    result = verify(zoo_of(TAU4) / TAU4, digits, tmp_path / "out", samples=5)
    network = Network(load_model(zoo_of() / TAU4).module, (1, 8, 8))
    top = network.predict(torch.from_numpy(digits.test.x[:1])).sort(dim=1)[0][0]
    radius = float((top[-1] - top[-2]) / 2**0.5)
    assert result.verdicts[1].closest_approach == pytest.approx(100 / radius, rel=1e-3)


def test_an_absurd_claim_is_refuted_too(zoo_of, digits, tmp_path):
    """L = 1e-320 makes every nominal radius infinite."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=1e-320)
    result = verify(folder, digits, tmp_path / "out", samples=20)
    assert [verdict.holds for verdict in result.verdicts] == [True, True, False]


def test_nothing_certified_is_not_a_pass(zoo_of, digits, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    state = safetensors.torch.load_file(folder / cards.WEIGHTS)
    last = max(name for name in state if name.endswith("weight"))
    state[last] = torch.zeros_like(state[last])  # every logit is its bias: one class for all, or a tie
    state[last.replace("weight", "bias")] = torch.zeros_like(state[last.replace("weight", "bias")])
    data = safetensors.torch.save(state)
    files.write_bytes(folder / cards.WEIGHTS, data)
    cards.write(folder, cards.read(folder).model_copy(update={"weights_sha256": files.sha256_bytes(data)}))
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v")]) == 2
    captured = capsys.readouterr()
    assert "PASS" not in captured.out
    assert "nothing was verified" in captured.err


def test_a_refuted_claim_is_broken_even_where_nothing_is_certified(zoo_of, tmp_path):
    """Status 1, not 2: the witness is there."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    state = safetensors.torch.load_file(folder / cards.WEIGHTS)
    last = max(name for name in state if name.endswith("weight"))
    state[last][1:] = state[last][0]  # all logits but for the biases the same: one class for all
    state[last.replace("weight", "bias")][:] = 0
    data = safetensors.torch.save(state)
    files.write_bytes(folder / cards.WEIGHTS, data)
    cards.write(folder, cards.read(folder).model_copy(update={"weights_sha256": files.sha256_bytes(data)}))
    assert cli.run(["verify", str(folder), "-q", "--samples", "5", "-o", str(tmp_path / "v")]) == 1


def test_a_verdict_stands_without_its_witness(zoo_of, digits, tmp_path, capsys, monkeypatch):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(records, "check_place", lambda folder: None)  # it was a folder a while ago
    words = ["verify", str(folder), "-q", "--samples", "3", "-o", str(tmp_path / "file")]
    assert cli.run(words) == 1
    said = capsys.readouterr().out
    assert "REFUTED" in said
    assert said.count("witness not written: cannot write") >= 2
    assert cli.run([*words, "--json"]) == 1
    assert "cannot write" in json.loads(capsys.readouterr().out)["constant"]["claim_witness"]["not_written"]
    found = verify(folder, digits, tmp_path / "file", samples=3)
    assert not found.holds
    assert found.constant.refuted
    assert VerificationResult((found,)).witnesses == ()


@pytest.mark.parametrize("broken", [True, False])
def test_a_model_that_cannot_be_read_hides_no_other(broken, zoo_of, digits, tmp_path, capsys):
    both = zoo_of(TAU4, CNN)
    (both / CNN / cards.WEIGHTS).write_bytes(b"corrupt")  # the first of them by name
    if broken:
        edit(both / TAU4, claimed=0.5)
    assert cli.run(["verify", str(both), "-q", "--samples", "3", "-o", str(tmp_path / "v")]) == (1 if broken else 2)
    captured = capsys.readouterr()
    assert ("REFUTED " if broken else "CONSTANT ") + TAU4 in captured.out
    assert captured.err.startswith(f"lipbench: {CNN} left out: ")
    assert captured.err.count("\n") == 1
    assert captured.out.splitlines()[-2 if "broken by rounding" in captured.out else -1].startswith(
        "FAIL" if broken else "INCOMPLETE"
    )
    with pytest.warns(LeftOutWarning, match=f"^{CNN} left out: .* does not match the hash on its card"):
        found = lipbench.verify(both, samples=3, out=tmp_path / "v", device="cpu")
    assert not found.passed
    assert list(found.failures) == [CNN]
    assert [model.model for model in found.models] == [TAU4]
    assert all(model.holds for model in found.models) != broken


def test_models_that_all_fail_are_an_error(zoo_of, tmp_path):
    both = zoo_of(TAU4, CNN)
    (both / CNN / cards.WEIGHTS).write_bytes(b"corrupt")
    (both / TAU4 / cards.CARD).write_text("name = 1")
    with pytest.raises(LipbenchError, match=f"none of 2 models could be verified: {TAU4}: .*; {CNN}: .*hash"):
        lipbench.verify(both, samples=3, data="digits", out=tmp_path / "v", device="cpu")


@pytest.mark.parametrize("share", ["some", "all"])
def test_a_grade_is_left_out_only_where_it_has_no_radius_at_all(share, zoo_of, digits, tmp_path, monkeypatch):
    original = Certificate.radii

    def radii(self, logits, labels, grade, errors=None):
        found = original(self, logits, labels, grade, errors)
        if grade == "real":
            found[0 if share == "some" else slice(None)] = torch.nan
        return found

    monkeypatch.setattr(Certificate, "radii", radii)
    if share == "all":
        found = verify(zoo_of(TAU4) / TAU4, digits, tmp_path / "v", samples=3)
        assert [verdict.grade for verdict in found.verdicts] == ["float", "nominal"]
        return
    with pytest.raises(LipbenchError, match="1 of 3 certified radii of grade real are NaN"):
        verify(zoo_of(TAU4) / TAU4, digits, tmp_path / "v", samples=3)


def test_json(zoo_of, digits, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    arguments = ["verify", str(folder), "-q", "--samples", "10", "-o", str(tmp_path / "v"), "--json"]
    assert cli.run(arguments) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["holds"] is True
    assert found["model"] == TAU4
    assert {verdict["grade"] for verdict in found["verdicts"]} == {"float", "real", "nominal"}


def test_samples_that_float64_may_misjudge_have_no_radius_without_an_analysis(tmp_path):
    """Next to the boundary of a network in which float64 itself has steps."""

    class Far(nn.Module):
        def forward(self, x):
            return ((x + 5e-8) + 1e9) - 1e9 - 5e-8  # float64 has steps of 1.2e-7 there

    net = smooth_network().insert(3, Far()).double()  # in float32 it would be constant
    network = Network(net, (1, 8, 8))
    x = mutants.at_the_boundary(network, mutants.inputs())
    arguments = (net, mutants.card(2.0, classes=10), x, network.predict(x).argmax(dim=1), tmp_path)
    found = verification.examine(*arguments)
    assert [(verdict.samples, verdict.violations) for verdict in found.verdicts] == [(0, 0), (0, 0)]


def test_the_command_prints_a_measured_slope_as_unproven(smooth_zoo, tmp_path, capsys):
    folder = smooth_zoo(1.2)
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("CONSTANT smooth"))
    assert "1.128" in line
    assert "measured, not proven" in line
    assert " 0 found" not in line
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["constant"]["steepest"] == pytest.approx(GELU_SLOPE, rel=1e-3)
    assert found["constant"]["steepest_proven"] is False


def test_a_pair_above_the_computed_bound_is_a_failure(tmp_path, architectures, monkeypatch, capsys):
    """A plugin's rule for a layer that doubles, too small by less than what samples reveal; the card claims nothing."""

    class Twice(unanalysed.Double):
        pass

    monkeypatch.setattr(unanalysed, "Double", Twice)
    rule(Twice)(lambda layer, shape: Effect((2 * (1 - 8e-5),), EXACT))
    folder = store(tmp_path / "zoo" / "doubled", None, "doubled")
    arguments = ["verify", str(folder), "-q", "--samples", "3", "-o", str(tmp_path / "v")]
    assert cli.run(arguments) == 1
    said = capsys.readouterr().out
    assert "FAIL doubled: 1.999" in said
    assert "the computed bound is false" in said
    assert "CONSTANT" not in said
    path = tmp_path / "v" / "witnesses" / "doubled-lipschitz-real.json"
    assert cli.run(["verify", "--replay", str(path)]) == 1
    assert "1 of 1 lipschitz witnesses against the computed bound" in capsys.readouterr().out
    found = examined(nn.Sequential(*unanalysed.doubled()), None, tmp_path / "w")
    assert not found.holds
    assert found.constant.bound_witness is not None
    assert found.constant.claim_witness is None
