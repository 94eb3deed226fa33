"""One suite of a run, as the page holds it: its settings and models, and two bounds for each sample."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lipbench._internal.arrays import Ints
from lipbench.report import hyperparameters
from lipbench.report.document import Section
from lipbench.report.formatting import rows
from lipbench.report.page import calls, cells, models, settings
from lipbench.report.page.blob import Blob
from lipbench.report.page.calls import Pictures
from lipbench.report.page.codes import Scale
from lipbench.report.results import Results
from lipbench.report.tables import Group
from lipbench.runs.results import ModelResults
from lipbench.runs.suite_plans import SuitePlan

PAIRS = 100_000  # models times samples whose bounds a page embeds, for each suite


def part(
    results: Results, section: Section, items: Sequence[ModelResults], blob: Blob, pictures: Pictures
) -> dict[str, Any]:
    """All that the page holds of one suite; its arrays go into ``blob``. items: the models under that suite."""
    group, first = section.group, items[0]
    plan = next(one for one in results.run.suites if (one.suite.name, str(one.suite.norm)) == (group.suite, group.norm))
    kept = embedded(len(items), first.n)
    scale = Scale.of(
        group.eps, *(bounds.adversarial_distance for bounds in (item.bounds for item in items)), *_radii(items)
    )
    entries = _models(results, section, items, plan, pictures)
    for entry, item in zip(entries, items, strict=True):
        entry["bounds"] = bounds_of(item, scale, kept, blob)
    labels = first.labels[kept]
    return {
        "name": group.suite,
        "norm": group.norm,
        "unit": group.unit,
        "about": section.about,
        "notation": section.notation,
        "grade": group.grade,
        "eps": [[float(eps), eps.shown] for eps in group.eps],
        "pixels": any(eps.shown.endswith("/255") for eps in group.eps),
        "chosen": [float(eps) for eps in group.eps].index(hyperparameters.chosen_eps(group.settings)),
        "minimal": all(item.minimal_norm for item in items),
        "n": first.n,
        "samples": len(kept),
        "knots": list(scale.knots),
        "cells": scale.cells,
        "labels": blob.add(labels.astype(np.uint16)),
        "classes": int(first.card.num_classes),
        "settings": settings.parts(group),
        "axes": settings.axes(group),
        "effects": settings.effects(group),
        "models": entries,
        "sources": section.files,
        "no_pictures": pictures.missing,
    }


def embedded(count: int, n: int) -> Ints:
    """The places of the samples whose bounds the page holds: all, or as many as ``PAIRS`` allows, evenly spread."""
    most = max(1, PAIRS // max(count, 1))
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).astype(np.int64))


def bounds_of(item: ModelResults, scale: Scale, kept: Ints, blob: Blob) -> dict[str, Any]:
    """Where the bounds of a model lie in ``blob``: codes of ``scale``, and one bit a sample for correct ones.

    Radii of grades other than the headline one are differences to it, modulo 2^16: nearly all are 0 or 1.
    """
    first = scale.encode(item.bounds.certified_radius[kept]) if item.certified else None
    radii = {}
    for grade, bounds in item.bounds_by_grade.items():
        if first is not None:
            codes = scale.encode(bounds.certified_radius[kept])
            radii[grade] = blob.add(codes if grade == item.grade else codes - first)
    return {
        "correct": blob.add(np.packbits(item.bounds.correct[kept], bitorder="little")),
        "distance": blob.add(scale.encode(item.bounds.adversarial_distance[kept])),
        "radius": radii,
    }


def _radii(items: Sequence[ModelResults]) -> list[Any]:
    return [bounds.certified_radius for item in items if item.certified for bounds in item.bounds_by_grade.values()]


def _models(
    results: Results, section: Section, items: Sequence[ModelResults], plan: SuitePlan, pictures: Pictures
) -> list[dict[str, Any]]:
    group, factors = section.group, _factors(results, section.group)
    by_model = {str(name): rows(part) for name, part in group.summary.groupby("model", sort=False)}
    nearest = {item.model: calls.closest(item) for item in items}
    calls.add_pictures(nearest, pictures, results, group.suite)
    return [
        {
            **models.part(item, by_model[item.model], results.run, plan),
            "factors": factors.get(item.model, []),
            "calls": nearest[item.model],
        }
        for item in items
    ]


def _factors(results: Results, group: Group) -> dict[str, list[Any]]:
    """Model to the factors of its tightness: [part, name, median], in the order of factors.csv."""
    found: dict[str, list[Any]] = {}
    frame = results.factors()
    ours = frame[(frame["suite"] == group.suite) & (frame["norm"] == group.norm)]
    for row in rows(ours.sort_values("place", kind="stable")):
        found.setdefault(row["model"], []).append([row["part"], row["factor"], cells.number(row["median"])])
    return found
