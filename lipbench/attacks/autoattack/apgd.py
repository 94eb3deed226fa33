"""APGD (Croce and Hein 2020, arXiv 2003.01690) with a radius for each row, towards all targets in one batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lipbench.attacks.autoattack.library import configured
from lipbench.attacks.autoattack.targets import Batch, batches, everyone
from lipbench.attacks.batch import AttackBatch
from lipbench.attacks.network import Network
from lipbench.attacks.norm import Norm


def apgd(
    attack: str,
    network: Network,
    x: Tensor,
    labels: Tensor,
    eps: Tensor,
    *,
    norm: Norm,
    rows: AttackBatch,
    args: Mapping[str, Any],
) -> Tensor:
    """Candidates within eps: (m,), x itself where none was found: float32 (m, c, h, w).

    The library's own iterations (``attack_single_run``) from a random start that is drawn for the whole shard. Its
    loops over targets and over eps are one batch here: they are independent runs. Classes that the certificate excludes
    at a row's eps are no targets.
    """
    targeted = attack == "apgd-t"
    library = configured(network, norm=norm, eps=1.0, seed=rows.seed, attacks=(attack,), args=args)
    runner = library.apgd_targeted if targeted else library.apgd
    runner.init_hyperparam(x)
    runner.loss = "dlr-targeted" if targeted else attack.removeprefix("apgd-")
    found, still_open = x.clone(), torch.ones(len(x), dtype=torch.bool)
    for batch in batches(network, x, rows, args["targets"]) if targeted else everyone(network, x):
        batch = batch.of(still_open[batch.rows])
        if len(batch.rows) == 0:
            continue
        inputs, radius = x[batch.rows], eps[batch.rows].float().view(-1, 1, 1, 1)
        runner.eps, runner.y_target = radius, batch.classes.to(x.device)
        start = inputs + radius * runner.normalize(_noise(rows, batch, attack, norm, x))
        with rows.counting(network, batch.rows):
            _, robust, _, candidates = runner.attack_single_run(inputs, labels[batch.rows], x_init=start)
        hits = (robust == 0).cpu()
        # a row may stand in the batch with several targets: the first that wins is kept, as in the library's loop, so
        # that the candidate does not depend on the size of the batch
        for place in batch.places.unique().tolist():
            won = hits & (batch.places == place) & still_open[batch.rows]
            found[batch.rows[won]] = candidates[won.to(x.device)].detach()
            still_open[batch.rows[won]] = False
    return found


def _noise(rows: AttackBatch, batch: Batch, attack: str, norm: Norm, x: Tensor) -> Tensor:
    """The library's starts: normal in L2, uniform in Linf; another one for each place of a target."""
    noise = torch.empty(len(batch.rows), *x.shape[1:])
    for place in batch.places.unique().tolist():
        here = batch.places == place
        drawn = rows.drawn(tuple(x.shape[1:]), attack, place, normal=norm is Norm.L2)
        noise[here] = drawn[batch.rows[here]]
    return noise.to(x.device)
