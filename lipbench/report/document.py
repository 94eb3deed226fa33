"""What a report says, before it becomes Markdown, HTML or TeX."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lipbench.certification.grades import GRADES
from lipbench.report import metrics, results, tables, verification
from lipbench.report.formatting import claim, few, general, notation, percent, rows, violations
from lipbench.report.results import Evidence
from lipbench.report.tables import Group, Table
from lipbench.report.verification import VerificationSection
from lipbench.runs.folder import RunFolder
from lipbench.runs.plans import Run

FIGURES = ("sandwich", "pareto", "gap")
SHOWN_VIOLATIONS = 20
TEX_EPS = 3  # as many as fit on a page
USELESS = 0.1  # certified accuracy below which a certificate says next to nothing of a model that is more robust
SIGNS = {  # column: (share of the samples above which it is worth a remark, what became of them)
    "missed": (0.0, "were broken by AutoAttack standard alone and not by the suite"),
    "square_only": (0.002, "were broken only by Square, which follows no gradient"),  # AutoAttack's limit
    "unreached": (0.0, "were broken by no attack at any size"),
    "zero_gradients": (0.01, "have no gradient of cross-entropy to follow"),
    "loss_stuck": (0.01, "have a loss that gradient ascent does not raise"),
}
DEFINITIONS = Table(
    "Definitions",
    ("word", "meaning, at radius eps, over all n samples (misclassified ones count as not robust)"),
    (
        (
            "certified_radius",
            "lower bound of the distance to the decision boundary, proved; 0 if misclassified",
        ),
        (
            "adversarial_distance",
            "norm of the smallest adversarial perturbation found by any attack; inf if none",
        ),
        ("clean accuracy", "share classified correctly"),
        ("certified accuracy", "share correct with certified_radius > eps"),
        ("robust accuracy", "share correct with adversarial_distance > eps, after the suite was run at eps"),
        ("gap", "robust accuracy - certified accuracy"),
        (
            "tightness",
            "certified_radius / adversarial_distance of a correct sample, median; 1 is the physical limit",
        ),
        ("violation", "adversarial_distance < certified_radius: the certificate is false"),
        (
            "MCR",
            "mean certifiable robustness: mean signed margin over its pairwise bound, in the suite's norm; grade real",
        ),
        (
            "grade float",
            "holds for the network as it runs, in the run's arithmetic: that of grade real, less what a forward error "
            "analysis proves of rounding, for any order of summation and any batch size; a tie is never certified",
        ),
        (
            "grade real",
            "holds in exact arithmetic, for rigorous Lipschitz bounds of the weights as they are stored; a network "
            "that runs with rounding may break it",
        ),
        ("grade nominal", "holds only if the claim on the model's card is true; nothing is checked"),
        ("never reached", "correct, and no attack found an adversarial input at any distance; 0 is good"),
        (
            "only by Square",
            "broken at an eps, but only by the attack of the suite that follows no gradient, as where gradients are "
            "masked; 0 is good; of all eps the one with the most, n/a for a suite without Square",
        ),
        (
            "no gradient",
            "correct, and the gradient of cross-entropy there is zero, NaN or infinite, in float32; 0 is good",
        ),
        (
            "loss stuck",
            "correct, and no step of a short ascent along the gradient, inside the largest eps, raises cross-entropy; "
            "0 is good (with the one above, indicators of attack failure: Pintor et al. 2022)",
        ),
        (
            "AutoAttack alone",
            "AutoAttack standard as others run it: anew at each eps, on every correct sample, whatever is certified. "
            "Robust accuracy stays the suite's, but what it finds inside a certified radius is a violation. "
            "Suite only, alone only: samples that one of the two broke at an eps and the other did not, added up over "
            "eps. Evaluations: its forward and backward passes at all eps, over those of the suite if each eps were "
            "run by itself",
        ),
    ),
)


@dataclass(frozen=True)
class Section:
    """All that a report says of one suite."""

    group: Group
    about: str  # which grade, how many samples, how wide the intervals
    files: dict[str, str]  # figure to file name without suffix
    main: Table
    front: Table
    trend: Table | None
    details: tuple[Table, ...]
    remarks: tuple[str, ...]
    notation: str  # of figures and TeX
    tex: tuple[tuple[str, Table], ...]  # (label, table), in that notation


@dataclass(frozen=True)
class Report:
    """A report before it is written."""

    title: str
    evidences: list[Evidence]
    summary: pd.DataFrame
    sections: tuple[Section, ...]
    facts: tuple[tuple[str, str], ...]  # what the run was
    verdict: str  # how many certificates are false
    violations: Table | None  # None: there are none
    verification: VerificationSection | None = None  # None: the run folder holds no verification


def build(run_folder: RunFolder) -> Report:
    """Everything that a report says; raises LipbenchError if the run is not whole."""
    run, evidences = run_folder.read(), results.load(run_folder)
    summary = metrics.summarize(evidences)
    trends = metrics.trends(summary)
    groups = tables.groups(summary)
    suffixes = _suffixes([group.suite for group in groups])
    sections = tuple(_section(group, suffix, trends) for group, suffix in zip(groups, suffixes, strict=True))
    about = run.provenance.get("title")
    title = "Certified and empirical robustness" + (f": {about}" if about else "")
    verified = verification.section(run_folder, run)
    about_run = _facts(run, summary)
    return Report(title, evidences, summary, sections, about_run, _verdict(summary), _violations(evidences), verified)


def _suffixes(suites: Sequence[str]) -> list[str]:
    """What the files of each suite end in; the first one's in nothing. They differ, whatever characters names have."""
    found = [""]
    for place, suite in enumerate(suites[1:], 1):
        suffix = "-" + (re.sub(r"[^A-Za-z0-9]+", "-", suite).strip("-") or str(place))
        while suffix.lower() in map(str.lower, found):  # as in file systems that do not tell A from a
            suffix += f"-{place}"
        found.append(suffix)
    return found


