"""Networks without a bound in a run: attacked in full beside a certified one, with n/a where certificates speak."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import unbounded
from bundled import TAU4
from running import SMALL, run, with_attacks

import lipbench
from lipbench.attacks import guard
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError
from lipbench.models.stored import load_model
from lipbench.report.results import Results

WITHOUT = ("batch statistics", "softmax", "attention", "rounded", "noisy", "branching")
DETERMINISTIC = ("softmax", "attention", "branching")
N = 40
CERTIFIED_NUMBERS = (
    "certified",
    "certified_lo",
    "certified_float",
    "certified_real",
    "gap",
    "tightness",
    "mcr",
    "lipschitz_bound",
)


@pytest.fixture(scope="module")
def results(digits, digits_zoo):
    x, labels = digits.test.x[:N], digits.test.labels[:N]
    models = [lipbench.Model(load_model(digits_zoo / TAU4).module, name="certified", claimed=1.0)]
    models += [lipbench.Model(unbounded.network(name), name=name) for name in WITHOUT]
    models.append(lipbench.Model(unbounded.network("softmax"), name="claimed", claimed=1.0, seed=1))
    return lipbench.evaluate(models, data=(x, labels), suite=with_attacks("autoattack/square"))


@pytest.fixture(scope="module")
def summary(results):
    return results.summary().set_index("model")


def test_certified_numbers_are_missing_and_the_others_are_there(summary):
    for name in (*WITHOUT, "claimed"):
        part = summary.loc[name]
        assert part[list(CERTIFIED_NUMBERS)].isna().all(axis=None), name
        assert (part["grade"] == "none").all()
        assert part["violations_float"].isna().all()
        assert (part["clean"] > 0.6).all()
        assert (part["robust"] <= part["clean"]).all()
        assert part["no_certificate"].str.len().gt(10).all()
    certified = summary.loc["certified"]
    assert certified[list(CERTIFIED_NUMBERS)].notna().all(axis=None)
    assert certified["no_certificate"].isna().all()
    assert certified["caution"].isna().all()


def test_nothing_is_pruned_without_a_certificate(results):
    """Every correct sample is attacked at every eps, except by attacks after it was broken there."""
    for item in results.items:
        if item.certified:
            continue
        broken = {eps: set(np.flatnonzero(~item.bounds.correct)) for eps in item.suite.eps}
        for attack in item.attacks:
            for eps in item.suite.eps:
                rows = pd.concat(record.frame()[mask] for record, mask in attack.at(eps))
                assert set(range(N)) - broken[eps] == set(rows["sample"]) - broken[eps], (item.model, attack.name)
                assert not rows["audit"].any()
                for radius, found in broken.items():  # what is found at one eps may decide another
                    found |= set(rows.loc[rows["adversarial_distance"] <= radius, "sample"])


def test_what_makes_robust_accuracy_an_estimate_is_said(summary):
    said = {name: summary.loc[name, "caution"].iloc[0] for name in WITHOUT}
    assert "two runs" in said["noisy"]
    assert "others of its batch" in said["batch statistics"]
    assert "no gradient" in said["rounded"]
    assert all(pd.isna(said[name]) for name in DETERMINISTIC)


def test_a_claim_without_a_bound_gives_nominal_radii_and_no_other(results, digits):
    """Those that papers print: margin / (sqrt(2) L). They prune nothing."""
    item = next(item for item in results.items if item.model == "claimed")
    out = unbounded.network("softmax").double()(torch.tensor(digits.test.x[:N]).double()).detach()
    top, _ = out.topk(2)
    expected = ((top[:, 0] - top[:, 1]) / math.sqrt(2)).numpy() * item.bounds.correct
    np.testing.assert_allclose(item.bounds_by_grade["nominal"].certified_radius, expected, rtol=1e-9)
    assert set(item.bounds_by_grade) == {"none", "nominal"}
    assert item.violations["nominal"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_robust_accuracy_is_that_of_autoattack_alone(name, summary, digits):
    """Within a sample. The suite here is a short one, with short attacks."""
    from lipbench.attacks.as_given import attackable

    network = attackable(unbounded.network(name), (1, 8, 8))
    x, labels = torch.tensor(digits.test.x[:N]), torch.tensor(digits.test.labels[:N])
    candidates = guard.search(AttackSpec(name="autoattack/standard"), network, x, labels, norm=Norm.L2, eps=0.4, seed=0)
    adversarial, _, _ = guard.check_candidates(network, x, labels, candidates, Norm.L2)
    part = summary.loc[name]
    suite = part.loc[part["eps"] == 0.4, "robust"].item()
    assert abs(N * suite - (~adversarial).sum()) <= 1


def test_the_report_says_so_in_every_form(results, tmp_path):
    results.report(tmp_path)
    terminal, written = str(results), (tmp_path / "report.md").read_text()
    page, tex = (tmp_path / "report.html").read_text(), (tmp_path / "tables.tex").read_text()
    row = next(line for line in terminal.splitlines() if line.startswith("attention"))
    assert "no certificate" in row
    assert row.split().count("n/a") == 4  # certified, gap, tightness, MCR
    assert "WARNING attention: no certificate: no Lipschitz rule for the layer" in terminal
    assert "certified: no certificate" not in terminal
    for text in (written, page):
        assert "no Lipschitz rule for the layer" in text
        assert "may be too high: two runs of the network" in text
        assert any("attention" in line and ", no certificate" in line for line in text.splitlines())
    assert any("attention" in line and line.count("n/a") >= 4 for line in tex.splitlines())
    frame = pd.read_csv(tmp_path / "summary.csv").set_index("model")
    assert frame.loc["attention", list(CERTIFIED_NUMBERS)].isna().all(axis=None)
    assert "nan" not in written


def test_a_run_without_any_certificate_has_a_report(digits, tmp_path):
    x, labels = digits.test.x[:20], digits.test.labels[:20]
    results = lipbench.evaluate({"one": unbounded.network("branching")}, data=(x, labels), suite=SMALL)
    results.report(tmp_path)
    written = (tmp_path / "report.md").read_text()
    assert "No network has a certificate" in written
    assert "nan" not in written
    assert "grade none" not in written
    assert "violations: no certificate" in results.table()


def test_a_run_of_networks_with_bounds_has_no_further_columns(digits, digits_zoo, tmp_path):
    folder = run(digits_zoo / TAU4, tmp_path / "run", digits, samples=20)
    assert not {"no_certificate", "caution"} & set(Results.load(folder).summary())


class Crowded(torch.nn.Module):
    """Another function of a sample in batches of 15 and more, which no trace sees."""

    def __init__(self, dense):
        super().__init__()
        self.dense = dense

    def forward(self, x):
        try:
            factor = 1 + (len(x) >= 15)
        except RuntimeError:  # a trace has no length
            factor = 1
        return factor * self.dense(x)


def test_a_certificate_that_the_samples_of_a_run_refute_is_none(digits):
    """In a run of several shards it may have closed samples of another one: then nothing is said of the model."""
    given = digits.test.x[:30], digits.test.labels[:30]
    crowded = Crowded(unbounded.network("dense"))
    frame = lipbench.evaluate(crowded, data=given, suite=SMALL).summary()
    assert frame["no_certificate"].str.contains("in a batch of 30").all()
    with pytest.raises(LipbenchError, match=r"in a batch of 20.*--shard 30"):
        lipbench.evaluate(crowded, data=given, suite=SMALL, shard=20)


def test_certify_still_names_the_reason(digits):
    with pytest.raises(lipbench.LipbenchError, match="no Lipschitz rule"):
        lipbench.certify(unbounded.network("attention"), digits.test.x[:3])
    with pytest.raises(lipbench.LipbenchError, match="two runs of the network"):
        lipbench.certify(unbounded.network("noisy"), digits.test.x[:3])
