"""The Python interface and the command line, end to end on a small zoo."""

import copy
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from bundled import CNN, TAU4
from torch import nn

import lipbench
from lipbench import cli, data
from lipbench._internal.precision import precisions, set_precisions
from lipbench._internal.resources import CHECKOUT
from lipbench.errors import LipbenchError, UnsupportedError
from lipbench.models.cards import digest_of
from lipbench.models.stored import load_model
from lipbench.runs import plans
from lipbench.runs.folder import RunFolder


@pytest.fixture(scope="module")
def tau4(digits_zoo):
    return load_model(digits_zoo / TAU4).module


def test_evaluate_gives_one_row_per_model_and_eps(zoo_of):
    summary = lipbench.evaluate(zoo_of(TAU4, CNN), samples=30).summary()
    assert len(summary) == 2 * 5
    tau4 = summary[summary.model == TAU4].sort_values("eps")
    assert (tau4.grade == "float").all()
    assert (tau4.certified == tau4.certified_float).all()
    assert (tau4.certified_float <= tau4.certified_real).all()
    assert (tau4.certified_real <= tau4.robust).all()
    assert (tau4.robust <= tau4.clean).all()
    assert tau4.certified.is_monotonic_decreasing
    assert (tau4.gap - (tau4.robust - tau4.certified)).abs().max() < 1e-12
    assert (summary.violations_float == 0).all()
    assert (summary.violations_real == 0).all()
    assert set(summary.dtype) == {"float64"}


def test_command_line_evaluate_report_check_verify(zoo_of, tmp_path, capsys):
    """The run of a user, from a zoo to a report that rebuilds."""
    path, out = zoo_of(TAU4), tmp_path / "run"
    command = ["evaluate", str(path), "-q", "--samples", "30", "--dtype", "float32", "-o", str(out)]
    assert cli.run(command) == 0
    shown = capsys.readouterr().out
    assert str(out / "report" / "report.html") in shown
    assert "certified is grade float" in shown
    assert "as they run, in float32 with its rounding" in (out / "report" / "report.html").read_text()
    names = {p.name for p in (out / "report").iterdir()}
    assert names >= {"summary.csv", "hyperparameters.csv", "report.md", "report.html", "tables.tex"}
    assert names >= {
        f"{figure}.{kind}" for figure in ("sandwich", "pareto", "effects") for kind in ("png", "pdf", "svg")
    }
    assert cli.run(["report", str(out), "--check"]) == 0
    (out / "report" / "summary.csv").write_text("forged")
    assert cli.run(["report", str(out), "--check"]) == 2
    capsys.readouterr()
    assert cli.run(["verify", str(path / TAU4), "-q", "--samples", "30", "-o", str(tmp_path / "v")]) == 0
    assert capsys.readouterr().out.startswith("PASS")


CHEAP = """
name = "cheap"
norm = "L2"
eps = [1.5]
[[attack]]
name = "gradient/bisection"
[[attack]]
name = "art/fgm"
"""


