"""The norm of the gradient."""

import numpy as np
import pandas as pd
import pytest
import torch

from lipbench.experiments.claims.gradient_norm import (
    DENSE,
    EXPERIMENT,
    ORTHOGONAL,
    SPECTRAL,
    Settings,
    measure,
)
from lipbench.experiments.experiment import Records, verdict
from lipbench.report import style
from tests.support.labs import lab

TINY = Settings(
    dense=(("widths", (32, 16)),),
    conv_args=(("channels", (2,)), ("widths", ())),
    taus=(4,),
    seeds=(0,),
    epochs=2,
    conv_epochs=1,
    learning_rate=1e-2,
    samples=30,
)


@pytest.fixture(scope="module")
def lab_and_records(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, Records]:
    """Small networks of every loss and set of layers."""
    place = lab(tmp_path_factory.mktemp("norm"))
    return place, measure(place, TINY)


def test_dense_layers_keep_the_gradient_and_spectral_convolutions_do_not(
    lab_and_records: tuple[object, Records],
) -> None:
    models = lab_and_records[1]["samples"].groupby("layers")["norm"].median()
    assert models[DENSE] > 0.75
    assert models[SPECTRAL] < 0.6
    assert lab_and_records[1]["samples"]["norm"].max() < 1 + 1e-5


def test_the_norm_is_that_of_the_margins_gradient(lab_and_records: tuple[object, Records]) -> None:
    """Against autograd on a stored network, for the class that decides the certificate."""
    place, records = lab_and_records
    folder = next((place.folder / "zoo").glob("spectral-hkr*seed0"))  # type: ignore[attr-defined]
    from lipbench.certification.certificate import certificate
    from lipbench.experiments.lab import trained

    module, dataset = trained(folder).module.double(), place.dataset("digits")  # type: ignore[attr-defined]
    x, labels = torch.from_numpy(dataset.test.x[:30]).double(), torch.from_numpy(dataset.test.labels[:30])
    proof = certificate(module, x.shape[1:])
    found = []
    for sample, label in zip(x, labels, strict=True):
        point = sample[None].requires_grad_()
        logits = module(point)[0]
        radii = (logits[label] - logits).detach() / proof.pairwise[label]
        radii[label] = torch.inf
        other = radii.argmin()
        if radii[other] > 0:
            (gradient,) = torch.autograd.grad(logits[label] - logits[other], point)
            found.append(float(gradient.norm() / proof.pairwise[label, other]))
    samples = records["samples"]
    ours = samples[(samples["layers"] == SPECTRAL) & (samples["loss"] == "HKR") & (samples["seed"] == 0)]["norm"]
    assert ours.to_list() == pytest.approx(found, rel=1e-4)


def table(dense: float, spectral: float, orthogonal: float) -> Records:
    """Samples around these norms, with a tightness that follows them."""
    rng, frames = np.random.default_rng(0), []
    for layers, norm in ((DENSE, dense), (SPECTRAL, spectral), (ORTHOGONAL, orthogonal)):
        for loss in ("CE, τ = 4", "KR"):
            for seed in range(3):
                values = norm + 0.01 * rng.uniform(-1, 1, 50)
                frames.append(
                    pd.DataFrame(
                        {"layers": layers, "loss": loss, "seed": seed, "norm": values, "tightness": 0.9 * values}
                    )
                )
    samples = pd.concat(frames, ignore_index=True)
    blocks = samples.drop_duplicates(["layers", "loss", "seed"]).assign(block="dense1 4->8", kept=0.5)
    return {"samples": samples, "blocks": blocks[["layers", "loss", "seed", "block", "kept"]]}


def test_norms_of_1_on_dense_layers_hold() -> None:
    assert [check.holds for check in EXPERIMENT.judge(table(0.99, 0.4, 0.8))] == [True] * 5


def test_the_reverse_does_not_hold() -> None:
    checks = EXPERIMENT.judge(table(0.4, 0.99, 0.8))
    dense, _, spectral, orthogonal, tightness = checks
    assert verdict(checks) == "not"
    assert not dense.holds
    assert not spectral.holds
    assert not orthogonal.holds
    assert tightness.holds


def test_the_first_check_is_of_kr_alone() -> None:
    records = table(0.99, 0.4, 0.8)
    samples = records["samples"]
    samples.loc[(samples["layers"] == DENSE) & (samples["loss"] == "KR"), "norm"] = 0.5
    first, second, *_ = EXPERIMENT.judge(records)
    assert not first.holds
    assert "KR" in first.statement
    assert second.holds


def test_a_network_that_classifies_next_to_nothing_does_not_count() -> None:
    records = table(0.99, 0.4, 0.8)
    samples = records["samples"]
    few = (samples["layers"] == SPECTRAL) & (samples["loss"] == "KR")
    records["samples"] = pd.concat([samples[~few], samples[few].head(3)])
    *checks, _ = EXPERIMENT.judge(records)  # the last is a rank correlation, of five settings here
    assert [check.holds for check in checks] == [True] * 4
    assert "under 30 (KR on spectral conv: 0 to 3)" in EXPERIMENT.tell(records)
    with style.look():
        assert any("0 to 3 correct" in text.get_text() for text in EXPERIMENT.draw(records).axes[0].texts)


@pytest.mark.parametrize("left", [0, 29])
def test_without_enough_samples_of_kr_its_check_comes_first_and_fails(left: int) -> None:
    """Another loss must not take its place."""
    records = table(0.99, 0.4, 0.8)
    samples = records["samples"]
    short = (samples["layers"] == DENSE) & (samples["loss"] == "KR") & (samples["seed"] == 1)
    records["samples"] = pd.concat([samples[~short], samples[short].head(left)])
    checks = EXPERIMENT.judge(records)
    assert "KR" in checks[0].statement
    assert (checks[0].holds, checks[0].ours, checks[0].unit) == (False, left, "samples")
    assert verdict(checks) == "not"
    assert f"KR on dense: {left} to 50" in EXPERIMENT.tell(records)


def test_models_are_correlated_by_their_means_over_seeds() -> None:
    assert EXPERIMENT.judge(table(0.99, 0.4, 0.8))[-1].over.startswith("6 settings")


def test_a_tightness_against_the_norm_is_seen() -> None:
    records = table(0.99, 0.4, 0.8)
    records["samples"]["tightness"] = 1 - records["samples"]["norm"]
    assert not EXPERIMENT.judge(records)[-1].holds


def test_without_the_extra_the_other_layers_are_judged() -> None:
    records = table(0.99, 0.4, 0.8)
    records = {name: frame[frame["layers"] != ORTHOGONAL] for name, frame in records.items()}
    *checks, _ = EXPERIMENT.judge(records)  # the last is a rank correlation, of four settings here
    assert [check.holds for check in checks] == [True] * 3
    assert "was not installed" in EXPERIMENT.tell(records)
    assert "AOC" not in EXPERIMENT.tell(records)
    with style.look():
        assert len(EXPERIMENT.draw(records).axes[0].get_legend_handles_labels()[1]) == 2
