"""Findings: what the numbers of a suite say, in at most six short paragraphs, computed from the report's own frames.

First the best setting, then what each hyperparameter does (``trends``), then how far the certificates were tested, and
last what limits the evaluation (``limits``). The same run gives the same words.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lipbench._internal.arrays import Ints
from lipbench._internal.words import count, listed, shown
from lipbench.certification.grades import NONE
from lipbench.report import limits, trends
from lipbench.report.answers import UNCORRECTED
from lipbench.report.columns import Metric
from lipbench.report.formatting import family, general, labels, percent, rows, share, violations
from lipbench.report.hyperparameters import chosen_eps
from lipbench.report.metrics import CERTIFIED, MEAN_GAP, ROBUST
from lipbench.report.tables import Group
from lipbench.runs.results import ModelResults

MOST = 6  # paragraphs of a suite
Why = Callable[[str], str | None]


def findings(group: Group, items: Sequence[ModelResults], why_gap: Why | None = None) -> tuple[str, ...]:
    """The findings of one suite; none of them where nothing in the run gives cause for it.

    items: of this suite; why_gap: from the digest of a setting to a sentence on where its gap comes from, or None. It
    is asked about the setting with the largest mean gap among those with 1-Lipschitz layers.
    """
    eps, named = chosen_eps(group.settings), labels(group.settings, short=True, between=" ")
    first = list(best(group, eps, named))
    last = [*_largest_gap(group, eps, named, why_gap), *certificates(group, items), *limits.limits(group, items, named)]
    return (*first, *_trends(group, eps, MOST - len(first) - len(last)), *last)


def goal(group: Group) -> Metric:
    """What settings are ranked by: certified accuracy, or robust accuracy where no network has a certificate."""
    return CERTIFIED if group.grade != NONE else ROBUST


# --- the best setting ---


def best(group: Group, eps: float, named: Mapping[str, str]) -> Iterator[str]:
    """The best setting, how sure that is, and what cannot be told apart from it.

    named: the settings in words, by digest.
    """
    metric, part = goal(group), group.comparisons
    part = part[(part["metric"] == metric.name) & (part["eps"] == eps)].dropna(subset="difference")
    if part.empty:  # no samples
        return
    digest = rows(part)[0]["best"]
    at = rows(group.settings[(group.settings["eps"] == eps) & (group.settings["setting"] == digest)])[0]
    networks = "seed" if at["n_models"] == at["n_seeds"] else "network"
    value = f"{_value(at, metric)} over {count(at['n_models'], networks)} and {count(at['n'], 'sample')}"
    where = f"{metric.term} at eps {group.shown(eps)} ({group.unit}): {value}."
    rest = part[part["setting"] != digest].sort_values("difference", ascending=False, kind="stable")
    if rest.empty:
        yield f"{named[digest]} has a {where}"
        return
    chance = share(part.loc[part["setting"] == digest, "p_best"].item())
    sure = f"It is the best one in {chance} of resamples, P(best)."
    yield f"{named[digest]} has the highest {where} {sure} {_apart(rest, named)}"


def _apart(rest: pd.DataFrame, named: Mapping[str, str]) -> str:
    """What the best setting cannot be told apart from, the closest first; rest: the rows of comparisons of others."""
    same = rest[(rest["difference_lo"] <= 0) & (rest["difference_hi"] >= 0)]
    if same.empty:
        each = "The other setting" if len(rest) == 1 else f"Each of the {len(rest)} other settings"
        return f"{each} is worse: no 95 % interval of a difference includes 0 ({UNCORRECTED})."
    some = "the other setting" if len(rest) == 1 else f"{len(same)} of the {len(rest)} other settings"
    return (
        f"It cannot be told apart from {some}, as the 95 % interval of the difference includes 0 ({UNCORRECTED}): "
        f"{shown([named[digest] for digest in same['setting']])}."
    )


def _value(row: Mapping[str, Any], metric: Metric, unit: str = "%") -> str:
    """``83.3 % [76.6, 89.9]``."""
    value, low, high = (percent(row[f"{metric.name}_{end}"]) for end in ("mean", "lo", "hi"))
    return f"{value} {unit} [{low}, {high}]"


# --- hyperparameters, and where a gap comes from ---


def _trends(group: Group, eps: float, room: int) -> Iterator[str]:
    """A paragraph per family; one per metric where there is no room for that."""
    found = [(family(name, short=True), held) for name, held in trends.by_family(group.effects).items()]
    if len(found) <= room:
        for name, held in found:
            text = " ".join(each.sentence(goal(group), eps, group) for each in held)
            yield f"{name}: {text[0].lower()}{text[1:]}"
        return
    for metric in (goal(group), MEAN_GAP):
        said = [f"{name} {each.brief(metric, eps)}" for name, held in found for each in held]
        yield f"{trends.noun(metric, eps, group)}, loss by loss: {'; '.join(said)}."


def _largest_gap(group: Group, eps: float, named: Mapping[str, str], why_gap: Why | None) -> Iterator[str]:
    """Where the largest mean gap of a setting with 1-Lipschitz layers comes from."""
    at = group.settings[(group.settings["eps"] == eps) & group.settings["constrained"].astype(bool)]
    at = at.dropna(subset=f"{MEAN_GAP.name}_mean").sort_values(f"{MEAN_GAP.name}_mean", kind="stable")
    if why_gap is None or at.empty:
        return
    row = rows(at)[-1]
    why = why_gap(row["setting"])
    if why is not None:
        start = f"Of the networks with 1-Lipschitz layers, {named[row['setting']]} has the largest mean gap"
        yield f"{start}, {_value(row, MEAN_GAP, 'points')}. {why}"


# --- certificates ---


def certificates(group: Group, items: Sequence[ModelResults]) -> Iterator[str]:
    """How many certified radii were attacked, how often, how many of them are false, and the closest approach."""
    held = [item for item in items if item.certified]
    radii = [item.tested[item.grade].certified_radius > 0 for item in held]
    seen = [_attacks_seen(item)[radius] for item, radius in zip(held, radii, strict=True)]
    total = sum(int(radius.sum()) for radius in radii)
    if not total:
        return
    attacked, runs = (sum(int(part.sum()) for part in parts) for parts in ([each > 0 for each in seen], seen))
    yield (
        f"{attacked} of {total} certified radii ({count(len(held), 'network')}) were attacked"
        + f", {runs / attacked:.1f} times each on average" * bool(attacked)
        + f". {_broken(violations(group.summary))}.{_closest(held)}"
    )


def _attacks_seen(item: ModelResults) -> Ints:
    """How often an attack saw each sample: counted per attack, and per eps where it was run at each: int (n,)."""
    parts = [record.sample for attack in item.attacks for _, record in attack.records]
    parts += [record.sample for record in (item.reference.records if item.reference else ())]
    seen = pd.Series(np.concatenate(parts) if parts else [], dtype=np.int64).value_counts()
    return np.asarray(seen.reindex(item.samples, fill_value=0), dtype=np.int64)


def _broken(counts: Mapping[str, int]) -> str:
    """How many certificates are false, by grade."""
    if not any(counts.values()):
        return f"None is broken, in {'grade' if len(counts) == 1 else 'grades'} {listed(list(counts))}"
    return f"Broken certificates: {listed([f'{number} of grade {grade}' for grade, number in counts.items()])}"


def _closest(held: Sequence[ModelResults]) -> str:
    """The smallest adversarial distance over certified radius, of which sample."""
    found = []
    for item in held:
        bounds = item.tested[item.grade]
        known = np.flatnonzero((bounds.certified_radius > 0) & np.isfinite(bounds.adversarial_distance))
        ratio = bounds.adversarial_distance[known] / bounds.certified_radius[known]
        if len(known):
            place = int(ratio.argmin())
            found.append((float(ratio[place]), item.model, int(item.samples[known[place]])))
    if not found:
        return ""
    times, model, sample = min(found, key=lambda each: each[0])
    return (
        f" The closest adversarial input is at {_factor(times)} times its certified radius: sample {sample} of {model}."
    )


def _factor(times: float) -> str:
    """In four digits; as a difference from 1 where these would hide it."""
    text = general(times)
    return text if text != "1" or times == 1 else f"1 {'+' if times > 1 else '-'} {abs(times - 1):.1e}"
