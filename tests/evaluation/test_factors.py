"""The factors of tightness through evaluations: their product, from the files alone, and which units are computed."""

import json
import math

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from bundled import CNN, TAU4, UNCONSTRAINED
from running import TINY, command, computed, kill, leftovers, run, same, session, stamps, start, until, write_suite
from unanalysed import smooth_network

from lipbench import cli
from lipbench.attacks import guard, suites
from lipbench.attacks.norm import Norm
from lipbench.evaluation import slack
from lipbench.evaluation.evaluate import evaluate_models
from lipbench.evaluation.options import EvaluateOptions
from lipbench.models.model import Model
from lipbench.models.sources import sources_of
from lipbench.runs import results
from lipbench.runs.folder import RunFolder
from lipbench.runs.units import AttackUnit

QUICK = suites.load("quick")
SUITES = {  # two norms; in float64 the bundled attacks
    dtype: [
        suites.parse({**suite.plain(), "name": norm, "norm": norm, "eps": eps}, "test")
        for norm, eps in (("L2", [0.1, 0.3]), ("Linf", [0.02, 0.05]))
    ]
    for dtype, suite in (("float64", QUICK), ("float32", TINY))
}
REAL = "smooth"  # a network of grade real


@pytest.fixture(scope="module", params=["float64", "float32"])
def folder(request, tmp_path_factory, digits_zoo, digits) -> RunFolder:
    """Four networks, in two norms: of grade float, of a bound of 41, and of grade real; two shards."""
    stored = [digits_zoo / name for name in (TAU4, CNN, UNCONSTRAINED)]
    sources = sources_of([*stored, Model(smooth_network(), name=REAL)], digits)
    out = tmp_path_factory.mktemp("run")
    options = EvaluateOptions(samples=100, shard=60, dtype=request.param)
    return evaluate_models(sources, SUITES[request.param], digits, out, options, progress=False)


def tables(folder: RunFolder) -> dict[str, list[tuple[dict, pd.DataFrame]]]:
    """Facts and columns of every record, by what it is, from the files and without lipbench."""
    found: dict[str, list[tuple[dict, pd.DataFrame]]] = {}
    for path in folder.records.glob("*.parquet"):
        table = pq.read_table(path)
        names, facts = set(table.column_names), json.loads(table.schema.metadata[b"lipbench"])
        kind = next(
            kind
            for kind, column in (
                ("certify", "label"),
                ("attack", "adversarial_distance"),
                ("factors", "margin"),
                ("box", "distance_within"),
            )
            if column in names
        )
        found.setdefault(kind, []).append((facts, table.to_pandas()))
    return found


def certified(found, model: str) -> tuple[pd.DataFrame, dict, str]:
    """The certify records of a model, their facts, and the column of its headline grade."""
    parts = [(facts, frame) for facts, frame in found["certify"] if facts["model"] == model]
    frame = pd.concat([frame for _, frame in parts]).set_index("sample").sort_index()
    grade = "real" if frame["certified_radius_float"].isna().all() else "float"
    return frame, parts[0][0], f"certified_radius_{grade}"


