"""Writes what docs/ takes from the code: definitions.md, columns.md, the list of modules in structure.md, the table of
ART's attacks in art.md; and paper.md, from the published results.

    python docs/generate.py

Facts are written once, in the code; a test asserts that the pages are up to date.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "lipbench"
MARK = "<!-- from docs/generate.py: the docstring of each module -->\n"
ART_MARK = "<!-- from docs/generate.py: lipbench.attacks.art.known -->\n"
ENDS, STATISTICS = ("lo", "hi"), ("mean", "std", "min", "max")  # columns that share a row


def definitions() -> str:
    """The page definitions.md."""
    from lipbench.report import definitions

    return f"""# Definitions

<!-- written by docs/generate.py -->

These words have the same meaning in every table, figure and file. The two bounds of a sample:

    certified_radius   <=   true distance to the decision boundary   <=   adversarial_distance

{definitions.markdown()}
Distances are in the suite's norm, in units of the input range [0, 1]. The accuracy of one model has a 95 %
Clopper-Pearson interval; a number of a setting has [one over seeds and
samples](reports.md#what-an-interval-covers).

* `certified_radius` is proved for grades `float` and `real`. For grade `nominal` it holds only if the claim is true.
* `adversarial_distance` is the smallest that any attack of the suite found. AutoAttack alone does not lower it.
* [Violations](certificates.md#grades) mean different things for different grades.
* Where an [indicator](attacks.md#indicators-of-attack-failure) comes from, and when it is n/a, is said there.

[Certificates](certificates.md#grades) says how each grade is computed.
"""


def columns() -> str:
    """The page columns.md."""
    from lipbench.report.comparisons import COMPARISONS, PAIRS
    from lipbench.report.effects import EFFECTS
    from lipbench.report.factors import FACTORS, PARTS
    from lipbench.report.hyperparameters import SETTINGS
    from lipbench.report.literature import LITERATURE
    from lipbench.report.metrics import SUMMARY
    from lipbench.report.samples import SAMPLES

    return f"""# Columns

<!-- written by docs/generate.py from the declarations of the columns -->

| kind | values |
|---|---|
| share | a number in [0, 1]; tables print it in percent |
| number | any other number |
| count | a whole number |
| flag | true or false |
| text | text |
| any | a value of the card: a number, text, or JSON |

An empty cell means that the value does not exist, or has no meaning for the row. A name that ends in a dot or a colon
stands for every column that begins with it, such as `loss.tau`. A [setting](glossary.md#setting) is everything on a
model's card except its name, seed, weights, claim and library versions.

## summary.csv

One row per model, suite and eps. `Results.summary()` returns the same.

{table(SUMMARY)}
## hyperparameters.csv

One row per [setting](glossary.md#setting), suite and eps. `Results.hyperparameters()` returns the same.

{table(SETTINGS)}
## comparisons.csv

One row per [setting](glossary.md#setting), suite, eps and metric. `Results.comparisons()` returns the same. [What an
interval covers](reports.md#what-an-interval-covers), and what is not corrected, is said there.

{table(COMPARISONS)}
## effects.csv

One row per suite, eps, [line](glossary.md#line) of settings and metric. `Results.effects()` returns the same.

{table(EFFECTS)}
## factors.csv

One row per model, suite and factor of tightness: [why a gap exists](reports.md#why-a-gap-exists). `Results.factors()`
returns the same.

{table(FACTORS)}
{parts(PARTS)}
## pairs.csv

One row per suite, eps, pair of models or settings, and metric, see [Compare](compare.md). It is in reports of several
runs, whose other CSV files have the column `run` first. `Results.compare()` and `lipbench.compare(...).frame` have the
same columns.

{table(PAIRS)}
## Results.literature

One row per published model and eps of a suite, see [Compare](compare.md#other-papers-numbers).

{table(LITERATURE)}
## Results.samples

One row per model, suite and sample. `adversarial_distance` is the smallest that any attack of the suite found;
AutoAttack alone does not lower it.

{table(SAMPLES)}
{records()}"""


def parts(words: dict[str, str]) -> str:
    """The parts of tightness."""
    return "| part | meaning |\n|---|---|\n" + "".join(f"| `{part}` | {meaning} |\n" for part, meaning in words.items())


def table(declared: Iterable) -> str:
    """Name, kind, unit and meaning of each column; the parts of an interval or of statistics share a row."""
    lines = ["| column | kind | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| {names} | {column.kind} | {column.unit} | {words} |" for names, column, words in _grouped(declared)]
    return "\n".join(lines) + "\n"


def _grouped(declared: Iterable) -> Iterator[tuple[str, object, str]]:
    found = list(declared)
    names = {column.name for column in found}
    for column in found:
        base, _, last = column.name.rpartition("_")
        parts = next(
            (parts for parts in (ENDS, STATISTICS) if last in parts and {f"{base}_{part}" for part in parts} <= names),
            None,
        )
        if parts is None:
            yield f"`{column.name}`", column, column.words.replace("``", "`")
        elif last == parts[0]:
            yield ", ".join(f"`{base}_{part}`" for part in parts), column, _words_of_parts(base, column, parts)


def _words_of_parts(base: str, column: object, parts: tuple[str, ...]) -> str:
    if parts is ENDS:
        return column.words.replace("lower end", "ends")
    return f"of `{base}`, over the models of the setting; std has n - 1 in the denominator"


def records() -> str:
    """The columns of the files in RUN/records."""
    from lipbench.runs.encoding import columns_of
    from lipbench.runs.records import AttackRecord, BoxRecord, CertifyRecord, FactorRecord, IndicatorRecord

    text = (
        "## Records\n\nThe columns of `RUN/records/*.parquet`. L2 distances are in units of the input range [0, 1].\n"
    )
    for kind in (CertifyRecord, AttackRecord, IndicatorRecord, FactorRecord, BoxRecord):
        first = (kind.__doc__ or "").split("\n")[0]
        text += f"\n**{kind.__name__}.** {first}\n\n| column | type | unit | meaning |\n|---|---|---|---|\n"
        for name, column in columns_of(kind).items():
            shown = f"{name}.`, followed by a number" if column.several else f"{name}`"
            text += f"| `{shown} | {column.kind} | {column.unit} | {column.words} |\n"
    return text


def structure() -> str:
    """The page structure.md: what stands above the mark, and the modules."""
    return (DOCS / "structure.md").read_text().split(MARK)[0] + MARK + modules()


def modules() -> str:
    """A list of all modules, room by room, each with the first sentence of its docstring."""
    rooms: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        room = place.parts[0] if len(place.parts) > 1 else ""
        if place.name != "__init__.py" or len(place.parts) <= 2:
            rooms.setdefault(room, []).append(f"| `{place}` | {first_sentence(path)} |\n")
    head = "| module | what |\n|---|---|\n"
    return "".join(
        f"\n### {f'lipbench/{room}/' if room else 'lipbench/'}\n\n{head}{''.join(lines)}"
        for room, lines in sorted(rooms.items())
    )


def art() -> str:
    """The page art.md: what stands above the mark, and ART's evasion attacks."""
    from lipbench.attacks.art.known import EVASION

    text = (DOCS / "art.md").read_text().split(ART_MARK)[0] + ART_MARK
    text += "\n| class | on `LipschitzClassifier` | norms |\n|---|---|---|\n"
    for name, known in EVASION.items():
        if known.refused is not None:
            text += f"| `{name}` | no: {known.refused} | |\n"
            continue
        runs = "by name" if known.probabilities else "runs"
        if known.needs:
            runs += f", needs {' and '.join(known.needs)}, which ART does not install"
        norms = ", ".join({"L2": "L2", "Linf": "L_inf"}[norm] for norm in sorted(known.norms))
        text += f"| `{name}` | {runs} | {norms}{f' ({known.measure})' if known.measure else ''} |\n"
    return text


def paper() -> str:
    """The page paper.md: the published experiments."""
    from lipbench.experiments.writing import page, results_in

    return f"""# The paper's claims

<!-- written by docs/generate.py from reports/paper -->

Each claim of "Pay attention to your loss" (Béthune et al., NeurIPS 2022, [arXiv
2104.05097](https://arxiv.org/abs/2104.05097)) is one command, `lipbench reproduce NAME`, see
[Reproduce](reproduce.md). This page shows what came out at scale `small`, on two CPU cores. Numbers in brackets are
95 % intervals. The records are in `reports/paper`.

{page(results_in(DOCS.parent / "reports" / "paper"), "../reports/paper/")}"""


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, for a cell of a table."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    paragraph = " ".join(text.split("\n\n")[0].replace("``", "`").split())
    sentence = re.split(r"(?<!et al)(?<!arXiv)\. (?=[A-Z`])", paragraph)[0].rstrip(".:")
    return sentence.replace("|", r"\|")


def main() -> None:
    """Write the pages."""
    for page in (definitions, columns, structure, art, paper):
        (DOCS / f"{page.__name__}.md").write_text(page())


if __name__ == "__main__":
    main()
