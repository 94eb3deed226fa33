"""Random networks call the same operations in every form that torch allows."""

import pytest
from call_forms import case, judged


def test_random_forms_of_calls():
    """Each seed is a network of up to six calls: ``benchmarks/fuzz.py`` runs further seeds."""
    found = {seed: judged(case(seed)) for seed in range(120)}
    assert {seed: one.wrong for seed, one in found.items() if one.wrong} == {}
    accepted = [one for one in found.values() if one.bound is not None]
    assert len(accepted) > 70
    assert sum(one.truth > 0.99 * one.bound for one in accepted) > 30  # the truth comes close, so that a miss is seen


def test_networks_that_must_be_refused_are_among_them():
    assert sum(case(seed).refuse for seed in range(120)) > 10


@pytest.mark.slow
def test_many_random_forms_of_calls():
    assert [seed for seed in range(1000, 6000) if judged(case(seed)).wrong] == []
