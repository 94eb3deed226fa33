"""Every measure of the published reports, recomputed from the raw records with pandas and SciPy and without lipbench.

The definitions are those of the report; the code is another. CSV files hold shortest texts of float64.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats

REPORTS = Path(__file__).parents[2] / "reports"
ZOOS = ("digits", "mnist", "cifar10-jpeg")
RESAMPLES, SEED = 1000, 20260
TOLERANCE = 1e-9
METRICS = ("clean", "certified", "robust", "gap", "mean_gap", "tightness")
GRADES = ("float", "real", "nominal")

pytestmark = pytest.mark.skipif(not REPORTS.is_dir(), reason="published reports are in a checkout only")


class Zoo:
    """The published files of one zoo, and what its records say of each model: distance, radii, margins."""

    def __init__(self, name):
        folder = REPORTS / name
        self.csv = {path.stem: pd.read_csv(path, keep_default_na=True) for path in (folder / "report").glob("*.csv")}
        run = json.loads((folder / "run" / "run.json").read_text())
        self.grid = [float(eval_eps(eps)) for eps in run["suites"][0]["suite"]["eps"]]
        self.models = [model["name"] for model in run["models"]]
        certified, attacked, self.facts = {}, {}, {}
        for path in (folder / "run" / "records").glob("*.parquet"):
            facts = json.loads(pq.read_schema(path).metadata[b"lipbench"])
            frame = pd.read_parquet(path)
            if "prediction" in frame:
                certified.setdefault(facts["model"], []).append(frame)
                self.facts[facts["model"]] = facts
            elif "adversarial_distance" in frame:
                attacked.setdefault(facts["model"], []).append(frame)
        self.frames = {name: self.samples(certified[name], attacked[name]) for name in self.models}
        first = self.csv["summary"].drop_duplicates("model").set_index("model")
        self.settings = {name: first.loc[name, "setting"] for name in self.models}
        copies = first["copy_of"].dropna()
        self.once = [n for n in self.models if n not in copies or self.settings[copies[n]] != self.settings[n]]

    @staticmethod
    def samples(certified, attacked):
        frame = pd.concat(certified).sort_values("sample").set_index("sample")
        closest = pd.concat(attacked).groupby("sample")["adversarial_distance"].min()
        frame["correct"] = frame["label"] == frame["prediction"]
        frame["distance"] = closest.reindex(frame.index).fillna(np.inf).where(frame["correct"], 0.0)
        for grade in GRADES:
            frame[grade] = frame[f"certified_radius_{grade}"].where(frame["correct"], 0.0)
        frame["radius"] = frame["real"] if frame["certified_radius_float"].isna().all() else frame["float"]
        return frame


def eval_eps(eps):
    top, _, bottom = str(eps).partition("/")
    return float(top) / float(bottom or 1)


@pytest.fixture(scope="module", params=ZOOS)
def zoo(request):
    return Zoo(request.param)


def equal(found, expected, what):
    assert np.asarray(found, float) == pytest.approx(np.asarray(expected, float), abs=TOLERANCE, rel=0, nan_ok=True), (
        what
    )


def of_model(frame, eps, eps_max):
    known = frame[frame["correct"] & np.isfinite(frame["distance"]) & (frame["distance"] > 0)]
    certified, robust = frame["correct"] & (frame["radius"] > eps), frame["distance"] > eps
    between = frame["distance"].clip(upper=eps_max) - frame["radius"].clip(upper=eps_max)
    return {
        "clean": frame["correct"].mean(),
        "certified": certified.mean(),
        "robust": robust.mean(),
        "gap": (robust.sum() - certified.sum()) / len(frame),
        "mean_gap": between.where(frame["correct"], 0.0).mean() / eps_max,
        "tightness": (known["radius"] / known["distance"]).median(),
        "tightness_n": len(known),
        "mcr": frame["signed_margin"].mean(),
        "n": len(frame),
        "eps_max": eps_max,
    }


def test_every_model(zoo):
    for row in zoo.csv["summary"].to_dict("records"):
        frame, eps = zoo.frames[row["model"]], min(zoo.grid, key=lambda each: abs(each - row["eps"]))
        assert eps == pytest.approx(row["eps"], abs=1e-15)
        found = of_model(frame, row["eps"], max(zoo.grid))
        for name, value in found.items():
            equal(row[name], value, (row["model"], row["eps"], name))
        for grade in GRADES:
            held = not frame[f"certified_radius_{grade}"].isna().all()
            share = (frame["correct"] & (frame[grade] > row["eps"])).mean() if held else np.nan
            equal(row[f"certified_{grade}"], share, grade)
            equal(row[f"violations_{grade}"], (frame["distance"] < frame[grade]).sum() if held else np.nan, grade)
        for name in ("clean", "certified", "robust"):
            ends = stats.binomtest(round(found[name] * len(frame)), len(frame)).proportion_ci(0.95, "exact")
            equal([row[f"{name}_lo"], row[f"{name}_hi"]], [ends.low, ends.high], name)
        equal(row["lipschitz_bound"], zoo.facts[row["model"]]["lipschitz_bound"], "bound")


def test_every_setting(zoo):
    grid = max(zoo.grid)
    for row in zoo.csv["hyperparameters"].to_dict("records"):
        models = [name for name in zoo.once if zoo.settings[name] == row["setting"]]
        found = pd.DataFrame([of_model(zoo.frames[name], row["eps"], grid) for name in models])
        assert row["n_models"] == len(models)
        for name in (*METRICS, "mcr"):
            for statistic in ("mean", "std", "min", "max"):
                equal(row[f"{name}_{statistic}"], found[name].agg(statistic), (row["setting"], name, statistic))


class Resampled:
    """The resamples of a zoo, made anew: for each metric a frame of resamples by settings."""

    def __init__(self, zoo):
        self.zoo, n = zoo, len(next(iter(zoo.frames.values())))
        random = np.random.RandomState(SEED)
        self.rows = np.array([random.randint(0, n, n) for _ in range(RESAMPLES)])
        self.known = {}
        random = np.random.RandomState(SEED + 1)
        self.members, self.moves = {}, {}
        for setting in dict.fromkeys(zoo.settings[name] for name in zoo.once):
            members = [name for name in zoo.once if zoo.settings[name] == setting]
            k = len(members)
            self.members[setting], self.moves[setting] = members, np.zeros((RESAMPLES, k))
            if k > 1:
                z = random.standard_normal((RESAMPLES, k))
                t = np.sqrt((k - 1) / random.chisquare(k - 1, (RESAMPLES, 1)))
                self.moves[setting] = (z - z.mean(1)[:, None]) * t / np.sqrt(k * (k - 1))

    def drawn(self, metric, eps):
        if (metric, eps) not in self.known:
            self.known[metric, eps] = self.draw(metric, eps)
        return self.known[metric, eps]

    def draw(self, metric, eps):
        at = {name: self.model(zoo_frame, metric, eps) for name, zoo_frame in self.zoo.frames.items()}
        whole = {name: of_model(frame, eps, max(self.zoo.grid))[metric] for name, frame in self.zoo.frames.items()}
        return pd.DataFrame(
            {
                setting: np.mean([at[name] for name in members], axis=0)
                + self.moves[setting] @ [whole[name] for name in members]
                for setting, members in self.members.items()
            }
        )

    def model(self, frame, metric, eps):
        top = max(self.zoo.grid)
        correct, radius, distance = (frame[name].to_numpy() for name in ("correct", "radius", "distance"))
        if metric == "tightness":
            with np.errstate(divide="ignore", invalid="ignore"):
                each = np.where(correct & np.isfinite(distance) & (distance > 0), radius / distance, np.nan)
            return np.nanmedian(each[self.rows], axis=1)
        each = {
            "clean": correct,
            "certified": correct & (radius > eps),
            "robust": distance > eps,
            "gap": (distance > eps) * 1.0 - (correct & (radius > eps)),
            "mean_gap": np.where(correct, np.minimum(distance, top) - np.minimum(radius, top), 0.0) / top,
        }[metric]
        return each[self.rows].mean(axis=1)


@pytest.fixture(scope="module", params=[ZOOS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in ZOOS[1:])])
def resampled(request):
    return Resampled(Zoo(request.param))


def test_intervals_of_settings(resampled):
    zoo = resampled.zoo
    eps = zoo.csv["hyperparameters"]["eps"].unique()[1]
    at = zoo.csv["hyperparameters"].query("eps == @eps").set_index("setting")
    n = len(next(iter(zoo.frames.values())))
    for metric in METRICS:
        low, high = (resampled.drawn(metric, eps).quantile(q) for q in (0.025, 0.975))
        for setting in resampled.members:
            mean, ends = at.loc[setting, f"{metric}_mean"], [low[setting], high[setting]]
            if metric != "tightness":
                ends = [min(max(end, 0), 1) for end in ends]
            if metric not in ("mean_gap", "tightness"):
                smallest, largest = at.loc[setting, [f"{metric}_min", f"{metric}_max"]]
                alone = len(resampled.members[setting]) == 1
                if alone or smallest == largest in (0, 1):
                    exact = stats.binomtest(round(smallest * n), n).proportion_ci(0.95, "exact")
                    ends = [exact.low, exact.high] if alone else [min(ends[0], exact.low), max(ends[1], exact.high)]
            ends = [min(ends[0], mean), max(ends[1], mean)]
            equal(at.loc[setting, [f"{metric}_lo", f"{metric}_hi"]], ends, (setting, metric))


def test_comparisons(resampled):
    zoo = resampled.zoo
    eps = zoo.csv["comparisons"]["eps"].unique()[1]
    at = zoo.csv["comparisons"].query("eps == @eps").set_index(["metric", "setting"])
    means = zoo.csv["hyperparameters"].query("eps == @eps").set_index("setting")
    drawn = {metric: resampled.drawn(metric, eps) for metric in METRICS if metric != "gap"}
    for metric, frame in drawn.items():
        sign = -1 if metric == "mean_gap" else 1
        best = (sign * means[f"{metric}_mean"].loc[list(frame)]).idxmax()
        part = at.loc[metric].loc[list(frame)]
        assert set(part["best"]) == {best}
        equal(part["difference"], means[f"{metric}_mean"].loc[list(frame)] - means.loc[best, f"{metric}_mean"], metric)
        differences = frame.sub(frame[best], axis=0)
        equal(part["difference_lo"], differences.quantile(0.025), metric)
        equal(part["difference_hi"], differences.quantile(0.975), metric)
        wins = (sign * frame).eq((sign * frame).max(axis=1), axis=0)
        equal(part["p_best"], wins.div(wins.sum(axis=1), axis=0).mean(), metric)
    for accuracy in ("certified", "robust"):
        clean, other = (drawn[name].to_numpy().clip(0, 1) for name in ("clean", accuracy))
        on = np.ones(clean.shape, bool)
        for s in range(clean.shape[1]):
            for t in range(clean.shape[1]):
                no_worse = (clean[:, t] >= clean[:, s]) & (other[:, t] >= other[:, s])
                on[:, s] &= ~(no_worse & ((clean[:, t] > clean[:, s]) | (other[:, t] > other[:, s])))
        equal(at.loc["clean"].loc[list(drawn["clean"]), f"p_front_{accuracy}"], on.mean(axis=0), accuracy)


def test_effects(resampled):
    """Slopes, shapes and their probability, of the losses with one hyperparameter."""
    zoo = resampled.zoo
    effects, settings = zoo.csv["effects"], zoo.csv["hyperparameters"]
    eps = settings["eps"].unique()[1]
    found = 0
    for (family, name), rows in effects[effects["others"].isna() & (effects["eps"] == eps)].groupby(
        ["family", "hyperparameter"]
    ):
        line = settings[(settings["family"] == family) & (settings["eps"] == eps)]
        of_kind = line["architecture"] == rows["architecture"].iloc[0]
        line = line[of_kind & line[f"loss.{name}"].notna()].sort_values(f"loss.{name}")
        if len(set(line[f"loss.{name}"])) < len(line) or len(rows) > len(METRICS):
            continue
        places = np.log2(line[f"loss.{name}"].to_numpy())
        for row in rows.to_dict("records"):
            values = line[f"{row['metric']}_mean"].to_numpy()
            drawn = resampled.drawn(row["metric"], eps)[line["setting"]].to_numpy()
            slope = [stats.linregress(places, each).slope for each in (values, *drawn)]
            equal(row["per_step"], slope[0], row)
            equal([row["per_step_lo"], row["per_step_hi"]], np.quantile(slope[1:], [0.025, 0.975]), row)
            shapes = [shape(each) for each in drawn]
            wanted = shape(values)
            assert row["shape"] == wanted[0]
            equal(row["shape_probability"], np.mean([each == wanted for each in shapes]), row)
            found += 1
    assert found >= len(METRICS)


def shape(values):
    top, bottom = np.argmax(values), np.argmin(values)
    if values[top] > max(values[0], values[-1]):
        return "peaks", top
    if values[bottom] < min(values[0], values[-1]):
        return "dips", bottom
    return ("rises" if values[0] < values[-1] else "falls" if values[0] > values[-1] else "level"), None
