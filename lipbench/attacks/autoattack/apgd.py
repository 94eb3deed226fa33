"""APGD (Croce and Hein 2020, arXiv 2003.01690) with a radius for each row, towards all targets in one batch."""

import torch
from torch import Tensor

from lipbench.attacks.autoattack.library import configured
from lipbench.attacks.autoattack.targets import Runs, targeted, untargeted
from lipbench.attacks.base import AttackCall
from lipbench.attacks.batch import column
from lipbench.attacks.norm import Norm


def apgd(call: AttackCall, attack: str, *, loss: str, targets: int | None = None) -> Tensor:
    """Candidates within the radius of each row, x itself where none was found: float32 (n, ...).

    attack: its name in the library; loss: likewise; targets: how many classes each row is moved to, None for a loss
    without targets. The library's own iterations (``attack_single_run``) from a random start that is drawn for the
    whole shard. Its loops over targets and over eps are one batch here: they are independent runs. Classes that the
    certificate excludes at a row's eps are no targets.
    """
    network, x, batch, eps = call.network, call.x, call.batch, call.radii
    library = configured(network, call.arguments, norm=call.norm, eps=1.0, seed=batch.seed, attacks=(attack,))
    runner = library.apgd if targets is None else library.apgd_targeted
    runner.init_hyperparam(x)
    runner.loss = loss
    found, still_open = x.clone(), torch.ones(len(x), dtype=torch.bool)
    for runs in untargeted(network, x) if targets is None else targeted(network, x, batch, targets):
        runs = runs.of(still_open[runs.rows])
        if len(runs.rows) == 0:
            continue
        inputs, radius = x[runs.rows], column(eps[runs.rows].float(), x)
        runner.eps, runner.y_target = radius, runs.classes.to(x.device)
        start = inputs + radius * runner.normalize(_noise(call, runs, attack))
        with batch.counting(network, runs.rows):
            _, robust, _, candidates = runner.attack_single_run(inputs, call.labels[runs.rows], x_init=start)
        hits = (robust == 0).cpu()
        # a row may have runs towards several targets: the first that wins is kept, as in the library's loop, so
        # that the candidate does not depend on the size of the batch
        for place in runs.places.unique().tolist():
            won = hits & (runs.places == place) & still_open[runs.rows]
            found[runs.rows[won]] = candidates[won.to(x.device)].detach()
            still_open[runs.rows[won]] = False
    return found


def _noise(call: AttackCall, runs: Runs, attack: str) -> Tensor:
    """The library's starts: normal in L2, uniform in Linf; another one for each place of a target."""
    shape = tuple(call.x.shape[1:])
    noise = torch.empty(len(runs.rows), *shape)
    for place in runs.places.unique().tolist():
        here = runs.places == place
        drawn = call.batch.drawn(shape, attack, place, normal=call.norm is Norm.L2)
        noise[here] = drawn[runs.rows[here]]
    return noise.to(call.x.device)
