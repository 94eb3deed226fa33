import dataclasses
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from bundled import CNN, TAU4, UNCONSTRAINED

from lipbench import backends, evaluation, files, records, suites
from lipbench.errors import LipbenchError
from lipbench.evaluation import Options
from lipbench.ledger import Ledger
from lipbench.records import RunFolder
from lipbench.threat import Norm

SMALL = suites.parse(
    {
        "name": "small",
        "norm": "L2",
        "eps": [0.4, 0.1],
        "attack": [
            {"backend": "art", "name": "fgm"},
            {"backend": "gradient", "name": "bisection", "args": {"rounds": 4}},
            {"backend": "autoattack", "name": "apgd-ce", "args": {"n_iter": 10}},
        ],
    },
    "test",
)


def run(zoo, out, digits, suite=SMALL, device=None, **options):
    options = Options(**{"samples": 60, **options})
    cpu = torch.device("cpu")
    return evaluation.evaluate(zoo, [suite], digits, out, options=options, device=device or cpu, progress=False)


def decoded(folder: RunFolder) -> dict[str, tuple[pd.DataFrame, dict]]:
    return {unit.name: folder.load(unit) for unit in folder.read().units()}


def same(a: RunFolder, b: RunFolder) -> bool:
    """Equal records, to the byte once decoded, and equal witnesses."""
    left, right = decoded(a), decoded(b)
    assert left.keys() == right.keys()
    for name in left:
        pd.testing.assert_frame_equal(left[name][0], right[name][0], check_exact=True)
        assert left[name][1] == right[name][1]
    witnesses = [{p.name: p.read_bytes() for p in folder.witnesses.iterdir()} for folder in (a, b)]
    return witnesses[0] == witnesses[1]


def test_stages_run_minimal_norm_first_then_eps_ascending():
    stages = [(str(stage.attack), stage.eps) for stage in evaluation.plan(SMALL).stages]
    assert stages == [
        ("gradient/bisection", None),
        ("art/fgm", 0.1),
        ("autoattack/apgd-ce", 0.1),
        ("art/fgm", 0.4),
        ("autoattack/apgd-ce", 0.4),
    ]


def test_each_attack_sees_the_open_samples_only(zoo_of, tmp_path, digits, device):
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, audit=0.0, device=device)
    content = folder.read()
    model, plan = content.models[0], content.suites[0]
    certify, info = folder.load(content.certify_unit(model))
    assert info["lipschitz_bound"] == pytest.approx(1, abs=1e-5)
    ledger = Ledger.start(certify.label == certify.prediction, certify.certified_radius_float)
    for unit in content.attack_units(model, plan):
        found, counts = folder.load(unit)
        expected = ledger.correct if unit.stage.eps is None else ledger.open(unit.stage.eps)
        assert (found["sample"].to_numpy() == np.flatnonzero(expected)).all()
        assert counts["attacked"] == len(found)
        assert (counts["forward"] > 0) == (len(found) > 0)
        ledger.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    assert not ledger.violations().any()
    assert 0.7 < np.median(ledger.tightness()) <= 1
    assert ledger.open(0.4).sum() < ledger.correct.sum() / 2  # pruning bites


def test_without_pruning_every_correct_sample_is_attacked(zoo_of, tmp_path, digits):
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, prune=False)
    content = folder.read()
    certify, _ = folder.load(content.certify_unit(content.models[0]))
    correct = int((certify.label == certify.prediction).sum())
    counts = [folder.load(unit)[1]["attacked"] for unit in content.attack_units(content.models[0], content.suites[0])]
    assert counts == [correct] * 5


def test_the_audit_attacks_a_share_of_the_certified_samples(zoo_of, tmp_path, digits):
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, audit=0.2)
    content = folder.read()
    certify, _ = folder.load(content.certify_unit(content.models[0]))
    certified = int((certify.certified_radius_float >= 0.1).sum())
    found, info = folder.load(content.attack_units(content.models[0], content.suites[0])[1])
    audited = found.loc[found.audit, "sample"]
    assert len(audited) == info["audited"] == np.ceil(0.2 * certified)
    assert (certify.certified_radius_float[audited] >= 0.1).all()


