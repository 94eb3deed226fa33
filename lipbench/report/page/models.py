"""What the page says of each model under a suite."""

from collections.abc import Mapping, Sequence
from typing import Any

from lipbench.certification.grades import GRADES
from lipbench.models.cards import Card
from lipbench.report import cautions
from lipbench.report.formatting import claim
from lipbench.report.page import cells, commands, parameters
from lipbench.runs.plans import Run
from lipbench.runs.results import ModelResults
from lipbench.runs.suite_plans import SuitePlan


def part(item: ModelResults, rows: Sequence[Mapping[str, Any]], run: Run, plan: SuitePlan) -> dict[str, Any]:
    """All of a model but its bounds. rows: of summary.csv, ascending in eps."""
    first = rows[0]
    return {
        "name": item.model,
        "seed": item.card.seed,
        "setting": first["setting"],
        "copy": bool(first["copy_of"]),
        "grade": item.grade,
        "at": {
            "clean": cells.by_eps(rows, "clean", "clean_{}"),
            "robust": cells.by_eps(rows, "robust", "robust_{}"),
            "certified": {
                grade: cells.by_eps(rows, f"certified_{grade}", f"certified_{grade}_{{}}")
                for grade in GRADES
                if grade in item.bounds_by_grade
            },
            "gap": [cells.number(row["gap"]) for row in rows],
        },
        "tightness": cells.number(first["tightness"]),
        "mean_gap": cells.number(first.get("mean_gap")),
        "mcr": cells.number(first["mcr"]),
        "violations": {grade: count for grade, count in item.violations.items() if count},
        "facts": [
            ["parameters", _count(parameters.count(item.card))],
            ["Lipschitz bound (L2), computed from the weights", _text(item.certificate.lipschitz_bound)],
            ["Lipschitz constant that the card claims", _text(item.certificate.claimed)],
            ["the claim", claim(first)],
            ["computed in", item.certificate.dtype],
            ["seed of the training", str(item.card.seed)],
        ],
        "card": card_rows(item.card),
        "warnings": cautions.warnings(item),
        "command": commands.evaluate(run, plan, item.model),
        "needs": commands.needs(run),
    }


def card_rows(card: Card) -> list[list[str]]:
    """Everything on a card as [path, value], such as [training.epochs, 80]."""
    return [[key, value] for key, value in _flat("", card.plain())]


def _flat(path: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in _flat(f"{path}.{key}" if path else str(key), inner)]
    if isinstance(value, list | tuple):
        return [(path, " × ".join(map(str, value)) if path == "input_shape" else ", ".join(map(str, value)))]
    return [(path, str(value))]


def _count(value: int | None) -> str:
    return "not known: built by code of its own" if value is None else f"{value:,}"


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.9g}"
