"""Settings on a grid of two hyperparameters of one loss: how both act together."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from lipbench.report.columns import HYPERPARAMETERS, SETTING, alike, hyperparameter_columns, setting_columns


@dataclass(frozen=True)
class Surface:
    """A grid of settings of one kind: rows are values of ``down``, columns those of ``across``, both ascending."""

    down: str
    across: str
    rows: tuple[float, ...]
    columns: tuple[float, ...]
    settings: tuple[tuple[str | None, ...], ...]  # None: no setting has these values


def surfaces(settings: pd.DataFrame) -> Iterator[Surface]:
    """Every kind of network whose loss has two hyperparameters that take two values each; ``settings``: of a suite."""
    once = settings.drop_duplicates(SETTING.name)
    names = hyperparameter_columns(once)
    kind = [name for name in setting_columns(once) if name not in (SETTING.name, *names)]
    for _, part in once.groupby(alike(once, kind), sort=False):
        varied = [name for name in names if len(part[name].dropna().unique()) > 1]
        whole = part.dropna(subset=varied)
        if len(varied) == 2 and len(whole) > 2:
            yield _surface(whole, *varied)


def _surface(part: pd.DataFrame, across: str, down: str) -> Surface:
    grid = {(row, column): name for row, column, name in zip(part[down], part[across], part[SETTING.name], strict=True)}
    rows, columns = (tuple(sorted(map(float, part[name].unique()))) for name in (down, across))
    bare = {name: name.removeprefix(HYPERPARAMETERS.name) for name in (down, across)}
    return Surface(
        bare[down], bare[across], rows, columns, tuple(tuple(grid.get((r, c)) for c in columns) for r in rows)
    )
