"""What a page embeds: everything that its scripts read, as plain data."""

from typing import Any

from lipbench.report.document import Report
from lipbench.report.page import suites
from lipbench.report.page.blob import Blob
from lipbench.report.page.calls import Pictures
from lipbench.report.results import Results


def payload(*runs: tuple[Report, Results]) -> dict[str, Any]:
    """The data of a page on one run or several, to be written as JSON."""
    blob, models = Blob(), sum(len(results.items) for _, results in runs)
    titles = [str(results.run.provenance.get("title") or results.run.settings["data"]) for _, results in runs]
    found = []
    for title, (report, results) in zip(titles, runs, strict=True):
        pictures, parts = Pictures.of(results, models), []
        for section in report.sections:
            key = section.group.suite, section.group.norm
            items = [item for item in report.items if (item.suite.name, str(item.suite.norm)) == key]
            parts.append(suites.part(results, section, items, blob, pictures))
        alone = titles.count(title) == 1
        found.append({"title": title if alone else f"{title} ({results.run_folder.path.name})", "suites": parts})
    return {"runs": found, "arrays": blob.text()}
