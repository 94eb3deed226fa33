"""The numbers of a report, as pandas frames: per model, per setting of the loss, and across settings.

A setting is everything on a model's card but its name, its seed and its weights. Not the claim either, which is read
off the weights, nor the versions of the libraries that trained it: a sweep that is resumed after an update is still one
sweep. Which libraries they were does count. Two models of a setting whose weights are equal are one model.

Names that users choose, of hyperparameters and of training settings, are columns behind a prefix, so that none can
clash with a metric, and columns are found by their names and prefixes, never by their place.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import betaincinv, ndtri  # scipy.stats would take a second to import

from lipbench._internal import files
from lipbench._internal.arrays import Bools
from lipbench.certification.grades import GRADES
from lipbench.models.cards import Card
from lipbench.runs import results
from lipbench.runs.folder import RunFolder
from lipbench.runs.results import ModelResults

CONFIDENCE = 0.95
ORDER = ("tau", "alpha", "min_margin")  # known hyperparameters, in the order of columns
QUANTITIES = ("clean", "certified", "robust", "gap", "tightness", "mcr")
GROUP = ["suite", "norm"]
SHARES = ("clean", "certified", "robust", "gap")  # of the samples
CERTIFICATE = ("lipschitz_bound", "claimed", "claim_confirmed", "dtype", "not_analysed")
SETTING = ("setting", "family", "architecture", "constrained", "adversarial")
LOSS, ADVERSARIAL = "loss.", "adversarial."  # hyperparameters, and arguments of adversarial training
# what else is on a card, where models of the run differ in it
FURTHER = ("card.", "architecture.", "preprocessing.", "training.")
NOT_SETTING = ("name", "seed", "weights_sha256", "claimed")  # fields of a card
IMPLIED = ("card.loss", "card.versions", "architecture.")  # mostly told by family and architecture


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
    """A value of a card as a cell: what is no number and no text is JSON."""
    plain = _canonical(value)
    return plain if isinstance(plain, bool | int | float | str) else json.dumps(plain)


def _canonical(value: Any) -> Any:
    """The same for equal values: 1 and 1.0 are, 1 and True are not."""
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _digest(value: Any) -> str:
    return files.sha256_bytes(json.dumps(_canonical(value), sort_keys=True).encode())[:12]


def _flat(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The values of a table and its tables, each with its place: a key with a dot in it is quoted."""
    for key, value in table.items():
        name = prefix + (key if re.fullmatch(r'[^."]+', key) else json.dumps(key))
        if isinstance(value, dict) and value:
            yield from _flat(f"{name}.", value)
        else:
            yield name, value


@dataclass(frozen=True)
class _Setting:
    """What a card says of how its model was made."""

    digest: str  # equal where all of it is
    further: dict[str, Any]  # all but the loss's numbers, by column

    @classmethod
    def of(cls, card: Card) -> "_Setting":
        content = {key: value for key, value in card.plain().items() if key not in NOT_SETTING}
        content["versions"] = sorted(card.versions)
        loss = content["loss"]
        further = {"card.loss": loss["name"], "card.loss_label": loss.get("label", "")}
        for key, value in content.items():
            if f"{key}." in FURTHER:
                further |= _flat(f"{key}.", value)
            elif key != "loss":
                further[f"card.{key}"] = value
        return cls(_digest(content), further)


def _architectures(evidences: Sequence[ModelResults]) -> dict[str, str]:
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


def _settings(evidences: Sequence[ModelResults]) -> dict[str, dict[str, Any]]:
    """The columns of each model's setting."""
    cards, architectures = {item.model: item.card for item in evidences}, _architectures(evidences)
    found = {key for card in cards.values() for key in card.loss.hyperparameters}
    hyperparameters = [key for key in ORDER if key in found] + sorted(found - set(ORDER))
    adversarial = sorted({key for card in cards.values() for key in card.loss.adversarial})
    nothing, settings, columns = float("nan"), {}, {}
    for model, card in cards.items():
        loss, settings[model] = card.loss, _Setting.of(card)
        columns[model] = {
            "setting": settings[model].digest,
            "family": card.family,
            "architecture": architectures[model],
            "constrained": card.architecture.constrained,
            **{f"{LOSS}{key}": loss.hyperparameters.get(key, nothing) for key in hyperparameters},
            "adversarial": bool(loss.adversarial),
            **{f"{ADVERSARIAL}{key}": _plain(loss.adversarial.get(key, nothing)) for key in adversarial},
        }
    for name in dict.fromkeys(name for setting in settings.values() for name in setting.further):
        values: dict[Any, set[str]] = {}
        for model, told in columns.items():
            alike = [told[key] for key in SETTING[1:4]] if name.startswith(IMPLIED) else []
            value = settings[model].further.get(name, nothing)
            values.setdefault(tuple(alike), set()).add(_digest(value))
        if any(len(different) > 1 for different in values.values()):
            for model, told in columns.items():
                told[name] = _plain(settings[model].further.get(name, nothing))
    return columns


