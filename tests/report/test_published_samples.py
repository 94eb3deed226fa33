"""``Results.samples`` of the published digits run, against its records as pandas reads them."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import lipbench
from lipbench._internal.resources import CHECKOUT

RUN = CHECKOUT / "reports" / "digits" / "run"
pytestmark = pytest.mark.skipif(not RUN.is_dir(), reason="the published run is in a checkout only")
COPIED = ["label", "prediction", *(f"certified_radius_{grade}" for grade in ("float", "real", "nominal"))]


@pytest.fixture(scope="module")
def samples():
    return lipbench.load(RUN).samples


@pytest.fixture(scope="module")
def records():
    """The frames of each model: what was certified, and what each attack found."""
    certified, attacked = {}, {}
    for path in sorted((RUN / "records").glob("*.parquet")):
        frame = pd.read_parquet(path)
        model = json.loads(pq.read_schema(path).metadata[b"lipbench"])["model"]
        if "prediction" in frame:
            assert model not in certified
            certified[model] = frame.set_index("sample")
        elif "adversarial_distance" in frame:
            attacked.setdefault(model, []).append(frame)
    return certified, attacked


def test_one_row_per_model_suite_and_sample(samples):
    suites = [plan["suite"]["name"] for plan in json.loads((RUN / "run.json").read_text())["suites"]]
    assert samples.groupby("suite").size().to_dict() == dict.fromkeys(suites, 57 * 200)
    assert not samples.duplicated(["model", "suite", "sample"]).any()
    assert samples["model"].nunique() == 57


def test_what_was_certified_is_that_of_the_records(samples, records):
    certified, _ = records
    for model, rows in samples.groupby("model"):
        pd.testing.assert_frame_equal(
            rows.set_index("sample")[COPIED], certified[model].loc[:, COPIED], check_exact=True
        )


def test_distances_and_attacks_are_those_of_the_records(samples, records):
    certified, attacked = records
    for model, rows in samples.groupby("model"):
        rows = rows.set_index("sample")
        correct = certified[model]["label"] == certified[model]["prediction"]
        every = pd.concat(attacked[model]).groupby("sample")["adversarial_distance"].min()
        smallest = every.reindex(rows.index, fill_value=np.inf).where(correct, 0.0)
        assert (rows["adversarial_distance"] == smallest).all()
        assert ((rows["attack"] != "") == (correct & np.isfinite(smallest))).all()
        for frame in attacked[model]:  # by what each record says of its attack, which its name does not
            best = frame.set_index("sample")["adversarial_distance"]
            best = best[np.isfinite(best) & (best == smallest.loc[best.index])]
            at_eps, opening = frame["eps"].notna().all(), len(frame) == correct.sum()
            wanted = {"art/pgd"} if at_eps else {"gradient/bisection"} if opening else {"autoattack/fab-t"}
            if at_eps or opening or not best.empty:
                first = rows.loc[best.index, "attack"]
                assert set(first) <= wanted | {"gradient/bisection"} | ({"autoattack/fab-t"} if at_eps else set())
