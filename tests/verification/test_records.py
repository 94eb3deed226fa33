"""Records are typed, whole, checked when they are read, and never written over anything else."""

import json
import math
import shutil
from dataclasses import replace

import pytest
from bundled import CNN, TAU4
from running import TINY, run
from verified import TESTED, broken, held
from verifying import edit

from lipbench import cli
from lipbench._internal import files
from lipbench.data import datasets
from lipbench.errors import LipbenchError
from lipbench.verification import records
from lipbench.verification.result import VerificationResult


def test_what_is_read_back_is_what_was_written(tmp_path):
    both = VerificationResult((broken(tmp_path), held("m")))
    for model in reversed(both.models):
        records.write(tmp_path, model)
    assert records.load(tmp_path) == both
    assert str(records.load(tmp_path)) == str(both)
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert records.load(moved) == VerificationResult((broken(moved), held("m")))


def test_a_record_is_written_again_and_its_bytes_are_those_of_the_first(tmp_path):
    path = records.write(tmp_path, held())
    before = path.read_bytes()
    records.write(tmp_path, held(tested=replace(TESTED, seed=1)))
    assert path.read_bytes() != before
    records.write(tmp_path, held())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    assert str(tmp_path).encode() not in records.write(tmp_path, broken(tmp_path)).read_bytes()


def test_a_record_of_a_broken_certificate_is_not_replaced_in_silence(tmp_path, caplog):
    records.write(tmp_path, broken(tmp_path))
    records.write(tmp_path, broken(tmp_path))
    assert not caplog.records
    records.write(tmp_path, held("b", "b" * 64, tested=replace(TESTED, samples=3)))
    (said,) = caplog.messages
    assert "said that a certificate of b is broken (20 samples tested)" in said
    assert "a test of 3 samples that found nothing" in said
    records.write(tmp_path, broken(tmp_path))
    assert len(caplog.messages) == 1


def test_links_and_halves_are_refused_with_the_way_out(tmp_path):
    path = records.write(tmp_path / "v", held())
    path.write_text("{")
    with pytest.raises(LipbenchError, match="delete it and run `lipbench verify` again"):
        records.load(tmp_path / "v")
    path.unlink()
    path.symlink_to(records.write(tmp_path / "other", held()))
    with pytest.raises(LipbenchError, match="is not a verification record: it is not a file; delete it"):
        records.load(tmp_path / "v")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / records.RECORDS).symlink_to(tmp_path / "other" / records.RECORDS)
    with pytest.raises(LipbenchError, match="is a symbolic link; put the folder itself in its place"):
        records.load(tmp_path / "linked")