def _section(group: Group, suffix: str, trends: pd.DataFrame) -> Section:
    title = (
        f"Suite {group.suite} ({group.unit}): accuracies in percent, mean ± standard deviation over seeds, "
        f"certified of grade {group.grade}"
    )
    chosen = metrics.chosen_eps(group.settings)
    brief = {
        "accuracies": tables.main_table(group, few(group.eps, TEX_EPS), title, short=True),
        "pareto": tables.front_table(group, chosen, short=True),
        "trends": tables.trend_table(trends, group, short=True),
    }
    return Section(
        group=group,
        about=_about(group),
        files={name: f"{name}{suffix}" for name in FIGURES},
        main=tables.main_table(group, group.eps, title),
        front=tables.front_table(group, chosen),
        trend=tables.trend_table(trends, group),
        details=(
            *filter(None, [tables.matched_table(group)]),
            tables.grade_table(group),
            tables.attack_table(group),
            tables.strength_table(group),
            *filter(None, [tables.alone_table(group)]),
            tables.model_table(group),
        ),
        remarks=(*_not_analysed(group), *_claims(group), *_attacks_fail(group), *_settings(group), *_models(group)),
        notation=notation(group.settings),
        tex=tuple((f"{name}{suffix}", table) for name, table in brief.items() if table),
    )


def _about(group: Group) -> str:
    part = group.summary
    half = max(float((part[f"{k}_hi"] - part[f"{k}_lo"]).max()) / 2 for k in ("clean", "certified", "robust"))
    dtype = " or ".join(part["dtype"].unique())
    holds = {
        "float": f"they hold for the networks as they run, in {dtype} with its rounding",
        "real": f"they hold in exact arithmetic; the networks run in {dtype}, with rounding that is not covered",
    }
    marked = " unless a setting is marked with another" if len(group.settings["grade"].unique()) > 1 else ""
    return (
        f"Certified accuracy, gap and tightness are of grade {group.grade}{marked}: {holds[group.grade]}. "
        f"n = {group.sizes} samples per model; the 95 % "
        f"Clopper-Pearson interval of an accuracy of one model is at most about ±{percent(half)} points "
        "(the last table of this section gives each)."
    )


def _not_analysed(group: Group) -> list[str]:
    """Why models have no certificate of grade float, reason by reason."""
    models = group.summary.drop_duplicates("model")
    return [
        f"{len(part)} of {len(models)} models: no certificate of grade float: {reason}. Theirs is of grade real: "
        f"{_some(list(part['model']))}."
        for reason, part in models.groupby("not_analysed", sort=False)
    ]


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _claims(group: Group) -> list[str]:
    models = group.summary.drop_duplicates("model")
    failed = models[models["claim_confirmed"].eq(False).fillna(False).astype(bool)]
    if failed.empty:
        return []
    worst = rows(failed.sort_values("lipschitz_bound"))[-1]
    return [
        f"{len(failed)} of {len(models)} models: claim not confirmed. Their nominal certificates are not "
        f"proved. The farthest off is {worst['model']}, {claim(worst)}."
    ]


