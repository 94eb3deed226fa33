import json

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from bundled import CNN, TAU4
from torch import nn
from unanalysed import GELU_SLOPE, affine_norm, batch_lip_norm, householder, smooth_network, store

from lipbench import cli
from lipbench._internal import files
from lipbench._internal.registry import ARCHITECTURES
from lipbench.attacks.network import Network
from lipbench.certification.certificate import Certificate, certificate
from lipbench.errors import LipbenchError
from lipbench.models import cards
from lipbench.models.cards import Lipschitz
from lipbench.models.stored import load_model
from lipbench.verification import falsification
from lipbench.verification import verify as verification
from lipbench.verification import witness as witnesses


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
    assert [verdict.grade for verdict in result.verdicts] == ["float", "real", "nominal"]
    for verdict in result.verdicts:
        assert verdict.samples > 90
        assert verdict.attacked >= 5 * verdict.samples
        assert 1 <= verdict.closest_approach < (1.2 if name == TAU4 else 5)
    assert result.steepest <= result.bound
    assert not [finding for finding in result.findings if finding.severity == "error"]
    assert all(verdict.broken == 0 and verdict.certified > 0 for verdict in result.rounding)
    assert not (tmp_path / "out").exists()


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
    assert result.claim_confirmed is False
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
    assert after.bound == pytest.approx(before.bound * 1.02**3, rel=1e-6)
    assert after.claim_confirmed is False
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

    monkeypatch.setattr(falsification.Search, "attack", one_hit)
    monkeypatch.setattr(verification, "_rounding", lambda *args: ())
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


# --- replay ----------------------------------------------------------------------------------------------------------


