"""How often the 95 % intervals of a report hold the truth, on simulated runs whose truth is known.

    python benchmarks/coverage.py [--runs 300] [--samples 200]

A simulated run has five settings, tau 1, 4, 16, 64, 256, each with k seeds. The radius of a sample is the sum of the
setting's level, what makes the sample hard for every network, what the seed does to every sample, and what both do
together; the adversarial distance is some 5 to 30 % above it. With a trend the level falls by a tenth of eps per
doubling of tau, without it is the same for all. The truth is the mean over all seeds and samples, from 4 million pairs
of them. Printed, for 5, 3 and 1 seeds: the share of runs whose interval holds the truth (the nominal share is 95 %),
and the median width of the interval, in points. ``rho``: the share of runs without a trend in which the interval of
Spearman's rho excludes 0 (5 % if it is right); over settings, as reports have it, and over all models, as if seeds of
one setting were independent. With one seed an interval covers the samples alone: for that case also the share that
holds the truth of these very networks, on all samples.
"""

import argparse

import numpy as np

from lipbench.report.comparisons import against_best
from lipbench.report.effects import slopes
from lipbench.report.intervals import spearman_interval
from lipbench.report.resampling import Draws, Measured, ends

EPS, GRID = 0.25, (0.1, 0.25, 0.5)
TAUS = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
SAMPLE, SEED, BOTH = 0.12, 0.03, 0.06  # standard deviations of radii
METRICS = ("clean", "certified", "robust", "gap", "mean_gap", "tightness")
QUANTITIES = (*METRICS, "difference", "step")


def levels(trend: bool) -> np.ndarray:
    return 0.3 - (0.1 * EPS * np.log2(TAUS) / 2 if trend else 0.0) * np.ones(len(TAUS))


def bounds(random: np.random.Generator, level: np.ndarray, seeds: int, n: int, sample: np.ndarray, seed: np.ndarray):
    """Correct, radius, distance: (settings * seeds, n) each."""
    both = random.normal(0, BOTH, (len(level), seeds, n))
    margin = level[:, None, None] + sample + seed[..., None] + both
    correct = margin > 0
    radius = np.where(correct, margin, 0.0)
    distance = np.where(correct, radius * (1.05 + 0.25 * random.random(margin.shape)), 0.0)
    return (each.reshape(-1, n) for each in (correct, radius, distance))


def draws(parts, seeds: int, resamples: int = 1000, seed: int = 0) -> Draws:
    names = tuple(f"{tau:g}" for tau in TAUS for _ in range(seeds))
    return Draws(Measured(names, *parts, GRID), resamples=resamples, seed=seed)


def truth_of(parts, seeds: int) -> dict[str, np.ndarray]:
    one = draws(parts, seeds, resamples=1)
    found = {name: one.estimate(name, EPS) for name in METRICS}
    return found | {"step": slopes(np.log2(TAUS), found["certified"])}


def truth(random: np.random.Generator, trend: bool) -> dict[str, np.ndarray]:
    seeds, n = 400, 10_000
    parts = []
    for level in levels(trend):  # setting by setting, to save memory
        seed, sample = random.normal(0, SEED, (1, seeds)), random.normal(0, SAMPLE, n)
        one = Measured(("a",) * seeds, *bounds(random, np.array([level]), seeds, n, sample, seed), GRID)
        parts.append({name: Draws(one, resamples=1).estimate(name, EPS)[0] for name in METRICS})
    found = {name: np.array([part[name] for part in parts]) for name in METRICS}
    return found | {"step": slopes(np.log2(TAUS), found["certified"])}


def run(random: np.random.Generator, trend: bool, seeds: int, n: int, known: dict[str, np.ndarray]):
    """For each quantity whether the interval holds the truth, and its width; rho; and of these networks alone."""
    sample, seed = random.normal(0, SAMPLE, n), random.normal(0, SEED, (len(TAUS), seeds))
    one = draws(bounds(random, levels(trend), seeds, n, sample, seed), seeds, seed=int(random.integers(2**31)))
    own = truth_of(bounds(random, levels(trend), seeds, 20_000, random.normal(0, SAMPLE, 20_000), seed), seeds)
    found = {}
    for name in METRICS:
        low, high = one.interval(name, EPS)
        found[name] = [_holds(low, known[name], high), (high - low).mean(), _holds(low, own[name], high)]
    against = against_best(one, "certified", EPS)
    place, last = one.settings.index(str(against["best"])), len(TAUS) - 1
    first, then = 0, (last if place != last else 1)  # two settings, chosen before anything was measured
    low, high = ends(one.drawn("certified", EPS)[:, then] - one.drawn("certified", EPS)[:, first])
    of = [values["certified"][then] - values["certified"][first] for values in (known, own)]
    found["difference"] = [_holds(low, of[0], high), float(high - low), _holds(low, of[1], high)]
    low, high = ends(slopes(np.log2(TAUS), one.drawn("certified", EPS)))
    found["step"] = [_holds(low, known["step"], high), float(high - low), _holds(low, own["step"], high)]
    models = one.measured.per_sample("certified", EPS).mean(axis=1)
    differ = random.normal(0, 0.05, len(TAUS))  # settings differ in more than chance, but not with tau
    pairs = (
        (TAUS, one.estimate("certified", EPS) + differ),
        (np.repeat(TAUS, seeds), models + np.repeat(differ, seeds)),
    )
    return found, [excludes_zero(*pair) for pair in pairs]


def _holds(low, value, high) -> float:
    return float(np.mean((low - 1e-7 <= value) & (value <= high + 1e-7)))


def excludes_zero(x: np.ndarray, y: np.ndarray) -> bool:
    ranks = [np.array([(values < one).sum() + (values == one).sum() / 2 for one in values]) for values in (x, y)]
    if np.ptp(y) == 0:
        return False
    low, high = spearman_interval(float(np.corrcoef(*ranks)[0, 1]), len(x))
    return low > 0 or high < 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--samples", type=int, default=200)
    args = parser.parse_args()
    print(f"{args.runs} runs each, n = {args.samples}; percent of runs that hold the truth (median width in points)")
    print("seeds\ttrend\t" + "\t".join(QUANTITIES) + "\trho over settings\trho over models", flush=True)
    for trend in (True, False):
        known = truth(np.random.default_rng(1), trend)
        for seeds in (5, 3, 1):
            random = np.random.default_rng([seeds, trend])
            runs = [run(random, trend, seeds, args.samples, known) for _ in range(args.runs)]
            held = {name: np.array([found[name] for found, _ in runs]) for name in QUANTITIES}
            cells = [f"{100 * of[:, 0].mean():.1f} ({100 * np.median(of[:, 1]):.1f})" for of in held.values()]
            rho = [f"{100 * share:.1f}" for share in np.mean([found for _, found in runs], axis=0)]
            print(
                "\t".join([str(seeds), "yes" if trend else "no", *cells, *(["-", "-"] if trend else rho)]), flush=True
            )
            if seeds == 1:
                own = [f"{100 * of[:, 2].mean():.1f}" for of in held.values()]
                print("\t".join(["", "these networks", *own]), flush=True)


if __name__ == "__main__":
    main()
