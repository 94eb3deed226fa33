import numpy as np
import pandas as pd
import pytest

from lipbench.report import Results, columns, intervals, tables
from lipbench.report.columns import Column, Metric


@pytest.fixture
def item(make_run, make_model):
    (found,) = Results.load(make_run(make_model([1, 1, 1, 0], [0.3, 0.15, 0.0, 0.0], [0.4, 0.3, 0.15, 0.0]))).items
    return found


def test_a_metric_is_its_declaration(item):
    """The whole of what a new column takes: here, the share that is certified at twice the eps."""
    ahead = Metric(
        "certified_ahead",
        "share",
        "samples",
        "share certified at twice the eps",
        heading="ahead",
        interval=True,
        over_seeds=True,
        value=lambda item, eps: item.bounds.certified(2 * eps),
    )
    low, high = intervals.clopper_pearson(1, 4)
    cells = ahead.cells(ahead.value(item, 0.1))
    assert cells == {"certified_ahead": 0.25, "certified_ahead_lo": low, "certified_ahead_hi": high}
    assert [column.name for column in ahead.of_summary] == list(cells)
    assert [column.name for column in ahead.of_hyperparameters] == [
        f"certified_ahead_{short}" for short in ("mean", "std", "min", "max")
    ]
    assert tables.titles([ahead]) == ("ahead",)


def test_an_accuracy_that_a_model_lacks_is_not_a_number(item):
    none = Metric("none", "share", "samples", "nothing", interval=True, value=lambda item, eps: None)
    cells = none.cells(none.value(item, 0.1))
    assert list(cells) == ["none", "none_lo", "none_hi"]
    assert np.isnan(list(cells.values())).all()


@pytest.mark.parametrize(
    ("kind", "optional", "values", "dtype"),
    [
        ("count", False, [1, 2], "int64"),
        ("count", True, [1, np.nan], "Int64"),
        ("flag", True, [True, None], "boolean"),
        ("flag", False, [True, False], "bool"),
        ("number", True, [1, None], "float64"),
        ("text", True, ["a", None], str(pd.Series(["a", None]).dtype)),  # as pandas has it
    ],
)
def test_a_column_has_the_type_that_it_declares(kind, optional, values, dtype):
    column = Column("one", kind, "", "", optional=optional)
    frame = columns.typed(pd.DataFrame({"one": values, "other": [0, 1]}), [column])
    assert str(frame["one"].dtype) == dtype


def test_rows_are_alike_where_all_columns_are():
    frame = pd.DataFrame({"a": [1, 1, np.nan, np.nan], "b": ["x", "y", "x", "x"]})
    same = columns.alike(frame, ["a", "b"])
    assert same[2] == same[3]
    assert same.nunique() == 3