def _copies(evidences: Sequence[ModelResults]) -> dict[str, str]:
    """The first model of the run that has the same weights, for each that is not the first.

    The same file, or the same setting and the same answers: weights that are stored anew make another file.
    """
    first: dict[tuple[str, ...], str] = {}
    originals: dict[str, str] = {}
    for item in evidences:
        keys: list[tuple[str, ...]] = [(item.card.weights_sha256,)]
        if item.answers is not None:
            keys.append((_Setting.of(item.card).digest, item.answers))
        originals.setdefault(item.model, next((first[key] for key in keys if key in first), item.model))
        for key in keys:
            first.setdefault(key, originals[item.model])
    return {model: original for model, original in originals.items() if original != model}


def _accuracies(item: ModelResults, eps: float) -> dict[str, Any]:
    """Everything that is read off the two bounds (see the definitions in the README).

    ``certified``, ``gap`` and ``tightness`` are of the row's ``grade``.
    """
    bounds, held = item.bounds, item.bounds_by_grade
    certified, robust = bounds.certified(eps), ~bounds.broken(eps)
    tightness = bounds.tightness()
    by_grade = [_share(f"certified_{grade}", held[grade].certified(eps) if grade in held else None) for grade in GRADES]
    violations = {grade: int(item.tested(grade).violations().sum()) if grade in held else pd.NA for grade in GRADES}
    return {
        "suite": item.suite.name,
        "norm": str(item.suite.norm),
        "eps": eps,
        "n": item.n,
        **_share("clean", bounds.correct),
        "grade": item.grade,
        **_share("certified", certified),
        **{name: share for shares in by_grade for name, share in shares.items()},
        **_share("robust", robust),
        "gap": (int(robust.sum()) - int(certified.sum())) / item.n if item.n else float("nan"),
        "tightness": float(np.median(tightness)) if len(tightness) else float("nan"),
        "tightness_n": len(tightness),
        "mcr": item.mcr,
        **{f"violations_{grade}": count for grade, count in violations.items()},
        **{key: getattr(item.certificate, key) for key in CERTIFICATE},
    }


def _work(item: ModelResults, eps: float) -> dict[str, int]:
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


def _signs(item: ModelResults, eps: float) -> dict[str, float]:
    """Signs that attacks fail, as shares of all samples (Pintor et al. 2022, arXiv 2106.09947), and AutoAttack alone.

    ``square_only``: broken within eps by Square only, which follows no gradient, NaN unless the suite has Square and
    another attack; ``unreached``: correct, and no attack found a perturbation of any size, NaN without an attack that
    looks for one; ``zero_gradients`` to ``only_suite``: NaN without a reference attack.
    """
    bounds, nothing = item.bounds, float("nan")
    square, others = (
        [attack.broken(eps) for attack in item.attacks if ("square" in attack.name) is wanted]
        for wanted in (True, False)
    )
    only = set().union(*square).difference(*others)
    signs = {
        "square_only": len(only) / item.n if item.n and square and others else nothing,
        "unreached": float(np.isinf(bounds.adversarial_distance).mean()) if item.n and item.minimal_norm else nothing,
    }
    alone = ("zero_gradients", "loss_stuck", "robust_alone", "evaluations_alone", "only_alone", "only_suite")
    if item.reference is None or item.indicators is None:
        return signs | dict.fromkeys(alone, nothing)
    there, here = item.reference.broken(eps), bounds.broken(eps)
    return signs | {
        "zero_gradients": float(item.indicators.zero_gradient.mean()),
        "loss_stuck": float(item.indicators.loss_stuck.mean()),
        "robust_alone": float((~there).mean()),
        "evaluations_alone": item.reference.evaluations[eps],
        "only_alone": int((there & ~here).sum()),
        "only_suite": int((here & ~there).sum()),
    }


def summary(run_folder: RunFolder) -> pd.DataFrame:
    """One row per model, suite, norm and eps, in the order of the run. Accuracies are shares in [0, 1].

    ``certified``, ``gap`` and ``tightness`` are of ``grade``: float where the model has an error analysis, else real,
    and ``not_analysed`` says why; ``certified_<grade>`` and ``violations_<grade>`` are there for each grade, NaN where
    the model does not have it. Each accuracy has its interval in ``<name>_lo`` and ``<name>_hi``.
    ``setting`` is the same for models that differ in nothing but the seed and the weights; ``copy_of`` names the first
    model with the same weights. Hyperparameters are ``loss.NAME``, arguments of adversarial training
    ``adversarial.NAME``, and what else differs from card to card is there by its place, such as ``training.epochs``.
    ``square_only`` to ``only_suite``: signs of attacks that fail, see ``_signs``; ``only_alone`` and ``only_suite``
    count the samples that only AutoAttack alone broke, or only the suite. ``attacked:<backend>/<name>``, ``forward``
    and ``backward`` count the attacks at the row's eps and the minimal-norm attacks, which serve every eps. Raises
    LipbenchError if records are missing or damaged.
    """
    return summarize(results.load(run_folder))


