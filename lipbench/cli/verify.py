"""``lipbench verify``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lipbench.cli import options
from lipbench.errors import EXIT_BROKEN, EXIT_HOLDS, LipbenchError
from lipbench.evaluation.evaluate import data_of
from lipbench.models.zoo import find_zoo

if TYPE_CHECKING:
    import torch

    from lipbench.verification.verify import Verdict, Verification, VerificationResult


@click.command("verify")
@click.argument("model_or_zoo", metavar="MODEL|ZOO", required=False)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("lipbench-verify"),
    show_default=True,
    help="Folder for witnesses; made only if something is broken.",
)
@options.data
@options.data_dir
@click.option("--samples", type=int, metavar="N", help="Only the first N test samples.  [default: all]")
@options.dtype
@click.option(
    "--radii",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Certified L2 radii of your own to test as well: CSV or parquet, columns sample (row of the test set, from "
    "0) and certified_radius (0 where misclassified).",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="WITNESS",
    help="Measure a witness again, on the model that it names or on MODEL.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per model on stdout, for machines.")
@options.seed
@options.device
@options.threads
@options.quiet
def command(
    model_or_zoo: str | None,
    out: Path,
    data_spec: str | None,
    data_dir: Path | None,
    samples: int | None,
    dtype: str,
    radii: Path | None,
    replay: Path | None,
    as_json: bool,
    seed: int,
    device: str,
    threads: int,
    quiet: bool,
) -> int:
    """Read a model, then attack each sample inside its certified radius, without pruning.

    First the linter says what looks wrong about the claim. Then the attacks: PGD, APGD and FAB-T inside the radii of
    each grade (`float`, `real`, and `nominal`, which follows from the constant on the card), pairs of inputs against
    the constant itself, and a search by rounding next to the boundary. Exit status 1 if something was broken; the
    witness is saved, and --replay measures it again.

    \b
    Example: lipbench verify digits
    lipbench verify MODEL --radii mine.csv
    lipbench verify --replay lipbench-verify/WITNESS.safetensors
    """
    from lipbench import data
    from lipbench.verification import verify
    from lipbench.work.execution import resolve_device

    target = resolve_device(device, threads)
    if replay is not None:
        if radii is not None:
            raise LipbenchError("--replay measures one witness; --radii is for a verification: give one of them")
        return _replay(replay, model_or_zoo, target, as_json)
    if model_or_zoo is None:
        raise LipbenchError("which model? give a model, a zoo, or the name of a bundled zoo such as digits")

    def show(model: "Verification") -> None:
        for line in [json.dumps(_plain(model))] if as_json else _lines(model):
            click.echo(line)

    folder = find_zoo(model_or_zoo)
    result = verify.verify_zoo(
        folder,
        data.load(data_spec or data_of(folder), data_dir),
        out,
        samples=samples,
        seed=seed,
        device=target,
        dtype=dtype,
        radii=radii,
        progress=not quiet,
        done=show,
    )
    for name, why in result.failures.items():
        click.echo(f"ERROR {name}: {why}", err=True)
    if not as_json:
        click.echo(_total(result))
    return EXIT_HOLDS if result.passed else EXIT_BROKEN


def _replay(path: Path, model: str | None, device: "torch.device", as_json: bool) -> int:
    from lipbench.verification import witness

    folder = None if model is None else find_zoo(model)
    found = witness.replay(path, folder, device=device)
    seen = found.witness
    if as_json:
        click.echo(json.dumps({**vars(seen), "rows": found.rows, "reproduced": found.reproduced}))
    else:
        word = "REPRODUCED" if found.reproduced else "NOT REPRODUCED"
        what = f"grade {seen.grade}"
        if seen.kind == "lipschitz":
            what = "the claimed constant" if seen.grade == "nominal" else "the computed bound"
        click.echo(
            f"{word} {seen.model}: {found.reproduced} of {found.rows} {seen.kind} witnesses against {what} "
            f"({seen.dtype})"
        )
    return EXIT_BROKEN if found.reproduced else EXIT_HOLDS


def _lines(result: "Verification") -> list[str]:
    lines = [
        f"LINT {found.code} {found.severity} {result.model}: {found.sentence} [{found.reference}]"
        for found in result.findings
    ]
    lines += [_line(verdict) for verdict in result.verdicts]
    if result.not_analysed is not None:
        lines.append(f"NO GRADE float {result.model}: {result.not_analysed}")
    lines.append(_constant(result))
    broken = [verdict for verdict in result.rounding if verdict.broken]
    if broken:
        found = ", ".join(f"grade {one.grade} {one.broken} of {one.certified}, witness {one.witness}" for one in broken)
        word = "FAIL" if any(one.grade == "float" for one in broken) else "NOTE"
        why = "" if word == "FAIL" else " (no failure: these grades speak of exact arithmetic)"
        lines.append(f"{word} {result.model}: certificates next to the boundary that rounding breaks: {found}{why}")
    return lines


def _line(verdict: "Verdict") -> str:
    word = "FAIL" if not verdict.holds else "PASS" if verdict.samples else "NOTHING CERTIFIED"
    constant = "" if verdict.lipschitz is None else f" (L = {verdict.lipschitz:.9g})"
    text = (
        f"{word} {verdict.model} {verdict.grade}{constant}: "
        f"{verdict.samples} samples, closest approach {verdict.closest_approach:.4f}"
    )
    if not verdict.holds:
        text += f", {verdict.violations} broken{_misclassified(verdict)}, witness {verdict.witness}"
    return text


def _misclassified(verdict: "Verdict") -> str:
    return f" ({verdict.misclassified} of them misclassified or tied: radius 0)" if verdict.misclassified else ""


def _constant(result: "Verification") -> str:
    how = "found" if result.steepest_proven else "measured, not proven,"
    found = f"{result.steepest:.9g} {how} <= L <= {result.bound:.9g} computed"
    if result.bound_witness is not None:
        also = "" if result.claim_witness is None else f"; and the claim {result.claimed:g}, {result.claim_witness}"
        return f"FAIL {result.model}: {found}: the computed bound is false, witness {result.bound_witness}{also}"
    if result.claimed is None:
        return f"CONSTANT {result.model}: {found}; nothing claimed"
    if result.claim_witness is not None:
        return f"REFUTED {result.model}: {found}; the card claims {result.claimed:g}, witness {result.claim_witness}"
    if not result.claim_confirmed:
        return f"FLAG {result.model}: {found}; the card claims {result.claimed:g}: not confirmed, and not refuted"
    return f"CONSTANT {result.model}: {found}; the claim {result.claimed:g} is confirmed{_up_to(result)}"


def _up_to(result: "Verification") -> str:
    from lipbench.certification.grades import CLAIM_TOLERANCE

    return f" up to {CLAIM_TOLERANCE:g}" if result.bound > (result.claimed or 0) else ""


def _total(result: "VerificationResult") -> str:
    from lipbench.certification.grades import GRADES

    verdicts = [verdict for model in result.models for verdict in model.verdicts]
    closest = min((verdict.closest_approach for verdict in verdicts), default=float("inf"))
    attacked = sum(max((verdict.attacked for verdict in model.verdicts), default=0) for model in result.models)
    refuted = sum(constant.refuted for constant in result.constant.values())
    flagged = sum(constant.claim_confirmed is False for constant in result.constant.values()) - refuted
    text = (
        f"{'PASS' if result.passed else 'FAIL'}: {len(result.models)} "
        f"model{'s' if len(result.models) > 1 else ''}, {attacked} attacks on samples, {result.violations} "
        f"certificates broken; closest approach {closest:.4f} (adversarial distance / certified radius: below 1 the "
        "certificate is false)"
    )
    text += f"; {refuted} claims refuted" if refuted else ""
    text += f"; {flagged} claims not confirmed by the weights (FLAG)" if flagged else ""
    near = [(grade, [v for model in result.models for v in model.rounding if v.grade == grade]) for grade in GRADES]
    rounded = [f"{grade} {sum(v.broken for v in vs)} of {sum(v.certified for v in vs)}" for grade, vs in near if vs]
    return text + (f"\nbroken by rounding next to the boundary: {', '.join(rounded)}" if rounded else "")


def _plain(result: "Verification") -> dict[str, Any]:
    """The result as JSON takes it: no infinities, paths as text."""
    from dataclasses import asdict

    def value(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: value(one) for key, one in item.items()}
        if isinstance(item, list | tuple):
            return [value(one) for one in item]
        if isinstance(item, Path):
            return str(item)
        return None if isinstance(item, float) and not abs(item) < float("inf") else item

    content = {"holds": result.holds, **asdict(result)}
    plain: dict[str, Any] = value(content)
    return plain
