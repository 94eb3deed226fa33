"""What is attacked and recorded: open samples only, judged by lipbench, the same in every process."""

import dataclasses
import math
import os

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from bundled import CNN, TAU4, TAU256, UNCONSTRAINED
from gradients import Spoilt
from running import SMALL, TINY, computed, decoded, leftovers, loaded, run, same, stamps, with_attacks
from torch import nn

from lipbench import cli, data, report
from lipbench._internal import files
from lipbench._internal.processes import machine
from lipbench.attacks import guard, suites
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.certification.lipschitz.table import RULES
from lipbench.errors import LipbenchError
from lipbench.evaluation import cascade, evaluate, prepared
from lipbench.evaluation.attack_job import AttackJob, Samples
from lipbench.evaluation.selection import Pairs
from lipbench.models import sources
from lipbench.models.sources import StoredSource
from lipbench.models.stored import load_model
from lipbench.runs import plans
from lipbench.runs.bounds import Bounds
from lipbench.runs.encoding import columns_of
from lipbench.runs.folder import RunFolder
from lipbench.runs.records import AttackRecord, CertifyFacts, CertifyRecord, IndicatorRecord
from lipbench.runs.units import AttackUnit, ReferenceUnit, Shard, Stage
from lipbench.work.execution import Execution

# an attack of each kind: minimal-norm first and later, one eps at a time, one radius for each row, targeted, random
# and so weak at first that something is left for each
KINDS = suites.parse(
    {
        **SMALL.plain(),
        "attack": [
            {"name": "autoattack/fab-t", "args": {"targets": 1, "n_iter": 1}},
            {"name": "art/fgm"},
            {"name": "autoattack/apgd-ce", "args": {"n_iter": 2}},
            {"name": "autoattack/square", "args": {"n_queries": 50}},
            {"name": "autoattack/apgd-t", "args": {"targets": 3, "n_iter": 10}},
            {"name": "gradient/bisection", "args": {"rounds": 2}},
            {"name": "gradient/pgd", "args": {"steps": 5}},
        ],
    },
    "test",
)


def units_of(folder: RunFolder, place: int = 0, shard: int = 0, suite: int = 0):
    """The attack units of one model and shard."""
    content = folder.read()
    return content.attack_units(content.models[place], content.shards[shard], content.suites[suite])


def certified(folder: RunFolder, shard: int = 0) -> tuple[pd.DataFrame, dict]:
    content = folder.read()
    return loaded(folder, content.certify_unit(content.models[0], content.shards[shard]))


def started(certify: pd.DataFrame) -> Bounds:
    return Bounds.start(certify.label == certify.prediction, certify.certified_radius_float)


def pairs(frame: pd.DataFrame) -> list[tuple[int, float]]:
    return sorted(zip(frame["sample"], frame["eps"], strict=True))


def test_each_attack_sees_the_open_samples_only(zoo_of, tmp_path, digits, device):
    """Pairs of sample and eps; an attack of one eps at a time sees at the next what it did not break before."""
    folder = run(zoo_of(TAU256), tmp_path / "run", digits, suite=KINDS, audit=0.0, device=device)
    certify, info = certified(folder)
    assert info["lipschitz_bound"] == pytest.approx(1, abs=1e-5)
    bounds, seen, broke = started(certify), {}, {}
    for unit in units_of(folder):
        found, counts = loaded(folder, unit)
        declared = guard.attack_of(unit.stage.attack)
        if not unit.stage.eps:
            assert (found["sample"].to_numpy() == np.flatnonzero(bounds.correct)).all()
            assert found["eps"].isna().all()
        elif declared.minimal_norm:
            somewhere = np.any([bounds.open(eps) for eps in unit.stage.eps], axis=0)
            assert (found["sample"].to_numpy() == np.flatnonzero(somewhere)).all()
            assert found["eps"].isna().all()
        elif declared.per_sample_eps:
            expected = [(sample, eps) for eps in unit.stage.eps for sample in np.flatnonzero(bounds.open(eps))]
            assert pairs(found) == sorted(expected)
        else:
            replay = bounds.copy()
            for eps in unit.stage.eps:
                part = found[found["eps"] == eps]
                assert (part["sample"].to_numpy() == np.flatnonzero(replay.open(eps))).all()
                replay.attacked(part["sample"].to_numpy(), part["adversarial_distance"].to_numpy())
        seen[unit.kind], broke[unit.kind] = len(found), int(np.isfinite(found.adversarial_distance).sum())
        assert counts["attacked"] == len(found)
        assert counts["audited"] == found["audit"].sum() == 0
        assert (counts["forward"] > 0) == (len(found) > 0)
        bounds.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    assert min(seen.values()) > 10
    assert sum(number > 0 for number in broke.values()) > 3
    assert not bounds.violations().any()
    assert 0.5 < np.median(bounds.tightness()) <= 1
    assert seen["gradient/pgd"] < bounds.correct.sum()  # of twice as many pairs: pruning bites


