"""A model or an attack that fails is named, recorded with its reason and left out; the others go on."""

import json
import warnings

import failing
import numpy as np
import pandas as pd
import pytest
import torch
from bundled import CNN, TAU4, TAU256
from failing import Breaks, CutOff, Kills, Overflows, RaisesLater, Refuses, Wrapped, chain
from running import TINY, computed, decoded, leftovers, same, stamps, with_attacks, write_suite
from torch import nn

import lipbench
from lipbench import cli
from lipbench._internal import files
from lipbench._internal.registry import ATTACKS
from lipbench.attacks import guard, suites
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.errors import AttackError, CannotWriteError, LeftOutWarning, LipbenchError, NetworkError
from lipbench.models.stored import load_model
from lipbench.runs.failures import Failure, Failures
from lipbench.runs.folder import RunFolder

OPTIONS = {"device": "cpu", "samples": 60}


@pytest.fixture(autouse=True)
def no_calls():
    failing.CALLS.clear()


@pytest.fixture
def bodies(digits_zoo):
    """Trained networks of digits, by name."""
    return {name: load_model(digits_zoo / name).module for name in (TAU4, TAU256, CNN)}


@pytest.fixture
def test_attacks(monkeypatch):
    """Attacks of a plugin, registered for a test."""
    for attack in (Refuses, Breaks):
        monkeypatch.setitem(ATTACKS.bundled, attack.name, attack)