def test_a_witness_is_replayed(zoo_of, digits, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v")]) == 1
    capsys.readouterr()
    found = sorted((tmp_path / "v").glob("*.json"))
    kinds = [path.stem.split("-")[-2] for path in found]
    # radii twice too large are false next to the boundary as well; its points decide whether the search meets that
    assert kinds in (["lipschitz", "radius"], ["lipschitz", "radius", "rounding"])
    assert all(path.stem.endswith("-nominal") for path in found)
    for path in found:
        assert len(path.read_text().splitlines()) == 1
        assert cli.run(["verify", "--replay", str(path)]) == 1
        assert "REPRODUCED" in capsys.readouterr().out
    edit(folder, claimed=1.0)
    assert cli.run(["verify", "--replay", str(found[0])]) == 2
    assert "not the model of this witness" in capsys.readouterr().err


def test_a_witness_that_was_moved_is_not_reproduced(zoo_of, digits, tmp_path):
    """The replay believes none of the numbers in the file."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    path = verify(folder, digits, tmp_path / "out", samples=20).verdicts[2].witness
    witness, tensors = witnesses.load(path)
    whole = witnesses.replay(path, device=torch.device("cpu"))
    assert whole.reproduced == whole.rows > 5
    tensors["x_adversarial"] = tensors["x_adversarial"].roll(1, dims=0)  # far away, or of the right class
    witnesses.save(path, witness, tensors)
    assert witnesses.replay(path, device=torch.device("cpu")).reproduced < whole.rows / 2


def test_rounding_breaks_nominal_in_float32_and_never_float(zoo_of, digits, tmp_path):
    """Next to the boundary; and each break is reproduced from its file. Grade real knows the errors of the sample."""
    folder = zoo_of(TAU4) / TAU4
    result = verification.verify(
        folder, digits, tmp_path, samples=50, device=torch.device("cpu"), dtype="float32", progress=False
    )
    by_grade = {verdict.grade: verdict for verdict in result.rounding}
    assert by_grade["nominal"].broken > 20
    assert by_grade["real"].broken == 0
    assert by_grade["real"].certified > 10
    assert by_grade["float"].broken == 0
    assert by_grade["float"].certified > 10
    assert result.holds  # it speaks of exact arithmetic
    replay = witnesses.replay(by_grade["nominal"].witness, device=torch.device("cpu"))
    assert replay.reproduced == replay.rows == by_grade["nominal"].broken


def test_a_file_that_is_no_witness(tmp_path, capsys):
    (tmp_path / "w.json").write_text("{}")
    assert cli.run(["verify", "--replay", str(tmp_path / "w.json")]) == 2
    assert "not the line of a witness" in capsys.readouterr().err
    assert cli.run(["verify", "--replay", str(tmp_path / "missing.safetensors")]) == 2
    assert "no witness" in capsys.readouterr().err
    assert cli.run(["verify"]) == 2
    assert "which model" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [10**9, 50_000, 0, -1])
def test_a_witness_of_more_threads_than_the_machine_takes(threads, zoo_of, digits, tmp_path, capsys):
    """OpenMP would end the process, with status 1 or a crash."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    path = verify(folder, digits, tmp_path / "out", samples=3).claim_witness
    line = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**line, "threads": threads}))
    assert cli.run(["verify", "--replay", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the threads of the witness" in said


def write_witness(folder, path, line=(), **tensors):
    """A witness of the model in ``folder`` with radii of somebody else, and what it says instead."""
    tensors = {
        "x": torch.zeros(1, 1, 8, 8),
        "x_adversarial": torch.zeros(1, 1, 8, 8),
        "z": torch.ones(1, 1, 8, 8),
        "batch": torch.ones(1, dtype=torch.int64),
        "label": torch.tensor([0]),
        "certified_radius": torch.ones(1, dtype=torch.float64),
        **tensors,
    }
    said = {"kind": "radius", "model": TAU4, "folder": str(folder), "digest": load_model(folder).digest}
    said |= {"grade": "given", "dtype": "float64", "threads": 1, **dict(line)}
    path.write_bytes(safetensors.torch.save(tensors))
    path.with_suffix(".json").write_text(json.dumps(said))


MALFORMED = {
    **{f"radius {value}": ({}, value) for value in (float("nan"), float("inf"), -1.0, 0.0)},
    **{f"lipschitz {grade}": ({"kind": "lipschitz", "grade": grade}, 1.0) for grade in ("given", "float")},
    "rounding given": ({"kind": "rounding"}, 1.0),
    "long folder": ({"folder": "a" * 5000}, 1.0),
    "long part of a folder": ({"folder": "a" * 400}, 1.0),
    "control characters": ({"model": "\x1b[2Jm"}, 1.0),
    "another line": ({"folder": "a\u2028b"}, 1.0),
    "an escape in the folder": ({"folder": "a\x9bb"}, 1.0),
    "long name": ({"model": "m" * 5000}, 1.0),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_witness_is_refused(name, zoo_of, tmp_path, capsys):
    line, radius = MALFORMED[name]
    path, folder = tmp_path / "w.safetensors", zoo_of(TAU4) / TAU4
    write_witness(folder, path)
    assert cli.run(["verify", "--replay", str(path)]) in (0, 1)
    capsys.readouterr()
    write_witness(folder, path, line, certified_radius=torch.tensor([radius], dtype=torch.float64))
    assert cli.run(["verify", "--replay", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert len(captured.err) < 1000
    assert "witness" in captured.err
    assert "Errno" not in captured.err


def test_a_witness_of_many_brackets(tmp_path, capsys):
    (tmp_path / "w.json").write_text("[" * 100_000)
    assert cli.run(["verify", "--replay", str(tmp_path / "w.json")]) == 2
    assert "cannot read the witness" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["dangling", "dangling/below", "file", "file/below", "a" * 300])
def test_a_place_that_takes_no_witness_is_refused_before_any_attack(place, zoo_of, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(falsification.Search, "attack", None)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert cli.run(["verify", str(zoo_of(TAU4) / TAU4), "-q", "--samples", "3", "-o", str(tmp_path / place)]) == 2
    assert "cannot write" in capsys.readouterr().err


def test_a_verdict_stands_without_its_witness(zoo_of, digits, tmp_path, capsys, monkeypatch):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(verification, "_check_place", lambda out: None)  # it was a folder a while ago
    words = ["verify", str(folder), "-q", "--samples", "3", "-o", str(tmp_path / "file")]
    assert cli.run(words) == 1
    said = capsys.readouterr().out
    assert "REFUTED" in said
    assert said.count("witness not written: cannot write") >= 2
    assert cli.run([*words, "--json"]) == 1
    assert "cannot write" in json.loads(capsys.readouterr().out)["claim_witness"]["not_written"]
    found = verify(folder, digits, tmp_path / "file", samples=3)
    assert not found.holds
    assert found.constant.refuted
    assert verification.VerificationResult((found,)).witnesses == ()


def test_the_witness_of_a_model_with_a_long_name(zoo_of, digits, tmp_path):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    cards.write(folder, cards.read(folder).model_copy(update={"name": "ä" * 240}))
    path = verify(folder, digits, tmp_path / "out", samples=3).claim_witness
    assert load_model(folder).digest[:8] in path.name
    assert witnesses.load(path)[0].model == "ä" * 240
    assert witnesses.replay(path, device=torch.device("cpu")).reproduced == 1


@pytest.mark.parametrize("broken", [True, False])
def test_a_model_that_cannot_be_read_hides_no_other(broken, zoo_of, digits, tmp_path, capsys):
    both = zoo_of(TAU4, CNN)
    (both / CNN / cards.WEIGHTS).write_bytes(b"corrupt")  # the first of them by name
    if broken:
        edit(both / TAU4, claimed=0.5)
    assert cli.run(["verify", str(both), "-q", "--samples", "3", "-o", str(tmp_path / "v")]) == (1 if broken else 2)
    captured = capsys.readouterr()
    assert ("REFUTED " if broken else "CONSTANT ") + TAU4 in captured.out
    assert CNN in captured.err
    assert captured.err.count("\n") == 1
    options = {"samples": 3, "device": torch.device("cpu"), "progress": False}
    if not broken:
        with pytest.raises(LipbenchError, match=f"1 of 2 models could not be verified: {CNN}: "):
            verification.verify_zoo(both, digits, tmp_path / "v", **options)
        return
    found = verification.verify_zoo(both, digits, tmp_path / "v", **options)
    assert not found.passed
    assert list(found.failures) == [CNN]
    assert [model.model for model in found.models] == [TAU4]


# --- radii of somebody else ------------------------------------------------------------------------------------------


def test_radii_from_a_file_are_tested(zoo_of, digits, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    network = Network(load_model(folder).module, (1, 8, 8))
    top = network.predict(torch.from_numpy(digits.test.x[:20])).sort(dim=1)[0]
    margin = (top[:, -1] - top[:, -2]).numpy()
    right = network.predict(torch.from_numpy(digits.test.x[:20])).argmax(1).numpy() == digits.test.labels[:20]
    for factor, status in ((2**0.5, 0), (1.0, 1)):
        table = pd.DataFrame({"sample": np.arange(20), "certified_radius": np.where(right, margin / factor, 0)})
        table.to_csv(tmp_path / "mine.csv", index=False)
        arguments = ["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v")]
        assert cli.run([*arguments, "--radii", str(tmp_path / "mine.csv")]) == status
        assert ("FAIL" if status else "PASS") + f" {TAU4} given" in capsys.readouterr().out
    assert cli.run(["verify", "--replay", str(tmp_path / "v" / f"{TAU4}-radius-given.json")]) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sample,certified_radius\n0,-1\n", "at least 0"),
        ("sample,certified_radius\n0,nan\n", "finite"),
        ("sample,certified_radius\n99,1\n", "0..19"),
        ("sample,certified_radius\n0,1\n0,1\n", "different"),
        ("index,radius\n0,1\n", "expected CSV or parquet"),
        ("sample,certified_radius\na,b\n", "whole numbers"),
        ("sample,certified_radius\n0.7,1\n", "whole numbers"),
        ("sample,certified_radius\n99999999999999999999999,1\n", "whole numbers"),
        ("sample,certified_radius\n", "at least one row"),
        (None, "does not exist"),
    ],
)
def test_radii_that_are_none(content, said, zoo_of, tmp_path, capsys):
    if content is not None:
        (tmp_path / "mine.csv").write_text(content)
    folder = zoo_of(TAU4) / TAU4
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "--radii", str(tmp_path / "mine.csv")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("radii", [["1"] * 5, [1 + 2j] * 5, [True] * 5, [None] * 5, np.full(5, 1, dtype="M8[s]"), "ab"])
def test_radii_are_numbers(radii, zoo_of, digits, tmp_path):
    folder, cpu = zoo_of(TAU4) / TAU4, torch.device("cpu")
    with pytest.raises(LipbenchError, match="certified radii must be"):
        verification.verify(folder, digits, tmp_path / "v", samples=5, device=cpu, radii=radii, progress=False)


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


# --- for machines ----------------------------------------------------------------------------------------------------


def test_json(zoo_of, digits, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    arguments = ["verify", str(folder), "-q", "--samples", "10", "-o", str(tmp_path / "v"), "--json"]
    assert cli.run(arguments) == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert found["holds"] is True
    assert found["model"] == TAU4
    assert {verdict["grade"] for verdict in found["verdicts"]} == {"float", "real", "nominal"}


# --- falsification ---------------------------------------------------------------------------------------------------


def test_the_steepest_pair_reaches_the_constant_of_a_linear_network():
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), (1, 8, 8))
    proof = certificate(network.module, (1, 8, 8))
    pair = falsification.steepest_pair(network, proof, torch.rand(16, 1, 8, 8))
    assert 0.98 * proof.bound < pair.ratio <= proof.bound
    seen = (network.predict(pair.x) - network.predict(pair.z)).norm() / (pair.x.double() - pair.z.double()).norm()
    assert pair.ratio <= seen.item() <= pair.ratio * (1 + 1e-6)


def test_distances_are_bounds():
    from fractions import Fraction

    torch.manual_seed(0)
    x, z = torch.rand(20, 1, 8, 8), torch.rand(20, 1, 8, 8)
    z[:10] = x[:10] + 1e-7 * torch.randn(10, 1, 8, 8)
    lower, upper = falsification.distances(x, z)
    for row in range(20):
        pairs = zip(x[row].flatten().tolist(), z[row].flatten().tolist(), strict=True)
        exact = sum((Fraction(a) - Fraction(b)) ** 2 for a, b in pairs)
        assert Fraction(float(lower[row])) ** 2 <= exact <= Fraction(float(upper[row])) ** 2


def test_rounding_alone_refutes_no_exact_claim(tmp_path, monkeypatch):
    """Samples next to the boundary, where float32 changes class inside nominal radii: no violation of those."""
    import mutants

    net = mutants.bundled(TAU4)
    network = Network(net, (1, 8, 8), dtype="float32")
    x = mutants.at_the_boundary(network, mutants.inputs())
    arguments = (net, mutants.card(classes=10), x, network.predict(x).argmax(dim=1), tmp_path)
    found = verification.examine(*arguments, dtype="float32")
    assert [verdict.violations for verdict in found.verdicts] == [0, 0, 0]
    monkeypatch.setattr(verification, "EXACT_GRADES", ())
    found = verification.examine(*arguments, dtype="float32")
    by_grade = {verdict.grade: verdict.violations for verdict in found.verdicts}
    assert by_grade["float"] == by_grade["real"] == 0
    assert by_grade["nominal"] > 0


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


BAD_WITNESS = {
    "label": torch.tensor([99]),
    "label of another type": torch.tensor([0.5]),
    "x_adversarial": torch.zeros(1, 1, 9, 9),
    "x_adversarial outside": torch.full((1, 1, 8, 8), 2.0),
    "x of another type": torch.zeros(1, 1, 8, 8, dtype=torch.float64),
    "certified_radius": torch.zeros(1, 1, dtype=torch.float64),
}


@pytest.mark.parametrize("name", BAD_WITNESS)
def test_witnesses_that_do_not_fit_are_one_line(name, zoo_of, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    digest = load_model(folder).digest
    tensors = {
        "x": torch.zeros(1, 1, 8, 8),
        "x_adversarial": torch.zeros(1, 1, 8, 8),
        "label": torch.tensor([0]),
        "certified_radius": torch.ones(1, dtype=torch.float64),
    }
    tensors[name.split(" ")[0]] = BAD_WITNESS[name]
    line = witnesses.Witness("radius", TAU4, str(folder), digest, "real", "float64", 1)
    path = witnesses.save(tmp_path / "w.safetensors", line, tensors)
    assert cli.run(["verify", "--replay", str(path)]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "witness" in error


# --- networks without an error analysis ------------------------------------------------------------------------------


def examined(net, claimed: float | None, out, dtype: str = "float64") -> verification.Verification:
    """What is found on test images, with the predictions for labels."""
    import mutants

    x = mutants.inputs()
    logits = net(x)
    card = mutants.card(claimed, classes=logits.shape[1])
    return verification.examine(net, card, x, logits.argmax(dim=1), out, dtype=dtype)


def test_the_steepest_pair_of_layers_without_an_analysis(tmp_path, dtype):
    """The slope is measured, and no proof is claimed for it."""
    for make, true in ((smooth_network, GELU_SLOPE), (householder, 1.0), (batch_lip_norm, None)):
        net = make()
        found = examined(net, None, tmp_path, dtype)
        true = affine_norm(net) if true is None else true
        assert found.not_analysed is not None
        assert not found.steepest_proven
        assert 0.99 * true < found.steepest <= true * (1 + 1e-6)
        assert found.holds


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    return request.param


@pytest.mark.parametrize(
    ("make", "claimed", "refuted"),
    [
        (smooth_network, GELU_SLOPE * 0.999, True),
        (smooth_network, GELU_SLOPE, False),
        (householder, 1 - 1e-5, True),
        (householder, 1 - 1e-6, False),  # within the tolerance of claims
    ],
)
def test_a_measured_slope_refutes_a_claim_that_it_exceeds(make, claimed, refuted, tmp_path):
    found = examined(make(), claimed, tmp_path)
    assert found.not_analysed is not None
    assert (found.claim_witness is not None) is refuted
    assert found.holds is not refuted


def test_a_measured_slope_allows_for_what_float64_may_lose(tmp_path):
    """A step of 16 that only rounding makes: 1e17 is added and taken off. In exact arithmetic the slope is 1.129."""

    class Lost(nn.Module):
        def forward(self, x):
            return (x + 1e17) - 1e17

    net = smooth_network()
    net.insert(1, Lost())
    found = examined(net, 1.2, tmp_path)
    assert found.not_analysed is not None
    assert found.claim_witness is None
    assert found.holds


def test_large_biases_do_not_hide_a_slope(tmp_path):
    """Logits of 1e5: float32 errs by 4e-3 there, float64 by 1e-11."""
    found = examined(smooth_network(offset=1e5), GELU_SLOPE * 0.99, tmp_path)
    assert found.claim_witness is not None


@pytest.mark.parametrize("analysed", [True, False])
def test_the_search_leaves_regions_where_outputs_tie(analysed, tmp_path):
    """Every test image lies where the network is constant; bright ones are where it is not."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1), nn.ReLU(), *([] if analysed else [nn.GELU()]), nn.Linear(1, 2))
    with torch.no_grad():
        net[1].weight.fill_(1 / 8)
        net[1].bias.fill_(-5.0)  # of at most 8; digits stay below 3.5
        net[-1].weight.copy_(torch.tensor([[1.0], [-1.0]]) / 2**0.5)
    network = Network(net, (1, 8, 8))
    import mutants

    x = mutants.inputs()
    assert (network.predict(x) == network.predict(x)[:1]).all()
    pair = falsification.steepest_pair(network, certificate(network.module, (1, 8, 8)), x)
    true = 1.0 if analysed else GELU_SLOPE
    assert pair.proven is analysed
    assert 0.95 * true < pair.ratio <= true * (1 + 1e-6)


def test_the_search_survives_gradients_that_are_not_finite():
    """The square root of 0, at black pixels."""

    class Root(nn.Module):
        def forward(self, x):
            return torch.relu(x).sqrt()

    network = Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), Root()), (1, 8, 8))
    with torch.no_grad():
        network.module[1].weight.abs_(), network.module[1].bias.zero_()
    proof = certificate(Network(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), (1, 8, 8)).module, (1, 8, 8))
    pair = falsification.steepest_pair(network, proof, torch.zeros(4, 1, 8, 8))
    assert pair.ratio > 1


@pytest.fixture
def smooth_zoo(tmp_path, monkeypatch):
    """A function that stores a model with a GELU that claims a constant, and returns its folder."""
    monkeypatch.setitem(ARCHITECTURES.bundled, "smooth", "unanalysed:smooth")
    return lambda claimed: store(tmp_path / "smooth-zoo" / "smooth", claimed)


def test_the_command_prints_a_measured_slope_as_unproven(smooth_zoo, tmp_path, capsys):
    folder = smooth_zoo(1.2)
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("CONSTANT smooth"))
    assert "1.128" in line
    assert "measured, not proven" in line
    assert " 0 found" not in line
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steepest"] == pytest.approx(GELU_SLOPE, rel=1e-3)
    assert found["steepest_proven"] is False


def test_a_pair_without_an_analysis_is_saved_and_replayed(smooth_zoo, tmp_path, capsys, dtype):
    folder = smooth_zoo(1.0)
    options = ["-q", "--samples", "20", "-o", str(tmp_path / "v"), "--dtype", dtype]
    assert cli.run(["verify", str(folder), *options]) == 1
    assert "REFUTED smooth" in capsys.readouterr().out
    path = tmp_path / "v" / "smooth-lipschitz-nominal.json"
    assert cli.run(["verify", "--replay", str(path)]) == 1
    assert "REPRODUCED smooth: 1 of 1 lipschitz witnesses" in capsys.readouterr().out
    witness, tensors = witnesses.load(path)
    tensors["z"] = torch.zeros_like(tensors["x"])  # the slope from there is below 1
    witnesses.save(path.with_suffix(".safetensors"), witness, tensors)
    assert cli.run(["verify", "--replay", str(path)]) == 0
    assert "NOT REPRODUCED" in capsys.readouterr().out


def test_samples_that_float64_may_misjudge_have_no_radius_without_an_analysis(tmp_path):
    """Next to the boundary of a network in which float64 itself has steps."""
    import mutants

    class Far(nn.Module):
        def forward(self, x):
            return ((x + 5e-8) + 1e9) - 1e9 - 5e-8  # float64 has steps of 1.2e-7 there

    net = smooth_network().insert(3, Far()).double()  # in float32 it would be constant
    network = Network(net, (1, 8, 8))
    x = mutants.at_the_boundary(network, mutants.inputs())
    arguments = (net, mutants.card(2.0, classes=10), x, network.predict(x).argmax(dim=1), tmp_path)
    found = verification.examine(*arguments)
    assert [(verdict.samples, verdict.violations) for verdict in found.verdicts] == [(0, 0), (0, 0)]


def test_a_pair_above_the_computed_bound_is_a_failure(tmp_path, monkeypatch, capsys):
    """A rule of a plugin that says 1 for a layer that doubles; the card claims nothing."""
    import unanalysed

    from lipbench.certification.lipschitz import rule_checks
    from lipbench.certification.lipschitz.effects import EXACT, Effect
    from lipbench.certification.lipschitz.table import RULES

    # which notices this wrong rule, though not every one
    monkeypatch.setattr(rule_checks, "check_steps", lambda graph, x: None)
    monkeypatch.setitem(RULES, unanalysed.Double, lambda layer, shape: Effect((1.0,), EXACT))
    monkeypatch.setitem(ARCHITECTURES.bundled, "doubled", "unanalysed:doubled")
    folder = store(tmp_path / "zoo" / "doubled", None, "doubled")
    arguments = ["verify", str(folder), "-q", "--samples", "3", "-o", str(tmp_path / "v")]
    assert cli.run(arguments) == 1
    said = capsys.readouterr().out
    assert "FAIL doubled: 1.999" in said
    assert "the computed bound is false" in said
    assert "CONSTANT" not in said
    path = tmp_path / "v" / "doubled-lipschitz-real.json"
    assert cli.run(["verify", "--replay", str(path)]) == 1
    assert "1 of 1 lipschitz witnesses against the computed bound" in capsys.readouterr().out
    found = examined(nn.Sequential(*unanalysed.doubled()), None, tmp_path / "w")
    assert not found.holds
    assert found.constant.bound_witness is not None
    assert found.claim_witness is None
