"""What a report says, before it becomes Markdown, HTML or TeX."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lipbench.certification.grades import GRADES, NONE
from lipbench.report import answers, hyperparameters, tables, verification
from lipbench.report.cautions import NO_CERTIFICATE
from lipbench.report.formatting import legend, percent, violations
from lipbench.report.metrics import SHARES
from lipbench.report.remarks import remarks
from lipbench.report.tables import Group, Table
from lipbench.report.verification import VerificationSection
from lipbench.runs.plans import Run
from lipbench.runs.results import ModelResults

if TYPE_CHECKING:
    from lipbench.report.results import Results

FIGURES = ("sandwich", "pareto", "gap")
SHOWN_VIOLATIONS = 20
ALONE = "Networks without a certificate have their robust accuracy alone."
HEADLINE = tuple(metric.name for metric in SHARES if metric.interval)


@dataclass(frozen=True)
class Section:
    """All that a report says of one suite."""

    group: Group
    about: str  # which grade, how many samples, how wide the intervals
    files: dict[str, str]  # figure to file name without suffix
    main: Table
    effects: Table | None  # None: no hyperparameter takes two values
    grid: Table
    details: tuple[Table, ...]
    remarks: tuple[str, ...]
    sandwich: str  # under the figure
    alone: str  # what figures show of networks without a certificate; empty if there are none
    notation: str  # of figures and TeX
    tex: tuple[tuple[str, Table], ...]  # (label, table), in that notation


@dataclass(frozen=True)
class Report:
    """A report before it is written."""

    title: str
    items: tuple[ModelResults, ...]
    summary: pd.DataFrame
    settings: pd.DataFrame
    comparisons: pd.DataFrame
    effects: pd.DataFrame
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...]  # what the run was
    verdict: str  # how many certificates are false
    violations: Table | None  # None: there are none
    verification: VerificationSection | None = None  # None: the run folder holds no verification
    left_out: Table | None = None  # models and attacks that failed; None: there are none
    findings: tuple[str, ...] = ()  # what the run shows, a sentence each


def build(results: "Results") -> Report:
    """Everything that a report says."""
    run, items = results.run, results.items
    summary, settings = results.summary(), results.hyperparameters()
    groups = tables.groups(summary, results.eps, settings, results.comparisons(), results.effects())
    suffixes = _suffixes([group.suite for group in groups])
    sections = tuple(_section(group, suffix) for group, suffix in zip(groups, suffixes, strict=True))
    about = run.provenance.get("title")
    title = "Certified and empirical robustness" + (f": {about}" if about else "")
    return Report(
        title=title,
        items=items,
        summary=summary,
        settings=settings,
        comparisons=results.comparisons(),
        effects=results.effects(),
        sections=sections,
        facts=_facts(run, summary),
        verdict=_verdict(summary),
        violations=_violations(items),
        verification=verification.section(results.run_folder, run, results.failures),
        left_out=_left_out(results.failures, items),
    )


def _left_out(failures: Mapping[str, str], items: Sequence[ModelResults]) -> Table | None:
    """The models that failed, then the attacks that did, with the reasons; None if there are none."""
    rows = [(model, "the model", why) for model, why in failures.items()]
    rows += [(i.model, f"{attack}, suite {i.suite.name}", why) for i in items for attack, why in i.left_out.items()]
    return Table("Left out", ("model", "what failed", "reason"), tuple(rows), words=True) if rows else None


def _suffixes(suites: Sequence[str]) -> list[str]:
    """What the files of each suite end in; the first one's in nothing. They differ, whatever characters names have."""
    found = [""]
    for place, suite in enumerate(suites[1:], 1):
        suffix = "-" + (re.sub(r"[^A-Za-z0-9]+", "-", suite).strip("-") or str(place))
        while suffix.lower() in map(str.lower, found):  # some file systems do not distinguish A from a
            suffix += f"-{place}"
        found.append(suffix)
    return found


def _section(group: Group, suffix: str) -> Section:
    chosen = hyperparameters.chosen_eps(group.settings)
    brief = {
        "accuracies": answers.main_table(group, chosen, short=True),
        "effects": answers.effect_table(group, chosen, short=True),
    }
    return Section(
        group=group,
        about=_about(group),
        files={name: f"{name}{suffix}" for name in FIGURES},
        main=answers.main_table(group, chosen),
        effects=answers.effect_table(group, chosen),
        grid=answers.grid_table(group),
        details=(
            *filter(None, [tables.matched_table(group)]),
            tables.grade_table(group),
            tables.attack_table(group),
            tables.signs_table(group),
            *filter(None, [tables.alone_table(group)]),
            tables.model_table(group),
        ),
        remarks=remarks(group),
        sandwich=_sandwich(group),
        alone=f" {ALONE}" * bool((group.settings["grade"] == NONE).any()),
        notation=legend(group.settings),
        tex=tuple((f"{name}{suffix}", table) for name, table in brief.items() if table),
    )