def samples(digits, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    return digits.test.x[:n], digits.test.labels[:n]


def evaluate(models: dict[str, nn.Module], digits, suite=TINY, **options) -> lipbench.Results:
    given = [lipbench.Model(module, name=name) for name, module in models.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)
        return lipbench.evaluate(given, suite, data=samples(digits), **{**OPTIONS, **options})


def six(bodies) -> dict[str, nn.Module]:
    """Three networks that can be evaluated, and three that fail: at the start, under way, and by their numbers."""
    return {
        "good-1": bodies[TAU4],
        "raises": RaisesLater(bodies[TAU4]),
        "good-2": bodies[TAU256],
        "shape": chain(4, inputs=63),
        "nan": Overflows(bodies[CNN]),
        "good-3": bodies[CNN],
    }


@pytest.mark.parametrize("jobs", [1, 2])
def test_three_of_six_models_fail_in_three_ways(jobs, bodies, digits, tmp_path):
    zoo, out = six(bodies), tmp_path / "run"
    results = evaluate(zoo, digits, out=out, shard=30, jobs=jobs)
    assert set(results.samples["model"]) == {"good-1", "good-2", "good-3"}
    assert results.failures.keys() == {"raises", "shape", "nan"}
    assert "AwkwardError: the table is gone ?[31m7" in results.failures["raises"]
    assert "does not accept inputs of shape (1, 8, 8)" in results.failures["shape"]
    assert "the network's logits are not finite" in results.failures["nan"]
    assert not results.complete
    alone = evaluate({name: zoo[name] for name in ("good-1", "good-2", "good-3")}, digits, shard=30)
    pd.testing.assert_frame_equal(alone.summary(), results.summary())
    folder = RunFolder(out)
    assert not leftovers(folder)
    before, written = stamps(folder), {path.name: path.read_bytes() for path in folder.failures.folder.iterdir()}
    # a second call does only what is missing: no unit that is there, and none of the good models
    failing.CALLS.clear()
    again = evaluate(zoo, digits, out=out, shard=30)
    assert before.items() <= stamps(folder).items()
    assert set(computed(folder).values()) == {1}
    assert {path.name: path.read_bytes() for path in folder.failures.folder.iterdir()} == written
    assert again.failures == results.failures
    pd.testing.assert_frame_equal(again.summary(), results.summary())


def test_a_model_that_was_repaired_takes_the_place_of_the_one_that_failed(bodies, digits, tmp_path):
    zoo = six(bodies)
    first = evaluate(zoo, digits, out=tmp_path / "run")
    before = stamps(first.run_folder)
    repaired = zoo | {"raises": bodies[TAU4], "shape": chain(4), "nan": bodies[CNN]}
    second = evaluate(repaired, digits, out=tmp_path / "run")
    assert second.complete
    assert second.failures == {}
    assert list(second.run_folder.failures.folder.iterdir()) == []
    assert set(second.samples["model"]) == zoo.keys()
    assert before.items() <= stamps(second.run_folder).items()
    with pytest.raises(LipbenchError, match="another model of the name good-1"):  # which did not fail
        evaluate(repaired | {"good-1": bodies[CNN]}, digits, out=tmp_path / "run")


def test_the_command_names_what_failed_and_ends_with_2(zoo_of, tmp_path, capsys):
    zoo, out = zoo_of(TAU4, TAU256, CNN), tmp_path / "run"
    (zoo / CNN / "weights.safetensors").write_bytes(b"corrupt")
    (zoo / TAU256 / "card.toml").write_text("name = \x01")
    words = ["evaluate", str(zoo), "--suite", str(write_suite(tmp_path / "tiny.toml", TINY)), "-o", str(out)]
    words += ["--samples", "20", "--device", "cpu", "-q", "--data", "digits"]
    assert cli.run(words) == 2
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"{CNN} left out", f"{TAU256} left out"]
    assert "does not match the hash on its card" in lines[0]
    assert "suite small" in said.out
    report = (out / "report" / "report.md").read_text()
    assert "## Left out\n\n| model | what failed | reason |\n| --- | --- | --- |\n" in report
    assert f"| {CNN} | the model | ".replace("_", r"\_") in report
    assert "Left out" in (out / "report" / "report.html").read_text()
    assert cli.run(["status", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"{CNN} left out: " in shown
    assert "nothing is left" in shown
    assert "(100 %)" in shown
    assert cli.run(["report", str(out), "--check"]) == 0
    capsys.readouterr()
    # models whose cards are read again are evaluated, and the report forgets them
    (zoo / CNN).rename(tmp_path / "away")
    (zoo / TAU256 / "card.toml").unlink()
    assert cli.run(words) == 2  # the run still lacks them
    assert lipbench.Results.load(RunFolder(out)).failures.keys() == {CNN, TAU256}


def test_if_every_model_fails_the_reasons_are_raised(bodies, digits, tmp_path):
    with pytest.raises(LipbenchError, match=r"none of 2 models could be evaluated: a: .*63x16.*; b: .*62x16"):
        evaluate({"a": chain(0, 63), "b": chain(0, 62)}, digits, out=tmp_path / "start")
    assert not (tmp_path / "start").exists()
    with pytest.raises(LipbenchError, match=r"^the network's forward failed on .*the table is gone"):
        evaluate({"raises": RaisesLater(bodies[TAU4])}, digits, out=tmp_path / "later")
    with pytest.raises(LipbenchError, match="the table is gone"):
        lipbench.report(tmp_path / "later")


def test_python_warns_once_for_each_model(bodies, digits):
    zoo = {"good": bodies[TAU4], "shape": chain(4, 63), "cut": CutOff(bodies[CNN])}
    suite = with_attacks("autoattack/square", to=TINY)
    with pytest.warns(LeftOutWarning) as caught:
        lipbench.evaluate(
            [lipbench.Model(module, name=name) for name, module in zoo.items()],
            suite,
            data=samples(digits),
            device="cpu",
        )
    said = [str(each.message) for each in caught if each.category is LeftOutWarning]
    assert len(said) == 2
    assert said[0].startswith("shape left out: ")
    assert said[1].startswith("cut: gradient/bisection, art/fgm, autoattack/apgd-ce left out: RuntimeError: ")
    assert all(each.filename == __file__ for each in caught if each.category is LeftOutWarning)


def test_a_network_without_gradients_is_attacked_with_what_remains(bodies, digits, tmp_path):
    suite = with_attacks("autoattack/square", to=TINY)
    zoo = {"cut": CutOff(bodies[TAU256]), "whole": bodies[TAU256]}
    results = evaluate(zoo, digits, suite, out=tmp_path / "run")
    cut, whole = results.items
    assert cut.left_out.keys() == {"gradient/bisection", "art/fgm", "autoattack/apgd-ce"}
    assert whole.left_out == {}
    assert np.allclose(cut.bounds.certified_radius, whole.bounds.certified_radius)
    assert cut.attacks[-1].name == "autoattack/square"
    rows = [sum(len(record.sample) for _, record in item.attacks[-1].records) for item in (cut, whole)]
    assert rows[0] > rows[1]  # it sees what the others leave open
    assert not cut.minimal_norm
    row = results.summary(eps=0.4).set_index("model")
    said = row.loc["cut", "warnings"]
    assert said.startswith("gradient/bisection, art/fgm, autoattack/apgd-ce left out: RuntimeError: element 0 of ")
    assert "were broken only by Square, which follows no gradient" in said
    assert row.loc["whole", "warnings"] == ""
    assert not results.complete
    before = stamps(results.run_folder)
    evaluate(zoo, digits, suite, out=tmp_path / "run")
    assert stamps(results.run_folder) == before  # an attack that was left out is not tried again
    text = next(path for path in results.report(tmp_path / "report") if path.suffix == ".md").read_text()
    assert "| cut | autoattack/apgd-ce, suite small | RuntimeError: " in text


def test_a_reference_attack_that_fails_is_not_shown_as_one_that_found_nothing(bodies, digits, tmp_path):
    suite = suites.parse({**TINY.plain(), "attack": [{"name": "autoattack/square", "args": {"n_queries": 5}}]}, "test")
    options = {"samples": 6, "reference_attack": "autoattack"}
    results = evaluate({"cut": CutOff(bodies[TAU256])}, digits, suite, out=tmp_path / "run", **options)
    (cut,) = results.items
    assert cut.left_out.keys() == {"autoattack/standard alone"}
    assert cut.reference is None
    row = results.summary(eps=0.4).iloc[0]
    assert row["zero_gradients"] == row["clean"] > 0
    assert pd.isna(row["robust_alone"])
    assert "have no gradient of cross-entropy to follow" in row["warnings"]
    results.report(tmp_path / "report")


def test_an_attack_that_refuses_or_breaks_is_left_out_for_the_model(bodies, digits, tmp_path, test_attacks, capsys):
    attacks = [{"name": "test/refuses"}, *TINY.plain()["attack"], {"name": "test/breaks"}]
    suite = suites.parse({**TINY.plain(), "attack": attacks}, "test")
    results = evaluate({"a": bodies[TAU4], "b": bodies[CNN]}, digits, suite, out=tmp_path / "run")
    for item in results.items:
        assert item.left_out == {
            "test/refuses": "takes only images of 32 by 32, not (1, 8, 8)",
            "test/breaks": "AwkwardError: no such index ?[31m3",
        }
    plain = evaluate({"a": bodies[TAU4], "b": bodies[CNN]}, digits, TINY)
    bounds = ["certified_radius_float", "adversarial_distance"]
    pd.testing.assert_frame_equal(results.samples[bounds], plain.samples[bounds])
    folder = results.run_folder
    failed = [info["failed"] for _, info in decoded(folder).values() if info.get("failed")]
    assert len(failed) == 4
    assert cli.run(["report", str(folder.path)]) == 0
    said = capsys.readouterr().out
    assert (
        "WARNING a: test/refuses left out: takes only images of 32 by 32, not (1, 8, 8); test/breaks left out" in said
    )
    again = evaluate({"a": bodies[TAU4], "b": bodies[CNN]}, digits, suite, out=tmp_path / "other")
    assert same(folder, again.run_folder)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["test/refuses"], "test/refuses takes only images of 32 by 32"),
        (["test/breaks"], "test/breaks: AwkwardError: no such index"),
        (
            ["test/breaks", "test/refuses"],
            "no attack of the suite small runs on it: test/breaks: Awk.*; test/refuses: ",
        ),
    ],
)
def test_a_model_that_no_attack_runs_on_fails(names, said, bodies, digits, tmp_path, test_attacks):
    suite = suites.parse({**TINY.plain(), "attack": [{"name": name} for name in names]}, "test")
    with pytest.raises(LipbenchError, match=said):
        evaluate({"a": bodies[TAU4]}, digits, suite, out=tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    if folder.path.exists():  # no unit of an attack is there: another call tries the attacks again
        assert {unit.kind for unit in folder.read().units() if folder.has(unit)} == {"certify"}


def test_a_worker_that_is_killed_names_its_model(bodies, digits, tmp_path):
    zoo = {"good-1": bodies[TAU4], "kills": Kills(bodies[TAU256]), "good-2": bodies[CNN]}
    results = evaluate(zoo, digits, out=tmp_path / "run", shard=30, jobs=2)
    assert set(results.samples["model"]) == {"good-1", "good-2"}
    assert results.failures.keys() == {"kills"}
    assert "a worker process was killed" in results.failures["kills"]
    assert not leftovers(results.run_folder)
    assert set(computed(results.run_folder).values()) == {1}


def test_a_network_that_cannot_be_sent_to_a_worker_fails_alone(bodies, digits, tmp_path, monkeypatch):
    """One holds a function of this process, the class of the other is not found in the worker."""
    held = Wrapped(bodies[TAU256])
    held.source = lambda: None
    lost = type("Lost", (Wrapped,), {"__module__": failing.__name__})
    monkeypatch.setattr(failing, "Lost", lost, raising=False)
    zoo = {"good": bodies[TAU4], "held": held, "lost": lost(bodies[TAU256])}
    results = evaluate(zoo, digits, out=tmp_path / "run", jobs=2)
    assert set(results.samples["model"]) == {"good"}
    assert results.failures.keys() == {"held", "lost"}
    assert results.failures["held"].startswith("cannot be sent to another process: ")
    assert results.failures["lost"].startswith("cannot be loaded in another process: AttributeError: ")
    assert all(why.endswith("or evaluate in one process (jobs=1)") for why in results.failures.values())


def test_a_full_disk_stops_the_call(bodies, digits, tmp_path, monkeypatch):
    """No model is to blame for it."""
    true = files.write_bytes

    def full(path, data):
        if path.suffix == ".parquet":
            raise files.cannot_write(path, OSError(28, "No space left on device"))
        true(path, data)

    monkeypatch.setattr(files, "write_bytes", full)
    with pytest.raises(CannotWriteError, match="No space left on device"):
        evaluate({"a": bodies[TAU4], "b": bodies[CNN]}, digits, out=tmp_path / "run")
    assert not (tmp_path / "run" / "failures").exists()


def test_the_guard_tells_the_network_from_the_attack(bodies, digits, test_attacks):
    x, labels = (torch.from_numpy(part) for part in samples(digits, 30))
    spec = suites.AttackSpec(name="test/breaks")
    with pytest.raises(AttackError, match="test/breaks failed: AwkwardError: no such index"):
        guard.search(spec, Network(bodies[TAU4], (1, 8, 8)), x, labels, norm=Norm.L2, eps=0.1, seed=0)
    network = Network(RaisesLater(bodies[TAU4]), (1, 8, 8))
    with pytest.raises(NetworkError, match=r"forward failed on 2\d inputs: AwkwardError: the table is gone"):
        guard.search(suites.AttackSpec(name="art/auto_pgd"), network, x, labels, norm=Norm.L2, eps=0.1, seed=0)


def test_failures_on_disk(tmp_path):
    failures = Failures(tmp_path / "failures")
    failures.clear(["a"])
    assert failures.read() == {}
    found = [Failure("b", "it raised", "ab12"), Failure("a" * 400, "no card"), Failure("a" * 399, "no card")]
    for failure in found:
        failures.add(failure)
    assert failures.read() == {failure.model: failure for failure in found}
    path = failures.folder / "b.json"
    before = path.read_bytes()
    failures.add(found[0])
    assert path.read_bytes() == before
    failures.clear(["b", "c"])
    assert not failures.has("b")
    assert failures.has("a" * 400)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "lipbench failure 2"},
        {"model": "other"},
        {"reason": ""},
        {"reason": 3},
        {"reason": "\x1b[31m"},
        {"reason": "x" * 5000},
        {"digest": 4},
        {"more": 1},
        [],
    ],
)
def test_a_failure_that_was_changed_is_refused(change, tmp_path):
    failures = Failures(tmp_path)
    failures.add(Failure("b", "it raised", "ab12"))
    path = tmp_path / "b.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change if isinstance(change, dict) else change))
    with pytest.raises(LipbenchError, match=r"b.json is not the record of a failure: .*delete it and rerun") as caught:
        failures.read()
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 600
