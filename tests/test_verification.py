import numpy as np
import pytest
import safetensors.torch
import torch
from bundled import CNN, TAU4

from lipbench import cards, files, verification, zoo
from lipbench.cards import Lipschitz
from lipbench.network import Network


def verify(folder, digits, out, device="cpu", samples=100):
    return verification.verify(folder, digits, out, samples=samples, device=torch.device(device), progress=False)


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


@pytest.mark.parametrize("name", [TAU4, CNN])
def test_a_right_model_passes(name, zoo_of, digits, tmp_path, device):
    result = verify(zoo_of(name) / name, digits, tmp_path / "out", device)
    assert result.holds
    assert result.claim_confirmed
    real, nominal = result.verdicts
    assert (real.grade, nominal.grade) == ("real", "nominal")
    assert real.samples > 90
    assert real.attacked >= 3 * real.samples
    assert 1 <= real.closest_approach < (1.2 if name == TAU4 else 5)
    assert not (tmp_path / "out").exists()


def test_half_the_constant_is_refuted_with_a_witness(zoo_of, digits, tmp_path):
    """Done when 6: a card that claims L = 0.5 on a network with L = 1."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    result = verify(folder, digits, tmp_path / "out")
    real, nominal = result.verdicts
    assert real.holds
    assert not nominal.holds
    assert nominal.violations > 50
    assert result.claim_confirmed is False
    witness = safetensors.torch.load_file(nominal.witness)
    network = Network(zoo.load(folder).module, (1, 8, 8))
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
    assert after.bound == pytest.approx(before.bound * 1.02**3, rel=1e-6)
    assert after.claim_confirmed is False
    assert after.verdicts[0].holds
    assert after.verdicts[0].closest_approach >= 1


def test_a_scale_of_two_is_refuted(zoo_of, digits, tmp_path):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, scale=2.0)
    result = verify(folder, digits, tmp_path / "out")
    assert result.verdicts[0].holds
    assert not result.verdicts[1].holds


def test_a_model_without_a_claim_has_no_nominal_verdict(zoo_of, digits, tmp_path):
    name = "mlp-cross_entropy-unconstrained-seed0"
    result = verify(zoo_of(name) / name, digits, tmp_path / "out")
    assert [verdict.grade for verdict in result.verdicts] == ["real"]
    assert result.holds
    assert result.verdicts[0].closest_approach > 1.2  # valid, and loose


def test_the_closest_approach_is_the_smallest_quotient(zoo_of, digits, tmp_path, monkeypatch):
    """Every attack shut off but one sample at a known distance."""
    from lipbench import backends

    def one_hit(network, x, labels, candidates, norm):
        distance = np.full(len(x), np.inf)
        distance[0] = 100.0
        return np.isfinite(distance), distance, np.zeros(len(x), dtype=np.int64)

    monkeypatch.setattr(backends, "search", lambda spec, network, x, labels, **rest: x)
    monkeypatch.setattr(backends, "judge", one_hit)
    result = verify(zoo_of(TAU4) / TAU4, digits, tmp_path / "out", samples=5)
    network = Network(zoo.load(zoo_of() / TAU4).module, (1, 8, 8))
    top = network.predict(torch.from_numpy(digits.test.x[:1])).sort(dim=1).values[0]
    radius = float((top[-1] - top[-2]) / 2**0.5)
    assert result.verdicts[0].closest_approach == pytest.approx(100 / radius, rel=1e-3)


def test_an_absurd_claim_is_refuted_too(zoo_of, digits, tmp_path):
    """L = 1e-320 makes every nominal radius infinite."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=1e-320)
    result = verify(folder, digits, tmp_path / "out", samples=20)
    assert result.verdicts[0].holds
    assert not result.verdicts[1].holds


def test_nothing_certified_is_not_a_pass(zoo_of, digits, tmp_path, capsys):
    from lipbench import cli

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
