"""What a reader must know before believing a table: remarks on the models and settings of one suite."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lipbench._internal.words import shown
from lipbench.certification.grades import NONE
from lipbench.models.cards import UNSPECIFIED
from lipbench.report import columns, settings, signs
from lipbench.report.cautions import ESTIMATE
from lipbench.report.formatting import claim, percent, rows
from lipbench.report.tables import Group

NO_BOUND = "no_certificate"  # the column
USELESS = 0.1  # certified accuracy below which a certificate says next to nothing of a model that is more robust


def remarks(group: Group) -> tuple[str, ...]:
    """Every remark, in the order of the report."""
    return (
        *no_certificate(group),
        *not_analysed(group),
        *claims(group),
        *(
            f"{model}: robust accuracy may be too high. Of the samples, {'; '.join(words)}."
            for model, words in failing_attacks(group).items()
        ),
        *of_settings(group),
        *further_differences(group),
        *copies(group),
    )


def no_certificate(group: Group) -> list[str]:
    """Why models have no certificate, reason by reason, and what makes their robust accuracies estimates."""
    if NO_BOUND not in group.summary:
        return []
    models = group.summary.drop_duplicates("model")
    found = [
        f"{shown(list(part['model']))} ({len(part)} of {len(models)} models): no certificate, so that certified "
        f"numbers are n/a; attacked all the same. The reason: {reason}."
        for reason, part in models.groupby(NO_BOUND, sort=False)
    ]
    careful = models[models["caution"].notna()]
    return found + [f"{row['model']}: {ESTIMATE}: {row['caution']}." for row in rows(careful)]


def not_analysed(group: Group) -> list[str]:
    """Why models have no certificate of grade float, reason by reason."""
    models = group.summary.drop_duplicates("model")
    return [
        f"{len(part)} of {len(models)} models: no certificate of grade float: {reason}. Theirs is of grade real: "
        f"{shown(list(part['model']))}."
        for reason, part in models.groupby("not_analysed", sort=False)
    ]


def claims(group: Group) -> list[str]:
    """Models whose computed bound is above the claim on the card."""
    models = group.summary.drop_duplicates("model")
    failed = models[models["claim_confirmed"].eq(False).fillna(False).astype(bool)]
    if failed.empty:
        return []
    worst = rows(failed.sort_values("lipschitz_bound"))[-1]
    return [
        f"{len(failed)} of {len(models)} models: claim not confirmed. Their nominal certificates are not "
        f"proved. The farthest off is {worst['model']}, {claim(worst)}."
    ]


def failing_attacks(group: Group) -> dict[str, list[str]]:
    """Models whose robust accuracy may be too high, with the signs that attacks fail there."""
    found = {}
    for name, frame in group.summary.groupby("model", sort=False):
        said = []
        for metric in signs.REMARKED:
            counts = frame[metric.name].astype(float)
            said.append(signs.shown(metric, (counts / frame["n"] if metric.kind == "count" else counts).max()))
        words = [sign for sign in said if sign is not None]
        if words:
            found[str(name)] = words
    return found


def of_settings(group: Group) -> list[str]:
    """Settings whose spread is over more than the seed, and what the certificates of unconstrained networks say."""
    found = []
    for name, part in group.by_setting():
        first = part[0]
        models, seeds = first["n_models"], first["n_seeds"]
        if models > seeds:
            found.append(f"{name}: {models} models share {seeds} seeds: ± is over more than the seed.")
        if not first["constrained"] and first["family"] != UNSPECIFIED and first["grade"] != NONE:
            ends = "; ".join(_worth(group, row) for row in (part if len(part) < 2 else (first, part[-1])))
            found.append(f"{name}: an unconstrained network. Its certificate is valid: {ends}.")
    return found


def _worth(group: Group, row: Mapping[str, Any]) -> str:
    """What the certificate of a setting says at one eps."""
    certified, robust = row["certified_mean"], row["robust_mean"]
    word = " (nearly useless there)" if certified < USELESS < robust else ""
    return f"{percent(certified)} % certified and {percent(robust)} % robust at eps {group.shown(row['eps'])}{word}"


def further_differences(group: Group) -> list[str]:
    """What settings differ in besides architecture and loss."""
    differ = []
    for name in columns.further_columns(group.settings):
        values = sorted(dict.fromkeys("none" if pd.isna(value) else str(value) for value in group.settings[name]))
        differ.append(f"{name} ({', '.join(values)})")
    return [f"Settings also differ in {'; '.join(differ)}: see hyperparameters.csv."] if differ else []


def copies(group: Group) -> list[str]:
    """Models that are the same network."""
    counted = set(settings.distinct(group.summary)["model"])
    found = []
    for row in rows(group.summary.drop_duplicates("model")):
        if row["copy_of"]:
            once = "another setting on its card" if row["model"] in counted else "counted once"
            found.append(f"{row['model']} is a copy of {row['copy_of']}: equal weights, {once}.")
    return found
