"""What the numbers of a report cost, in exact counts: a run may have many models, shards and samples."""

import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from lipbench._internal.resources import CHECKOUT
from lipbench.report import remarks, verification
from lipbench.report.results import Results
from lipbench.report.tables import groups
from lipbench.runs import encoding, store
from lipbench.runs.folder import RunFolder

ATTACKS = ["gradient/minimal", "art/PGD", "autoattack/square"]


def numbers(folder) -> Results:
    """All that a report reads from a run."""
    results = Results.load(folder)
    summary = results.summary()
    settings = results.hyperparameters()
    assert len(results.samples) == sum(item.n for item in results.items)
    results.warnings()
    for group in groups(summary, results.eps, settings):
        remarks.remarks(group)
    verification.section(folder, results.run, results.failures)
    return results


@pytest.fixture
def make(make_run, make_model, suite, monkeypatch):
    """A run of some models with five samples, each repeated; two of five lie beyond the reach of Square."""

    monkeypatch.setattr(store, "TICK", 0)  # records are young here, and count as old

    def made(models=1, repeated=1, shards=1):
        of = [
            make_model(
                correct=[1, 1, 1, 1, 0] * repeated,
                real=[0.15, 0.25, 0.3, 0.05, 0.0] * repeated,
                distance=[0.2, 0.3, 0.5, 0.1, 0.0] * repeated,
                found={"autoattack/square": [0.15, 0.3, np.inf, np.inf, 0.0] * repeated},
                zero_gradient=range(0, 5 * repeated, 5),
                audit=[(row, 0.1) for row in range(1, 5 * repeated, 5)],
                name=f"model{place:03}",
                seed=place,
            )
            for place in range(models)
        ]
        how = {"reference_attack": "autoattack", "shard": 5 * repeated // shards}
        return make_run(of, [suite(attacks=ATTACKS)], **how)

    return made


def executed(folder) -> Counter:
    """How often each line of lipbench is executed for the numbers of a run, by file and function.

    What is computed once for equal arguments is not counted.
    """
    numbers(RunFolder(folder.path))
    counts: Counter[tuple[str, str]] = Counter()
    package = str(CHECKOUT / "lipbench")

    def line(frame, event, arg):
        if event == "line":
            counts[frame.f_code.co_filename, frame.f_code.co_qualname] += 1
        return line

    before = sys.gettrace()
    sys.settrace(lambda frame, event, arg: line if frame.f_code.co_filename.startswith(package) else None)
    try:
        numbers(RunFolder(folder.path))
    finally:
        sys.settrace(before)
    return counts


def test_each_record_is_read_and_hashed_once_and_its_type_never_again(make, monkeypatch):
    folder = make(models=3, repeated=4, shards=2)
    numbers(make())  # what is computed once for all runs
    decoded, hashed, resolved = Counter(), [], []
    true = encoding.decode, encoding.hashlib.sha256, encoding.get_type_hints
    monkeypatch.setattr(encoding, "decode", lambda data: decoded.update([data]) or true[0](data))
    monkeypatch.setattr(encoding, "hashlib", SimpleNamespace(sha256=lambda data: hashed.append(data) or true[1](data)))
    monkeypatch.setattr(encoding, "get_type_hints", lambda *args, **how: resolved.append(args) or true[2](*args, **how))
    numbers(folder)
    units = len(list(folder.read().units()))
    # certified, why; attacked, by AutoAttack alone at each eps, indicators, the box
    assert units == 3 * 2 * (1 + 1 + 3 + 3 + 1 + 1)
    assert sorted(decoded.values()) == [1] * units
    assert len(hashed) == units
    assert resolved == []


def test_no_line_is_executed_sample_by_sample(make):
    few, many = executed(make(models=2)), executed(make(models=2, repeated=40))
    assert few.total() > 5000
    assert {place: (few[place], count) for place, count in many.items() if count != few[place]} == {}


@pytest.mark.parametrize("what", ["models", "shards"])
def test_lines_are_executed_in_proportion(make, what):
    counts = [executed(make(**{"repeated": 8, what: size})) for size in (2, 4, 8)]
    growth = {place: (counts[1][place] - counts[0][place], counts[2][place] - counts[1][place]) for place in counts[2]}
    assert any(first > 0 for first, _ in growth.values())
    assert {place: found for place, found in growth.items() if found[1] > 2 * found[0]} == {}