def test_witnesses_are_adversarial_at_the_recorded_distance(zoo_of, tmp_path, digits):
    import safetensors.torch

    from lipbench import zoo
    from lipbench.network import Network

    path = zoo_of(CNN)
    folder = run(path, tmp_path / "run", digits)
    content = folder.read()
    network = Network(zoo.load(path / CNN).module, (1, 8, 8))
    checked = 0
    for unit in content.attack_units(content.models[0], content.suites[0]):
        found, _ = folder.load(unit)
        hits = found[np.isfinite(found.adversarial_distance)]
        if not len(hits):
            continue
        witness = safetensors.torch.load_file(folder.witness_path(unit))
        assert (witness["sample"].numpy() == hits["sample"].to_numpy()).all()
        x = torch.from_numpy(digits.test.x[hits["sample"]])
        distance = (witness["x"].double() - x.double()).flatten(1).norm(dim=1).numpy()
        assert distance == pytest.approx(hits.adversarial_distance.to_numpy(), rel=1e-12)
        labels = digits.test.labels[hits["sample"]]
        predicted = network.predict(witness["x"]).argmax(1).numpy()
        assert (predicted != labels).all()
        assert (predicted == hits.adversarial_label).all()
        checked += len(hits)
    assert checked > 50


def test_a_rerun_does_nothing_new(zoo_of, tmp_path, digits, monkeypatch):
    zoo = zoo_of(TAU4)
    folder = run(zoo, tmp_path / "run", digits)
    before = {path: path.stat().st_mtime_ns for path in folder.records.iterdir()}
    monkeypatch.setattr(backends, "search", lambda *args, **kwargs: pytest.fail("an attack ran again"))
    run(zoo, tmp_path / "run", digits)
    assert {path: path.stat().st_mtime_ns for path in folder.records.iterdir()} == before


def test_records_do_not_depend_on_the_process_or_the_folder(zoo_of, tmp_path, digits):
    zoo = zoo_of(TAU4, UNCONSTRAINED)
    assert same(run(zoo, tmp_path / "a", digits), run(zoo, tmp_path / "b", digits))


def test_sigkill_at_random_moments_then_rerun(zoo_of, tmp_path, digits):
    """Done when 7: five kills, and the records equal those of an uninterrupted run."""
    zoo = zoo_of(TAU4, CNN)
    suite = tmp_path / "small.toml"
    import tomli_w

    suite.write_text(tomli_w.dumps({k: v for k, v in SMALL.plain().items() if v is not None}))
    command = [
        sys.executable,
        "-m",
        "lipbench",
        "evaluate",
        str(zoo),
        "--suite",
        str(suite),
        "--samples",
        "60",
    ]
    subprocess.run([*command, "-q", "-o", str(tmp_path / "whole")], check=True, capture_output=True)
    units = len(list((tmp_path / "whole" / "records").iterdir()))
    moments = random.Random(0)
    killed = 0
    for number in range(5):
        process = subprocess.Popen([*command, "-q", "-o", str(tmp_path / "killed")], stdout=subprocess.DEVNULL)
        records = tmp_path / "killed" / "records"
        goal = (number + 1) * units // 7
        deadline = time.monotonic() + 120
        while process.poll() is None and (not records.exists() or len(list(records.glob("*.parquet"))) < goal):
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(moments.random() * 0.1)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 4
    subprocess.run([*command, "-q", "-o", str(tmp_path / "killed")], check=True, capture_output=True)
    assert same(RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed"))
    assert not list((tmp_path / "killed").rglob(f"{files.TEMPORARY}*"))


def test_another_run_in_the_same_folder_is_refused(zoo_of, tmp_path, digits):
    zoo = zoo_of(TAU4)
    run(zoo, tmp_path / "run", digits)
    with pytest.raises(LipbenchError, match=r"seed: 0 there, 1 now"):
        run(zoo, tmp_path / "run", digits, seed=1)


def test_a_damaged_record_is_named(zoo_of, tmp_path, digits):
    zoo = zoo_of(TAU4)
    folder = run(zoo, tmp_path / "run", digits)
    record = next(iter(sorted(folder.records.iterdir())))
    record.write_bytes(record.read_bytes()[:100])
    with pytest.raises(LipbenchError, match=f"{record.name}.*damaged.*delete"):
        run(zoo, tmp_path / "run", digits)


def changed_certificate(monkeypatch, change):
    """Evaluate with certificates that differ in ``change(proof)`` from those of the networks."""
    true = evaluation.certificate

    def changed(*args):
        proof = true(*args)
        return dataclasses.replace(proof, **change(proof))

    monkeypatch.setattr(evaluation, "certificate", changed)


def certified(folder: RunFolder) -> tuple[pd.DataFrame, dict]:
    content = folder.read()
    return folder.load(content.certify_unit(content.models[0]))


def test_float32_networks_have_certificates_for_float32(zoo_of, tmp_path, digits, device):
    zoo = zoo_of(TAU4)
    folder = run(zoo, tmp_path / "float32", digits, arithmetic="float32", device=device)
    wide = run(zoo, tmp_path / "float64", digits, device=device)
    (single, info), (double, wide_info) = certified(folder), certified(wide)
    assert folder.read().settings["arithmetic"] == info["arithmetic"] == "float32"
    assert wide_info["arithmetic"] == "float64"
    assert info["not_analysed"] is None
    assert (info["forward"], wide_info["forward"]) == (2 * 60, 60)  # the errors of each sample take one more pass
    lost = [
        (1 - f.certified_radius_float / f.certified_radius_real)[f.certified_radius_real > 0.1]
        for f in (single, double)
    ]
    assert 1e-5 < lost[0].min() <= lost[0].max() < 0.02
    assert 0 < lost[1].min() <= lost[1].max() < 1e-9
    # logits of another arithmetic: every sample's differ in the last bits
    assert 0 < (single.signed_margin - double.signed_margin).abs().max() < 1e-5
    ledger = records.ledger(single, Norm.L2, 64, records.grade(single))
    for unit in folder.read().attack_units(folder.read().models[0], folder.read().suites[0]):
        found, _ = folder.load(unit)
        ledger.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    assert not ledger.violations().any()
    with pytest.raises(LipbenchError, match=r"arithmetic: float32 there, float64 now"):
        run(zoo, tmp_path / "float32", digits, device=device)


def test_without_an_error_analysis_grade_real_prunes(zoo_of, tmp_path, digits, monkeypatch):
    changed_certificate(monkeypatch, lambda proof: {"errors": None, "not_analysed": "no analysis of Odd"})
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, audit=0.0, arithmetic="float32")
    certify, info = certified(folder)
    assert info["not_analysed"] == "no analysis of Odd"
    assert info["forward"] == 60
    assert certify.certified_radius_float.isna().all()
    assert records.grade(certify) == "real"
    content = folder.read()
    unit = content.attack_units(content.models[0], content.suites[0])[1]
    seen = set(folder.load(unit)[0]["sample"])
    closed = set(np.flatnonzero(certify.certified_radius_real >= unit.stage.eps))
    assert len(closed) > 30
    assert not seen & closed


