"""``lipbench verify``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lipbench.cli import options
from lipbench.errors import EXIT_BROKEN, EXIT_HOLDS, LipbenchError

if TYPE_CHECKING:
    from lipbench.verification import Verdict, Verification


@click.command("verify")
@click.argument("model_or_zoo", metavar="MODEL|ZOO")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("lipbench-verify"),
    show_default=True,
    help="Folder for witnesses; made only if a certificate is broken.",
)
@options.data
@options.data_dir
@options.samples
@options.seed
@options.device
@options.threads
@options.quiet
def command(
    model_or_zoo: str,
    out: Path,
    data_spec: str | None,
    data_dir: Path | None,
    samples: int | None,
    seed: int,
    device: str,
    threads: int,
    quiet: bool,
) -> int:
    """Attack each sample of a model inside its certified radius, without pruning.

    Prints PASS or FAIL for the grades `real` (constants computed from the weights) and `nominal` (the constant
    claimed on the card). Exit status 1 if a certificate was broken; the witness is saved.

    \b
    Example: lipbench verify digits
    """
    from lipbench import cards, data, evaluation, verification
    from lipbench.network import resolve_device

    evaluation.Options(samples=samples, seed=seed)
    target = resolve_device(device, threads)
    folder = cards.find_zoo(model_or_zoo)
    dataset = data.load(data_spec or evaluation.data_of(folder), data_dir)
    evaluation.distinct("model", [cards.read(path).name for path in cards.model_folders(folder)])
    results = []
    for path in cards.model_folders(folder):
        result = verification.verify(path, dataset, out, samples=samples, seed=seed, device=target, progress=not quiet)
        for line in _lines(result):
            click.echo(line)
        results.append(result)
    flagged = sum(result.claim_confirmed is False for result in results)
    verdicts = [verdict for result in results for verdict in result.verdicts]
    click.echo(_total(verdicts) + (f"; {flagged} claims not confirmed by the weights (FLAG)" if flagged else ""))
    if not any(verdict.samples for verdict in verdicts):
        raise LipbenchError("nothing was verified: no sample is classified correctly with a certified radius above 0")
    return EXIT_HOLDS if all(result.holds for result in results) else EXIT_BROKEN


def _lines(result: "Verification") -> list[str]:
    lines = [_line(verdict) for verdict in result.verdicts]
    if result.claim_confirmed is False:
        lines.append(
            f"FLAG {result.model}: the card claims L = {result.claimed:g}, the weights give a bound of "
            f"{result.bound:.7g}: the nominal radii are not confirmed"
        )
    return lines


def _line(verdict: "Verdict") -> str:
    word = "FAIL" if not verdict.holds else "PASS" if verdict.samples else "NOTHING CERTIFIED"
    text = (
        f"{word} {verdict.model} {verdict.grade} (L = {verdict.lipschitz:.7g}): "
        f"{verdict.samples} samples, closest approach {verdict.closest_approach:.4f}"
    )
    if not verdict.holds:
        text += f", {verdict.violations} broken, witness {verdict.witness}"
    return text


def _total(verdicts: "list[Verdict]") -> str:
    broken = sum(verdict.violations for verdict in verdicts)
    closest = min((verdict.closest_approach for verdict in verdicts), default=float("inf"))
    attacked = sum(verdict.attacked for verdict in verdicts)
    if not any(verdict.samples for verdict in verdicts):
        return "NOTHING CERTIFIED"
    return (
        f"{'PASS' if broken == 0 else 'FAIL'}: {len({verdict.model for verdict in verdicts})} models, "
        f"{attacked} attacks on single samples, {broken} certificates broken, closest approach {closest:.4f} "
        "(adversarial distance / certified radius; below 1 is a violation)"
    )
