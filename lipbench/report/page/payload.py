"""What a page embeds: everything that its scripts read, as plain data."""

from typing import Any

from lipbench.report.document import Report
from lipbench.report.page import suites
from lipbench.report.page.blob import Blob
from lipbench.report.page.calls import Pictures
from lipbench.report.results import Results


def payload(report: Report, results: Results) -> dict[str, Any]:
    """The data of a page on one run, to be written as JSON."""
    blob, pictures = Blob(), Pictures.of(results)
    parts = []
    for section in report.sections:
        key = section.group.suite, section.group.norm
        items = [item for item in report.items if (item.suite.name, str(item.suite.norm)) == key]
        parts.append(suites.part(results, section, items, blob, pictures))
    run = {"title": str(results.run.provenance.get("title") or results.run.settings["data"]), "suites": parts}
    return {"runs": [run], "arrays": blob.text()}