def test_without_pruning_every_correct_sample_is_attacked(zoo_of, tmp_path, digits):
    suite = with_attacks("autoattack/fab-t")
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, suite=suite, prune=False, audit=0.3)
    certify, _ = certified(folder)
    correct = np.flatnonzero(certify.label == certify.prediction)
    everything = [(sample, eps) for eps in suite.eps for sample in correct]
    for unit in units_of(folder):
        found, counts = loaded(folder, unit)
        if guard.attack_of(unit.stage.attack).minimal_norm:
            assert (found["sample"].to_numpy() == correct).all()
        else:
            assert pairs(found) == sorted(everything)
        assert counts["attacked"] == len(found)
        assert counts["audited"] == 0


def test_the_audit_attacks_a_share_of_the_certified_samples(zoo_of, tmp_path, digits):
    """Each at the largest eps that its certificate covers, by every attack of the chain."""
    suite = with_attacks("autoattack/fab-t", eps=[0.1, 0.2, 0.4])
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, suite=suite, audit=0.2)
    certify, _ = certified(folder)
    bounds = started(certify)
    covered = {
        sample: max(eps for eps in suite.eps if bounds.certified(eps)[sample])
        for sample in np.flatnonzero(bounds.certified(0.1))
    }
    assert len(set(covered.values())) > 1
    seen = {}
    for unit in units_of(folder)[1:]:
        found, info = loaded(folder, unit)
        audited = found[found.audit]
        assert len(audited) == info["audited"]
        seen[unit.kind] = set(audited["sample"])
        if not guard.attack_of(unit.stage.attack).minimal_norm:
            assert (audited["eps"] == [covered[sample] for sample in audited["sample"]]).all()
            assert len(audited) == np.ceil(0.2 * len(covered))
    assert len({frozenset(samples) for samples in (seen["art/fgm"], seen["autoattack/apgd-ce"])}) == 1
    # an attack that serves every eps at once sees them too, but what is open at a larger eps is no audit there
    *before, last = units_of(folder)
    for unit in before:
        found, _ = loaded(folder, unit)
        bounds.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    somewhere = set(np.flatnonzero(np.any([bounds.open(eps) for eps in suite.eps], axis=0)))
    assert seen["autoattack/fab-t"] == seen["art/fgm"] - somewhere
    assert set(loaded(folder, last)[0]["sample"]) == seen["art/fgm"] | somewhere


def test_the_audit_is_random_but_the_same_in_every_run(zoo_of, tmp_path, digits):
    models, chosen = zoo_of(TAU4), []
    for name, seeds, shard in (("a", (0,), 60), ("b", (0,), 60), ("seed", (1,), 60), ("shard", (0,), 59)):
        folder = run(models, tmp_path / name, digits, audit=0.2, seeds=seeds, shard=shard)
        found, _ = loaded(folder, units_of(folder)[1])
        chosen.append(frozenset(found.loc[found.audit, "sample"]))
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) == 3


def test_no_audit_and_audit_of_everything(zoo_of, tmp_path, digits):
    models = zoo_of(TAU4)
    for audit in (0.0, 1.0):
        folder = run(models, tmp_path / str(audit), digits, audit=audit)
        certify, _ = certified(folder)
        found, _ = loaded(folder, units_of(folder)[1])
        assert found.audit.sum() == audit * started(certify).certified(0.1).sum()


