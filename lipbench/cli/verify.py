"""``lipbench verify``."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lipbench.cli import failures, options
from lipbench.errors import EXIT_BROKEN, EXIT_HOLDS, LeftOutWarning, LipbenchError

if TYPE_CHECKING:
    from lipbench.verification.result import Verification


@click.command("verify")
@click.argument("models", metavar="[MODEL|ZOO]...", nargs=-1)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("lipbench-verify"),
    show_default=True,
    help="Folder for records (OUT/verification) and witnesses (OUT/witnesses): a run folder of `lipbench evaluate`, "
    "whose report then shows them, or a folder of its own.",
)
@options.data
@options.data_dir
@options.num_classes
@options.trust
@click.option("--samples", type=int, metavar="N", help="Only the first N test samples.  [default: all]")
@options.dtype
@click.option(
    "--radii",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also test certified L2 radii of your own: CSV or parquet, columns sample (row of the test set, from 0) and "
    "certified_radius (0 where misclassified).",
)
@click.option(
    "--replay",
    type=click.Path(path_type=Path),
    metavar="WITNESS",
    help="Measure a witness again, on the model that it names, or on MODEL.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model on stdout.")
@options.seed
@options.device
@options.threads
@options.progress
def command(
    models: tuple[str, ...],
    replay: Path | None,
    as_json: bool,
    trust: tuple[str, ...],
    device: str,
    threads: int,
    **chosen: Any,
) -> int:
    """Test the robustness claim of a model.

    First, the linter reports what looks wrong about the claim. Then attacks (PGD, APGD, FAB-T) search inside the
    certified radius of every sample, without pruning, for each grade: float, real, and nominal, which assumes the
    constant on the card. Pairs of inputs are driven against the constant itself, and a search over rounding errors runs
    next to the boundary.

    The exit status is 1 if something was broken. The witness is then saved, and --replay measures it again. A model
    that fails is named, and the others are verified; the exit status is then 2, unless something was broken.

    \b
    Example: lipbench verify digits
             lipbench verify MODEL --radii mine.csv
             lipbench verify --replay lipbench-verify/witnesses/WITNESS.safetensors
    """
    from lipbench import api

    if replay is not None:
        if chosen["radii"] is not None:
            raise LipbenchError("--replay measures one witness; --radii is for a verification: give one of them")
        if len(models) > 1:
            raise LipbenchError(f"--replay measures a witness on one model, got {len(models)}")
        found = api.replay(replay, next(iter(models), None), trust=trust, device=device, threads=threads)
        click.echo(json.dumps(found.plain()) if as_json else found)
        return EXIT_BROKEN if found.reproduced else EXIT_HOLDS
    if not models:
        raise LipbenchError("which model? give a model, a zoo, or the name of a bundled zoo such as digits")

    def show(model: "Verification") -> None:
        click.echo(json.dumps(model.plain()) if as_json else str(model))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOutWarning)  # printed below
        result = api.verify(models, trust=trust, device=device, threads=threads, done=show, **chosen)
    if not as_json:
        click.echo(result.total)
    status = failures.show(result.failures)
    return status if all(model.holds for model in result.models) else EXIT_BROKEN
