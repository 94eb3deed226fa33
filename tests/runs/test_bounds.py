"""The two bounds of a sample, and what they say at a radius: most of all where both of them, or one, equal eps."""

import math

import numpy as np
import pytest
import torch

from lipbench.attacks import suites
from lipbench.attacks.norm import Norm
from lipbench.evaluation.attack_job import AttackJob, Samples
from lipbench.evaluation.selection import Selection
from lipbench.runs.bounds import Bounds
from lipbench.runs.units import AttackUnit, Shard, Stage

BELOW, EPS, ABOVE = math.nextafter(0.5, 0), 0.5, math.nextafter(0.5, 1)


def bounds_of(radius: float, distance: float, correct: bool = True) -> Bounds:
    bounds = Bounds.start([correct], [radius])
    bounds.attacked(np.array([0]), np.array([distance]))
    return bounds


def said(bounds: Bounds, eps: float = EPS) -> tuple[bool, ...]:
    return tuple(
        bool(found[0]) for found in (bounds.certified(eps), bounds.broken(eps), bounds.open(eps), bounds.violations())
    )


@pytest.mark.parametrize(
    ("radius", "distance", "certified", "broken", "open_", "violated"),
    [
        (ABOVE, math.inf, True, False, False, False),
        (ABOVE, ABOVE, True, False, False, False),
        (ABOVE, EPS, True, True, False, True),  # an input closer than the radius: the certificate is false
        (ABOVE, BELOW, True, True, False, True),
        (EPS, math.inf, False, False, True, False),  # a perturbation of norm eps may still win
        (EPS, ABOVE, False, False, True, False),
        (EPS, EPS, False, True, False, False),  # and here one does, which the radius does not exclude
        (EPS, BELOW, False, True, False, True),
        (BELOW, EPS, False, True, False, False),
        (BELOW, BELOW, False, True, False, False),
        (BELOW, ABOVE, False, False, True, False),
        (0.0, math.inf, False, False, True, False),
        (0.0, 0.0, False, True, False, False),
        (math.inf, math.inf, True, False, False, False),  # the other logit is never reached
        (math.inf, EPS, True, True, False, True),
    ],
)
def test_what_the_bounds_say_at_eps(radius, distance, certified, broken, open_, violated):
    assert said(bounds_of(radius, distance)) == (certified, broken, open_, violated)


def test_a_misclassified_sample_is_broken_and_violates_nothing():
    for radius in (0.0, EPS, 1.0):  # whatever radius its class had
        assert said(bounds_of(radius, math.inf, correct=False)) == (False, True, False, False)
        assert bounds_of(radius, math.inf, correct=False).certified_radius.tolist() == [0.0]


def test_no_sample_is_certified_and_broken_unless_its_certificate_is_false():
    numbers = [0.0, BELOW, EPS, ABOVE, math.inf]
    cases = [(r, d, c) for r in numbers for d in numbers for c in (True, False)]
    bounds = Bounds.start([c for _, _, c in cases], [r for r, _, _ in cases])
    bounds.attacked(np.arange(len(cases)), np.array([d for _, d, _ in cases]))
    for eps in (BELOW, EPS, ABOVE):
        certified, broken = bounds.certified(eps), bounds.broken(eps)
        assert (bounds.violations() | ~(certified & broken)).all()
        assert (certified.astype(int) + bounds.open(eps) + (broken & ~certified) == 1).all()  # one of three


def test_a_class_at_the_distance_of_eps_is_attacked():
    """Where the radius is eps, the sample is open at eps, and the class that it may go to is not excluded."""
    suite = suites.load("quick")
    where = {"model": "m", "shard": Shard(0, 1), "certify": "c", "suite": suite.name, "norm": Norm.L2}
    unit = AttackUnit(name="u", stage=Stage(suite.attacks[0], (EPS,), 0, 0), **where)
    samples = Samples(torch.zeros(1, 1, 2, 2), torch.zeros(1), np.array([[math.inf, EPS, ABOVE]]))
    job = AttackJob(unit, None, samples, bounds_of(EPS, math.inf), {"prune": True})
    rows = Selection(unit, job.bounds, job.settings).at(EPS, np.full(1, np.nan))
    assert rows.samples.tolist() == [0]
    assert job.reachable(rows).tolist() == [[False, True, False]]
