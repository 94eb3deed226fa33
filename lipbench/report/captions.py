"""What is said under tables and figures: samples, norm, eps, grade, suite, seeds, and what an interval covers."""

import pandas as pd

from lipbench.certification.grades import NONE
from lipbench.report import notation
from lipbench.report.formatting import FAMILY, labels, legend, of_grade
from lipbench.report.tables import Group

TITLES = {  # of figures, by name, in the order of the report
    "settings": "Settings in order",
    "sandwich": "Certified and robust accuracy over eps",
    "pareto": "Pareto front",
    "effects": "What each hyperparameter does",
    "heat": "Two hyperparameters at once",
}
ALONE = "Networks without a certificate have their robust accuracy alone."


def seeds(settings: pd.DataFrame) -> str:
    """How many seeds the settings have: ``3 seeds``, ``1 to 3 seeds``."""
    low, high = int(settings["n_models"].min()), int(settings["n_models"].max())
    count = str(high) if low == high else f"{low} to {high}"
    return f"{count} seed{'s' * (high > 1)}"


def averaged(settings: pd.DataFrame) -> str:
    """What is shown of the seeds: ``mean over 3 seeds``."""
    return f"mean over {seeds(settings)}" if settings["n_models"].max() > 1 else "one seed per setting"


def covers(settings: pd.DataFrame) -> str:
    """What an interval of the settings covers: ``over seeds and samples``."""
    counts = settings["n_models"]
    if counts.max() == 1:
        return "over samples alone"
    return "over seeds and samples" + (", where there is one seed over samples alone" if counts.min() == 1 else "")


def _set_up(group: Group, eps: str) -> str:
    """``n = 200, L2, eps 0.2, suite quick, grade float, 3 seeds``."""
    norm = "L∞" if group.norm == "Linf" else group.norm
    return (
        f"n = {group.sizes} samples, {norm}, {eps}, suite {group.suite}, {of_grade(group.grade)}, "
        f"{seeds(group.settings)}"
    )


def _words(group: Group) -> str:
    """The architecture and the notation that figures take for granted."""
    words = legend(group.settings)
    return built(group.settings) + (f" {words}" if words else "")


def figures(group: Group, eps: float) -> dict[str, str]:
    """The captions of the figures of a suite, by the names of the figures; ``eps``: that of figures at one eps."""
    known, at = group.grade != NONE, f"eps {group.shown(eps)}"
    all_eps = f"eps {', '.join(each.shown for each in group.eps)}"
    alone = f" {ALONE}" * bool((group.settings["grade"] == NONE).any() and known)
    band, words = covers(group.settings), _words(group)
    dots = "" if group.settings["n_models"].max() == 1 else "; small dots: seeds"
    goal = "certified" if known else "robust"
    bounds = "certified (filled) and robust (open)" if known else "robust (open)"
    return {
        "settings": (
            f"Settings by {goal} accuracy: {bounds} accuracy with its 95 % interval {band}; upright "
            f"stroke: clean accuracy; shaded: the gap{dots}. {_set_up(group, at)}.{alone}{words}"
        ),
        "sandwich": (
            ("Certified and robust accuracy over eps; the band between them is the gap. " if known else "")
            + ("" if known else "Robust accuracy over eps. ")
            + f"Means over seeds; the settings with the highest and the lowest {goal} accuracy are always among the "
            f"panels. {_set_up(group, all_eps)}.{alone}{words}"
        ),
        "pareto": (
            f"Each setting: {bounds} accuracy against clean accuracy, means over seeds"
            + ("; the line between them is the gap" if known else "")
            + f". Arrows at the edge name settings outside the axes. {_set_up(group, at)}.{alone}{words}"
        ),
        "effects": (
            f"What each hyperparameter does, all else equal. Bands: 95 % {band}{dots}; ring: the best value at {at}; "
            f"line styles: values of the other hyperparameter. {_set_up(group, all_eps)}.{words}"
        ),
        "heat": f"Two hyperparameters at once, in percent, means over seeds. {_set_up(group, at)}.{words}",
    }


def usual(settings: pd.DataFrame) -> str:
    """The architecture of most settings, which labels leave out; empty where there is one alone."""
    counts = settings.drop_duplicates("setting")["architecture"].value_counts()
    return str(counts.index[0]) if len(counts) > 1 else ""


def brief(settings: pd.DataFrame, *, families: bool = True) -> dict[str, str]:
    """Each setting in the notation, without the usual architecture; not ``families``: without the loss, maybe empty."""
    named = labels(settings, short=True, without=() if families else (FAMILY,))
    start = f"{usual(settings)}, "
    return {setting: label.removeprefix(start) for setting, label in named.items()}


def built(settings: pd.DataFrame) -> str:
    """The sentence on the architecture that labels leave out; empty if none."""
    return f" Architecture {usual(settings)} unless another is named." if usual(settings) else ""


def accuracy(group: Group, eps: float, *, whole: bool) -> str:
    """The title of an axis of accuracies; not ``whole``: as short as it can be."""
    norm = "L∞" if group.norm == "Linf" else group.norm
    return f"accuracy (%) at eps {group.shown(eps)} ({group.unit if whole else norm})"


def axis(scale: notation.Scale) -> str:
    """The title of an axis, such as α/(1−α), with a minus sign."""
    return scale.title.replace("/(1-", "/(1\N{MINUS SIGN}")
