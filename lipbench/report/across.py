"""``lipbench compare``: two models or settings of a run, or what two runs share, side by side."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lipbench._internal import arguments, files
from lipbench.attacks.eps import Eps, parse_grid, same
from lipbench.errors import LipbenchError
from lipbench.report import facts, hyperparameters, pairs, side_by_side
from lipbench.report.columns import EPS
from lipbench.report.pairs import A_MODEL, A_SETTING, Side, Suites
from lipbench.report.results import Grid, Results, StrPath, load_run
from lipbench.report.run_names import called
from lipbench.runs.results import ModelResults
from lipbench.runs.suite_plans import SuitePlan

ENDING = ".csv"
WHAT_TO_DO = "name a model or setting of each (--model A --model B), with suites of one norm that have an eps in common"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two models or settings side by side, or what two runs share. ``print`` shows it as the command does."""

    runs: tuple[str, str]  # what they are called; twice the same for one run
    sources: tuple[str, str]  # their folders, as they were given
    differences: tuple[tuple[str, str, str], ...]  # what the runs differ in, and what each has there
    frame: pd.DataFrame  # every number, see ``comparisons.PAIRS``; empty where the runs share nothing
    shown: pd.DataFrame  # its rows that tables show: those at the eps asked for, else at one eps of each suite
    eps: tuple[Eps, ...]  # of the frame, as tables print them
    alone: tuple[int, int]  # how many models of each run the other one lacks

    def __str__(self) -> str:
        """The tables of the terminal."""
        return side_by_side.text(self)

    __repr__ = __str__


def compare_runs(
    run: StrPath | Results,
    other: StrPath | Results | None = None,
    *,
    models: str | Sequence[str] = (),
    settings: str | Sequence[str] = (),
    eps: Grid | None = None,
    csv: StrPath | None = None,
) -> Comparison:
    """Compare two models or settings of a run, or what two runs share.

    run, other: folders of finished runs, or ``Results``; models, settings: names of what is compared (of a setting the
    label that tables print, or its digest): two in all for one run; for two runs, none compares every model and every
    setting that both have, one compares that one in both, two the first of ``run`` with the second of ``other``; eps:
    the radii of the frame and the table, such as "36/255": by default the frame has all that both have, and the table
    the one of each suite at which certified accuracy differs most; csv: a file to write the frame to.

    Differences are paired over samples where both sides were measured on the same ones. Raises LipbenchError for
    unknown names, for an eps that is not there, if nothing can be compared, and if the file exists.
    """
    names = [(A_MODEL, name) for name in _texts("models", models)]
    names += [(A_SETTING, name) for name in _texts("settings", settings)]
    wanted = None if eps is None else parse_grid(eps)
    target = None if csv is None else _target(csv)
    both = [run] if other is None else [run, other]
    _refuse_wrong_number(names, len(both))
    loaded = [one if isinstance(one, Results) else load_run(one) for one in both]
    refuse_twice(loaded)
    if other is None:
        found = within(loaded[0], *_two(loaded[0], loaded[0], names), wanted)
    else:
        found = between(loaded[0], loaded[1], wanted, names)
    if found.frame.empty:
        raise LipbenchError(f"{nothing_shared(loaded[0], loaded[-1])}; {WHAT_TO_DO}")
    if target is not None:
        files.write_bytes(target, found.frame.to_csv(index=False, lineterminator="\n").encode())
    return found


def _texts(kind: str, names: str | Sequence[str]) -> list[str]:
    given = [names] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    return [arguments.text(f"each of {kind}", name) for name in given]


def _refuse_wrong_number(names: Sequence[tuple[str, str]], runs: int) -> None:
    """Raise LipbenchError where there are more or fewer names than can be compared."""
    if runs == 1 and len(names) != 2:
        raise LipbenchError(
            f"one run needs two names of its models or settings (--model A --model B), got {len(names)}; or give a "
            "second run"
        )
    if len(names) > 2:
        raise LipbenchError(f"two names of models or settings can be compared, got {len(names)}")