def test_classes_that_the_certificate_excludes_are_not_targeted(zoo_of, tmp_path, digits, monkeypatch):
    """At each row those may be reached that are nearer than its eps; for a minimal-norm attack, than the largest at
    which the sample is open. In an audit all of them may, or it would be none.
    """
    seen = []
    search = guard.search

    def watched(spec, network, x, labels, **options):
        seen.append((spec, options["eps"], options["batch"].index.numpy(), options["batch"].reachable))
        return search(spec, network, x, labels, **options)

    monkeypatch.setattr(guard, "search", watched)
    models = zoo_of(TAU256)
    folder = run(models, tmp_path / "run", digits, suite=KINDS, audit=0.2)
    source = StoredSource(models / TAU256)
    model = prepared.PreparedModel.load(source, folder.read().models[0].digest, torch.device("cpu"), "float64")
    test = digits.test.first(60)
    logits = model.network.predict(torch.from_numpy(test.x))
    radii = model.proof.pairwise_radii(logits, torch.from_numpy(test.labels), "float").numpy()
    bounds, excluded, audits, calls = started(certified(folder)[0]), 0, 0, iter(seen)
    assert next(calls)[3] is None  # the opening looks for the distance, whatever eps says
    opening, *others = units_of(folder)
    found, _ = loaded(folder, opening)
    bounds.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    for unit in others:
        found, _ = loaded(folder, unit)
        audited = set(pairs(found[found.audit].fillna(0)))
        for spec, eps, index, reachable in [next(calls)] if unit.kind != "art/fgm" else [next(calls), next(calls)]:
            assert spec == unit.stage.attack
            opened = np.array([np.where(bounds.open(at), at, 0) for at in unit.stage.eps]).max(axis=0)
            reach = opened[index] if eps is None else np.broadcast_to(np.asarray(eps), len(index))
            for sample, at, classes in zip(index, reach, reachable.numpy(), strict=True):
                if (sample, 0 if eps is None else at) in audited:
                    assert classes.all()
                    audits += 1
                else:
                    assert (classes == (radii[sample] <= at)).all()
                    assert classes.any()  # an open row has a class to go to
                    assert not classes[test.labels[sample]]
                    excluded += int((~classes).sum()) - 1
        bounds.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    assert excluded > 100
    assert audits > 10


def test_a_radius_that_says_nothing_excludes_no_class():
    """Above the row's eps a class is excluded; at it, below it, and at NaN it can be reached."""
    radii = np.array([[np.inf, 0.3, 0.2, np.nan], [np.nan] * 4])
    stage = Stage(SMALL.attacks[0], (0.2,), 0)
    where = {"model": "m", "shard": Shard(0, 2), "certify": "c", "suite": "small", "norm": Norm.L2}
    unit = AttackUnit(name="u", stage=stage, **where)
    job = AttackJob(unit, None, Samples(torch.zeros(2, 1), None, radii), None, {"prune": True})
    rows = Pairs(np.array([0, 1, 0]), np.full(3, 0.2), np.full(3, 0.2), np.array([False, False, True]))
    reachable = job.reachable(rows)
    assert reachable.tolist() == [[False, False, True, True], [True] * 4, [True] * 4]


def test_a_targeted_attack_spends_nothing_on_excluded_classes(zoo_of, tmp_path, digits):
    """Its evaluations are fewer than without the certificate, for the same outcome on open rows."""
    models = zoo_of(TAU256)
    pruned = run(models, tmp_path / "pruned", digits, suite=KINDS, audit=0.0)
    plain = run(models, tmp_path / "plain", digits, suite=KINDS, audit=0.0, prune=False)
    frames = []
    for folder in (pruned, plain):
        unit = next(unit for unit in units_of(folder) if unit.kind == "autoattack/apgd-t")
        frames.append(loaded(folder, unit)[0].set_index(["sample", "eps"]))
    less, more = frames
    assert set(less.index) < set(more.index)
    both = more.loc[less.index]
    assert len(less) > 10
    assert (np.isfinite(less.adversarial_distance) == np.isfinite(both.adversarial_distance)).all()
    assert np.isfinite(less.adversarial_distance).any()
    assert less.forward.sum() < 0.8 * both.forward.sum()


@pytest.mark.parametrize("options", [{"prune": False}, {"audit": 0.3}], ids=["no-prune", "audit"])
def test_evaluations_are_shared_out_to_the_rows_without_a_rest(options, zoo_of, tmp_path, digits, monkeypatch):
    """What the rows say sums up to what the unit says, and that is what the network counted."""
    spent = []
    true = cascade.Cascade.unit

    def counted(self, unit, *args):
        self.logits  # once for each task, in no unit  # noqa: B018
        counts = self.model.network.evaluations
        before = counts.forward, counts.backward
        result = true(self, unit, *args)
        if isinstance(unit, AttackUnit):
            spent.append((unit, counts.forward - before[0], counts.backward - before[1]))
        return result

    monkeypatch.setattr(cascade.Cascade, "unit", counted)
    folder = run(zoo_of(CNN), tmp_path / "run", digits, suite=KINDS, samples=40, **options)
    assert len(spent) == 7
    for unit, forward, backward in spent:
        found, info = loaded(folder, unit)
        assert info["forward"] == found["forward"].sum() == forward
        assert info["backward"] == found["backward"].sum() == backward
        assert (found["forward"] > 0).all()
        assert unit.kind == "autoattack/square" or backward > 0
        assert (found[["forward", "backward"]].dtypes == np.int64).all()