def _attacks_fail(group: Group) -> list[str]:
    """Models whose robust accuracy may be too high, because attacks show signs of failing there."""
    found = []
    summary = group.summary.assign(missed=group.summary["only_alone"] / group.summary["n"])
    for name, frame in summary.groupby("model", sort=False):
        worst = frame[list(SIGNS)].max()
        shown = [
            f"{general(100 * worst[key], 3)} % {words}" for key, (limit, words) in SIGNS.items() if worst[key] > limit
        ]
        if shown:
            found.append(f"{name}: robust accuracy may be too high. Of the samples, {'; '.join(shown)}.")
    return found


def _settings(group: Group) -> list[str]:
    """What a reader must know of a setting before believing its row."""
    remarks = []
    for name, part in group.by_setting():
        first = part[0]
        models, seeds = first["n_models"], first["n_seeds"]
        if models > seeds:
            remarks.append(f"{name}: {models} models share {seeds} seeds: ± is over more than the seed.")
        if not first["constrained"]:
            ends = "; ".join(map(_worth, part if len(part) < 2 else (first, part[-1])))
            remarks.append(f"{name}: an unconstrained network. Its certificate is valid: {ends}.")
    return remarks


def _models(group: Group) -> list[str]:
    """What settings differ in beside architecture and loss, and which models are the same network."""
    differ = []
    for name in metrics.further_columns(group.settings):
        values = sorted(dict.fromkeys("none" if pd.isna(value) else str(value) for value in group.settings[name]))
        differ.append(f"{name} ({', '.join(values)})")
    remarks = [f"Settings also differ in {'; '.join(differ)}: see hyperparameters.csv."] if differ else []
    counted = set(metrics.distinct(group.summary)["model"])
    for row in rows(group.summary.drop_duplicates("model")):
        if row["copy_of"]:
            once = "another setting on its card" if row["model"] in counted else "counted once"
            remarks.append(f"{row['model']} is a copy of {row['copy_of']}: equal weights, {once}.")
    return remarks


def _worth(row: Mapping[str, Any]) -> str:
    """What the certificate of a setting says at one eps."""
    certified, robust = row["certified_mean"], row["robust_mean"]
    word = ", nearly useless" if certified < USELESS < robust else ""
    return f"{percent(certified)} % certified and {percent(robust)} % robust at eps {row['eps']:.4g}{word}"


def _verdict(summary: pd.DataFrame) -> str:
    once = summary.drop_duplicates(["model", "suite", "norm"])
    counts = [f"{count} of grade {grade}" for grade, count in violations(summary).items()]
    sizes = " or ".join(map(str, sorted(once["n"].unique())))
    suites = ", ".join(dict.fromkeys(once["suite"]))
    models = once["model"].nunique()
    return f"Violations: {', '.join(counts)}; {models} model{'s' * (models != 1)}, {sizes} samples each, suite {suites}"


def _violations(evidences: Sequence[Evidence]) -> Table | None:
    """The samples whose certificate is false, those of the strongest grade first; None if there are none."""
    found = []
    for item in evidences:
        for grade in item.ledgers:
            ledger = item.tested(grade)
            for place in ledger.violations().nonzero()[0]:
                pair = float(ledger.certified_radius[place]), float(ledger.adversarial_distance[place])
                short = [f"{bound:.6g}" for bound in pair]
                bounds = short if short[0] != short[1] else map(repr, pair)  # apart by less than six digits
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
        grid = ", ".join(f"{eps:.4g}" for eps in plan.suite.eps)
        seeds = f"seed{'s' * (len(plan.seeds) > 1)} {_words(plan.seeds)}"
        alone = "; beside it AutoAttack standard alone" * plan.strength
        facts[f"suite {plan.suite.name}"] = f"{plan.suite.norm}, eps {grid}; attacks {attacks}; {seeds}{alone}"
    for key, value in (run.settings | run.provenance).items():
        if key == "audit":
            facts["audit share"] = f"{_words(value)} of the certified samples are attacked all the same"
        elif key == "shard":
            facts["samples worked on at once"] = _words(value)
        elif key not in ("samples", "title"):  # how many were asked for; how many there are stands above
            facts[key.replace("_", " ")] = _words(value)
    return tuple(facts.items())
