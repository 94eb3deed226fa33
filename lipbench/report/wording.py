"""Numbers and settings in words, as tables and figures print them. Accuracies become percent here."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from lipbench.records import GRADES
from lipbench.report import frames

MISSING = "n/a"
WORDS = {  # the paper's notation, for figures and TeX
    "tau_cross_entropy": "CE",
    "cross_entropy": "CE without tau",
    "hkr_multiclass": "HKR",
    "hinge_multiclass": "hinge",
    "kr_multiclass": "KR",
    "mcr": "MCR loss",
    "categorical_hinge": "categorical hinge",
    "soft_hkr_multiclass": "soft HKR",
    "lse_hkr_multiclass": "LSE-HKR",
    "offset_cross_entropy": "offset CE",
    "certificate_regularized_cross_entropy": "CE-CR",
    "tau_binary_cross_entropy": "BCE",
    "hinge_binary": "binary hinge",
    "hkr_binary": "binary HKR",
    "kr_binary": "binary KR",
    "tau": "τ=",
    "alpha": "α=",
    "min_margin": "m=",
    "gamma": "γ=",
}
_T = TypeVar("_T")


def few(values: Sequence[_T], most: int) -> list[_T]:
    """Up to ``most`` of ``values``, evenly spread from the first to the last; of one, the middle."""
    if most == 1:
        return [values[len(values) // 2]]
    return [values[round(place)] for place in np.linspace(0, len(values) - 1, min(most, len(values)))]


def number(value: Any, digits: int = 3) -> str:
    """A number with fixed decimals, or n/a."""
    return MISSING if pd.isna(value) else f"{value:.{digits}f}"


def general(value: Any, digits: int = 4) -> str:
    """A number in the fewest digits, or n/a."""
    return MISSING if pd.isna(value) else f"{value:.{digits}g}"


def percent(value: Any) -> str:
    """A share in [0, 1] as percent, without the sign."""
    return MISSING if pd.isna(value) else f"{100 * value:.1f}"


def with_interval(row: Mapping[str, Any], name: str) -> str:
    """An accuracy and its 95 % interval: ``82.4 [78.0, 86.1]``."""
    value = percent(row[name])
    return value if value == MISSING else f"{value} [{percent(row[f'{name}_lo'])}, {percent(row[f'{name}_hi'])}]"


def correlation(row: Mapping[str, Any], name: str) -> str:
    """A correlation and its 95 % interval: ``+0.82 [+0.55, +0.93]``; n/a for what there is not."""
    if pd.isna(row[name]):
        return MISSING
    inside = ", ".join(f"{row[f'{name}_{end}']:+.2f}" for end in ("lo", "hi"))
    return f"{row[name]:+.2f}" if pd.isna(row[f"{name}_lo"]) else f"{row[name]:+.2f} [{inside}]"


def over_seeds(row: Mapping[str, Any], name: str, scale: float = 100, digits: int = 1) -> str:
    """Mean and standard deviation over seeds: ``82.4 ± 1.0``; the mean alone where there is one seed."""
    mean, std = row[f"{name}_mean"], row[f"{name}_std"]
    if pd.isna(mean):
        return MISSING
    shown = f"{scale * mean:.{digits}f}"
    return shown if pd.isna(std) else f"{shown} ± {scale * std:.{digits}f}"


def claim(row: Mapping[str, Any]) -> str:
    """What became of the Lipschitz constant that a card claims."""
    if pd.isna(row["claimed"]):
        return "no claim"
    if pd.isna(row["claim_confirmed"]):
        return "not checked"
    if row["claim_confirmed"]:
        return "confirmed"
    bound, claimed = general(row["lipschitz_bound"], 9), general(row["claimed"], 9)
    if bound == claimed:  # apart by less than nine digits
        bound, claimed = repr(float(row["lipschitz_bound"])), repr(float(row["claimed"]))
    return f"claim not confirmed: computed bound {bound} > claimed {claimed}"


def label(
    row: Mapping[str, Any], frame: pd.DataFrame, words: Mapping[str, str] | None = None, *, whole: bool = True
) -> str:
    """A setting in words: ``hkr, alpha 10, min_margin 0.1412``. ``words`` replaces names by shorter ones.

    The architecture comes first where ``frame`` holds more than one; what a loss does not have is left out, and
    so are arguments of adversarial training, other than eps, that are the same in all of ``frame``. The grade comes
    last where it is weaker than that of others. Not ``whole``: without the family, where all of ``frame`` share it and
    anything else is left to say.
    """
    words = words or {}
    family = words.get(row["family"], row["family"])
    parts = [str(row["architecture"])] if len(frame["architecture"].unique()) > 1 else []
    parts += [family] if whole or len(frame["family"].unique()) > 1 else []
    if row["adversarial"] and row["constrained"]:
        parts.append("adversarial training")
    for name in _told(frame):
        value = row[name]
        if pd.isna(value):
            continue
        word = words.get(name, name.removeprefix("adversarial_"))
        shown = general(value) if isinstance(value, int | float) else str(value)
        parts.append(f"{word}{shown}" if word.endswith("=") else f"{word} {shown}")
    if row["grade"] != strongest(frame):
        parts = [*(parts or [family]), f"grade {row['grade']}"]
    return ", ".join(parts or [family])


def _told(frame: pd.DataFrame) -> list[str]:
    """The columns that a label tells: hyperparameters, eps of adversarial training, and what else differs there."""
    keys, adversarial = frames.setting_columns(frame), frame["adversarial"].astype(bool)
    arguments = keys[keys.index("adversarial") + 1 :]
    differ = [name for name in arguments if len(frame.loc[adversarial, name].unique()) > 1]
    return [*frames.hyperparameter_columns(frame), *(n for n in arguments if n == "adversarial_eps" or n in differ)]


def strongest(frame: pd.DataFrame) -> str:
    """The grade of the headline numbers of ``frame``, settings that are marked with a weaker one apart."""
    return min(frame["grade"].unique(), key=GRADES.index)


def violations(summary: pd.DataFrame) -> dict[str, int]:
    """How many certificates are false, by grade: those that a model of ``summary`` has."""
    once = summary.drop_duplicates(["model", *frames.GROUP])
    counts = {grade: once[f"violations_{grade}"] for grade in GRADES}
    return {grade: int(count.sum()) for grade, count in counts.items() if count.notna().any()}


def notation(frame: pd.DataFrame) -> str:
    """What the short words stand for that figures and TeX use for the settings of ``frame``; empty if none."""
    used = {*frame["family"], *(name for name in frames.hyperparameter_columns(frame) if frame[name].notna().any())}
    pairs = [f"{word.rstrip('=')} is {name}" for name, word in WORDS.items() if name in used]
    return f"{', '.join(pairs)}." if pairs else ""


def unit(norm: str) -> str:
    """The unit of eps, as axes and captions print it."""
    return f"{'L∞' if norm == 'Linf' else norm}, input range [0, 1]"


def rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a frame as dictionaries."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def suites(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """(suite, norm) in the order of the run."""
    return list(dict.fromkeys((row["suite"], row["norm"]) for row in rows(frame[frames.GROUP])))