@pytest.mark.parametrize("norm", ["L2", "Linf"])
def test_witnesses_are_adversarial_at_the_recorded_distance(norm, zoo_of, tmp_path, digits):
    path = zoo_of(CNN)
    eps = [0.4, 0.1] if norm == "L2" else [0.1, 0.02]
    folder = run(path, tmp_path / "run", digits, suite=with_attacks("autoattack/apgd-t", norm=norm, eps=eps), audit=1.0)
    network = Network(load_model(path / CNN).module, (1, 8, 8))
    checked = 0
    for unit in units_of(folder):
        found, _ = loaded(folder, unit)
        hits = found[np.isfinite(found.adversarial_distance)]
        assert folder.witness_path(unit).exists() == (len(hits) > 0)
        assert (found.adversarial_label[~np.isfinite(found.adversarial_distance)] == -1).all()
        if not len(hits):
            continue
        witness = safetensors.torch.load_file(folder.witness_path(unit))
        assert (witness["sample"].numpy() == hits["sample"].to_numpy()).all()
        np.testing.assert_array_equal(witness["eps"].numpy(), hits["eps"].to_numpy())
        x = torch.from_numpy(digits.test.x[hits["sample"]])
        order = 2 if norm == "L2" else np.inf
        distance = torch.linalg.vector_norm((witness["x"].double() - x.double()).flatten(1), ord=order, dim=1).numpy()
        assert distance == pytest.approx(hits.adversarial_distance.to_numpy(), rel=1e-12)
        if not guard.attack_of(unit.stage.attack).minimal_norm:
            assert (hits.adversarial_distance <= hits.eps).all()
        assert witness["x"].min() >= 0
        assert witness["x"].max() <= 1
        labels = digits.test.labels[hits["sample"]]
        predicted = network.predict(witness["x"]).argmax(1).numpy()
        assert (predicted != labels).all()
        assert (predicted == hits.adversarial_label).all()
        checked += len(hits)
    assert checked > 50


def test_a_rerun_does_nothing_new(zoo_of, tmp_path, digits, monkeypatch):
    models = zoo_of(TAU4)
    folder = run(models, tmp_path / "run", digits, shard=40)
    before = stamps(folder)
    written = (folder.path / "run.json").stat().st_mtime_ns
    assert set(computed(folder)) == {unit.name for unit in folder.read().units()}
    assert set(computed(folder).values()) == {1}
    assert not leftovers(folder)
    monkeypatch.setattr(guard, "search", lambda *args, **kwargs: pytest.fail("an attack ran again"))
    monkeypatch.setattr(evaluate, "work", lambda task: pytest.fail("a task was started"))
    run(models, tmp_path / "run", digits, shard=40)
    assert stamps(folder) == before
    assert (folder.path / "run.json").stat().st_mtime_ns == written


def test_records_do_not_depend_on_the_process_or_the_folder(zoo_of, tmp_path, digits):
    """Two shards; models one after the other or in another order; results of one leave nothing for the next."""
    models = zoo_of(TAU4, UNCONSTRAINED)
    options = {"suite": KINDS, "samples": 40, "shard": 25, "seeds": (0, 3)}
    once = run(models, tmp_path / "a", digits, **options)
    assert len(decoded(once)) == 2 * 2 * (1 + 1 + 2 * 6 + 2)
    again = run(models, tmp_path / "b", digits, executor=Backwards(), **options)
    assert [entry.unit for entry in again.journal.entries()] != [entry.unit for entry in once.journal.entries()]
    assert same(once, again)


class Backwards:
    """The tasks from the last to the first, each in a pass of its own."""

    def run(self, function, tasks):
        yield function(tasks[-1])


