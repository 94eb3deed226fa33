"""The numbers of a report, as pandas frames: per model, per setting of the loss, and across settings.

A setting is everything but the seed: architecture, loss family, hyperparameters, adversarial training.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betaincinv, ndtri  # scipy.stats would take a second to import

from lipbench.ledger import Bools
from lipbench.records import GRADES, RunFolder
from lipbench.report import evidence
from lipbench.report.evidence import Evidence

CONFIDENCE = 0.95
ORDER = ("tau", "alpha", "min_margin")  # known hyperparameters, in the order of columns
QUANTITIES = ("clean", "certified", "robust", "gap", "tightness", "mcr")
GROUP = ["suite", "norm"]
SHARES = ("clean", "certified", "robust", "gap")  # of the samples
CERTIFICATE = ("lipschitz_bound", "claimed", "claim_confirmed", "arithmetic", "not_analysed")
_RESERVED = {
    "model",
    "family",
    "architecture",
    "constrained",
    "adversarial",
    "seed",
    "suite",
    "norm",
    "eps",
    "n",
}


def clopper_pearson(count: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share of ``count`` in ``n`` (Clopper and Pearson 1934); NaN where n is 0."""
    if n == 0:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low = float(betaincinv(count, n - count + 1, tail)) if count > 0 else 0.0
    high = float(betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return low, high


def _share(name: str, hits: Bools | None) -> dict[str, float]:
    """An accuracy and its interval as three columns; ``hits``: bool (n,), or None where it has no meaning."""
    if hits is None:
        return dict.fromkeys((name, f"{name}_lo", f"{name}_hi"), float("nan"))
    count, n = int(hits.sum()), len(hits)
    low, high = clopper_pearson(count, n)
    return {name: count / n if n else float("nan"), f"{name}_lo": low, f"{name}_hi": high}


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str) else str(value)


def _column(hyperparameter: str) -> str:
    return f"loss_{hyperparameter}" if hyperparameter in _RESERVED else hyperparameter


def _architectures(evidences: Sequence[Evidence]) -> dict[str, str]:
    """Model to architecture: its label, or its name, with layers and arguments if models of the run differ in them."""
    told: dict[str, dict[str, Any]] = {}
    for item in evidences:
        architecture = item.card.architecture
        layers = {"layers": architecture.layers} if architecture.constrained else {}
        told[item.model] = {**layers, **architecture.args}
        told[item.model].pop("outputs", None)  # goes with the loss
    named = {}
    for item in evidences:
        name, called = item.card.architecture.name, item.card.architecture.label
        others = [told[other.model] for other in evidences if other.card.architecture.name == name]
        differ = [
            key
            for key, value in told[item.model].items()
            if any(other.get(key) != value for other in others if key != "layers" or key in other)
        ]
        shown = ", ".join(f"{key}={told[item.model][key]}" for key in differ)
        named[item.model] = called or (f"{name}({shown})" if shown else name)
    return named


def _setting(
    item: Evidence, architecture: str, hyperparameters: Iterable[str], adversarial: Iterable[str]
) -> dict[str, Any]:
    loss = item.card.loss
    return {
        "model": item.model,
        "family": item.card.family,
        "architecture": architecture,
        "constrained": item.card.architecture.constrained,
        **{_column(key): loss.hyperparameters.get(key, float("nan")) for key in hyperparameters},
        "adversarial": bool(loss.adversarial),
        **{f"adversarial_{key}": _plain(loss.adversarial.get(key, float("nan"))) for key in adversarial},
        "seed": item.card.seed,
    }


def _accuracies(item: Evidence, eps: float) -> dict[str, Any]:
    """Everything that is read off the two bounds (see the definitions in the README).

    ``certified``, ``gap`` and ``tightness`` are of the row's ``grade``.
    """
    ledger, held = item.ledger, item.ledgers
    certified, robust = ledger.certified(eps), ~ledger.broken(eps)
    tightness = ledger.tightness()
    by_grade = [_share(f"certified_{grade}", held[grade].certified(eps) if grade in held else None) for grade in GRADES]
    violations = {grade: int(item.tested(grade).violations().sum()) if grade in held else pd.NA for grade in GRADES}
    return {
        "suite": item.suite.name,
        "norm": str(item.suite.norm),
        "eps": eps,
        "n": item.n,
        **_share("clean", ledger.correct),
        "grade": item.grade,
        **_share("certified", certified),
        **{name: share for shares in by_grade for name, share in shares.items()},
        **_share("robust", robust),
        "gap": (int(robust.sum()) - int(certified.sum())) / item.n if item.n else float("nan"),
        "tightness": float(np.median(tightness)) if len(tightness) else float("nan"),
        "tightness_n": len(tightness),
        "mcr": item.mcr,
        **{f"violations_{grade}": count for grade, count in violations.items()},
        **{key: item.certificate[key] for key in CERTIFICATE},
    }


