"""What a page embeds: everything that its scripts read, as plain data."""

from typing import Any

from lipbench.report.document import Report, RunPart
from lipbench.report.page import suites
from lipbench.report.page.blob import Blob
from lipbench.report.page.calls import Pictures


def payload(report: Report) -> dict[str, Any]:
    """The data of a page, to be written as JSON."""
    blob, models = Blob(), sum(len(run.results.items) for run in report.runs)
    return {"runs": [_run(run, blob, models) for run in report.runs], "arrays": blob.text()}


def _run(run: RunPart, blob: Blob, models: int) -> dict[str, Any]:
    """All that the page holds of one run; its arrays go into ``blob``. models: of all runs, under every suite."""
    pictures, parts = Pictures.of(run.results, models), []
    for section in run.sections:
        items = run.results.under(section.group.suite, section.group.norm)
        parts.append(suites.part(run.results, section, items, blob, pictures))
    return {"title": run.label, "suites": parts}
