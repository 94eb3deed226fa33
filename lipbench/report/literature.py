"""What other papers print, on other set-ups: reports/literature.csv, joined with a run by data set, norm and eps.

The numbers are others' own and stand beside ours: no ranking, front or comparison of a run contains them.
"""

import csv
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from lipbench._internal import files, resources, schema
from lipbench.attacks.eps import EpsField, same
from lipbench.certification.grades import NONE
from lipbench.errors import LipbenchError
from lipbench.report import columns
from lipbench.report.columns import EPS, NORM, SAMPLES, SUITE, Column
from lipbench.report.formatting import MISSING, labels, percent, printable, rows
from lipbench.report.metrics import CERTIFIED, CLEAN, ROBUST
from lipbench.report.tables import Group, Table

NAME = "literature.csv"
TITLE = "Others' numbers, on other set-ups"
LONGEST = 300  # characters of a cell
MOST = 10_000  # rows
# file of a data set: the data set that it counts as, and what is said of it
VARIANTS = {"cifar10-jpeg": ("cifar10", "ours: CIFAR-10 after JPEG compression")}
SHARES = ("clean", "certified", "robust")
LITERATURE: tuple[Column, ...] = (
    Column("paper", "text", "", "who printed the numbers, and where"),
    Column("model", "text", "", "the model, as the paper calls it"),
    Column("data", "text", "", "data set"),
    *(NORM, EPS),
    *(Column(name, "share", SAMPLES, f"{name} accuracy that the paper prints", optional=True) for name in SHARES),
    Column("cost", "text", "", "what training took, as the source says; empty if it does not"),
    Column("source", "text", "", "where the numbers were read"),
    Column("note", "text", "", "what sets the set-up of the paper apart"),
    Column(SUITE.name, "text", "", "suite of the run at that norm and eps"),
    Column(
        "ours", "text", "", "the setting of the run that is best there in certified accuracy (else in robust accuracy)"
    ),
    *(
        Column(f"ours_{name}", "share", SAMPLES, f"its {name} accuracy, mean over seeds", optional=True)
        for name in SHARES
    ),
    Column("ours_data", "text", "", "what sets the data of the run apart; empty if nothing"),
)


def _plain(text: str) -> str:
    if not text.isprintable() or len(text) > LONGEST:
        raise ValueError(f"input should be printable text of at most {LONGEST} characters")
    return text


def _numbers(text: Any) -> dict[str, float]:
    """``alpha=5/6 min_margin=40/255`` as a dictionary."""
    try:
        pairs = [part.split("=") for part in str(text).split()]
        return {_plain(name): float(Fraction(value)) for name, value in pairs}
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ValueError("input should be such as 'alpha=5/6 min_margin=40/255'") from error


def _share(value: Any) -> Any:
    return None if value == "" else value


Text = Annotated[str, AfterValidator(_plain)]
Named = Annotated[str, Field(min_length=1), AfterValidator(_plain)]
Share = Annotated[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None, BeforeValidator(_share)]


class Published(schema.Strict):
    """A row of the file: a model of a paper at one eps."""

    paper: Named
    model: Named
    loss: Text  # lipbench's name of it, where it has the loss; else empty
    hyperparameters: Annotated[dict[str, float], BeforeValidator(_numbers)]  # of that loss, as recipes have them
    data: Named  # the name of `lipbench list datasets`
    norm: Literal["L2", "Linf"]
    eps: EpsField
    clean: Share
    certified: Share
    robust: Share
    cost: Text
    source: Named
    note: Text

    @model_validator(mode="after")
    def _ordered(self) -> "Published":
        """No more samples are certified than robust, or than correct."""
        known = [value for value in (self.certified, self.robust, self.clean) if value is not None]
        if known != sorted(known) or not known or self.eps <= 0:
            raise ValueError("input should have certified <= robust <= clean, one of them at least, and eps above 0")
        return self


def read(path: Path | None = None) -> tuple[Published, ...]:
    """The rows of the file, by default of the one that comes with lipbench.

    Raises LipbenchError, with the line, for a file that is missing or malformed.
    """
    place = resources.file(NAME) if path is None else path
    data = files.read_bytes(place, "literature")
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LipbenchError(f"{place} is not a CSV file in UTF-8: {error}") from error
    head, body = (lines[0], lines[1:]) if lines else ([], [])
    if head != [*Published.model_fields] or len(body) > MOST:
        wanted = ",".join(Published.model_fields)
        raise LipbenchError(f"{place} is not a table of literature: expected {wanted}, then at most {MOST} rows")
    found = []
    for number, cells in enumerate(body, 2):
        where = f"row {number} of {place}"
        if len(cells) != len(head):
            raise LipbenchError(f"{where} has {len(cells)} cells, expected {len(head)}")
        found.append(schema.parse(Published, dict(zip(head, cells, strict=True)), where, "row of literature"))
    return tuple(found)


def data_set(spec: str) -> tuple[str, str]:
    """The data set that a spec such as "npz:cifar10-jpeg.npz" counts as here, and what sets it apart, or nothing."""
    name = Path(spec.partition(":")[2]).stem if ":" in spec else spec
    return VARIANTS.get(name, (spec, ""))


def frame(groups: Sequence[Group], spec: str) -> pd.DataFrame:
    """Every published number at a norm and an eps of the run, on its data set, beside our best setting there.

    groups: the frames of the run, suite by suite; spec: its data set. ``LITERATURE`` declares the columns.
    """
    data, apart = data_set(spec)
    published, found = [one for one in read() if one.data == data], []
    for group in groups:
        named = labels(group.settings)
        for eps in group.eps:
            row = _best(group, float(eps))
            ours = {f"ours_{name}": row[f"{name}_mean"] for name in SHARES}
            cells = {EPS.name: float(eps), SUITE.name: group.suite, "ours": named[row["setting"]], "ours_data": apart}
            for one in published:
                if one.norm == group.norm and same(one.eps, [eps]):
                    found.append(one.model_dump(exclude={"loss", "hyperparameters"}) | cells | ours)
    names = [column.name for column in LITERATURE]
    return columns.typed(pd.DataFrame(found, columns=names), LITERATURE)


def _best(group: Group, eps: float) -> dict[str, Any]:
    """The setting of the highest certified accuracy at an eps; of robust accuracy where none has a certificate."""
    goal = CERTIFIED if group.grade != NONE else ROBUST
    at = group.settings[group.settings[EPS.name] == eps].sort_values(
        f"{goal.name}_mean", ascending=False, kind="stable", na_position="last"
    )
    return rows(at)[0]


def table(group: Group, spec: str) -> Table | None:
    """The numbers of others at the eps of a suite; None where there are none."""
    found = rows(frame([group], spec))
    if not found:
        return None
    body = [
        (
            *(row["paper"], row["model"], group.shown(row["eps"])),
            *(percent(row[name]) for name in SHARES),
            *(row["cost"] or MISSING, row["ours"]),
            *(percent(row[f"ours_{name}"]) for name in SHARES),
            "; ".join(filter(None, (row["source"], row["note"]))),
        )
        for row in found
    ]
    shares = tuple(metric.title for metric in (CLEAN, CERTIFIED, ROBUST))
    heads = ("paper", "model", "eps", *shares, "cost", "our best at that eps", *shares, "source")
    over = (("", 3), ("theirs", 3), ("", 2), ("ours", 3), ("", 1))
    apart = f"; {found[0]['ours_data']}" if found[0]["ours_data"] else ""
    title = f"{TITLE}: in percent, as they print them ({printable(group.unit)}){apart}"
    return Table(title, heads, tuple(body), over)
