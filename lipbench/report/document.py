"""What a report says, before it becomes Markdown, HTML or TeX."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from lipbench.report import (
    across,
    answers,
    captions,
    facts,
    hyperparameters,
    literature,
    run_names,
    side_by_side,
    statements,
    tables,
    verification,
    why,
)
from lipbench.report.choice import DEFAULT_CHOICE, Choice
from lipbench.report.columns import RUN
from lipbench.report.findings import findings
from lipbench.report.formatting import legend
from lipbench.report.remarks import remarks
from lipbench.report.surfaces import surfaces
from lipbench.report.tables import Group, Table
from lipbench.report.tex import papers
from lipbench.report.tex.layout import PaperTable
from lipbench.report.verification import VerificationSection
from lipbench.runs.results import ModelResults

if TYPE_CHECKING:
    from lipbench.report.results import Results

PICTURES = (
    ".png",
    ".pdf",
    ".svg",
    "-column.pdf",
    "-column.svg",
)  # of a figure: for both columns of a page, and for one


@dataclass(frozen=True)
class Section:
    """All that a report says of one suite."""

    group: Group
    findings: tuple[str, ...]
    about: str  # which grade, how many samples, how wide the intervals
    files: dict[str, str]  # figure to file name without suffix
    captions: dict[str, str]  # under the figures
    main: Table
    effects: Table | None  # None: no hyperparameter takes two values
    grid: Table
    literature: Table | None  # what others print at these eps; None: nothing
    details: tuple[Table, ...]
    remarks: tuple[str, ...]
    notation: str  # what the short words of figures and findings stand for
    tex: tuple[PaperTable, ...]  # tables for papers


@dataclass(frozen=True)
class RunPart:
    """All that a report says of one run."""

    label: str  # what the report calls the run, where it is of several
    source: str  # the run folder, as it was given
    results: "Results"
    sections: tuple[Section, ...]
    findings: tuple[str, ...]  # of all sections; after the name of the suite where there are several
    facts: tuple[tuple[str, str], ...]  # what the run was
    verdict: str  # how many certificates are false
    violations: Table | None  # None: there are none
    verification: VerificationSection | None  # None: the run folder holds no verification
    left_out: Table | None  # models and attacks that failed; None: there are none

    def headed(self, title: str, report: "Report") -> str:
        """A heading of this run: with its label, where the report is of several runs."""
        return f"{self.label}: {title}" if report.several else title


@dataclass(frozen=True)
class Report:
    """A report before it is written: of one run, or of several.

    Frames of several runs have the column ``run`` first, and there ``pairs`` holds what the runs share, each beside the
    first one, see ``comparisons.PAIRS``.
    """

    title: str
    runs: tuple[RunPart, ...]
    summary: pd.DataFrame
    settings: pd.DataFrame
    comparisons: pd.DataFrame
    effects: pd.DataFrame
    factors: pd.DataFrame
    choice: Choice  # of tables and figures for papers
    pairs: pd.DataFrame | None  # None: of one run
    shared: tuple[Table, ...]  # what runs differ in, and what they share side by side
    unshared: tuple[str, ...]  # why runs have nothing to compare

    @property
    def several(self) -> bool:
        """Whether it is of more than one run."""
        return len(self.runs) > 1

    @property
    def sections(self) -> tuple[Section, ...]:
        """Those of all runs."""
        return tuple(section for run in self.runs for section in run.sections)


def build(*runs: "Results", choice: Choice = DEFAULT_CHOICE) -> Report:
    """Everything that a report of one run or of several says; ``choice``: of its tables and figures for papers.

    Raises LipbenchError where a run is there twice.
    """
    across.refuse_twice(runs)
    labels = run_names.called(runs)
    several = len(runs) > 1
    suites = [
        (label if several else "", plan.suite.name)
        for label, one in zip(labels, runs, strict=True)
        for plan in one.run.suites
    ]
    suffixes = iter(_suffixes(suites))
    parts = tuple(_run(one, label, suffixes, choice) for one, label in zip(runs, labels, strict=True))
    beside = [across.between(runs[0], other) for other in runs[1:]]

    def of_all(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
        return joined(dict(zip(labels, frames, strict=True))) if several else next(iter(frames))

    about = ", ".join(labels) if several else runs[0].run.provenance.get("title")
    return Report(
        title="Certified and empirical robustness" + (f": {about}" if about else ""),
        runs=parts,
        summary=of_all([one.summary() for one in runs]),
        settings=of_all([one.hyperparameters() for one in runs]),
        comparisons=of_all([one.comparisons() for one in runs]),
        effects=of_all([one.effects() for one in runs]),
        factors=of_all([one.factors() for one in runs]),
        choice=choice,
        pairs=pd.concat([one.frame for one in beside], ignore_index=True) if several else None,
        shared=tuple(table for one in beside for table in side_by_side.tables(one)),
        unshared=tuple(
            across.nothing_shared(runs[0], other)
            for one, other in zip(beside, runs[1:], strict=True)
            if one.frame.empty
        ),
    )


def joined(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Frames of several runs as one: the column ``run`` first, then every column that one of them has."""
    parts = []
    for label, frame in frames.items():
        part = frame.copy()
        part.insert(0, RUN.name, label)
        parts.append(part.astype(object))  # a column that a run lacks is empty there, whatever others hold in it
    names = list(dict.fromkeys(name for part in parts for name in part))
    found = pd.concat([part.reindex(columns=names) for part in parts], ignore_index=True)
    return found.infer_objects()


