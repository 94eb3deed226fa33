"""What runs are called where a table or a report holds several: short, printable, and no two the same."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lipbench.errors import printable

if TYPE_CHECKING:
    from lipbench.report.results import Results

LONGEST = 32  # characters


def cut(text: str, most: int) -> str:
    """The text, or its beginning and its end where it is longer than ``most`` characters."""
    return text if len(text) <= most else f"{text[: most // 2 - 1]}...{text[len(text) - (most - most // 2 - 2) :]}"


def called(runs: Sequence["Results"]) -> list[str]:
    """The title of each run, else the name of its folder; with the folder above where that is not enough.

    Runs that would still be called the same are numbered.
    """
    titles = [str(run.run.provenance.get("title") or "") for run in runs]
    paths = [run.run_folder.path.absolute() for run in runs]
    found = [_short(title or path.name) for title, path in zip(titles, paths, strict=True)]
    longer = [_short(title or "/".join(path.parts[-2:])) for title, path in zip(titles, paths, strict=True)]
    counts = Counter(found)
    found = [more if counts[one] > 1 else one for one, more in zip(found, longer, strict=True)]
    counts, used = Counter(found), set(found)
    for place, one in enumerate(found):
        if counts[one] > 1:
            numbered = (f"{one} ({number})" for number in range(1, len(found) + len(used) + 2))
            found[place] = next(name for name in numbered if name not in used)
            used.add(found[place])
    return found


def _short(name: str) -> str:
    return cut(" ".join(printable(name).split()) or "run", LONGEST)
