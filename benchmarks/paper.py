"""An evaluated CIFAR-10 zoo beside the Pareto front of "Pay attention to your loss" (Bethune et al. 2022).

    python benchmarks/paper.py RUN        a Markdown table: clean accuracy and certified accuracy at 36/255 (the latter
                                          with our bound, and of grade nominal, as papers print it)

The paper's points were read off its plot; its values of alpha, m and tau, for pixels in 0..255, are converted to those
that recipes have (docstrings of the losses). Ours: every setting of the run that has such a loss (HKR: with that m),
mean over seeds.
"""

import argparse
from pathlib import Path

import pandas as pd

from lipbench.errors import LipbenchError
from lipbench.report import Results, columns, hyperparameters
from lipbench.runs.folder import RunFolder

EPS = 36 / 255
HKR_MARGIN = 40 / 255  # the paper's m = 20
PAPER = {  # family: (hyperparameter, title, from the paper's value to that of recipes, {value: (clean, certified)})
    "hkr_multiclass": (
        "loss.alpha",
        "HKR, m = 20, alpha",
        lambda alpha: alpha / (1 + alpha),
        {
            5: (0.575, 0.437),
            10: (0.668, 0.42),
            30: (0.775, 0.30),
            50: (0.791, 0.24),
            100: (0.798, 0.21),
            300: (0.804, 0.17),
        },
    ),
    "hinge_multiclass": (
        "loss.min_margin",
        "hinge, m",
        lambda m: 2 * m / 255,
        {
            100: (0.697, 0.437),
            50: (0.748, 0.36),
            36: (0.768, 0.29),
            20: (0.802, 0.14),
            10: (0.833, 0.01),
            2: (0.864, 0.0),
        },
    ),
    "tau_cross_entropy": (
        "loss.tau",
        "CE, tau",
        lambda tau: 255 * tau,
        {0.05: (0.794, 0.255), 0.1: (0.831, 0.07), 3: (0.869, 0.0)},
    ),
}
COLUMNS = (
    *("loss", "paper's value", "here", "architecture"),
    *("paper: clean", "certified", "here: clean", "certified", "nominal"),
)


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def accuracies(row: dict) -> tuple[str, ...]:
    """Ours: clean, certified, and certified of grade nominal, which is what papers print."""
    return tuple(percent(row[f"{key}_mean"]) for key in ("clean", "certified", "certified_nominal"))


def near(values: pd.Series, wanted: float) -> pd.Series:
    """Recipes give four digits."""
    return (values - wanted).abs() <= 2e-3 * wanted


def table(settings: pd.DataFrame) -> list[tuple[str, ...]]:
    rows = []
    for family, (name, title, convert, points) in PAPER.items():
        ours = settings[(settings["family"] == family) & settings["constrained"].astype(bool)]
        if family == "hkr_multiclass":
            ours = ours[near(ours["loss.min_margin"], HKR_MARGIN)]
        left = set(ours.index)
        for value, (clean, certified) in points.items():
            same = ours[near(ours[name], convert(value))]
            left -= set(same.index)
            start = (title, f"{value:g}", f"{convert(value):.4g}")
            theirs = (percent(clean), percent(certified))
            if same.empty:
                rows.append((*start, "", *theirs, "", "", ""))
            for row in same.to_dict("records"):
                rows.append((*start, row["architecture"], *theirs, *accuracies(row)))
        for row in ours.loc[sorted(left)].to_dict("records"):
            rows.append((title, "", f"{row[name]:.4g}", row["architecture"], "", "", *accuracies(row)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    try:
        summary = Results.load(RunFolder(parser.parse_args().run)).summary()
    except LipbenchError as error:
        parser.exit(2, f"{error}\n")
    at = summary[(summary["eps"] - EPS).abs() < 1e-4]
    if at.empty:
        parser.exit(2, f"the run has no eps of 36/255; it has {sorted(summary['eps'].unique().tolist())}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    keys = columns.setting_columns(at)
    nominal = at.groupby(keys, dropna=False)["certified_nominal"].mean().rename("certified_nominal_mean")
    for row in table(hyperparameters.over_seeds(at).merge(nominal.reset_index(), on=keys)):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