def compared(a: RunFolder, b: RunFolder, tolerance: float) -> int:
    """Rows of the attacks that agree: the same samples broken, at distances that differ by ``tolerance`` at most."""
    found = []
    for folder in (a, b):
        rows = {}
        for shard in range(len(folder.read().shards)):
            for place, unit in enumerate(units_of(folder, shard=shard)):
                for sample, eps, distance in loaded(folder, unit)[0][
                    ["sample", "eps", "adversarial_distance"]
                ].to_numpy():
                    rows[place, sample, str(eps)] = distance
        found.append(rows)
    left, right = found
    assert left.keys() == right.keys()
    distances = np.array([[left[key], right[key]] for key in left])
    np.testing.assert_allclose(distances[:, 0], distances[:, 1], rtol=0, atol=tolerance)
    return int(np.isfinite(distances).all(axis=1).sum())


def test_shards_of_any_size_give_the_same_where_nothing_is_random(zoo_of, tmp_path, digits):
    models = zoo_of(TAU4)
    suite = suites.parse(
        {
            **SMALL.plain(),
            "attack": [
                {"name": "gradient/bisection", "args": {"rounds": 2, "steps": 10}},
                {"name": "art/fgm"},
                {"name": "gradient/pgd", "args": {"steps": 10}},
                {"name": "autoattack/fab-t", "args": {"targets": 3, "n_iter": 10}},
            ],
        },
        "test",
    )
    whole, split = (run(models, tmp_path / str(size), digits, suite=suite, shard=size, audit=0.0) for size in (60, 17))
    assert [shard.stop for shard in split.read().shards] == [17, 34, 51, 60]
    parts = pd.concat([certified(split, shard)[0] for shard in range(4)], ignore_index=True)
    pd.testing.assert_frame_equal(certified(whole)[0], parts, rtol=1e-12)
    assert compared(whole, split, 1e-6) > 50


def test_the_size_of_a_batch_decides_nothing(zoo_of, tmp_path, digits, monkeypatch):
    """What does not fit the memory of a small machine is attacked in more batches, not attacked less."""
    models = zoo_of(CNN)
    whole = run(models, tmp_path / "whole", digits, suite=KINDS, samples=50, audit=0.2)
    sizes = []
    logits = Network.logits
    monkeypatch.setattr(Network, "batch_size", 16)
    monkeypatch.setattr(Network, "logits", lambda self, x: sizes.append(len(x)) or logits(self, x))
    evaluate.prepared_model.cache_clear()
    small = run(models, tmp_path / "small", digits, suite=KINDS, samples=50, audit=0.2)
    assert 16 in sizes
    certify, narrow = certified(whole)[0], certified(small)[0]
    pd.testing.assert_frame_equal(certify, narrow, rtol=1e-12)
    assert compared(whole, small, 1e-4) > 60


def changed_certificate(monkeypatch, change):
    """Evaluate with certificates that differ in ``change(proof)`` from those of the networks."""
    true = prepared.proof_of

    def changed(*args):
        proof = true(*args)
        return dataclasses.replace(proof, **change(proof))

    monkeypatch.setattr(prepared, "proof_of", changed)
    evaluate.prepared_model.cache_clear()


@pytest.fixture(autouse=True)
def no_model_is_kept():
    """What one test changes of a model, another must not find."""
    yield
    evaluate.prepared_model.cache_clear()


def test_float32_networks_have_certificates_for_float32(zoo_of, tmp_path, digits, device):
    zoo = zoo_of(TAU4)
    folder = run(zoo, tmp_path / "float32", digits, dtype="float32", device=device)
    wide = run(zoo, tmp_path / "float64", digits, device=device)
    (single, info), (double, wide_info) = certified(folder), certified(wide)
    assert folder.read().settings["dtype"] == info["dtype"] == "float32"
    assert wide_info["dtype"] == "float64"
    assert info["not_analysed"] is None
    assert (info["forward"], wide_info["forward"]) == (2 * 60, 60)  # the errors of each sample take one more pass
    lost = [
        (1 - f.certified_radius_float / f.certified_radius_real)[f.certified_radius_real > 0.1]
        for f in (single, double)
    ]
    assert 1e-5 < lost[0].min() <= lost[0].max() < 0.02
    assert 0 < lost[1].min() <= lost[1].max() < 1e-9
    # logits of another dtype: every sample's differ in the last bits
    assert 0 < (single.signed_margin - double.signed_margin).abs().max() < 1e-5
    record = folder.load(folder.read().certify_unit(folder.read().models[0], folder.read().shards[0]))
    assert record.grade == "float"
    bounds = Bounds.certify(record, Norm.L2, record.grade)
    for unit in units_of(folder):
        found, _ = loaded(folder, unit)
        bounds.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    assert not bounds.violations().any()
    with pytest.raises(LipbenchError, match=r"dtype: float32 there, float64 now"):
        run(zoo, tmp_path / "float32", digits, device=device)


