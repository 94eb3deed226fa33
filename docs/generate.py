"""Writes what docs/ takes from the code: definitions.md, and the list of modules in structure.md.

    python docs/generate.py

Facts are written once, in the code; a test asserts that the pages are up to date.
"""

import ast
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PACKAGE = DOCS.parent / "lipbench"
DEFINITIONS, STRUCTURE = DOCS / "definitions.md", DOCS / "structure.md"
MARK = "<!-- from docs/generate.py: the docstring of each module -->\n"
HEAD = """# Definitions

<!-- written by docs/generate.py from the definitions that reports print -->

These words have the same meaning in every table, figure and file. The two bounds of a sample:

    certified_radius   <=   true distance to the decision boundary   <=   adversarial_distance

| word | meaning, at radius eps, over all n samples (misclassified ones count as not robust) |
|---|---|
"""
TAIL = """
Distances are in the suite's norm, in units of the input range [0, 1]. The accuracy of one model has a 95 %
Clopper-Pearson interval. [Certificates](certificates.md#grades) says how each grade is computed.
"""


def definitions() -> str:
    """The page definitions.md."""
    from lipbench.report import document

    return HEAD + "".join(f"| {word} | {meaning} |\n" for word, meaning in document.DEFINITIONS.rows) + TAIL


def structure() -> str:
    """The page structure.md: what stands above the mark, and the modules."""
    return STRUCTURE.read_text().split(MARK)[0] + MARK + modules()


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


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring, for a cell of a table."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    paragraph = " ".join(text.split("\n\n")[0].replace("``", "`").split())
    sentence = re.split(r"(?<!et al)(?<!arXiv)\. (?=[A-Z`])", paragraph)[0].rstrip(".:")
    return sentence.replace("|", r"\|")


def main() -> None:
    """Write the pages."""
    DEFINITIONS.write_text(definitions())
    STRUCTURE.write_text(structure())


if __name__ == "__main__":
    main()