def test_a_run_grows_and_gets_a_reference_attack(zoo_of, tmp_path, capsys):
    """More eps, another seed and a reference attack, each added by the command that asks for it.

    Where AutoAttack breaks a sample at once, it is quick.
    """
    (tmp_path / "cheap.toml").write_text(CHEAP)
    path, out = zoo_of(TAU4), tmp_path / "run"
    command = f"evaluate {path} -q --samples 5 --shard 3 --suite {tmp_path}/cheap.toml -o {out}".split()
    assert cli.run(command) == 0
    first = {record: record.read_bytes() for record in (out / "records").iterdir()}
    assert len(first) == 10  # two shards: certify, factors, bisection, fgm, box
    assert cli.run([*command, "--eps", "3.0"]) == 0
    assert cli.run([*command, "--seed", "0", "--seed", "5", "--reference-attack", "autoattack"]) == 0
    assert {record: record.read_bytes() for record in first} == first
    # of each shard: fgm at the new eps, and of both eps with the new seed; AutoAttack alone at both, the indicators
    assert len(list((out / "records").iterdir())) == 10 + 2 * (1 + 2 + 2 + 1)
    summary = pd.read_csv(out / "report" / "summary.csv")
    assert list(summary.eps) == [1.5, 3.0]
    assert {"attacked:art/fgm", "attacked:art/fgm#2"} <= set(summary)
    assert (summary.evaluations_alone >= 2 * 4).all()
    assert (summary.robust_alone == 0).all()
    assert (summary.zero_gradients == 0).all()
    assert (summary.loss_stuck == 0).all()
    text = (out / "report" / "report.md").read_text()
    assert "eps 1.5, 3; attacks gradient/bisection, art/fgm; seeds 0, 5; beside it AutoAttack standard alone" in text
    assert cli.run(["report", str(out), "--check"]) == 0
    capsys.readouterr()
    assert cli.run(["status", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "22 of 22 units done (100 %)" in shown
    assert "autoattack/standard as reference       4 of 4" in shown


def test_the_report_waits_for_models_that_others_evaluate(zoo_of, tmp_path, capsys):
    (tmp_path / "cheap.toml").write_text(CHEAP)
    path, out = zoo_of(TAU4), tmp_path / "run"
    command = f"evaluate {path} -q --samples 3 --suite {tmp_path}/cheap.toml -o {out}".split()
    assert cli.run(command) == 0
    run_folder = RunFolder(out)
    run = run_folder.read()
    card = {**run.models[0].card, "name": "theirs"}
    run_folder.open(replace(run, models=(plans.ModelEntry("theirs", card, digest_of(card)),)))
    shutil.rmtree(out / "report")
    capsys.readouterr()
    assert cli.run(command) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("5 units of models that joined this run elsewhere are missing")
    assert not (out / "report").exists()
    assert cli.run(["report", str(out)]) == 2
    assert "lacks records of theirs" in capsys.readouterr().err


def test_verify_exits_with_1_for_a_false_claim(zoo_of, tmp_path, capsys):
    from lipbench.models import cards

    folder = zoo_of(TAU4) / TAU4
    cards.write(folder, cards.read(folder).model_copy(update={"claimed": cards.Lipschitz(constant=0.5)}))
    assert cli.run(["verify", str(folder), "-q", "--samples", "30", "-o", str(tmp_path / "v")]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out
    assert f"REFUTED {TAU4}" in out
    assert (tmp_path / "v" / "witnesses" / f"{TAU4}-radius-nominal.safetensors").is_file()
    found = lipbench.verify(folder, samples=30, out=tmp_path / "w", dtype="float32")
    frame = found.frame()
    violations = dict(zip(frame.grade, frame.violations, strict=True))
    assert violations["float"] == violations["real"] == 0 < violations["nominal"]
    assert frame.holds.tolist() == [True, True, False]
    assert found.violations == violations["nominal"]
    assert not found.passed


# --- verify: the function says what the command says -----------------------------------------------------------------


def claiming(folder, constant):
    from lipbench.models import cards

    cards.write(folder, cards.read(folder).model_copy(update={"claimed": cards.Lipschitz(constant=constant)}))
    return folder


def both(folder, tmp_path, capsys, samples=5):
    """What the function returns and what the command prints, the same witnesses written to two folders."""
    found = lipbench.verify(folder, samples=samples, out=tmp_path / "function")
    status = cli.run(["verify", str(folder), "-q", "--samples", str(samples), "-o", str(tmp_path / "command")])
    return found, status, capsys.readouterr().out


def test_verify_passes_a_right_model(zoo_of, tmp_path, capsys):
    found, status, said = both(zoo_of(TAU4) / TAU4, tmp_path, capsys)
    assert (found.passed, bool(found), status) == (True, True, 0)
    assert found.violations == 0
    assert found.witnesses == ()
    assert not (tmp_path / "function" / "witnesses").exists()
    constant = found.constant[TAU4]
    assert 0.9 < constant.steepest <= constant.bound < 1.00001
    assert constant.steepest_proven
    assert constant.claim_confirmed
    assert not constant.refuted
    assert list(found.frame().grade) == ["float", "real", "nominal"]
    assert all(f"PASS {TAU4} {grade}" in said for grade in found.frame().grade)
    assert (found.frame().rounding_broken == 0).all()


def test_verify_says_that_a_constant_is_refuted(zoo_of, tmp_path, capsys, monkeypatch):
    """Attacks on samples find nothing: the pair of inputs and the linter alone speak against the claim."""
    from lipbench.verification import falsification

    monkeypatch.setattr(falsification.AttackedSamples, "attack", lambda *args: None)
    found, status, said = both(claiming(zoo_of(TAU4) / TAU4, 0.9), tmp_path, capsys)
    assert found.violations == 0
    assert found.frame().holds.all()
    assert (found.passed, bool(found), status) == (False, False, 1)
    assert found.constant[TAU4].refuted
    assert found.constant[TAU4].claim_witness in found.witnesses
    assert all(path.is_file() for path in found.witnesses)
    assert f"REFUTED {TAU4}" in said
    codes = {finding.code for finding in found.lint[TAU4]}
    assert "L101" in codes
    assert all(f"LINT {code} " in said for code in codes)


def test_verify_says_that_rounding_breaks_grade_float(zoo_of, tmp_path, capsys, monkeypatch):
    """An error analysis that finds too little: float32 next to the boundary contradicts it."""
    from lipbench.certification import certificate

    def none(self, classes, errors):
        size = torch.zeros(len(classes), self.head.spread.shape[1], dtype=torch.float64)
        return size, size

    monkeypatch.setattr(certificate.Certificate, "difference_errors", none)
    folder = zoo_of(TAU4) / TAU4
    found = lipbench.verify(folder, samples=20, out=tmp_path / "function", dtype="float32")
    (near,) = [one for one in found.models[0].rounding if one.grade == "float"]
    assert near.broken > 0
    assert found.frame().holds.all()
    assert not found.passed
    assert near.witness in found.witnesses
    assert found.frame().set_index("grade").rounding_broken["float"] == near.broken
    command = [
        "verify",
        str(folder),
        "-q",
        "--samples",
        "20",
        "-o",
        str(tmp_path / "command"),
        "--dtype",
        "float32",
    ]
    assert cli.run(command) == 1
    assert f"FAIL {TAU4}: certificates next to the boundary" in capsys.readouterr().out


def test_verify_takes_radii_of_ones_own(zoo_of, digits, tmp_path):
    folder = zoo_of(TAU4) / TAU4
    radii = np.full(5, 5.0)  # half of the diameter of the images: no such radius holds
    found = lipbench.verify(folder, samples=5, out=tmp_path / "v", radii=radii)
    assert not found.passed
    assert found.violations == 5
    pd.DataFrame({"sample": range(5), "certified_radius": radii}).to_csv(tmp_path / "mine.csv", index=False)
    again = lipbench.verify(folder, samples=5, out=tmp_path / "v", radii=tmp_path / "mine.csv")
    pd.testing.assert_frame_equal(again.frame(), found.frame())


def test_verify_refuses_what_the_command_refuses(zoo_of, tmp_path, capsys):
    zoo = zoo_of(TAU4, CNN)
    (tmp_path / "mine.csv").write_text("sample,certified_radius\n0,1\n")
    twice = tmp_path / "twice"
    for name in ("a", "b"):
        shutil.copytree(zoo / TAU4, twice / name)
    cases = {
        "--radii is for one model": (zoo, {"radii": tmp_path / "mine.csv"}),
        "no radii at": (zoo / TAU4, {"radii": tmp_path / "none.csv"}),
        "at least 1": (zoo / TAU4, {"samples": -495}),
        "is there twice": (twice, {}),
    }
    for said, (folder, options) in cases.items():
        with pytest.raises(LipbenchError, match=said):
            lipbench.verify(folder, **{"samples": 3, **options})
        words = [word for name, value in {"samples": 3, **options}.items() for word in (f"--{name}", str(value))]
        assert cli.run(["verify", str(folder), "-q", *words]) == 2
        assert said in capsys.readouterr().err


def test_verify_of_nothing_is_refused(zoo_of, tmp_path, capsys, monkeypatch):
    """No sample of the class that is asked for: nothing is certified, and nothing passes."""
    from lipbench import data as datasets

    wrong = replace(datasets.load("digits"), spec="digits")
    wrong = replace(wrong, test=datasets.Split(wrong.test.images[:5], (wrong.test.labels[:5] + 1) % 10))
    monkeypatch.setattr("lipbench.data.given.load", lambda *args: wrong)
    folder = zoo_of(TAU4) / TAU4
    with pytest.raises(LipbenchError, match="nothing was verified"):
        lipbench.verify(folder, out=tmp_path / "v")
    assert cli.run(["verify", str(folder), "-q", "-o", str(tmp_path / "v")]) == 2
    captured = capsys.readouterr()
    assert "nothing was verified" in captured.err
    assert "PASS" not in captured.out
    claiming(folder, 0.5)
    assert not lipbench.verify(folder, out=tmp_path / "v").passed  # the refuted claim is a result


def test_certify_agrees_with_the_records(tau4, digits):
    x, labels = digits.test.x[:40], digits.test.labels[:40]
    frame = lipbench.certify(tau4, x, labels, claimed=1.0)
    assert isinstance(frame, pd.DataFrame)
    assert frame.attrs["lipschitz_bound"] == lipbench.lipschitz_bound(tau4.double(), (1, 8, 8))
    assert frame.attrs["claim_confirmed"]
    wrong = frame.prediction != labels
    assert frame.attrs["not_analysed"] is None
    radii = [frame[f"certified_radius_{grade}"] for grade in ("float", "real", "nominal")]
    assert all((radius[wrong] == 0).all() for radius in radii)
    assert (radii[0] <= radii[1]).all()
    assert np.allclose(radii[0], radii[1], rtol=1e-8)
    assert np.allclose(frame.certified_radius_real, frame.certified_radius_nominal, rtol=1e-4)
    linf = lipbench.certify(tau4, x, labels, norm="Linf")
    assert np.allclose(linf.certified_radius_real * 8, frame.certified_radius_real)
    assert np.allclose(linf.certified_radius_float * 8, frame.certified_radius_float)


def test_certify_in_float32_is_of_the_float32_network(tau4, digits):
    x, labels = digits.test.x[:40], digits.test.labels[:40]
    double, single = (lipbench.certify(tau4, x, labels, dtype=a) for a in ("float64", "float32"))
    far = double.certified_radius_real > 0.1
    assert far.sum() > 30
    lost = 1 - single.certified_radius_float / single.certified_radius_real
    assert lost[far].between(1e-5, 0.02).all()  # per-sample errors: those of the whole range cost twice as much
    less = double.certified_radius_real - single.certified_radius_real  # the errors of the sample's own float32 logits
    assert less[far].between(1e-6, 1e-3).all()
    with pytest.raises(LipbenchError, match="did you mean 'float32'"):
        lipbench.certify(tau4, x, dtype="float23")
    with pytest.raises(LipbenchError, match="did you mean 'float64'"):
        lipbench.evaluate("digits", dtype="float46")


def test_certify_says_why_there_is_no_grade_float(digits):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 3))
    frame = lipbench.certify(net, digits.test.x[:5])
    assert frame.certified_radius_float.isna().all()
    assert (frame.certified_radius_real > 0).all()
    assert "GELU" in frame.attrs["not_analysed"]


def test_certify_takes_residual_networks(digits):
    """No chain: torch.fx traces it."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(64, 3)

        def forward(self, x):
            return self.head((x + torch.relu(self.conv(x))).flatten(1))

    frame = lipbench.certify(Net(), digits.test.x[:5], dtype="float32")
    assert (frame.certified_radius_float > 0).all()


def test_the_process_is_left_as_it_was(tau4, digits):
    before = torch.get_num_threads(), precisions()
    chosen = ["tf32", "tf32", "tf32", "bf16", "bf16"]
    try:
        torch.set_num_threads(2)
        set_precisions(chosen)
        frame = lipbench.certify(tau4, digits.test.x[:2], dtype="float32")
        assert frame.attrs["not_analysed"] is None  # within, it was exact
        assert (torch.get_num_threads(), precisions()) == (2, chosen)
    finally:
        torch.set_num_threads(before[0])
        set_precisions(before[1])


def test_certify_refuses_wrong_inputs(tau4, digits):
    for x, named in (
        (digits.test.x[:3] * 255, r"\[0, 1\]"),
        (digits.test.x[0, 0], "shape"),
        (np.zeros((1, 1, 9, 9), np.float32), "shape"),
    ):
        with pytest.raises(LipbenchError, match=named):
            lipbench.certify(tau4, x)
    with pytest.raises(UnsupportedError, match="Softmax"):
        lipbench.certify(nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Softmax(1)), digits.test.x[:2])


def test_mnist_through_a_convolution(tmp_path):
    """Real images of another size through data, export, certificate and attack. Needs LIPBENCH_DATA with mnist.npz."""
    import os

    if "LIPBENCH_DATA" not in os.environ:
        pytest.skip("LIPBENCH_DATA is not set: it names the folder with mnist.npz")
    from lipbench.attacks import guard
    from lipbench.attacks.network import Network
    from lipbench.attacks.norm import Norm
    from lipbench.attacks.suites import AttackSpec
    from lipbench.certification import certificate
    from lipbench.training import sweep
    from lipbench.work.execution import Execution

    dataset = data.load("mnist")
    small = data.Dataset("mnist", dataset.train.first(1024), dataset.test.first(60), 10)
    (tmp_path / "r.toml").write_text(
        'data = "mnist"\nseeds = [0]\n[training]\nepochs = 6\nlearning_rate = 1e-2\n'
        '[preprocessing]\nmean = [0.13]\nstd = [0.31]\n[[architecture]]\nname = "cnn"\n'
        'args = { channels = [4, 8], widths = [16] }\n[[loss]]\nname = "tau_cross_entropy"\n'
        "hyperparameters = { tau = 16 }\n"
    )
    folder = sweep.train(tmp_path / "r.toml", tmp_path / "zoo", small, Execution("cpu"), progress=False)[0]
    model = load_model(folder)
    network = Network(model.module, (1, 28, 28))
    proof = certificate.certificate(network.module, (1, 28, 28), model.card.claimed.constant)
    assert proof.claim_confirmed
    x, labels = torch.from_numpy(small.test.x), torch.from_numpy(small.test.labels)
    logits = network.predict(x)
    radii = proof.radii(logits, labels).numpy()
    right = (logits.argmax(1) == labels).numpy()
    assert right.mean() > 0.6
    spec = AttackSpec(name="gradient/bisection", args={"rounds": 4, "steps": 10})
    candidates = guard.search(spec, network, x, labels, norm=Norm.L2, eps=None, seed=0)
    found, distance, _ = guard.check_candidates(network, x, labels, candidates, Norm.L2)
    assert found[right].mean() > 0.9
    assert (distance[right] >= radii[right]).all()


REPORTS = CHECKOUT / "reports"  # in a checkout; not in the wheel


@pytest.mark.parametrize("run", sorted(REPORTS.glob("*/run")), ids=lambda run: run.parent.name)
def test_published_reports_rebuild_from_their_records(run):
    assert cli.run(["report", str(run), "-o", str(run.parent / "report"), "--check"]) == 0


class Own(nn.Module):
    """A residual network with a forward of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 10)

    def forward(self, x):
        y = torch.relu(self.first(x.flatten(1)))
        return self.last(y + 0.5 * x.flatten(1))