def of_model(parts, model: str) -> pd.DataFrame:
    return pd.concat([frame for facts, frame in parts if facts["model"] == model]).set_index("sample").sort_index()


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("model", [TAU4, CNN, UNCONSTRAINED, REAL])
def test_factors_multiply_to_tightness(model, norm, folder):
    """From the files: grade * kept * head * norm * box * rest; and the rest is m / |gradient| over the distance."""
    found = tables(folder)
    frame, facts, column = certified(found, model)
    rows, box = of_model(found["factors"], model), None
    units = {unit.name: unit for unit in folder.read().units() if unit.model == model}
    ours = [unit for unit in units.values() if getattr(unit, "suite", None) == norm]
    attacked = [frame for facts, frame in found["attack"] if facts["unit"] in {unit.name for unit in ours}]
    distance = pd.concat(attacked).groupby("sample")["adversarial_distance"].min()
    box = of_model([part for part in found["box"] if part[0]["unit"] in {unit.name for unit in ours}], model)
    scale = 1.0 if norm is Norm.L2 else 1 / math.sqrt(facts["dimension"])
    dual = rows["gradient_l2" if norm is Norm.L2 else "gradient_l1"]
    kept = rows.filter(regex=r"^kept\.").prod(axis=1)
    grade = frame.loc[rows.index, column] * rows["pairwise_bound"] / rows["margin"]
    of_norm = scale * dual / rows["gradient_l2"]
    rest = rows["margin"] / dual / distance.loc[rows.index]
    tightness = scale * frame.loc[rows.index, column] / distance.loc[rows.index]
    product = np.log(grade) + np.log(kept) + np.log(rows["head"]) + np.log(of_norm) + np.log(rest)
    known = np.isfinite(tightness) & (tightness > 0) & rows["head"].notna()
    assert known.sum() > 5
    assert product[known].to_numpy() == pytest.approx(np.log(tightness[known]).to_numpy(), abs=1e-9)

    item = next(each for each in results.load(folder) if each.model == model and each.suite.norm is norm)
    factors, at = item.factors, rows.index[known]
    for ours, expected in (
        (factors.grade, grade),
        (factors.kept_product, kept),
        (factors.head, rows["head"]),
        (factors.norm, of_norm),
        (factors.box_and_rest, rest),
        (factors.tightness, tightness),
    ):
        assert ours[at] == pytest.approx(expected[known].to_numpy(), rel=1e-9)
    assert set(np.flatnonzero(np.isfinite(factors.tightness))) == set(at)
    assert (factors.grade[at] <= 1 + 1e-9).all()
    assert np.median(factors.grade[at]) > (1 - 1e-6 if folder.read().settings["dtype"] == "float64" else 0.9)
    assert (factors.norm[at] <= 1 + 1e-9).all()
    ratio = (box["distance_without"] / box["distance_within"]).clip(upper=1)[np.isfinite(box["distance_within"])]
    boxed = ratio.index.intersection(at)
    assert len(boxed) > 3
    assert factors.box[boxed] == pytest.approx(ratio[boxed].to_numpy())
    assert (factors.box[boxed] * factors.rest[boxed]) == pytest.approx(factors.box_and_rest[boxed], rel=1e-9)
    assert set(np.flatnonzero(np.isfinite(factors.rest))) == set(boxed)
    assert np.median(factors.box[boxed]) <= 1.0


def test_each_kind_of_network_is_there(folder):
    items = {item.model: item for item in results.load(folder)}
    assert items[REAL].grade == "real"
    assert items[TAU4].grade == "float"
    assert items[UNCONSTRAINED].certificate.lipschitz_bound > 10
    assert np.nanmedian(items[CNN].factors.kept_product) < 0.5 < 0.9 < np.nanmedian(items[TAU4].factors.kept_product)
    assert items[CNN].factors.blocks[0] == "conv1 1->8"


def test_rows_are_the_samples_with_a_radius_and_the_share_of_the_box(folder):
    found = tables(folder)
    for model in (TAU4, CNN, UNCONSTRAINED, REAL):
        frame, _, column = certified(found, model)
        rows = of_model(found["factors"], model)
        assert rows.index.tolist() == frame.index[frame[column] > 0].tolist()
        correct = frame.index[frame["label"] == frame["prediction"]]
        for start_of in (0, 60):
            boxes = [part for facts, part in found["box"] if facts["model"] == model]
            here = [set(part["sample"]) for part in boxes if start_of <= part["sample"].min() < start_of + 60]
            assert len(here) == 2  # suites
            assert here[0] == here[1] <= set(correct)
            in_shard = ((correct >= start_of) & (correct < start_of + 60)).sum()
            assert len(here[0]) == min(50, in_shard)


def test_the_cost_is_counted_and_is_not_the_suites(folder):
    for facts, frame in tables(folder)["factors"]:
        assert facts["forward"] == facts["backward"] == len(frame)
    for facts, frame in tables(folder)["box"]:
        assert 10 * len(frame) < facts["backward"] <= facts["forward"] <= 2 * 2 * 200 * len(frame)
    attacks = {unit.name for unit in folder.read().units() if isinstance(unit, AttackUnit)}
    spent = sum(facts["forward"] for facts, _ in tables(folder)["attack"])
    assert {facts["unit"] for facts, _ in tables(folder)["attack"]} == attacks
    seen = [attack for item in results.load(folder) for attack in item.attacks]
    assert spent == sum(record.forward.sum() for attack in seen for _, record in attack.records)