def _target(csv: StrPath) -> Path:
    """The file to write, checked before any work."""
    path = arguments.path("csv", csv)
    if path.suffix != ENDING:
        raise LipbenchError(f"csv must be a file that ends in {ENDING}, got {path}")
    files.refuse_other(path)
    if path.is_file():
        raise LipbenchError(f"{path} exists: choose another name, or delete it")
    return path


def refuse_twice(runs: Sequence[Results]) -> None:
    """Raise LipbenchError where two of the runs are the same folder."""
    places = [os.path.realpath(run.run_folder.path) for run in runs]
    twice = arguments.repeated(places)
    if twice is not None:
        again = [run.run_folder.path for run, place in zip(runs, places, strict=True) if place == twice]
        raise LipbenchError(f"{again[-1]} is there twice: name another run")


def within(results: Results, first: Side, second: Side, wanted: Sequence[Eps] | None) -> Comparison:
    """Two models or settings of one run."""
    pairs.refuse_same(first, second)
    suites = pairs.within(results, wanted)
    frame = pairs.frame([(first, second)], suites, wanted)
    (name,), source = called([results]), str(results.run_folder.path)
    shown = _shown(frame, results, suites, wanted)
    return Comparison((name, name), (source, source), (), frame, shown, results.eps, (0, 0))


def between(
    first: Results, second: Results, wanted: Sequence[Eps] | None = None, names: Sequence[tuple[str, str]] = ()
) -> Comparison:
    """What two runs share, or what ``names`` says: (kind, name) of one or two models or settings.

    The frame is empty where there is nothing to compare. Raises LipbenchError for an eps that not both runs have.
    """
    runs = called([first, second])
    suites = shared_suites(first, second)
    if wanted is not None and suites:
        for each in wanted:
            _refuse_absent(each, suites)
    compared = [_two(first, second, names)] if names else shared(first, second)
    frame = pairs.frame(compared, suites, wanted) if compared else pairs.frame([], [], None)
    held = [{name for one in compared if one[place].kind == A_MODEL for name in one[place].models} for place in (0, 1)]
    alone = [len({item.model for item in run.items} - known) for run, known in zip((first, second), held, strict=True)]
    return Comparison(
        (runs[0], runs[1]),
        (str(first.run_folder.path), str(second.run_folder.path)),
        (*facts.differences(first.run, second.run), *_of_suites(suites)),
        frame,
        _shown(frame, first, suites, wanted),
        first.eps,
        (0, 0) if names else (alone[0], alone[1]),
    )


def _refuse_absent(eps: Eps, suites: Sequence[Suites]) -> None:
    grid = [each for some in suites for each in some.eps]
    if not same(eps, grid):
        held = ", ".join(each.shown for each in sorted(set(grid)))
        raise LipbenchError(f"not both runs have the eps {eps.given}; both have {held}: choose one of these")


def _two(first: Results, second: Results, names: Sequence[tuple[str, str]]) -> tuple[Side, Side]:
    """The sides that one or two names stand for; the digest of a setting is the same in both runs, a label may not."""
    runs = called([first, second]) if first is not second else called([first]) * 2
    one = pairs.side(first, runs[0], names[0][1], names[0][:1])
    last = (one.kind, one.digest or one.name) if len(names) == 1 else names[1]
    return one, pairs.side(second, runs[1], last[1], last[:1])


def shared_suites(first: Results, second: Results) -> list[Suites]:
    """The suites of both that are compared: those of one name and norm; then, where each has one more of a norm, these.

    Only those with an eps in common.
    """
    left = {(plan.suite.name, plan.suite.norm): plan for plan in second.run.suites}
    found = {plan.suite.name: left.pop((plan.suite.name, plan.suite.norm), None) for plan in first.run.suites}
    for plan in first.run.suites:
        alike = [one for one in first.run.suites if one.suite.norm is plan.suite.norm and found[one.suite.name] is None]
        others = [one for one in left.values() if one.suite.norm is plan.suite.norm]
        if alike == [plan] and len(others) == 1:
            found[plan.suite.name] = left.pop((others[0].suite.name, others[0].suite.norm))
    both = ((plan, found[plan.suite.name]) for plan in first.run.suites)
    suites = (Suites(one, two, _common(one, two)) for one, two in both if two is not None)
    return [one for one in suites if one.eps]