def summarize(evidences: Sequence[ModelResults]) -> pd.DataFrame:
    """``summary`` of what was already read."""
    settings, copies = _settings(evidences), _copies(evidences)
    frame = pd.DataFrame(
        {
            "model": item.model,
            "copy_of": copies.get(item.model, ""),
            **settings[item.model],
            "seed": item.card.seed,
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


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that tell one setting from another; ``setting``, a digest, does so by itself."""
    return [str(name) for name in frame if name in SETTING or str(name).startswith((LOSS, ADVERSARIAL, *FURTHER))]


def hyperparameter_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that hold a hyperparameter of a loss, ``loss.NAME``."""
    return [str(name) for name in frame if str(name).startswith(LOSS)]


def further_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of what models differ in beside architecture and loss, such as ``training.epochs``."""
    return [str(name) for name in frame if str(name).startswith(FURTHER)]


def alike(frame: pd.DataFrame, names: Sequence[str]) -> "pd.Series[str]":
    """Equal for the rows that are equal in all of these columns, whatever types these mix; NaN equals NaN."""
    values = frame[list(names)].astype(object).itertuples(index=False, name=None)
    return pd.Series([repr(row) for row in values], index=frame.index, dtype=object)


def distinct(summary: pd.DataFrame) -> pd.DataFrame:
    """Without the models whose weights another one of their setting has."""
    weights = summary["copy_of"].where(summary["copy_of"] != "", summary["model"])
    return summary[~summary.assign(copy_of=weights).duplicated(["setting", "copy_of", *GROUP, "eps"])]


def hyperparameters(summary: pd.DataFrame) -> pd.DataFrame:
    """One row per setting, suite, norm and eps: mean, std (ddof 1), min and max over its models (seeds).

    Models with the same weights count once. ``grade``: what holds for all of them, ``real`` if that is the grade of one
    (``float`` implies it).
    """
    known, keys, identity = distinct(summary), setting_columns(summary), ["setting", *GROUP, "eps"]
    groups = known.groupby(identity, sort=False)
    frame = known.drop_duplicates(identity)[[*keys, *GROUP, "eps"]].reset_index(drop=True)
    counts = groups.agg(
        n_seeds=("seed", "nunique"), n_models=("model", "nunique"), n=("n", "min"), grade=("grade", _weakest)
    )
    frame = frame.join(counts.reset_index(drop=True))
    for quantity in QUANTITIES:
        values = groups[quantity].agg(["mean", "std", "min", "max"]).reset_index(drop=True)
        frame = frame.join(values.add_prefix(f"{quantity}_"))
    pairs = list(zip(frame["suite"], frame["norm"], strict=True))
    order_of_run = list(dict.fromkeys(pairs))
    place = [order_of_run.index(pair) for pair in pairs]
    told = [name for name in keys if name not in ("setting", "constrained")]
    order = ["_suite", "_unconstrained", *told, "eps", "setting"]
    frame = frame.assign(_suite=place, _unconstrained=~frame["constrained"].astype(bool))
    frame = frame.sort_values(order, kind="stable", key=lambda c: c.astype(str) if c.dtype == object else c)
    return frame.drop(columns=["_suite", "_unconstrained"]).reset_index(drop=True)


def _weakest(grades: "pd.Series[str]") -> str:
    return max(grades, key=GRADES.index)


def trends(summary: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rho of clean, certified, robust accuracy and gap against each hyperparameter of a loss.

    At the eps of each suite that ``chosen_eps`` names: at a large one no model may have a certificate left. One row per
    suite, hyperparameter that takes two values or more, and kind of model: equal in all but the loss's hyperparameters.
    ``points`` is the number of models, those with the same weights counted once. Each rho has its interval in
    ``<name>_lo`` and ``<name>_hi``. NaN where an accuracy is the same for every model.
    """
    rows = []
    chosen = {keys: chosen_eps(settings) for keys, settings in hyperparameters(summary).groupby(GROUP)}
    models, found = distinct(summary), hyperparameter_columns(summary)
    kind = [*GROUP, *(name for name in setting_columns(summary) if name != "setting" and name not in found)]
    for _, every in models.groupby(alike(models, kind), sort=False):
        told = every.iloc[0]
        group = every[every["eps"] == chosen[told["suite"], told["norm"]]]
        for name in found:
            known = group[np.isfinite(group[name])]
            if len(known[name].unique()) < 2:
                continue
            row = {key: told[key] for key in kind}
            row |= {"eps": known["eps"].iloc[0], "hyperparameter": name.removeprefix(LOSS), "points": len(known)}
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