def _work(item: Evidence, eps: float) -> dict[str, int]:
    """How many samples each attack saw for ``eps``, and what they cost; minimal-norm attacks serve every eps, and count
    at each.
    """
    parts = {attack.name: attack.at(eps) for attack in item.attacks}
    audited = {sample for part in parts.values() for sample in part.loc[part["audit"].astype(bool), "sample"]}
    return {
        "audited": len(audited),
        "forward": sum(int(part["forward"].sum()) for part in parts.values()),
        "backward": sum(int(part["backward"].sum()) for part in parts.values()),
        **{f"attacked:{name}": len(part) for name, part in parts.items()},
    }


def _signs(item: Evidence, eps: float) -> dict[str, float]:
    """Signs that attacks fail, as shares of all samples (Pintor et al. 2022, arXiv 2106.09947), and AutoAttack alone.

    ``square_only``: broken within eps by Square only, which follows no gradient, NaN unless the suite has Square and
    another attack; ``unreached``: correct, and no attack found a perturbation of any size, NaN without an attack that
    looks for one; ``zero_gradients`` to ``only_suite``: NaN without a check of strength.
    """
    ledger, strength, nothing = item.ledger, item.strength, float("nan")
    square, others = (
        [attack.broken(eps) for attack in item.attacks if ("square" in attack.name) is wanted]
        for wanted in (True, False)
    )
    only = set().union(*square).difference(*others)
    signs = {
        "square_only": len(only) / item.n if item.n and square and others else nothing,
        "unreached": float(np.isinf(ledger.adversarial_distance).mean()) if item.n and item.minimal_norm else nothing,
    }
    alone = ("zero_gradients", "loss_stuck", "robust_alone", "evaluations_alone", "only_alone", "only_suite")
    if strength is None:
        return signs | dict.fromkeys(alone, nothing)
    there, here = strength.broken[eps], ledger.broken(eps)
    return signs | {
        "zero_gradients": float(strength.zero_gradients.mean()),
        "loss_stuck": float(strength.loss_stuck.mean()),
        "robust_alone": float((~there).mean()),
        "evaluations_alone": strength.evaluations[eps],
        "only_alone": int((there & ~here).sum()),
        "only_suite": int((here & ~there).sum()),
    }


def summary(run_folder: RunFolder) -> pd.DataFrame:
    """One row per model, suite, norm and eps, in the order of the run. Accuracies are shares in [0, 1].

    ``certified``, ``gap`` and ``tightness`` are of ``grade``: float where the model has an error analysis, else real,
    and ``not_analysed`` says why; ``certified_<grade>`` and ``violations_<grade>`` are there for each grade, NaN where
    the model does not have it. Each accuracy has its interval in ``<name>_lo`` and ``<name>_hi``.
    ``square_only`` to ``only_suite``: signs of attacks that fail, see ``_signs``; ``only_alone`` and ``only_suite``
    count the samples that only AutoAttack alone broke, or only the suite. ``attacked:<backend>/<name>``, ``forward``
    and ``backward`` count the attacks at the row's eps and the minimal-norm attacks, which serve every eps. Raises
    LipbenchError if records are missing or damaged.
    """
    return summarize(evidence.load(run_folder))


def summarize(evidences: Sequence[Evidence]) -> pd.DataFrame:
    """``summary`` of what was already read."""
    found = {key for item in evidences for key in item.card.loss.hyperparameters}
    hyperparameters = [key for key in ORDER if key in found] + sorted(found - set(ORDER))
    adversarial = sorted({key for item in evidences for key in item.card.loss.adversarial})
    architectures = _architectures(evidences)
    frame = pd.DataFrame(
        {
            **_setting(item, architectures[item.model], hyperparameters, adversarial),
            **_accuracies(item, eps),
            **_signs(item, eps),
            **_work(item, eps),
        }
        for item in evidences
        for eps in item.suite.eps
    )
    counts = [str(name) for name in frame if str(name).startswith("attacked:")]
    frame = frame.astype(dict.fromkeys([*counts, *(f"violations_{grade}" for grade in GRADES)], "Int64"))
    frame = frame.astype({"claimed": float, "lipschitz_bound": float, "claim_confirmed": "boolean"})
    work = ["audited", "forward", "backward"]
    return frame[[str(name) for name in frame if str(name) not in work and name not in counts] + counts + work]


def setting_columns(summary: pd.DataFrame) -> list[str]:
    """The columns that tell one setting from another: everything between ``model`` and ``seed``."""
    names = list(summary.columns)
    return names[names.index("family") : names.index("seed" if "seed" in names else "suite")]


