"""What a run was, line by line, and what two runs differ in."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from lipbench.runs.plans import Run
from lipbench.runs.suite_plans import SuitePlan

UNTOLD = ("title", "shard")  # a name, and what changes no number


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else str(value)


def of(run: Run, summary: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """What the run was, line by line: its suites, the settings of run.json, and its provenance."""
    weights, models = summary["copy_of"].where(summary["copy_of"] != "", summary["model"]).nunique(), len(run.models)
    found = {
        "models": str(models) if weights == models else f"{models}, of which {models - weights} are copies",
        "samples per model": _words(sorted(summary["n"].unique().tolist())),
    }
    for plan in run.suites:
        parts = parts_of(plan)
        shown = f"{parts['norm']}, eps {parts['eps']}; attacks {parts['attacks']}; {parts['seeds']}"
        alone = f"; beside it {parts['alone']}" * bool(parts["alone"])
        found[f"suite {plan.suite.name}"] = shown + alone
    for key, value in (run.settings | run.provenance).items():
        if key == "audit":
            found["audit share"] = f"{_words(value)} of the certified samples are attacked all the same"
        elif key == "shard":
            found["samples worked on at once"] = _words(value)
        elif key not in ("samples", "title"):  # how many were asked for; how many there are stands above
            found[key.replace("_", " ")] = _words(value)
    return tuple(found.items())


def parts_of(plan: SuitePlan) -> dict[str, str]:
    """What a suite does to each model, part by part."""
    return {
        "norm": str(plan.suite.norm),
        "eps": ", ".join(eps.shown for eps in plan.suite.eps),
        "attacks": ", ".join(str(attack) for attack in plan.suite.attacks),
        "seeds": f"seed{'s' * (len(plan.seeds) > 1)} {_words(plan.seeds)}",
        "alone": "AutoAttack standard alone" if plan.reference_attack is not None else "",
    }


def differences(first: Run, second: Run) -> list[tuple[str, str, str]]:
    """What two runs differ in, and what each has there; nothing is "none"."""
    one, two = dict(_flat(first)), dict(_flat(second))
    names = (name for name in dict.fromkeys([*one, *two]) if one.get(name) != two.get(name))
    return [(name, one.get(name, "none"), two.get(name, "none")) for name in names]


def _flat(run: Run) -> Iterator[tuple[str, str]]:
    """Settings and provenance, those of a table one by one."""
    for key, value in (run.settings | run.provenance).items():
        if key in UNTOLD:
            continue
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            yield from ((f"{name}: {part}", _words(one)) for part, one in value.items())
        else:
            yield name, _words(value)