def _sandwich(group: Group) -> str:
    if group.grade == NONE:
        return "Robust accuracy over eps, mean over seeds."
    return (
        f"Certified (grade {group.grade}) and robust accuracy over eps, mean over seeds; the band between them is the "
        "gap."
    )


def _about(group: Group) -> str:
    part = group.summary
    half = pd.Series([(part[f"{k}_hi"] - part[f"{k}_lo"]).max() / 2 for k in HEADLINE]).max()  # n/a ones left out
    dtype = " or ".join(part.loc[part["grade"] != NONE, "dtype"].unique())
    holds = {
        "float": f"they hold for the networks as they run, in {dtype} with its rounding",
        "real": f"they hold in exact arithmetic; the networks run in {dtype}, with rounding that is not covered",
    }
    if group.grade == NONE:
        start = "No network has a certificate: certified accuracy, gap and tightness are n/a"
    else:
        start = (
            f"Certified accuracy, gap and tightness are of grade {group.grade}{_marked(group)}: {holds[group.grade]}"
        )
    return (
        f"{start}. n = {group.sizes} samples per model; the 95 % "
        f"Clopper-Pearson interval of an accuracy of one model is at most about ±{percent(half)} points "
        "(the last table of this section gives each)."
    )


def _marked(group: Group) -> str:
    """Which settings have another grade than that of the group."""
    others = set(group.settings["grade"].unique()) - {group.grade}
    marked = " unless a setting is marked with another" if others - {NONE} else ""
    return f"{marked}, n/a for networks without a certificate" if NONE in others else marked


def _verdict(summary: pd.DataFrame) -> str:
    once = summary.drop_duplicates(["model", "suite", "norm"])
    counts = [f"{count} of grade {grade}" for grade, count in violations(summary).items()] or [NO_CERTIFICATE]
    sizes = " or ".join(map(str, sorted(once["n"].unique())))
    suites = ", ".join(dict.fromkeys(once["suite"]))
    models = once["model"].nunique()
    return f"Violations: {', '.join(counts)}; {models} model{'s' * (models != 1)}, {sizes} samples each, suite {suites}"


def _violations(items: Sequence[ModelResults]) -> Table | None:
    """The samples whose certificate is false, those of the strongest grade first; None if there are none."""
    found = []
    for item in items:
        for grade, tested in item.tested.items():
            for place in tested.violations().nonzero()[0]:
                pair = float(tested.certified_radius[place]), float(tested.adversarial_distance[place])
                short = [f"{bound:.6g}" for bound in pair]
                bounds = short if short[0] != short[1] else map(repr, pair)  # equal in their first six digits
                found.append((grade, item.model, item.suite.name, str(item.samples[place]), *bounds))
    if not found:
        return None
    found.sort(key=lambda row: GRADES.index(row[0]))
    shown = f", the first {SHOWN_VIOLATIONS} of {len(found)}" if len(found) > SHOWN_VIOLATIONS else ""
    columns = ("grade", "model", "suite", "sample", "certified_radius", "adversarial_distance")
    return Table(f"Violations: false certificates{shown}", columns, tuple(found[:SHOWN_VIOLATIONS]))


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value))
    return {True: "yes", False: "no", None: "none"}[value] if value is None or isinstance(value, bool) else str(value)


def _facts(run: Run, summary: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """What the run was, line by line: its suites, the settings of run.json, and its provenance."""
    weights, models = summary["copy_of"].where(summary["copy_of"] != "", summary["model"]).nunique(), len(run.models)
    facts = {
        "models": str(models) if weights == models else f"{models}, of which {models - weights} are copies",
        "samples per model": _words(sorted(summary["n"].unique().tolist())),
    }
    for plan in run.suites:
        attacks = ", ".join(str(attack) for attack in plan.suite.attacks)
        grid = ", ".join(eps.shown for eps in plan.suite.eps)
        seeds = f"seed{'s' * (len(plan.seeds) > 1)} {_words(plan.seeds)}"
        alone = "; beside it AutoAttack standard alone" * (plan.reference_attack is not None)
        facts[f"suite {plan.suite.name}"] = f"{plan.suite.norm}, eps {grid}; attacks {attacks}; {seeds}{alone}"
    for key, value in (run.settings | run.provenance).items():
        if key == "audit":
            facts["audit share"] = f"{_words(value)} of the certified samples are attacked all the same"
        elif key == "shard":
            facts["samples worked on at once"] = _words(value)
        elif key not in ("samples", "title"):  # how many were asked for; how many there are stands above
            facts[key.replace("_", " ")] = _words(value)
    return tuple(facts.items())