def hyperparameter_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that hold a hyperparameter of a loss."""
    names = list(frame.columns)
    return names[names.index("constrained") + 1 : names.index("adversarial")]


def hyperparameters(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, suite, norm and eps: mean, std (ddof 1), min and max over its models (seeds).

    ``grade``: what holds for all of them, ``real`` if that is the grade of one (``float`` implies it).
    """
    keys = [*setting_columns(summary), *GROUP, "eps"]
    groups = summary.groupby(keys, dropna=False, sort=False)
    frame = groups.agg(
        n_seeds=("seed", "nunique"), n_models=("model", "nunique"), n=("n", "min"), grade=("grade", _weakest)
    ).reset_index()
    for quantity in QUANTITIES:
        values = groups[quantity].agg(["mean", "std", "min", "max"]).reset_index(drop=True)
        frame = frame.join(values.add_prefix(f"{quantity}_"))
    pairs = list(zip(frame["suite"], frame["norm"], strict=True))
    order_of_run = list(dict.fromkeys(pairs))
    place = [order_of_run.index(pair) for pair in pairs]
    order = ["_suite", "_unconstrained", *[name for name in keys if name not in (*GROUP, "constrained")]]
    frame = frame.assign(_suite=place, _unconstrained=~frame["constrained"].astype(bool))
    frame = frame.sort_values(order, kind="stable", key=lambda c: c.astype(str) if c.dtype == object else c)
    return frame.drop(columns=["_suite", "_unconstrained"]).reset_index(drop=True)


def _weakest(grades: "pd.Series[str]") -> str:
    return max(grades, key=GRADES.index)


def trends(summary: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rho of clean, certified, robust accuracy and gap against each hyperparameter of a loss.

    At the eps of each suite that ``chosen_eps`` names: at a large one no model may have a certificate left. One row per
    suite, architecture, family and hyperparameter that takes two values or more. ``points`` is the number of models.
    Each rho has its interval in ``<name>_lo`` and ``<name>_hi``. NaN where an accuracy is the same for every model.
    """
    rows = []
    chosen = {keys: chosen_eps(settings) for keys, settings in hyperparameters(summary).groupby(GROUP)}
    for keys, every in summary.groupby([*GROUP, "architecture", "family"], sort=False):
        group = every[every["eps"] == chosen[keys[: len(GROUP)]]]
        for name in hyperparameter_columns(summary):
            known = group[np.isfinite(group[name])]
            if len(known[name].unique()) < 2:
                continue
            row = dict(zip([*GROUP, "architecture", "family"], keys, strict=True))
            row |= {"eps": known["eps"].iloc[0], "hyperparameter": name, "points": len(known)}
            for key in SHARES:
                rho = _rho(known[name], known[key])
                row |= dict(
                    zip((key, f"{key}_lo", f"{key}_hi"), (rho, *spearman_interval(rho, len(known))), strict=True)
                )
            rows.append(row)
    return pd.DataFrame(rows)


def _rho(x: "pd.Series[float]", y: "pd.Series[float]") -> float:
    """Spearman's rho: Pearson's of the ranks, ties sharing their mean rank."""
    return float(x.rank().corr(y.rank())) if len(y.unique()) > 1 and len(x) > 2 else float("nan")


def spearman_interval(rho: float, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """An interval of Spearman's rho over n points; NaN for n < 4.

    tanh(atanh(rho) -+ z sqrt((1 + rho^2 / 2) / (n - 3))), Bonett and Wright 2000 (Psychometrika 65). A perfect
    order, for which that is a single point whatever n, is taken for the next one that n points can have, with two
    neighbours exchanged: 1 - 12 / (n (n^2 - 1)).
    """
    if n < 4 or not np.isfinite(rho):
        return float("nan"), float("nan")
    most = 1 - 12 / (n * (n**2 - 1))
    within = float(np.clip(rho, -most, most))
    half = float(ndtri((1 + confidence) / 2)) * np.sqrt((1 + within**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(within) - half), np.tanh(np.arctanh(within) + half)
    return (float(low), 1.0) if rho > most else (-1.0, float(high)) if rho < -most else (float(low), float(high))


def chosen_eps(settings: pd.DataFrame) -> float:
    """The eps at which certified accuracy differs most between the settings of one suite.

    Settings with 1-Lipschitz layers decide it, if there are any; a tie goes to the middle of the grid.
    """
    some = settings[settings["constrained"].astype(bool)]
    by_eps = (some if len(some) else settings).groupby("eps")["certified_mean"]
    spread = (by_eps.max() - by_eps.min()).fillna(0.0)  # no samples: nothing differs
    best = [float(eps) for eps in spread.index[np.isclose(spread, spread.max())]]
    return best[len(best) // 2]


def on_front(at: pd.DataFrame, accuracy: str) -> Bools:
    """Which settings no other beats in clean accuracy and ``accuracy`` at once: bool (rows of ``at``,)."""
    points = at[["clean_mean", f"{accuracy}_mean"]].to_numpy()
    beaten = [((points >= p).all(axis=1) & (points > p).any(axis=1)).any() for p in points]
    return ~np.array(beaten, dtype=bool) & ~np.isnan(points).any(axis=1)
