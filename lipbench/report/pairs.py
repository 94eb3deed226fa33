"""Two models or settings beside one another, of one run or of two: every metric, its difference, McNemar's test.

Where both were measured on the same samples, all pairs of a suite share their resamples, see ``resampling``, and
differences are paired. Else each side has resamples of its own: the interval of a difference is then wider.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lipbench._internal.arrays import Bools
from lipbench.attacks.eps import Eps, refuse_absent, same
from lipbench.errors import LipbenchError, unknown_name
from lipbench.report import columns, hyperparameters, metrics, settings
from lipbench.report.columns import EPS, MODEL, NORM, SETTING
from lipbench.report.comparisons import PAIRS, mcnemar, pair
from lipbench.report.formatting import labels, rows
from lipbench.report.resampling import Draws, Measured
from lipbench.report.tables import Group, groups
from lipbench.runs.results import ModelResults
from lipbench.runs.suite_plans import SuitePlan

if TYPE_CHECKING:
    from lipbench.report.results import Results

A_MODEL, A_SETTING = "model", "setting"
TEST = ("only_first", "only_second", "p_value")  # the columns of McNemar's test
TESTED: dict[str, Callable[[ModelResults, float], Bools | None]] = {  # which samples count, by metric
    metric.name: metric.value for metric in (metrics.CLEAN, metrics.CERTIFIED, metrics.ROBUST)
}


@dataclass(frozen=True)
class Side:
    """A model or a setting of a run: one side of a comparison."""

    results: "Results"
    run: str  # what the run is called
    kind: str  # A_MODEL or A_SETTING
    name: str  # as tables print it
    models: tuple[str, ...]  # its networks, copies left out
    digest: str = ""  # of a setting

    def items(self, plan: SuitePlan) -> list[ModelResults]:
        """The results of its models under a suite, in the order of ``models``."""
        return [self.results.item(model, plan.suite.name) for model in self.models]

    @property
    def weights(self) -> tuple[str, ...]:
        """The digest of the weights of each model."""
        suite = self.results.run.suites[0].suite.name
        return tuple(self.results.item(model, suite).card.weights_sha256 for model in self.models)


@dataclass(frozen=True)
class Suites:
    """A suite of each side, of one norm, and the radii that both have, ascending."""

    first: SuitePlan
    second: SuitePlan
    eps: tuple[Eps, ...]

    def at(self, wanted: Sequence[Eps]) -> "Suites":
        """Only at some radii, those of ``wanted``."""
        kept = {found for each in wanted for found in same(each, self.eps)}
        return Suites(self.first, self.second, tuple(eps for eps in self.eps if eps in kept))


def sides(results: "Results", run: str) -> list[Side]:
    """Every setting, then every model of a run."""
    summary = results.summary()
    once = settings.distinct(summary).drop_duplicates(MODEL.name)
    networks = {str(digest): tuple(part[MODEL.name]) for digest, part in once.groupby(SETTING.name, sort=False)}
    named = _labels(run_groups(results))
    found = [Side(results, run, A_SETTING, named[digest], models, digest) for digest, models in networks.items()]
    return found + [Side(results, run, A_MODEL, name, (name,)) for name in dict.fromkeys(summary[MODEL.name])]


def run_groups(results: "Results") -> list[Group]:
    """The frames of a run, suite by suite, without intervals."""
    return groups(results.summary(), results.eps)


def _labels(found: Sequence[Group]) -> dict[str, str]:
    """The label of each setting as the first table that has it prints it."""
    named: dict[str, str] = {}
    for group in found:
        named = labels(group.settings) | named
    return named


def _short_labels(found: Sequence[Group]) -> Iterator[list[tuple[str, str]]]:
    """The labels of figures and of findings: pairs of digest and label."""
    for group in found:
        yield list(labels(group.settings, short=True).items())
        yield list(labels(group.settings, short=True, between=" ").items())


def side(results: "Results", run: str, name: str, kinds: Sequence[str] = (A_MODEL, A_SETTING)) -> Side:
    """The model or setting called ``name``: the name of a model, or the label or the digest of a setting.

    A label may be the long one of tables, or the short one of figures, pages and findings.

    kinds: which of the two it may be; a model comes first. Raises LipbenchError for an unknown name.
    """
    known = [one for one in sides(results, run) if one.kind in kinds]
    found = [one for kind in kinds for one in known if one.kind == kind and name in (one.name, one.digest)]
    if not found:
        short = {digest for named in _short_labels(run_groups(results)) for digest, label in named if label == name}
        found = [one for one in known if one.digest in short]
    if not found:
        raise unknown_name(" or ".join(kinds), name, [one.name for one in known])
    return found[0]


def refuse_same(first: Side, second: Side) -> None:
    """Raise LipbenchError where both sides are one model, or one setting, of one run."""
    if first.results is second.results and (first.kind, first.name) == (second.kind, second.name):
        raise LipbenchError(f"nothing to compare: both are the {first.kind} {first.name}; name another one")


def within(results: "Results", wanted: Sequence[Eps] | None) -> list[Suites]:
    """The suites of one run beside themselves, at the radii ``wanted``, by default at all."""
    found = [Suites(plan, plan, plan.suite.eps) for plan in results.run.suites]
    if wanted is None:
        return found
    for each in wanted:
        refuse_absent(each, results.eps)
    return [some for some in (suites.at(wanted) for suites in found) if some.eps]


def frame(pairs: Sequence[tuple[Side, Side]], suites: Sequence[Suites], wanted: Sequence[Eps] | None) -> pd.DataFrame:
    """One row per suite, eps, pair and metric; ``comparisons.PAIRS`` declares the columns.

    pairs: of the same two runs; suites: that both have; wanted: only at these radii, by default at all that both have.
    """
    found = []
    for compared in suites:
        at, one = (compared if wanted is None else compared.at(wanted)).eps, _Compared.of(pairs, compared)
        facts = [_facts(one, compared, *both) for both in pairs]
        for eps in at:
            for both, keys, cells in zip(pairs, one.keys, facts, strict=True):
                tests = _tests(compared, *both, eps) if one.paired else {}
                for row in rows(pair((one.first, keys[0]), (one.second, keys[1]), float(eps), paired=one.paired)):
                    found.append({**cells, EPS.name: float(eps), **row, **tests.get(row["metric"], {})})
    return columns.typed(pd.DataFrame(found, columns=[column.name for column in PAIRS]), PAIRS)


@dataclass(frozen=True)
class _Compared:
    """The draws of all pairs under a suite of each side, and what both sides of each pair are called there."""

    first: Draws
    second: Draws
    paired: bool
    keys: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, pairs: Sequence[tuple[Side, Side]], suites: Suites) -> "_Compared":
        if all(first.results is second.results and first.digest and second.digest for first, second in pairs):
            return cls._of_settings(pairs, suites)  # the resamples that all tables of the run come from
        ordered = [_ordered(*both) for both in pairs]
        keys = [(f"{place} first", f"{place} second") for place in range(len(pairs))]
        found = [
            [(key[end], item) for key, both in zip(keys, ordered, strict=True) for item in both[end].items(plan)]
            for end, plan in enumerate((suites.first, suites.second))
        ]
        if not _same_samples(pairs[0], found[0][0][1], found[1][0][1]):
            first, second = (Draws(_measured(part, suites.eps)) for part in found)
            return cls(first, second, False, keys)
        same = {two: one for (one, two), (a, b) in zip(keys, ordered, strict=True) if a.weights == b.weights}
        draws = Draws(_measured([*found[0], *found[1]], suites.eps), seeds_of=same)
        return cls(draws, draws, True, keys)

    @classmethod
    def _of_settings(cls, pairs: Sequence[tuple[Side, Side]], suites: Suites) -> "_Compared":
        """Of settings of one run."""
        draws = pairs[0][0].results.draws[suites.first.suite.name, str(suites.first.suite.norm)]
        return cls(draws, draws, True, [(first.digest, second.digest) for first, second in pairs])


def _measured(named: Sequence[tuple[str, ModelResults]], grid: Sequence[Eps]) -> Measured:
    bounds = [item.bounds for _, item in named]
    return Measured(
        tuple(name for name, _ in named),
        np.stack([each.correct for each in bounds]),
        np.stack([each.certified_radius for each in bounds]),
        np.stack([each.adversarial_distance for each in bounds]),
        tuple(float(eps) for eps in grid),
    )


def _same_samples(sides: tuple[Side, Side], first: ModelResults, second: ModelResults) -> bool:
    """Whether both were measured on the same rows of the same data."""
    data = [one.results.run.settings.get("data_sha256") for one in sides]
    equal = np.array_equal(first.samples, second.samples) and np.array_equal(first.labels, second.labels)
    return sides[0].results is sides[1].results or (data[0] is not None and data[0] == data[1] and equal)


def _ordered(first: Side, second: Side) -> tuple[Side, Side]:
    """Both sides, each with its models in the order of their weights: place by place where these are equal."""
    if sorted(first.weights) != sorted(second.weights):
        return first, second
    return _by_weights(first), _by_weights(second)


def _by_weights(one: Side) -> Side:
    order = sorted(zip(one.weights, one.models, strict=True))
    return Side(one.results, one.run, one.kind, one.name, tuple(model for _, model in order), one.digest)


def _facts(one: _Compared, suites: Suites, first: Side, second: Side) -> dict[str, Any]:
    """The cells of a pair that are the same at every eps and for every metric."""
    cells: dict[str, Any] = {
        "kind": " and ".join(dict.fromkeys((first.kind, second.kind))),
        "same_weights": sorted(first.weights) == sorted(second.weights),
        NORM.name: str(suites.first.suite.norm),
        "eps_max": one.first.measured.eps_max,
        "paired": one.paired,
    }
    for end, side, plan in (("first", first, suites.first), ("second", second, suites.second)):
        items = side.items(plan)
        cells |= {
            f"{end}_run": side.run,
            f"{end}_name": side.name,
            f"{end}_suite": plan.suite.name,
            f"{end}_grade": hyperparameters.weakest([item.grade for item in items]),
            f"{end}_models": len(items),
            f"{end}_n": items[0].n,
        }
    return cells


def _tests(suites: Suites, first: Side, second: Side, eps: Eps) -> dict[str, dict[str, Any]]:
    """McNemar's counts and p-value of two models, by metric; nothing for settings, and where one is n/a."""
    if (first.kind, second.kind) != (A_MODEL, A_MODEL):
        return {}
    (one,), (two,) = first.items(suites.first), second.items(suites.second)
    found = {}
    for name, counts in TESTED.items():
        both = counts(one, float(eps)), counts(two, float(eps))
        if both[0] is not None and both[1] is not None:
            found[name] = dict(zip(TEST, mcnemar(both[0], both[1]), strict=True))
    return found