def test_a_network_without_a_certificate_has_no_rows_and_costs_nothing(tmp_path, digits):
    class Cubic(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10] ** 3

    folder = run_given(Cubic(), tmp_path, digits)
    found = tables(folder)
    assert [len(frame) for _, frame in (*found["factors"], *found["box"])] == [0, 0]
    assert [facts["forward"] for facts, _ in (*found["factors"], *found["box"])] == [0, 0]
    (item,) = results.load(folder)
    assert item.grade == "none"
    assert item.factors.blocks == ()
    assert np.isnan(item.factors.tightness).all()


def run_given(module, tmp_path, digits, **options) -> RunFolder:
    options = EvaluateOptions(samples=30, **options)
    return evaluate_models(
        sources_of([Model(module)], digits), [TINY], digits, tmp_path / "run", options, progress=False
    )


def test_a_run_from_before_is_completed_and_nothing_is_attacked_anew(zoo_of, tmp_path, digits, monkeypatch, capsys):
    zoo = zoo_of(TAU4, UNCONSTRAINED)
    folder = run(zoo, tmp_path / "run", digits, suite=TINY, samples=30, shard=20)
    fresh = {unit.name for unit in folder.read().units() if unit.kind in ("factors", "box")}
    assert len(fresh) == 2 * 2 * 2
    for name in fresh:
        (folder.records / f"{name}.parquet").unlink()
    old = stamps(folder)
    assert cli.run(["report", str(folder.path)]) == 2
    said = capsys.readouterr().err
    assert "rerun `lipbench evaluate -o " in said
    assert said.count("\n") == 1

    def refused(*args, **kwargs):
        raise AssertionError("an attack was run")

    monkeypatch.setattr(guard, "search", refused)
    whole = run(zoo, tmp_path / "run", digits, suite=TINY, samples=30, shard=20)
    after = stamps(whole)
    assert {name: after[name] for name in old} == old
    assert {name.removesuffix(".parquet") for name in after.keys() - old.keys()} == fresh
    monkeypatch.undo()
    assert same(whole, run(zoo, tmp_path / "another", digits, suite=TINY, samples=30, shard=20))


def test_killed_while_factors_are_measured(zoo_of, tmp_path, digits):
    """The record that was being computed is not there; a second call computes it, and nothing twice."""
    zoo, out = zoo_of(TAU4, CNN), tmp_path / "run"
    process = start(command(zoo, out, write_suite(tmp_path / "suite.toml", TINY)))
    folder = RunFolder(out)
    assert until(lambda: any(folder.has(unit) for unit in units(folder) if unit.kind == "box"))
    kill(session(process.pid))
    process.wait()
    left = [unit for unit in units(folder) if not folder.has(unit)]
    assert any(unit.kind == "factors" for unit in left)
    before = stamps(folder)
    run(zoo, out, digits, suite=TINY)
    assert before.items() <= stamps(folder).items()
    assert not leftovers(folder)
    assert max(computed(folder).values()) == 1
    assert same(folder, run(zoo, tmp_path / "whole", digits, suite=TINY))


def units(folder: RunFolder) -> list:
    return list(folder.read().units()) if (folder.path / "run.json").is_file() else []


def test_a_wrong_measurement_is_no_record(zoo_of, tmp_path, digits, monkeypatch):
    """Factors that do not multiply to the gradient over its bound are a fault, and the model is left out."""
    measured = slack.factor_record

    def wrong(*args):
        record = measured(*args)
        return type(record)(**{**vars(record), "head": record.head * 1.001})

    monkeypatch.setattr("lipbench.evaluation.cascade.factor_record", wrong)
    folder = run(zoo_of(TAU4, UNCONSTRAINED), tmp_path / "run", digits, suite=TINY, samples=20)
    reasons = {failure.reason for failure in folder.failures.read().values()}
    assert len(reasons) == 2
    assert all("gave records that are wrong: the factors do not multiply" in reason for reason in reasons)
