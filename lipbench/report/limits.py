"""What limits an evaluation, in words: few seeds, weak or missing attacks, no certificate, confounded settings."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from lipbench._internal.words import count, listed, shown
from lipbench.certification.grades import NONE
from lipbench.report import columns, remarks
from lipbench.report.formatting import general, rows
from lipbench.report.tables import Group
from lipbench.runs.results import ModelResults

COVERED = "40 %"  # benchmarks/coverage.py, seeds 1: difference 39.7 and 43.0
FEW = 5  # seeds below which an interval by Student's t is wide
TRAINING = "training."  # what columns of training settings start with
LOSS_AND_LAYERS = (columns.FAMILY, columns.ARCHITECTURE, columns.CONSTRAINED, columns.HYPERPARAMETERS)


def limits(group: Group, items: Sequence[ModelResults], named: Mapping[str, str]) -> Iterator[str]:
    """One paragraph with a sentence for each limit; nothing where there is none.

    items: of this suite; named: the settings in words, by digest.
    """
    said = [*seeds(group), *attacks(group, items), *certificates(group), *confounded(group, named)]
    if said:
        yield f"Limits: {' '.join(said)}"


def seeds(group: Group) -> Iterator[str]:
    """How many settings have one seed, and how many too few for narrow intervals."""
    once = group.settings.drop_duplicates("setting")
    one, few = (once["n_models"] == 1).sum(), once.loc[once["n_models"].between(2, FEW - 1), "n_models"]
    if one:
        who = "Every setting has" if one == len(once) else f"{one} of {len(once)} settings have"
        yield (
            f"{who} one seed: intervals, trends and P(best) cover samples alone there, and another seed may change the "
            f"order (in simulations with one seed, {COVERED} of the intervals of a difference hold the truth)."
        )
    if len(few):
        sizes = listed([str(size) for size in sorted(few.unique())])
        who = "Settings have" if len(few) == len(once) else f"{len(few)} of {len(once)} settings have"
        yield f"{who} {sizes} seeds: the spread over seeds is poorly known, and intervals are wide."


def attacks(group: Group, items: Sequence[ModelResults]) -> Iterator[str]:
    """Signs of weak attacks, and attacks that were left out."""
    weak, models = list(remarks.failing_attacks(group)), group.summary["model"].nunique()
    if weak:
        yield (
            f"Attacks show signs of failing on {len(weak)} of {count(models, 'network')}, whose robust accuracy may be "
            f"too high: {shown(weak)}."
        )
    failed: dict[str, list[str]] = {}
    for item in items:
        for attack in item.left_out:
            failed.setdefault(attack, []).append(item.model)
    for attack, on in failed.items():
        yield f"{attack} failed and was left out on {count(len(on), 'network')}: {shown(on)}."


def certificates(group: Group) -> Iterator[str]:
    """Networks without a certificate, and those whose robust accuracy is an estimate."""
    models = group.summary.drop_duplicates("model")
    without = list(models.loc[models["grade"] == NONE, "model"])
    if len(without) == len(models):
        yield "No network has a certificate: only attacks speak about robustness, and better ones may lower it."
    elif without:
        yield f"{len(without)} of {count(len(models), 'network')} have no certificate: {shown(without)}."
    estimated = list(models.loc[models["caution"].notna(), "model"]) if "caution" in models else []
    if estimated:
        yield f"Robust accuracy is an estimate for {shown(estimated)}."


def confounded(group: Group, named: Mapping[str, str]) -> Iterator[str]:
    """Settings that differ from most in their training as well as in loss or layers.

    A training setting of most settings is taken as the rule. One that deviates is named unless another setting with the
    same loss and layers keeps to the rule, so that the two can be compared.
    """
    once = group.settings.drop_duplicates("setting")
    loss = [str(name) for name in once if any(column.covers(str(name)) for column in LOSS_AND_LAYERS)]
    same, found = columns.alike(once, loss), dict[str, list[str]]()
    for name in columns.further_columns(once):
        if not name.startswith(TRAINING):
            continue
        values = columns.alike(once, [name])
        most = values.mode().iloc[0] if values.value_counts().max() > 1 else None
        usual = once.loc[values == most, name]
        matched = set(same[values == most])
        for row in rows(once[(values != most) & ~same.isin(matched)]) if len(usual) else ():
            instead = f"{name.removeprefix(TRAINING)} {_text(row[name])} instead of {_text(usual.iloc[0])}"
            found.setdefault(row["setting"], []).append(instead)
    if found:
        order = [row["setting"] for row in rows(once.sort_values("constrained", ascending=False, kind="stable"))]
        said = [f"{named[digest]} ({listed(found[digest])})" for digest in order if digest in found]
        yield (
            "Some settings were also trained differently from most, so that a difference from them need not come from "
            f"the loss or the layers: {shown(said, 2)}."
        )


def _text(value: object) -> str:
    if isinstance(value, float | int) and not isinstance(value, bool):
        return "none" if pd.isna(value) else general(value)
    return str(value)
