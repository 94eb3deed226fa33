"""Where the gap of a setting comes from, in one sentence: the factor of its tightness that weighs most."""

from collections.abc import Callable

import pandas as pd

from lipbench.report import factors
from lipbench.report.formatting import labels, number, rows, share
from lipbench.report.metrics import MEAN_GAP
from lipbench.report.tables import Group


def of(group: Group, found: pd.DataFrame, eps: float) -> Callable[[str], str | None]:
    """From the digest of a setting to the sentence; None where no factor is known. ``found``: of ``factors.frame``.

    The same factor of the setting of its family with the smallest mean gap stands beside it.
    """
    at, named = group.settings[group.settings["eps"] == eps], labels(group.settings, short=True)

    def sentence(setting: str) -> str | None:
        leading = factors.leading(found, setting, group.suite)
        if leading is None:
            return None
        row = rows(at[at["setting"] == setting])[0]
        alike = at[(at["family"] == row["family"]) & (at["architecture"] == row["architecture"])]
        best = rows(alike.sort_values(f"{MEAN_GAP.name}_mean", kind="stable"))[0]["setting"]
        others = {}
        if best != setting:
            values = factors.of_setting(found, best, group.suite)
            if (leading.part, leading.factor) in values.index:
                others[named[best]] = float(values[(leading.part, leading.factor)])
        tightness = f"Its median tightness is {number(leading.tightness, 2)}"
        weight = f"the largest part of what is lost, {share(leading.share)} in logarithms, is one factor"
        return f"{tightness}; {weight}: {factors.sentence(leading, others)}."

    return sentence