def rewritten(path, change) -> None:
    """Change a record, with a digest that fits."""
    content = json.loads(path.read_text())
    change(content["verification"])
    del content["sha256"]
    digest = files.sha256_bytes(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
    path.write_text(json.dumps({**content, "sha256": digest}))


def at(*keys, value):
    """A change of the entry under the keys."""

    def change(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


CONTRADICTIONS = {
    "holds": at("holds", value=False),
    "more violations than samples": at("verdicts", 0, "violations", value=19),
    "a violation without a witness": at("verdicts", 0, "violations", value=1),
    "a closest approach below 1": at("verdicts", 0, "closest_approach", value=0.5),
    "a negative count": at("verdicts", 0, "attacked", value=-1),
    "more samples than were tested": at("tested", "samples", value=3),
    "true for a count": at("verdicts", 0, "samples", value=True),
    "text for a count": at("verdicts", 0, "samples", value="18"),
    "a share of a sample": at("verdicts", 0, "samples", value=17.5),
    "an unknown key": at("more", value=1),
    "an unknown key of a verdict": at("verdicts", 0, "more", value=1),
    "an unknown grade": at("verdicts", 0, "grade", value="certain"),
    "a grade twice": at("verdicts", 1, "grade", value="float"),
    "an unknown dtype": at("tested", "dtype", value="float16"),
    "no number": at("constant", "bound", value=math.nan),
    "infinity": at("constant", "bound", value=math.inf),
    "no constant": at("constant", "bound", value=None),
    "a slope above the bound": at("constant", "steepest", value=2.0),
    "a negative claim": at("constant", "claimed", value=-1.0),
    "a verdict on no claim": at("constant", "claimed", value=None),
    "a witness elsewhere": at("constant", "claim_witness", value="../../etc/passwd"),
    "a witness of the whole disk": at("constant", "claim_witness", value="/etc/passwd"),
    "a witness against a claim that is confirmed": at("verdicts", 0, "witness", value="witnesses/x.safetensors"),
    "more broken than certified": at("rounding", 0, "broken", value=26),
    "an escape": at("not_analysed", value="\x1b[2J"),
    "two lines": at("model", value="m\nPASS"),
    "a list": at("tested", value=[]),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_record_that_contradicts_itself_is_refused(name, tmp_path):
    path = records.write(tmp_path, held())
    rewritten(path, at("not_analysed", value="a reason"))
    assert records.load(tmp_path).models[0].not_analysed == "a reason"  # whose digest fits
    path.unlink()
    records.write(tmp_path, held())
    rewritten(path, CONTRADICTIONS[name])
    with pytest.raises(LipbenchError, match="damaged") as caught:
        records.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "null", "[" * 100_000, '{"format": "lipbench verification 1"}', '{"format": 2}']
)
def test_a_file_that_is_no_record_is_refused(content, tmp_path):
    path = records.write(tmp_path, held())
    path.write_text(content)
    with pytest.raises(LipbenchError, match="verification record") as caught:
        records.load(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 500


def test_a_changed_byte_is_seen(tmp_path):
    path = records.write(tmp_path, held())
    path.write_text(path.read_text().replace('"attacked": 126', '"attacked": 127', 1))
    with pytest.raises(LipbenchError, match="not what was written"):
        records.load(tmp_path)


def test_a_folder_without_records(tmp_path):
    assert not records.has_records(tmp_path)
    with pytest.raises(LipbenchError, match="no verification in"):
        records.load(tmp_path)


@pytest.mark.parametrize("kind", ["file", "link", "folder", "another model"])
def test_nothing_else_is_written_over(kind, tmp_path):
    path = tmp_path / "out" / records.RECORDS / "m.json"
    path.parent.mkdir(parents=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "another model":
        records.write(tmp_path / "out", held("other")).rename(path)
    else:
        (tmp_path / "mine").write_text("mine")
        path.write_text("mine") if kind == "file" else path.symlink_to(tmp_path / "mine")
    before = None if kind == "folder" else path.read_bytes()
    with pytest.raises(LipbenchError, match="not replaced"):
        records.write(tmp_path / "out", held())
    assert before is None or path.read_bytes() == before


def test_the_record_of_a_model_with_a_long_name(tmp_path):
    one, other = held("ä" * 240 + "1", "1" * 64), held("ä" * 240 + "2", "2" * 64)
    records.write(tmp_path, one)
    records.write(tmp_path, other)
    assert records.load(tmp_path) == VerificationResult((one, other))


# --- into which folder -----------------------------------------------------------------------------------------------


def command(folder, out, *options: str) -> list[str]:
    return ["verify", str(folder), "-q", "--samples", "3", "-o", str(out), *options]


def test_the_folder_of_a_run_takes_its_own_models_and_data(zoo_of, digits, tmp_path, capsys, monkeypatch):
    zoo, out = zoo_of(TAU4), tmp_path / "run"
    run(zoo, out, digits, suite=TINY, samples=4)
    assert cli.run(command(zoo, out)) == 0
    printed = capsys.readouterr().out
    assert str(records.load(out)) + "\n" == printed
    record = out / records.RECORDS / f"{TAU4}.json"
    before = record.read_bytes()
    assert cli.run(command(zoo, out)) == 0
    assert record.read_bytes() == before
    monkeypatch.setattr("lipbench.verification.falsification.AttackedSamples.attack", None)  # refused before any attack
    refused([*command(zoo, out), "--dtype", "float32"], "holds a run in float64, whose certificates", capsys)
    other = zoo_of(CNN)
    shutil.rmtree(other / TAU4)
    refused(command(other, out), f"holds a run without the model {CNN}", capsys)
    shutil.rmtree(other / CNN)
    edit(zoo_of(TAU4) / TAU4, claimed=2.0)
    refused(command(zoo, out), f"holds a run of another model named {TAU4}", capsys)
    shutil.rmtree(zoo / TAU4)
    zoo_of(TAU4)
    flipped = replace(digits, test=datasets.Split(digits.test.images[::-1], digits.test.labels[::-1]))
    monkeypatch.setattr("lipbench.data.given.load", lambda *args: flipped)
    refused(command(zoo, out), "holds a run on other data", capsys)
    assert record.read_bytes() == before


def refused(words: list[str], says: str, capsys) -> None:
    capsys.readouterr()
    assert cli.run(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert says in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("name", ["thesis.tex", "verification", "verification/m.json", "witnesses"])
def test_a_folder_of_something_else_is_refused_before_any_attack(name, zoo_of, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lipbench.verification.falsification.AttackedSamples.attack", None)
    out = tmp_path / "out"
    path = out / name.replace("m.json", f"{TAU4}.json")
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    refused(command(zoo_of(TAU4) / TAU4, out), str(out), capsys)
    assert path.read_text() == "mine"
