"""The files of an experiment, the page that shows several, and the form of result.json."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from lipbench._internal import files, schema
from lipbench._internal.schema import Strict
from lipbench._internal.words import count
from lipbench.experiments.experiment import RULE, WORDS, Check, Experiment, Records, Scale, Verdict, verdict
from lipbench.experiments.lab import GENERATED

RESULT, TEXT, FIGURE, PAGE = "result.json", "README.md", "figure", "report.md"
MARKER = "experiment.json"  # says that a folder is an experiment's, and of which scale
BAR = r"\|"  # within a cell of a table in Markdown
HINT = "choose another folder with -o"
Kind = TypeVar("Kind", bound=Strict)


class Provenance(Strict):
    """Where records come from."""

    data: dict[str, str]  # digests of the data sets, by their names
    device: str  # "cpu" or "cuda"
    jobs: int
    seconds: float | None  # None where an earlier call had begun the work
    frames: dict[str, tuple[str, ...]]  # the columns of the records, by their names
    versions: dict[str, str]


class Result(Strict):
    """What came out of one experiment: result.json."""

    name: str
    title: str
    theme: str
    claim: str
    source: str
    paper: str
    setup: str
    scale: Scale
    verdict: Verdict
    rule: str
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    text: str  # Markdown
    settings: dict[str, object]
    provenance: Provenance

    def __str__(self) -> str:
        """What the command prints."""
        lines = [f"{self.name}: {WORDS[self.verdict].upper()} ({self.scale})", f"  {self.claim}"]
        lines += [f"  {'+' if check.holds else '-'} {check.statement}: {figure(check)}" for check in self.checks]
        return "\n".join(lines)


def figure(check: Check) -> str:
    """The measured figure with its interval, and the paper's."""
    unit = f" {check.unit}" if check.unit else ""
    interval = "" if check.lo is None or check.hi is None else f" [{check.lo:.4g}, {check.hi:.4g}]"
    paper = "" if check.paper is None else f" (paper: {check.paper:.4g}{unit})"
    return f"{check.ours:.4g}{interval}{unit}{paper}"


def write(folder: Path, experiment: Experiment, scale: Scale, records: Records, provenance: Provenance) -> Result:
    """Judge and draw the records, and write result.json, the figure and the text. The same records give the same bytes.

    Raises LipbenchError for files of these names that lipbench did not write.
    """
    from lipbench.report import style  # imports matplotlib, which no other function of the package needs at once

    checks = experiment.judge(records)
    result = Result(
        name=experiment.name,
        title=experiment.title,
        theme=experiment.theme,
        claim=experiment.claim,
        source=experiment.source,
        paper=experiment.paper,
        setup=experiment.setup[scale],
        scale=scale,
        verdict=verdict(checks),
        rule=RULE,
        checks=checks,
        text=experiment.tell(records),
        settings=experiment.settings(scale),
        provenance=provenance,
    )
    with style.look():
        drawn = experiment.draw(records)
        style.settle(drawn)
    contents = {f"{FIGURE}.{kind}": style.encode(drawn, kind) for kind in ("png", "pdf")}
    contents[RESULT] = json_bytes(result.model_dump(mode="json"))
    contents[TEXT] = f"# {result.title}\n\n{section(result, FIGURE)}".encode()
    files.write_among_others(folder, contents, HINT)
    return result


def json_bytes(value: object) -> bytes:
    """As ``files.write_json`` writes it."""
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


def read(kind: type[Kind], path: Path) -> Kind:
    """A file of this form; raises LipbenchError for one that is missing, damaged or of another form."""
    return schema.parse(kind, files.read_json(path, "file of an experiment"), str(path), kind.__name__.lower())


def section(result: Result, picture: str) -> str:
    """What a reader needs to know of one experiment, as Markdown; picture: the path of its figure, without .png."""
    lines = [
        f"**Claim.** {result.claim} ({result.source})",
        f"**Here: {WORDS[result.verdict]}.** {result.text.strip()}",
        f"![{result.title}]({picture}.png)",
        _table(result.checks),
        f"**The paper's set-up.** {result.paper}",
        f"**Ours** (scale {result.scale}). {result.setup} {_data(result.provenance)} {_time(result.provenance)}",
    ]
    return "\n\n".join(lines) + "\n"


def _data(provenance: Provenance) -> str:
    """The data sets, those that were generated as a number."""
    named = [name for name in provenance.data if not name.startswith(GENERATED)]
    if len(named) < len(provenance.data):
        named.append(count(len(provenance.data) - len(named), "generated set"))
    return f"Data: {', '.join(named)}."


def _time(provenance: Provenance) -> str:
    """How long it took, where that is known."""
    if provenance.seconds is None:
        return "Time not known: resumed."
    return f"{provenance.seconds:.0f} s on {provenance.device}, up to {count(provenance.jobs, 'task')} at once."


def _table(checks: Sequence[Check]) -> str:
    lines = ["| | check | rule | paper | here |", "|---|---|---|---:|---:|"]
    for check in checks:
        unit = f" {check.unit}" if check.unit else ""
        paper = "" if check.paper is None else f"{check.paper:.4g}{unit}"
        here = figure(Check(**{**vars(check), "paper": None}))
        over = f", {check.over}" if check.over else ""
        cells = ("holds" if check.holds else "fails", check.statement, check.rule, paper, f"{here}{over}")
        lines.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    return "\n".join(lines)


def page(results: Sequence[Result], place: str) -> str:
    """All results as Markdown: a table, then a section each; place: the path of the folder of the experiments."""
    lines = ["| experiment | claim | verdict | checks that hold |", "|---|---|---|---:|"]
    for one in results:
        holding = f"{sum(check.holds for check in one.checks)} of {len(one.checks)}"
        lines.append(f"| [{one.name}](#{one.name}) | {one.claim} | {WORDS[one.verdict]} | {holding} |")
    sections = [f"## {one.name}\n\n{section(one, f'{place}{one.name}/{FIGURE}')}" for one in results]
    tally = Counter(str(one.verdict) for one in results)
    counted = ", ".join(f"{tally[verdict]} {words}" for verdict, words in WORDS.items())
    said = f"{count(len(results), 'claim')}: {counted}. A verdict follows from its checks. {RULE}. "
    said += "A check fails as well where its interval is too wide to decide."
    return "\n".join(lines) + f"\n\n{said}\n\n" + "\n".join(sections)


def results_in(folder: Path) -> list[Result]:
    """The results of all experiments in a folder, by name."""
    return [read(Result, path) for path in sorted(folder.glob(f"*/{RESULT}")) if (path.parent / MARKER).is_file()]


def write_page(folder: Path) -> None:
    """Write the page of all experiments in a folder; raises LipbenchError for a file of its name of somebody else's."""
    found = results_in(folder)
    if found:
        text = f'# The claims of "Pay attention to your loss", reproduced\n\n{page(found, "")}'
        files.write_among_others(folder, {PAGE: text.encode()}, HINT)
