"""The words of a report and what they mean: each is written once, with its column or its grade."""

from collections.abc import Sequence
from dataclasses import dataclass

from lipbench.certification import grades
from lipbench.report.columns import Column
from lipbench.report.factors import PARTS, SUMMARIES
from lipbench.report.metrics import METRICS
from lipbench.report.samples import SAMPLES
from lipbench.report.signs import ALONE, SIGNS

TITLE = "Definitions"
COLUMNS = ("word", "meaning, at radius eps, over all n samples (misclassified ones count as not robust)")


@dataclass(frozen=True)
class Definition:
    """A word and what it means."""

    word: str
    meaning: str


def definitions() -> tuple[Definition, ...]:
    """Every word: the two bounds of a sample, metrics, grades, factors of tightness, then signs that attacks fail."""
    of_attacks = [*SIGNS, *ALONE]
    metrics = [metric for metric in METRICS if metric not in of_attacks]
    found = _terms(SAMPLES) | _terms(metrics)
    found |= {f"grade {grade.name}": grade.holds for grade in grades.ALL}
    found |= {f"{part} factor": words for part, words in PARTS.items() if part not in SUMMARIES}
    found |= _terms(SIGNS) | _terms(ALONE)
    return tuple(Definition(word, meaning) for word, meaning in found.items())


def _terms(declared: Sequence[Column]) -> dict[str, str]:
    return {column.term: column.words for column in sorted(declared, key=lambda column: column.rank) if column.term}


def markdown() -> str:
    """The definitions as a table in Markdown, for documents to include."""
    lines = [f"| {' | '.join(COLUMNS)} |", "| --- | --- |"]
    lines += [f"| {one.word} | {one.meaning} |" for one in definitions()]
    return "\n".join(lines) + "\n"
