"""The command that computes the numbers of one model again."""

import shlex
from typing import Any

from lipbench.attacks.eps import Eps
from lipbench.models.cards import GIVEN
from lipbench.runs.plans import Run
from lipbench.runs.suite_plans import SuitePlan

DEFAULTS: dict[str, Any] = {"dtype": "float64", "audit": 0.01, "prune": True, "shard": 1000}


def evaluate(run: Run, plan: SuitePlan, model: str) -> str:
    """The command line of ``lipbench evaluate`` for a model of a run under one of its suites; text for a shell.

    Empty where no command reads the model or its data: they were given from memory.
    """
    zoo, data = str(run.provenance.get("zoo", "")), str(run.settings.get("data", ""))
    if not zoo or GIVEN in (*zoo.split(", "), data.partition(":")[0]):
        return ""
    words = ["lipbench", "evaluate", _path(zoo, model), "--suite", plan.suite.name, "--data", data]
    words += ["--samples", str(run.settings["samples"])]
    words += ["--eps", ",".join(Eps(eps).given for eps in plan.suite.eps)]
    for seed in plan.seeds if plan.seeds != (0,) else ():
        words += ["--seed", str(seed)]
    for name, usual in DEFAULTS.items():
        value = run.settings.get(name, usual)
        if value != usual:
            words += ["--no-prune"] if name == "prune" else [f"--{name}", str(value)]
    if plan.reference_attack is not None:
        words += ["--reference-attack", plan.reference_attack]
    return shlex.join([*words, "-o", f"again-{model}"])


def needs(run: Run) -> str:
    """What the command needs that is in no zoo and in no package; empty if nothing."""
    kind, _, path = str(run.settings.get("data", "")).partition(":")
    return f"The command reads the data set from {path}, in the folder where it is run." if kind == "npz" else ""


def _path(zoo: str, model: str) -> str:
    """The model in its zoo, which may be the folder of that one model."""
    last = zoo.rstrip("/").rpartition("/")[2]
    return zoo if last == model else f"{zoo.rstrip('/')}/{model}"