def _run(results: "Results", label: str, suffixes: Iterator[str], choice: Choice) -> RunPart:
    """What a report says of one run; ``suffixes``: the next ones are those of its files."""
    summary, run = results.summary(), results.run
    sections = tuple(_section(results, group, next(suffixes), choice) for group in _groups(results))
    return RunPart(
        label=label,
        source=str(results.run_folder.path),
        results=results,
        sections=sections,
        findings=_named({section.group.suite: section.findings for section in sections}),
        facts=facts.of(run, summary),
        verdict=statements.verdict(summary),
        violations=statements.violations_table(results.items),
        verification=verification.section(results.run_folder, run, results.failures),
        left_out=_left_out(results.failures, results.items),
    )


def _left_out(failures: Mapping[str, str], items: Sequence[ModelResults]) -> Table | None:
    """The models that failed, then the attacks that did, with the reasons; None if there are none."""
    rows = [(model, "the model", why) for model, why in failures.items()]
    rows += [(i.model, f"{attack}, suite {i.suite.name}", why) for i in items for attack, why in i.left_out.items()]
    return Table("Left out", ("model", "what failed", "reason"), tuple(rows), words=True) if rows else None


def _suffixes(suites: Sequence[tuple[str, str]]) -> list[str]:
    """What the files of each (run, suite) end in, whatever characters names have; no two the same.

    The run is empty in a report of one run. There the files of the first suite end in nothing.
    """
    found: list[str] = []
    for place, (run, suite) in enumerate(suites):
        words = re.sub(r"[^A-Za-z0-9]+", "-", f"{run} {suite}").strip("-") or str(place)
        suffix = "" if place == 0 and not run else f"-{words}"
        while suffix.lower() in map(str.lower, found):  # some file systems do not distinguish A from a
            suffix += f"-{place}"
        found.append(suffix)
    return found


def findings_of(results: "Results") -> tuple[str, ...]:
    """The findings of a run, as its report has them."""
    return _named({group.suite: _findings(results, group) for group in _groups(results)})


def _groups(results: "Results") -> list[Group]:
    frames = results.hyperparameters(), results.comparisons(), results.effects()
    return tables.groups(results.summary(), results.eps, *frames)


def _findings(results: "Results", group: Group) -> tuple[str, ...]:
    eps = hyperparameters.chosen_eps(group.settings)
    return findings(group, results.under(group.suite, group.norm), why.of(group, results.factors(), eps))


def _named(by_suite: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Findings of all suites, each after the name of its suite where there are several."""
    several = len(by_suite) > 1
    return tuple(f"{suite}: {each}" if several else each for suite, found in by_suite.items() for each in found)


def _section(results: "Results", group: Group, suffix: str, choice: Choice) -> Section:
    chosen, shown = choice.at(group), choice.of(group)
    draws, data = results.draws[group.suite, group.norm], str(results.run.settings["data"])
    title = str(results.run.provenance.get("title") or data)
    names = [name for name in captions.TITLES if name != "heat" or any(surfaces(shown.settings))]
    words = captions.figures(shown, choice.at(group))
    return Section(
        group=group,
        findings=_findings(results, group),
        about=statements.about(group),
        files={name: f"{name}{suffix}" for name in names},
        captions={name: words[name] for name in names},
        main=answers.main_table(group, chosen),
        effects=answers.effect_table(group, chosen),
        grid=answers.grid_table(group),
        literature=literature.table(group, data),
        details=(
            *filter(None, [tables.matched_table(group)]),
            tables.grade_table(group),
            tables.attack_table(group),
            tables.signs_table(group),
            *filter(None, [tables.alone_table(group)]),
            tables.model_table(group),
        ),
        remarks=remarks(group),
        notation=legend(group.settings),
        tex=papers.of_section(group, draws, choice, title, suffix),
    )
