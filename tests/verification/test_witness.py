import json
import re

import pytest
import safetensors.torch
import torch
from bundled import TAU4
from verifying import edit, verify

from lipbench import cli
from lipbench.models import cards
from lipbench.models.stored import load_model
from lipbench.verification import falsification
from lipbench.verification import witness as witnesses


def test_a_witness_is_replayed(zoo_of, digits, tmp_path, capsys):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    assert cli.run(["verify", str(folder), "-q", "--samples", "20", "-o", str(tmp_path / "v")]) == 1
    capsys.readouterr()
    found = sorted((tmp_path / "v" / "witnesses").glob("*.json"))
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
    """The replay trusts none of the numbers in the file."""
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    path = verify(folder, digits, tmp_path / "out", samples=20).verdicts[2].witness
    witness, tensors = witnesses.load(path)
    whole = witnesses.replay(path, device=torch.device("cpu"))
    assert whole.reproduced == whole.rows > 5
    tensors["x_adversarial"] = tensors["x_adversarial"].roll(1, dims=0)  # far away, or of the right class
    witnesses.save(path, witness, tensors)
    assert witnesses.replay(path, device=torch.device("cpu")).reproduced < whole.rows / 2


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
    path = verify(folder, digits, tmp_path / "out", samples=3).constant.claim_witness
    line = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**line, "threads": threads}))
    assert cli.run(["verify", "--replay", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the threads of the witness" in said


def write_witness(folder, path, line=(), **tensors):
    """A witness of the model in ``folder`` with radii that the user gave, and changes of its line."""
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
    monkeypatch.setattr(falsification.AttackedSamples, "attack", None)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert cli.run(["verify", str(zoo_of(TAU4) / TAU4), "-q", "--samples", "3", "-o", str(tmp_path / place)]) == 2
    assert re.search("cannot write|out must be a path, no longer than file systems take", capsys.readouterr().err)


def test_the_witness_of_a_model_with_a_long_name(zoo_of, digits, tmp_path):
    folder = zoo_of(TAU4) / TAU4
    edit(folder, claimed=0.5)
    cards.write(folder, cards.read(folder).model_copy(update={"name": "ä" * 240}))
    path = verify(folder, digits, tmp_path / "out", samples=3).constant.claim_witness
    assert load_model(folder).digest[:8] in path.name
    assert witnesses.load(path)[0].model == "ä" * 240
    assert witnesses.replay(path, device=torch.device("cpu")).reproduced == 1


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


def test_a_pair_without_an_analysis_is_saved_and_replayed(smooth_zoo, tmp_path, capsys, dtype):
    folder = smooth_zoo(1.0)
    options = ["-q", "--samples", "20", "-o", str(tmp_path / "v"), "--dtype", dtype]
    assert cli.run(["verify", str(folder), *options]) == 1
    assert "REFUTED smooth" in capsys.readouterr().out
    path = tmp_path / "v" / "witnesses" / "smooth-lipschitz-nominal.json"
    assert cli.run(["verify", "--replay", str(path)]) == 1
    assert "REPRODUCED smooth: 1 of 1 lipschitz witnesses" in capsys.readouterr().out
    witness, tensors = witnesses.load(path)
    tensors["z"] = torch.zeros_like(tensors["x"])  # the slope from there is below 1
    witnesses.save(path.with_suffix(".safetensors"), witness, tensors)
    assert cli.run(["verify", "--replay", str(path)]) == 0
    assert "NOT REPRODUCED" in capsys.readouterr().out
