"""An evaluated CIFAR-10 zoo beside the Pareto front of "Pay attention to your loss" (Bethune et al. 2022).

    python benchmarks/paper.py RUN        a Markdown table: clean accuracy and certified accuracy at 36/255 (the latter
                                          with our bound, and of grade nominal, as papers print it)

The paper's points are those of reports/literature.csv that are of a loss of lipbench: read off its plot, its values of
alpha, m and tau, for pixels in 0..255, converted to those that recipes have (docstrings of the losses). Ours: every
setting of the run that has such a loss (HKR: with that m), mean over seeds.
"""

import argparse
from pathlib import Path

import pandas as pd

from lipbench.attacks.eps import Eps, same
from lipbench.errors import LipbenchError
from lipbench.report import Results, columns, hyperparameters, literature
from lipbench.runs.folder import RunFolder

EPS = Eps("36/255")
VARIED = {"hkr_multiclass": "alpha", "hinge_multiclass": "min_margin", "tau_cross_entropy": "tau"}  # by family
COLUMNS = (
    *("paper's model", "loss", "here", "architecture"),
    *("paper: clean", "certified", "here: clean", "certified", "nominal"),
)


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def accuracies(row: dict) -> tuple[str, ...]:
    """Ours: clean, certified, and certified of grade nominal, which is what papers print."""
    return tuple(percent(row[f"{key}_mean"]) for key in ("clean", "certified", "certified_nominal"))


def near(settings: pd.DataFrame, name: str, wanted: float) -> pd.DataFrame:
    """The settings with that hyperparameter; recipes give four digits."""
    values = settings.get(f"loss.{name}", pd.Series(float("nan"), index=settings.index))
    return settings[(values - wanted).abs() <= 2e-3 * wanted]


def table(settings: pd.DataFrame) -> list[tuple[str, ...]]:
    rows = []
    constrained = settings[settings["constrained"].astype(bool)]
    points = [one for one in literature.read() if one.loss and same(EPS, [one.eps])]
    for family, name in VARIED.items():
        ours, theirs = constrained[constrained["family"] == family], [one for one in points if one.loss == family]
        fixed = {key: value for key, value in theirs[0].hyperparameters.items() if key != name}
        for key, value in fixed.items():
            ours = near(ours, key, value)
        left = set(ours.index)
        for one in theirs:
            equal = near(ours, name, one.hyperparameters[name])
            left -= set(equal.index)
            start = (one.model, family, f"{name} {one.hyperparameters[name]:.4g}")
            printed = (percent(one.clean), percent(one.certified))
            if equal.empty:
                rows.append((*start, "", *printed, "", "", ""))
            for row in equal.to_dict("records"):
                rows.append((*start, row["architecture"], *printed, *accuracies(row)))
        for row in ours.loc[sorted(left)].to_dict("records"):
            value = f"{name} {row[f'loss.{name}']:.4g}"
            rows.append(("", family, value, row["architecture"], "", "", *accuracies(row)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    try:
        summary = Results.load(RunFolder(parser.parse_args().run)).summary()
    except LipbenchError as error:
        parser.exit(2, f"{error}\n")
    at = summary[summary["eps"].isin(same(EPS, summary["eps"].unique().tolist()))]
    if at.empty:
        parser.exit(2, f"the run has no eps of 36/255; it has {sorted(summary['eps'].unique().tolist())}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    keys = columns.setting_columns(at)
    nominal = at.groupby(keys, dropna=False)["certified_nominal"].mean().rename("certified_nominal_mean")
    for row in table(hyperparameters.over_seeds(at).merge(nominal.reset_index(), on=keys)):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