def _common(first: SuitePlan, second: SuitePlan) -> tuple[Eps, ...]:
    return tuple(eps for eps in first.suite.eps if same(eps, second.suite.eps))


def _of_suites(suites: Sequence[Suites]) -> list[tuple[str, str, str]]:
    """What the suites that are compared differ in."""
    found = []
    for one in suites:
        both = [facts.parts_of(plan) | {"suite": plan.suite.name} for plan in (one.first, one.second)]
        called = one.first.suite.name
        found += [
            ("suite" if key == "suite" else f"suite {called}: {key}", both[0][key] or "none", both[1][key] or "none")
            for key in ("suite", *both[0])
            if both[0][key] != both[1][key]
        ]
    return list(dict.fromkeys(found))


def shared(first: Results, second: Results) -> list[tuple[Side, Side]]:
    """The settings that both runs have, then the models that are the same: equal weights, else one name."""
    runs = called([first, second])
    sides = [pairs.sides(results, name) for results, name in zip((first, second), runs, strict=True)]
    settings = [{one.digest: one for one in some if one.kind == A_SETTING} for some in sides]
    models = [{one.name: one for one in some if one.kind == A_MODEL} for some in sides]
    found = [(one, settings[1][digest]) for digest, one in settings[0].items() if digest in settings[1]]
    return found + [(models[0][one], models[1][two]) for one, two in same_models(first.items, second.items)]


def same_models(first: Sequence[ModelResults], second: Sequence[ModelResults]) -> list[tuple[str, str]]:
    """The names of each model of ``first`` and of its counterpart in ``second``, in the order of ``first``.

    A counterpart has the same weights, if possible under the same name; else it has the same name alone. No model is
    the counterpart of two.
    """
    cards = [{item.model: item.card.weights_sha256 for item in items} for items in (first, second)]
    found: dict[str, str] = {}

    def match(one: str, two: str | None) -> None:
        if two is not None and one not in found and two not in found.values():
            found[one] = two

    for name, weights in cards[0].items():
        match(name, name if cards[1].get(name) == weights else None)
    for name, weights in cards[0].items():
        free = (other for other, digest in cards[1].items() if digest == weights and other not in found.values())
        match(name, next(free, None))
    for name in cards[0]:
        match(name, name if name in cards[1] else None)
    return [(name, found[name]) for name in cards[0] if name in found]


def _shown(frame: pd.DataFrame, first: Results, suites: Sequence[Suites], wanted: Sequence[Eps] | None) -> pd.DataFrame:
    """The rows at one eps of each suite, where nobody asked for some: where certified accuracy differs most."""
    if wanted is not None or frame.empty:
        return frame
    parts = []
    for group in pairs.run_groups(first):
        part = frame[(frame["first_suite"] == group.suite) & (frame["norm"] == group.norm)]
        held = group.settings[group.settings[EPS.name].isin(part[EPS.name])]
        if len(part):
            parts.append(part[part[EPS.name] == hyperparameters.chosen_eps(held)])
    return pd.concat(parts, ignore_index=True)


def nothing_shared(first: Results, second: Results) -> str:
    """Why two runs have nothing to compare, in one line."""
    names = f"{first.run_folder.path} and {second.run_folder.path}"
    if shared_suites(first, second):
        return f"{names} have nothing in common: no setting, and no model with the same weights or name"
    grids = [
        "; ".join(f"{plan.suite.norm} {', '.join(eps.shown for eps in plan.suite.eps)}" for plan in run.run.suites)
        for run in (first, second)
    ]
    return f"{names} have no norm and eps in common: {grids[0]} against {grids[1]}"