def test_without_an_error_analysis_grade_real_prunes(zoo_of, tmp_path, digits, monkeypatch):
    changed_certificate(monkeypatch, lambda proof: {"errors": None, "not_analysed": "no analysis of Odd"})
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, audit=0.0, dtype="float32")
    certify, info = certified(folder)
    assert info["not_analysed"] == "no analysis of Odd"
    assert info["forward"] == 60
    assert certify.certified_radius_float.isna().all()
    assert folder.load(folder.read().certify_unit(folder.read().models[0], folder.read().shards[0])).grade == "real"
    found, _ = loaded(folder, units_of(folder)[1])
    for eps in SMALL.eps:
        seen = set(found.loc[found["eps"] == eps, "sample"])
        closed = set(np.flatnonzero(certify.certified_radius_real > eps))
        assert len(closed) > 10
        assert not seen & closed


def test_the_grade_of_the_headline_is_read_off_the_records():
    facts = CertifyFacts(1.0, 1.0, True, None, "float64", 64, 2)
    radii = {"certified_radius_real": np.array([0.8, 0.0]), "certified_radius_nominal": np.array([0.8, 0.0])}
    classes = {"sample": np.arange(2), "label": np.array([0, 0]), "prediction": np.array([0, 1])}
    both, real = (
        CertifyRecord(
            **classes,
            signed_margin=np.array([0.8, -0.1]),
            **radii,
            certified_radius_float=np.array(values),
            facts=facts,
        )
        for values in ([0.4, 0.0], [np.nan, np.nan])
    )
    assert (both.grade, real.grade) == ("float", "real")
    for grade, radius in (("float", 0.05), ("real", 0.1)):
        bounds = Bounds.certify(both, Norm.Linf, grade)
        assert bounds.certified_radius.tolist() == pytest.approx([radius, 0.0])
        assert bounds.correct.tolist() == [True, False]


def test_a_false_certificate_is_a_violation(tmp_path, zoo_of, digits, monkeypatch):
    """If the bound were ten times too small, the attacks would say so: the audit and the bounds have teeth."""
    changed_certificate(monkeypatch, lambda proof: {"pairwise": proof.pairwise / 10})
    folder = run(zoo_of(TAU4), tmp_path / "run", digits)
    bounds = started(certified(folder)[0])
    for unit in units_of(folder):
        found, _ = loaded(folder, unit)
        bounds.attacked(found["sample"].to_numpy(), found["adversarial_distance"].to_numpy())
    assert bounds.violations().sum() > 40


@pytest.mark.parametrize("left", [["records"], ["run.json"], ["records", "witnesses", "leases", "journal"]])
def test_a_run_killed_before_its_first_file_goes_on(left, zoo_of, tmp_path, digits):
    for name in left:
        path = tmp_path / "run" / name
        path.parent.mkdir(exist_ok=True)
        dead = f"{files.TEMPORARY}{name}-{machine()}-{2**22 + 1}-0123abcd"  # above any pid_max of Linux
        (path.with_name(dead).write_text("{") if name == "run.json" else path.mkdir())
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, samples=5)
    assert not leftovers(folder)


def test_a_folder_of_something_else_is_refused(zoo_of, tmp_path, digits):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(LipbenchError, match="not a run folder"):
        run(zoo_of(TAU4), tmp_path / "other", digits, samples=5)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["thesis.tex"]


@pytest.fixture
def archive(tmp_path, digits):
    """The test samples of digits in an archive that is mapped."""
    path = tmp_path / "digits.npz"
    np.savez(path, x_test=digits.test.images[:60, 0], y_test=digits.test.labels[:60])
    assert digits.test.labels[:60].max() == 9
    return path