@pytest.fixture(scope="module")
def own(digits):
    torch.manual_seed(0)
    net = Own()
    x, labels = torch.from_numpy(digits.train.x), torch.from_numpy(digits.train.labels)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    return net.eval()


def test_a_network_of_ones_own_is_evaluated_here_and_in_other_processes(own, digits, tmp_path):
    """With samples in memory: the same records in one process and in two, and nothing is computed twice."""
    test = digits.test.first(30)
    pair, few = (test.x, test.labels), {"eps": [0.1, 0.3], "shard": 15}
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    one = lipbench.evaluate(own, data=pair, out=tmp_path / "one", **few)
    two = lipbench.evaluate(own, data=pair, out=tmp_path / "two", jobs=2, **few)
    pd.testing.assert_frame_equal(one.summary(), two.summary())
    row = one.summary().iloc[0]
    assert (row.model, row.family, row.architecture, row.n) == ("Own", "loss not given", "Own", 30)
    assert 0 < row.certified_real < row.robust < row.clean
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())
    stamps = [path.stat().st_mtime_ns for path in sorted((tmp_path / "one" / "records").iterdir())]
    lipbench.evaluate(own, data=pair, out=tmp_path / "one", **few)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "one" / "records").iterdir())] == stamps
    with pytest.raises(LipbenchError, match="data_sha256"):
        lipbench.evaluate(own, data=(test.x[::-1].copy(), test.labels[::-1].copy()), out=tmp_path / "one", **few)
    changed = copy.deepcopy(own)
    changed.last.weight.data *= 2
    with pytest.raises(LipbenchError, match="Own"):
        lipbench.evaluate(changed, data=pair, out=tmp_path / "one", **few)


def test_a_false_claim_about_ones_own_network_is_refuted_and_its_witness_replayed(own, digits, tmp_path):
    test = digits.test.first(20)
    model = lipbench.Model(own, name="mine", loss="tau_cross_entropy", hyperparameters={"tau": 4}, claimed=0.5)
    verdict = lipbench.verify(model, data=(test.x, test.labels), out=tmp_path / "v")
    assert not verdict.passed
    for witness in verdict.witnesses:
        assert lipbench.replay(witness, model).reproduced
        with pytest.raises(LipbenchError, match=r"was given in memory: pass it again"):
            lipbench.replay(witness)
        with pytest.raises(LipbenchError, match="is not the model of this witness"):
            lipbench.replay(witness, own)  # another card: nobody claims anything
    radii = lipbench.certify(model, test.x)
    assert (radii.certified_radius_nominal > radii.certified_radius_real).any()
    assert lipbench.certify(own, test.x).certified_radius_nominal.isna().all()
