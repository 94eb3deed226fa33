"""Tables as floats of LaTeX that fit a column: widths are estimated before TeX sees them, with those of its fonts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

FONT, LEADING = 8.0, 9.6  # pt
HEAD = 7.0  # pt, of the headings of numbers
SCRIPT = 6.0  # pt, of the ends of intervals and of the second row of effects
SEPARATION = {1: 3.5, 2: 2.0}  # pt on either side of a column, by the columns of a page
ROOM = {1: 5.5 * 72.27, 2: 3.25 * 72.27}  # pt, of a column by the columns of a page
ENVIRONMENT = {1: "table*", 2: "table"}  # table* is as wide as the page, however many columns that has
LEAST = 50.0  # pt of the first column; before it gets less, columns of numbers go to another table
EM = {"digit": 0.55, "narrow": 0.36, "wide": 0.90, "other": 0.57}  # of Computer Modern at 8 pt, rounded up
WIDER = 1.16  # an em of Computer Modern at 6 pt, against 8 pt


@dataclass(frozen=True)
class Cell:
    """TeX source, and how wide it becomes in pt."""

    source: str = ""
    width: float = 0.0


@dataclass(frozen=True)
class Row:
    """A row of a table; ``cells``: those behind the label, none in a row that is a heading."""

    label: Cell
    cells: tuple[Cell, ...] = ()
    apart: bool = False  # with space before it

    def source(self, places: Sequence[int]) -> str:
        """The row with some of its cells."""
        cells = [rf"\raggedright {self.label.source}".rstrip()]
        cells += [self.cells[place].source if self.cells else "" for place in places]
        return ("\\addlinespace\n" if self.apart else "") + rf"{' & '.join(cells)} \\"


@dataclass(frozen=True)
class PaperTable:
    """A float of tables.tex: every part is TeX source."""

    label: str
    caption: str
    heads: tuple[str, ...]
    rows: tuple[str, ...]
    columns: int  # of the page that it is for
    first: float  # pt, width of the first column

    @property
    def source(self) -> str:
        """The float."""
        name = ENVIRONMENT[self.columns]
        return "\n".join(
            [
                rf"\begin{{{name}}}[t]",
                rf"\centering\fontsize{{{FONT:g}}}{{{LEADING:g}}}\selectfont",
                rf"\setlength{{\tabcolsep}}{{{SEPARATION[self.columns]:g}pt}}\renewcommand{{\arraystretch}}{{1.25}}",
                r"\setlength{\belowcaptionskip}{4pt}",
                rf"\caption{{{self.caption}}}",
                rf"\label{{{self.label}}}",
                rf"\begin{{tabular}}{{@{{}}p{{{self.first:.1f}pt}}{'r' * (len(self.heads) - 1)}@{{}}}}",
                r"\toprule",
                rf"{' & '.join(self.heads)} \\",
                r"\midrule",
                *self.rows,
                r"\bottomrule",
                r"\end{tabular}",
                rf"\end{{{name}}}",
            ]
        )


def width(plain: str, size: float = FONT) -> float:
    """The width of plain text or a number, in pt."""
    return sum(EM[_shape(letter)] for letter in plain) * size * (WIDER if size <= SCRIPT else 1)


def _shape(letter: str) -> str:
    if letter.isdigit():
        return "digit"
    if letter in "ijltfr.,;:'|! ()[]":
        return "narrow"
    return "wide" if letter in "mwMW@%=+-<>αω" or letter.isupper() else "other"


def floats(
    heads: Sequence[Cell], rows: Sequence[Row], kept: int, columns: int, label: str, caption: Callable[[list[int]], str]
) -> tuple[PaperTable, ...]:
    """The table, as several where its columns do not fit side by side.

    heads: of all columns, the first included; kept: how many columns after the first stand in each table; caption: of
    the table with the columns of these places behind them, counted from 0.
    """
    filled = [row for row in rows if row.cells]
    cells = [max([head.width, *(row.cells[at].width for row in filled)]) for at, head in enumerate(heads[1:])]
    widths = [width + 2 * SEPARATION[columns] for width in cells]
    room = ROOM[columns] - sum(widths[:kept]) - 4
    longest = max([heads[0].width, *(row.label.width for row in rows)]) + 4
    found = []
    for place, part in enumerate(_split(widths[kept:], room)):
        places = [*range(kept), *(kept + each for each in part)]
        found.append(
            PaperTable(
                label=label + (f"-{place + 1}" if place else ""),
                caption=caption(part),
                heads=(heads[0].source, *(heads[1 + each].source for each in places)),
                rows=tuple(row.source(places) for row in rows),
                columns=columns,
                first=min(longest, room - sum(widths[kept + each] for each in part)),
            )
        )
    return tuple(found)


def _split(widths: Sequence[float], room: float) -> list[list[int]]:
    """Which columns stand in one table, as evenly as they fit beside a first column of ``LEAST``; one at least."""
    for tables in range(1, len(widths) + 1):
        each = -(-len(widths) // tables)
        parts = [list(range(start, min(start + each, len(widths)))) for start in range(0, len(widths), each)]
        if all(room - sum(widths[place] for place in part) >= LEAST for part in parts):
            return parts
    return [[place] for place in range(len(widths))]
