"""``lipbench add``."""

import json
from pathlib import Path
from typing import Any

import click

from lipbench.cli import options
from lipbench.errors import LipbenchError


@click.command("add")
@click.argument("zoo", type=click.Path(path_type=Path))
@click.option("--factory", metavar="PACKAGE.MODULE:FUNCTION", help="Function that returns the network; its code runs.")
@click.option("--architecture", metavar="NAME", help="Registered architecture, of `lipbench list architectures`.")
@click.option("--graph", type=click.Path(path_type=Path), metavar="FILE", help="A graph.json.")
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights by name: .safetensors, or a state_dict that torch.save wrote.",
)
@click.option(
    "--arg",
    "args",
    multiple=True,
    metavar="KEY=VALUE",
    help="Argument of the factory or architecture, such as widths=[128,64]; may be given several times.",
)
@click.option(
    "--form",
    type=click.Choice(["graph", "factory"]),
    help="How to store what a factory returns.  [default: as a graph where that is possible]",
)
@options.data
@options.data_dir
@options.num_classes
@click.option("--name", help="Name of the model and of its folder.  [default: that of the weights]")
@click.option("--loss", metavar="NAME", help="Loss that it was trained with, for the tables.")
@click.option(
    "--hyperparameter",
    "hyperparameters",
    multiple=True,
    metavar="KEY=NUMBER",
    help="Hyperparameter of the loss, such as tau=4; may be given several times.",
)
@click.option("--claimed", type=float, metavar="L", help="L2 Lipschitz constant that the network is claimed to have.")
@click.option(
    "--constrained/--unconstrained",
    default=None,
    help="Whether it is a 1-Lipschitz network.  [default: yes with --claimed or --architecture]",
)
def command(
    zoo: Path, data: str | None, args: tuple[str, ...], hyperparameters: tuple[str, ...], **chosen: Any
) -> None:
    """Add a network of your own to a zoo.

    The network is what a function of your package returns, a registered architecture, or a graph.json. Its weights are
    checked against it. The model is stored and loaded again: its outputs must be the same to the bit.

    It is stored as a graph of operations where that is possible: reading such a model runs no code. Otherwise the card
    names the function, and other commands need --trust PACKAGE.

    \b
    Example: lipbench add zoo --factory mine.nets:build --arg width=64 --weights net.safetensors --data digits
             lipbench add zoo --architecture mlp --weights net.pt --data digits --loss tau_cross_entropy
    """
    from lipbench import api

    if data is None:
        raise LipbenchError("which data was the network trained for? name them with --data")
    numbers = {key: _number(key, value) for key, value in _pairs("--hyperparameter", hyperparameters).items()}
    values = {key: _value(value) for key, value in _pairs("--arg", args).items()}
    click.echo(api.add(zoo, data=data, args=values, hyperparameters=numbers, **chosen))


def _pairs(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not (key and equals):
            raise LipbenchError(f"{option} takes KEY=VALUE, got {one[:200]!r}")
        if key in pairs:
            raise LipbenchError(f"{option} {key[:200]} is given twice")
        pairs[key] = value
    return pairs


def _value(text: str) -> Any:
    """A number, list, true, false or table as JSON writes it; anything else is a string."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise LipbenchError(f"--hyperparameter {key[:200]} must be a number, got {text[:200]!r}") from None
