"""What a column of a frame is. Each is declared once, where it is computed; files, tables and definitions read that.

Names that users choose, of hyperparameters and of training settings, stand behind a prefix, so that none can clash with
a metric. Columns are found by their names and prefixes, never by their position.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from lipbench.report.intervals import clopper_pearson

if TYPE_CHECKING:
    from lipbench.runs.results import ModelResults

Kind = Literal["text", "flag", "count", "number", "share", "any"]
SAMPLES, EVALUATIONS = "samples", "evaluations of the network"  # units
STATISTICS = {"mean": "mean", "std": "standard deviation (ddof 1)", "min": "smallest", "max": "largest"}
ENDS = {
    end: f"{word} end of the 95 % interval of the mean, over seeds and samples"
    for end, word in (("lo", "lower"), ("hi", "upper"))
}
_DTYPES = {"count": "int64", "flag": "bool", "number": "float64", "share": "float64"}
_OPTIONAL_DTYPES = {"count": "Int64", "flag": "boolean"}


@dataclass(frozen=True)
class Column:
    """A column of a frame.

    kind: "share" is a number in [0, 1] that tables print in percent, "any" holds what a card holds; unit: of the
    numbers, empty where there is none; words: what the column means, in one sentence.
    """

    name: str
    kind: Kind
    unit: str
    words: str
    heading: str = ""  # over the column in tables; the name by default
    term: str = ""  # the word that the definitions explain with ``words``; empty: not among them
    rank: int = 0  # definitions and tables of signs come in ascending rank, then as declared
    optional: bool = False  # a row may lack it: NaN or NA
    prefix: bool = False  # stands for every column whose name starts with ``name``
    setting: bool = False  # distinguishes settings

    @property
    def title(self) -> str:
        """The heading in tables."""
        return self.heading or self.name

    @property
    def dtype(self) -> str | None:
        """The pandas dtype; None for a column that holds text, or values of several types."""
        return _OPTIONAL_DTYPES.get(self.kind, _DTYPES.get(self.kind)) if self.optional else _DTYPES.get(self.kind)

    def covers(self, name: str) -> bool:
        """Whether it is the declaration of the column called ``name``."""
        return name.startswith(self.name) if self.prefix else name == self.name


@dataclass(frozen=True)
class Remark:
    """What a report says where a share of the samples is above ``limit``, in the order of ``rank``."""

    limit: float
    words: str
    rank: int = 0


@dataclass(frozen=True)
class Metric(Column):
    """A column that is computed from the results of a model at an eps.

    value: returns the cell; with ``interval`` a mask bool (n,) of the samples that count, or None where it is n/a.
    """

    value: Callable[["ModelResults", float], Any] = field(kw_only=True)
    interval: bool = False  # a share of the samples: its 95 % interval is in ``NAME_lo`` and ``NAME_hi``
    over_seeds: bool = False  # hyperparameters.csv has its mean, std, min and max; tables show it for each setting
    by_eps: bool = False  # another one at each eps
    drawn: bool = False  # hyperparameters.csv has its interval over seeds and samples in ``NAME_lo`` and ``NAME_hi``
    digits: int = 3  # decimals in tables, where it is not a share
    remark: Remark | None = None  # a sign that attacks fail
    compared: bool = False  # n/a unless AutoAttack is run alone beside the suite

    @property
    def of_summary(self) -> tuple[Column, ...]:
        """The columns in summary.csv."""
        ends = (("lo", "lower"), ("hi", "upper")) if self.interval else ()
        return self, *(
            Column(f"{self.name}_{end}", self.kind, self.unit, f"{word} end of the 95 % interval of {self.title}")
            for end, word in ends
        )

    @property
    def of_hyperparameters(self) -> tuple[Column, ...]:
        """The columns in hyperparameters.csv."""
        return tuple(
            Column(f"{self.name}_{short}", self.kind, self.unit, f"{self.title} over the models of a setting: {word}")
            for short, word in (STATISTICS | (ENDS if self.drawn else {})).items()
        )

    def cells(self, value: Any) -> dict[str, Any]:
        """The cells of a row of summary.csv, by column; ``value``: of the metric for that row."""
        if not self.interval:
            return {self.name: value}
        if value is None:
            return dict.fromkeys((column.name for column in self.of_summary), float("nan"))
        count, n = int(value.sum()), len(value)
        low, high = clopper_pearson(count, n)
        return {self.name: count / n if n else float("nan"), f"{self.name}_lo": low, f"{self.name}_hi": high}


MODEL = Column("model", "text", "", "name of the model, as on its card")
COPY_OF = Column("copy_of", "text", "", "the first model of the run with the same weights; empty for that one itself")
SETTING = Column(
    "setting",
    "text",
    "",
    "digest of everything on the card but name, seed, weights, claim and library versions",
    setting=True,
)
FAMILY = Column("family", "text", "", "loss, or how an unconstrained network was trained", setting=True)
ARCHITECTURE = Column("architecture", "text", "", "architecture, with the arguments that differ", setting=True)
CONSTRAINED = Column("constrained", "flag", "", "made of 1-Lipschitz layers", setting=True)
HYPERPARAMETERS = Column("loss.", "number", "", "hyperparameter of the loss", optional=True, prefix=True, setting=True)
ADVERSARIAL = Column("adversarial", "flag", "", "trained at adversarial inputs", setting=True)
ADVERSARIAL_ARGUMENTS = Column(
    "adversarial.", "any", "", "argument of adversarial training", optional=True, prefix=True, setting=True
)
# what else is on a card, where models of the run differ in it
FURTHER = tuple(
    Column(f"{name}.", "any", "", words, optional=True, prefix=True, setting=True)
    for name, words in (
        ("card", "field of the card"),
        ("architecture", "field of the architecture on the card"),
        ("preprocessing", "normalisation inside the model"),
        ("training", "setting of the training"),
    )
)
SEED = Column("seed", "count", "", "seed of the training")
SUITE = Column("suite", "text", "", "suite of attacks")
NORM = Column("norm", "text", "", "norm of the suite: of eps, radii and distances")
EPS = Column("eps", "number", "suite's norm, input range [0, 1]", "radius at which accuracies are counted")

OF_SETTINGS = (
    *(SETTING, FAMILY, ARCHITECTURE, CONSTRAINED),
    *(HYPERPARAMETERS, ADVERSARIAL, ADVERSARIAL_ARGUMENTS, *FURTHER),
)
OF_MODELS = (MODEL, COPY_OF, *OF_SETTINGS, SEED)
OF_GROUPS = (SUITE, NORM)  # all tables and figures come once for each
GROUP = [column.name for column in OF_GROUPS]


def cells(values: Sequence[tuple[Metric, Any]]) -> dict[str, Any]:
    """The cells of a row of summary.csv, by column, from the value of each metric."""
    return {name: cell for metric, value in values for name, cell in metric.cells(value).items()}


def setting_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that distinguish settings; ``setting``, a digest, does so by itself."""
    return _covered(frame, [column for column in OF_SETTINGS if column.setting])


