"""Random networks that call operations in every form that torch allows: is any bound, or any rounding error, false?

    python benchmarks/fuzz.py [--cases 20000] [--first 0] [--jobs 2]

The networks, and the truth about them (Jacobians in float64 at several batch sizes, float32 outputs against those of
float64), are those of ``tests/lipschitz/call_forms.py``, one for each seed; the tests run the first few. A network that
is no function of one sample, or that rounds, counts as false where it is accepted. Each false case is printed with its
source. Exit status 1 if there is one, or if anything but lipbench's own error was raised.
"""

import argparse
import collections
import multiprocessing
import statistics
import sys
import time
import traceback
import warnings
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from call_forms import Verdict, case, judged

CHUNK = 50


def some(first: int) -> list[tuple[int, bool, Verdict | str]]:
    """Seeds first .. first + CHUNK - 1: the seed, whether it must be refused, and the verdict or a traceback."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found: list[tuple[int, bool, Verdict | str]] = []
    for seed in range(first, first + CHUNK):
        one = case(seed)
        try:
            found.append((seed, one.refuse, judged(one)))
        except Exception:  # what must not happen
            found.append((seed, one.refuse, traceback.format_exc()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    starts = range(options.first, options.first + options.cases, CHUNK)
    began = time.time()
    # torch.fx keeps what it compiles: a process gets slower with each network
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=8) as pool:
        parts = tqdm(pool.imap(some, starts), total=len(starts), unit=f"{CHUNK} cases")
        found = [one for part in parts for one in part]

    crashes = [(seed, one) for seed, _, one in found if isinstance(one, str)]
    verdicts = [(seed, must, one) for seed, must, one in found if isinstance(one, Verdict)]
    false = [(seed, one) for seed, _, one in verdicts if one.wrong]
    for seed, text in crashes:
        print(f"\nCRASH, seed {seed}:\n{case(seed).source}{text}")
    for seed, one in false:
        print(f"\nFALSE, seed {seed}: {one.wrong}\n{case(seed).source}")
    accepted = [one for _, _, one in verdicts if one.bound is not None]
    reasons = collections.Counter(shortened(one.reason) for _, must, one in verdicts if one.reason and not must)
    ratios = sorted(one.bound / one.truth for one in accepted if one.truth)
    print(f"{len(found)} cases in {time.time() - began:.0f} s: {len(false)} unsound, {len(crashes)} crashes")
    print(f"accepted {len(accepted)}, refused {len(verdicts) - len(accepted)}, of which must be {must_be(verdicts)}")
    print(f"refused for other reasons: {sum(reasons.values())}")
    for reason, count in reasons.most_common(8):
        print(f"  {count:6d}  {reason}")
    if len(ratios) > 1:
        cuts = statistics.quantiles(ratios, n=100)
        shares = ", ".join(f"{share} % {cuts[share - 1]:.4f}" for share in (1, 25, 50, 75, 90, 99))
        print(f"bound over the largest Jacobian's norm found: least {ratios[0]:.6f}, {shares}, most {ratios[-1]:.4g}")
    sys.exit(1 if false or crashes else 0)


def shortened(reason: str) -> str:
    """A reason without the names of nodes."""
    known = ("in place that", "moves the batch", "is broadcast along the batch", "refer to a single memory location")
    return next((f"... {part} ..." for part in known if part in reason), reason[:80])


def must_be(verdicts: list[tuple[int, bool, Verdict]]) -> int:
    """How many were refused that must be."""
    return sum(must and one.bound is None for _, must, one in verdicts)


if __name__ == "__main__":
    main()
