"""What the float32 copy of a network and FAB-T's projections save: CPU time of the slower over that of the faster form.

    python benchmarks/attacks.py MODEL [--data SPEC] [--samples 40] [--batch 256] [--rounds 7]

MODEL: the folder of a model. Per pass: the layers as they were stored, the faster ones, and those with channels
innermost (which is what attacks run through), all in float32, in turns; the median over rounds. FAB-T: as a whole, with
pyautoattack's projections and with ours, and how the distances that they find compare.
"""

import argparse
import copy
import statistics
import time
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from training import in_turns, ratio

from lipbench import data
from lipbench.attacks import guard
from lipbench.attacks.autoattack import projection
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm
from lipbench.attacks.suites import AttackSpec
from lipbench.errors import LipbenchError
from lipbench.models.fast_layers import quickened
from lipbench.models.stored import load_model
from lipbench.work.execution import resolve_device


def passes(network: Network, x: torch.Tensor, rounds: int) -> None:
    """Microseconds per sample of each form, and the ratio of the first to it."""
    shape = network.input_shape
    forms = {
        "stored layers": Network(network.module, shape, "cpu", "float32"),
        "faster layers": Network(quickened(copy.deepcopy(network.module)), shape, "cpu", "float32"),
        "and channels innermost": network.surrogate,
    }
    for form in forms.values():
        form.sums_products = False

    def forward(form: Network) -> None:
        with torch.no_grad():
            form(x)

    def both(form: Network) -> None:
        inputs = x.clone().requires_grad_()
        torch.autograd.grad(form(inputs).logsumexp(1).sum(), inputs)

    for what, run in {"forward": forward, "forward and backward": both}.items():
        spent = in_turns({name: partial(run, form) for name, form in forms.items()}, rounds, network.device)
        for name, times in spent.items():
            each = 1e6 * statistics.median(cpu for _, cpu in times) / len(x)
            print(f"{what:>21}, {name:<22} {each:6.0f} us per sample, {ratio(spent['stored layers'], times, 1):.2f} x")


def fab(network: Network, x: torch.Tensor, labels: torch.Tensor) -> None:
    """The whole attack, with the library's projections and with ours."""
    from pyautoattack import fab_projections as library

    theirs = {"projection_l2": library.projection_l2, "projection_linf": library.projection_linf}
    ours = {name: getattr(projection, name) for name in theirs}
    spec = AttackSpec(name="autoattack/fab-t")
    for norm in Norm:
        spent, distances = [], []
        for functions in (theirs, ours):
            with mock.patch.multiple(projection, **functions):
                start = time.process_time()
                candidates = guard.search(spec, network.surrogate, x, labels, norm=norm, eps=None, seed=0)
                spent.append(time.process_time() - start)
            distances.append(guard.check_candidates(network, x, labels, candidates, norm)[1])
        both = np.isfinite(distances[0]) & np.isfinite(distances[1]) & (distances[0] > 0)
        ratios = distances[1][both] / distances[0][both]
        found = [int(np.isfinite(some).sum()) for some in distances]
        print(
            f"FAB-T {norm.value}: {spent[0]:.1f} / {spent[1]:.1f} s = {spent[0] / spent[1]:.2f} x; found {found[0]} "
            f"and {found[1]} of {len(x)}; distances, ours over the library's: median {np.median(ratios):.6f}, "
            f"1 % {np.quantile(ratios, 0.01):.4f}, 99 % {np.quantile(ratios, 0.99):.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data")
    for name, default in (("samples", 40), ("batch", 256), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    if min(args.samples, args.batch, args.rounds) < 1:
        parser.exit(2, "--samples, --batch and --rounds must be at least 1\n")
    resolve_device("cpu")
    try:
        model = load_model(args.model)
        network = Network(model.module, model.card.input_shape)
        split = data.load(args.data or model.card.data).test
    except LipbenchError as error:
        parser.exit(2, f"{error}\n")
    x = torch.from_numpy(np.array(split.x[: max(args.samples, args.batch)]))
    passes(network, x[: args.batch], args.rounds)
    fab(network, x[: args.samples], torch.from_numpy(np.array(split.labels[: args.samples])))


if __name__ == "__main__":
    main()
