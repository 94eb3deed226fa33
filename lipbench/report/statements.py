"""Of a suite and of a run, in words: which grade, how wide intervals are, which certificates are false."""

from collections.abc import Sequence

import pandas as pd

from lipbench.certification.grades import GRADES, NONE
from lipbench.report.cautions import NO_CERTIFICATE
from lipbench.report.formatting import percent, violations
from lipbench.report.metrics import SHARES
from lipbench.report.tables import Group, Table
from lipbench.runs.results import ModelResults

COVERED = (
    "A 95 % interval of a setting covers samples and seeds: the same samples are resampled for all models, and the "
    "mean over k seeds varies by Student's t with k - 1 degrees of freedom (2.8 standard errors with 5 seeds, 4.3 with "
    "3, 12.7 with 2). With one seed nothing is known of other seeds, and the interval covers the samples alone. The "
    "heavy tails of few seeds also reach differences, which may exceed what is possible, and P(best), which need not "
    "be 0 for a setting far behind."
)
SHOWN_VIOLATIONS = 20
HEADLINE = tuple(metric.name for metric in SHARES if metric.interval)


def about(group: Group) -> str:
    """Which grade numbers have, how many samples there are, and what intervals cover."""
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
        f"(the last table of this section gives each). {COVERED}"
    )


def _marked(group: Group) -> str:
    """Which settings have another grade than that of the group."""
    others = set(group.settings["grade"].unique()) - {group.grade}
    marked = " unless a setting is marked with another" if others - {NONE} else ""
    return f"{marked}, n/a for networks without a certificate" if NONE in others else marked


def verdict(summary: pd.DataFrame) -> str:
    """How many certificates are false, of which models."""
    once = summary.drop_duplicates(["model", "suite", "norm"])
    counts = [f"{count} of grade {grade}" for grade, count in violations(summary).items()] or [NO_CERTIFICATE]
    sizes = " or ".join(map(str, sorted(once["n"].unique())))
    suites = ", ".join(dict.fromkeys(once["suite"]))
    models = once["model"].nunique()
    return f"Violations: {', '.join(counts)}; {models} model{'s' * (models != 1)}, {sizes} samples each, suite {suites}"


def violations_table(items: Sequence[ModelResults]) -> Table | None:
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