def brightened(path, row: int) -> None:
    """Another plausible sample, at the same place: neither size nor time of the file tell."""
    times = path.stat()
    image = data.load(f"npz:{path}").test.images[row]
    position = path.read_bytes().index(image.tobytes())
    with path.open("r+b") as file:
        file.seek(position)
        file.write((1 - image).tobytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


class Meddling:
    """This process; and somebody who does something to the data after the first task."""

    def __init__(self, act):
        self.act = act

    def run(self, function, tasks):
        for number, task in enumerate(tasks):
            yield function(task)
            if number == 0:
                self.act()


@pytest.mark.parametrize("here", [True, False], ids=["in this process", "by a worker"])
@pytest.mark.parametrize(
    "act", [lambda path: brightened(path, 45), lambda path: os.truncate(path, 9000)], ids=["bytes", "truncated"]
)
def test_samples_that_change_during_a_run_are_not_recorded(act, here, zoo_of, tmp_path, archive, monkeypatch):
    models, spec = zoo_of(TAU4), f"npz:{archive}"
    whole = run(models, tmp_path / "whole", data.load(spec), suite=TINY, shard=20)
    dataset, original = data.load(spec), archive.read_bytes()
    meddling = Meddling(lambda: act(archive))
    if here:  # where tasks take the data set that this process has loaded
        monkeypatch.setattr(Execution, "in_this_process", True)
    for _ in range(2):  # the second time the data is another from the start
        with pytest.raises(LipbenchError, match=r"digits.npz was changed while it was in use"):
            run(models, tmp_path / "run", dataset, suite=TINY, shard=20, executor=meddling)
        folder = RunFolder(tmp_path / "run")
        assert {unit.shard.start for unit in folder.read().units() if folder.has(unit)} == {0}
    with pytest.raises(LipbenchError, match=r"other settings \(data_sha256|cannot read .* digits.npz|digits.npz: "):
        run(models, tmp_path / "run", data.load(spec), suite=TINY, shard=20)
    archive.write_bytes(original)
    monkeypatch.undo()
    assert same(run(models, tmp_path / "run", data.load(spec), suite=TINY, shard=20), whole)


def test_workers_that_find_other_samples_record_nothing(zoo_of, tmp_path, archive):
    """Also one that has found the right ones before: it may have to load them again."""
    models, dataset = zoo_of(TAU4), data.load(f"npz:{archive}")
    whole = run(models, tmp_path / "a", dataset, suite=TINY, shard=60, executor=Backwards())
    data.load_once("digits")
    replacement = tmp_path / "new.npz"
    np.savez(replacement, x_test=1 - dataset.test.images[:, 0], y_test=dataset.test.labels)
    replacement.replace(archive)
    assert same(run(models, tmp_path / "b", dataset, suite=TINY, shard=60, executor=Backwards()), whole)
    evaluate.first_samples.cache_clear()
    data.load_once.cache_clear()
    with pytest.raises(LipbenchError, match=r"a worker found other data under 'npz:"):
        run(models, tmp_path / "c", dataset, suite=TINY, shard=60, executor=Backwards())
    assert not list(RunFolder(tmp_path / "c").records.iterdir())


def test_a_second_zoo_joins_the_run(zoo_of, tmp_path, digits):
    """And is evaluated under the suites that the run has, too."""
    models = zoo_of(TAU4, UNCONSTRAINED)
    other = suites.parse({**SMALL.plain(), "name": "other", "norm": "Linf", "eps": [0.05]}, "test")
    run(models / TAU4, tmp_path / "run", digits, samples=20)
    folder = run(models / UNCONSTRAINED, tmp_path / "run", digits, suite=other, samples=20)
    content = folder.read()
    assert [model.name for model in content.models] == [TAU4, UNCONSTRAINED]
    assert {(unit.model, unit.suite) for unit in folder.missing(content)} == {(TAU4, "other")}
    run(models / TAU4, tmp_path / "run", digits, samples=20)
    assert not folder.missing(content)
    assert set(computed(folder).values()) == {1}


def test_a_reference_attack_runs_beside_the_suite(zoo_of, tmp_path, digits):
    """It sees every correct sample, and changes nothing of what the suite does."""
    models = zoo_of(TAU4)
    short = AttackSpec(name="autoattack/standard", args={"n_iter": 5, "targets": 2, "n_queries": 20})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(plans.REFERENCE_ATTACKS, "autoattack", short)
        strong = run(models, tmp_path / "strong", digits, samples=20, reference_attack="autoattack")
        content = strong.read()
        units = {unit.name: unit for unit in content.units()}
        extra = content.reference_units(content.models[0], content.shards[0], content.suites[0])
    plain = run(models, tmp_path / "plain", digits, samples=20)
    assert units.keys() - {unit.name for unit in extra} == {unit.name for unit in plain.read().units()}
    certify, _ = certified(strong)
    correct = np.flatnonzero(certify.label == certify.prediction)
    assert [unit.kind for unit in extra] == ["autoattack/standard as reference"] * 2 + ["indicators"]
    for unit in extra:
        found, info = loaded(strong, unit)
        assert (found["sample"].to_numpy() == correct).all()
        if isinstance(unit, ReferenceUnit):
            assert (found["eps"] == unit.stage.eps[0]).all()
            assert info["forward"] == found["forward"].sum() > 0
        else:
            assert tuple(found) == tuple(columns_of(IndicatorRecord))
            assert not found["zero_gradient"].any()
            assert not found["loss_stuck"].any()
            assert info["eps"] == 0.4
    for unit in plain.read().units():
        pd.testing.assert_frame_equal(loaded(plain, unit)[0], loaded(strong, unit)[0], check_exact=True)


def test_a_gradient_of_nan_is_shown_in_the_report(zoo_of, tmp_path, digits, monkeypatch):
    """Attacks that follow it find nothing; Square breaks what the same network without the layer loses, too."""
    path, load = zoo_of(TAU4), load_model

    def spoilt(folder, trust):
        model = load(folder)
        return dataclasses.replace(model, module=nn.Sequential(Spoilt(math.nan), *model.module))

    monkeypatch.setitem(RULES, Spoilt, lambda layer, input_shape: 1.0)
    monkeypatch.setattr(sources, "load_model", spoilt)
    short = AttackSpec(name="autoattack/standard", args={"n_iter": 2, "targets": 1, "n_queries": 200})
    monkeypatch.setitem(plans.REFERENCE_ATTACKS, "autoattack", short)
    wide = TINY.with_grid([4.0])
    folder = run(path, tmp_path / "run", digits, suite=wide, samples=20, reference_attack="autoattack")
    report.write(report.Results.load(folder), tmp_path / "report")
    summary = pd.read_csv(tmp_path / "report" / "summary.csv")
    assert (summary.zero_gradients == summary.clean).all()  # the others are misclassified
    assert (summary.loss_stuck == summary.clean).all()
    assert (summary.robust_alone < 0.2).all()
    assert "have no gradient of cross-entropy to follow" in (tmp_path / "report" / "report.md").read_text()


def test_records_have_the_columns_that_are_documented(zoo_of, tmp_path, digits):
    folder = run(zoo_of(UNCONSTRAINED), tmp_path / "run", digits, samples=20)
    certify, info = certified(folder)
    assert tuple(certify) == tuple(columns_of(CertifyRecord))
    assert (certify["sample"] == np.arange(20)).all()
    assert (certify["label"] == digits.test.labels[:20]).all()
    assert certify.certified_radius_nominal.isna().all()  # its card claims nothing
    assert info["model"] == UNCONSTRAINED
    for unit in units_of(folder):
        assert tuple(loaded(folder, unit)[0]) == tuple(columns_of(AttackRecord))


def test_an_attack_that_sees_nothing_has_empty_records(zoo_of, tmp_path, digits):
    folder = run(zoo_of(TAU4), tmp_path / "run", digits, suite=SMALL.with_grid([1e-5]), samples=20, audit=0.0)
    for unit in units_of(folder)[1:]:
        found, info = loaded(folder, unit)
        assert len(found) == info["attacked"] == info["forward"] == info["backward"] == 0
        assert tuple(found) == tuple(columns_of(AttackRecord))
        assert not folder.witness_path(unit).exists()


@pytest.mark.parametrize("known", [True, False], ids=["a list", "no list"])
def test_a_report_that_was_edited_is_refused_before_any_work(known, digits_zoo, tmp_path, capsys):
    out = tmp_path / "run"
    (out / "report").mkdir(parents=True)
    (out / "report" / "report.md").write_text("my notes")
    if known:
        files.write_json(
            out / "report" / files.WRITTEN, {"format": files.WRITTEN_FORMAT, "files": {"report.md": ["x"]}}
        )
    assert cli.run(["evaluate", str(digits_zoo / TAU4), "-o", str(out), "--samples", "20", "--quiet"]) == 2
    shown = capsys.readouterr()
    assert (
        "was changed since lipbench wrote it" if known else "no .lipbench.json beside it says that lipbench wrote it"
    ) in shown.err
    way = f": move it away and run `lipbench report {out}`, or write the report elsewhere with `lipbench report {out} "
    assert f"{out / 'report' / 'report.md'} " in shown.err
    assert way in shown.err
    assert not (out / "records").exists()
    assert (out / "report" / "report.md").read_text() == "my notes"