def test_the_grade_of_the_headline_is_read_off_the_records():
    frame = pd.DataFrame({"label": [0, 0], "prediction": [0, 1], "certified_radius_real": [0.8, 0.0]})
    both, real = (frame.assign(certified_radius_float=values) for values in ([0.4, 0.0], [np.nan, np.nan]))
    assert (records.grade(both), records.grade(real)) == ("float", "real")
    for grade, radius in (("float", 0.05), ("real", 0.1)):
        ledger = records.ledger(both, Norm.Linf, 64, grade)
        assert ledger.certified_radius.tolist() == pytest.approx([radius, 0.0])
        assert ledger.correct.tolist() == [True, False]


def test_a_false_certificate_is_a_violation(tmp_path, zoo_of, digits, monkeypatch):
    """If the bound were ten times too small, the attacks would say so: the audit and the ledger have teeth."""
    changed_certificate(monkeypatch, lambda proof: {"pairwise": proof.pairwise / 10})
    folder = run(zoo_of(TAU4), tmp_path / "run", digits)
    content = folder.read()
    certify, _ = folder.load(content.certify_unit(content.models[0]))
    ledger = Ledger.start(certify.label == certify.prediction, certify.certified_radius_float)
    for unit in content.attack_units(content.models[0], content.suites[0]):
        found, _ = folder.load(unit)
        ledger.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    assert ledger.violations().sum() > 40


@pytest.mark.parametrize("left", [["records"], [".tmp-run.json-1-ab"], ["records", "witnesses"]])
def test_a_run_killed_before_its_first_file_goes_on(left, zoo_of, tmp_path, digits):
    for name in left:
        path = tmp_path / "run" / name
        path.mkdir(parents=True) if not name.startswith(".") else path.parent.mkdir() or path.write_text("{")
    run(zoo_of(TAU4), tmp_path / "run", digits, samples=5)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(LipbenchError, match="not a run folder"):
        run(zoo_of(), tmp_path / "other", digits, samples=5)


def test_a_second_zoo_joins_the_run(zoo_of, tmp_path, digits):
    zoo = zoo_of(TAU4, UNCONSTRAINED)
    run(zoo / TAU4, tmp_path / "run", digits, samples=20)
    folder = run(zoo / UNCONSTRAINED, tmp_path / "run", digits, samples=20)
    assert [model.name for model in folder.read().models] == [TAU4, UNCONSTRAINED]
    assert all(folder.has(unit) for unit in folder.read().units())
    with pytest.raises(LipbenchError, match="another suite of the name 'small'"):
        run(zoo / TAU4, tmp_path / "run", digits, suite=SMALL.with_grid([0.2]), samples=20)