def hyperparameter_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that hold a hyperparameter of a loss, ``loss.NAME``."""
    return _covered(frame, [HYPERPARAMETERS])


def adversarial_columns(frame: pd.DataFrame) -> list[str]:
    """The columns that hold an argument of adversarial training, ``adversarial.NAME``."""
    return _covered(frame, [ADVERSARIAL_ARGUMENTS])


def further_columns(frame: pd.DataFrame) -> list[str]:
    """The columns of what models differ in besides architecture and loss, such as ``training.epochs``."""
    return _covered(frame, FURTHER)


def _covered(frame: pd.DataFrame, columns: Iterable[Column]) -> list[str]:
    return [str(name) for name in frame if any(column.covers(str(name)) for column in columns)]


def ordered(frame: pd.DataFrame, columns: Iterable[Column]) -> list[str]:
    """The columns of a frame in the order in which they are declared; others are left out."""
    return [name for column in columns for name in map(str, frame) if column.covers(name)]


def typed(frame: pd.DataFrame, columns: Iterable[Column]) -> pd.DataFrame:
    """The frame with the dtypes that its columns declare; those behind a prefix of kind "number" keep theirs."""
    declared = list(columns)
    found = {str(name): next((column for column in declared if column.covers(str(name))), None) for name in frame}
    dtypes = {
        name: column.dtype
        for name, column in found.items()
        if column is not None and column.dtype is not None and not (column.prefix and column.kind == "number")
    }
    return frame.astype(dtypes)


def alike(frame: pd.DataFrame, names: Sequence[str]) -> "pd.Series[str]":
    """Equal for the rows that are equal in all of these columns, whatever types these mix; NaN equals NaN."""
    values = frame[list(names)].astype(object).itertuples(index=False, name=None)
    return pd.Series([repr(row) for row in values], index=frame.index, dtype=object)
