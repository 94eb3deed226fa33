"""The subcommands, and the one handler for their errors."""

import functools
import traceback
from collections.abc import Callable
from typing import Any

import click

from lipbench import __version__
from lipbench.cli import add, compare, evaluate, export, hints, listing, report, reproduce, status, train, verify
from lipbench.errors import (
    EXIT_HOLDS,
    EXIT_INTERRUPTED,
    EXIT_UNEXPECTED,
    EXIT_WRONG_USE,
    LipbenchError,
    one_line,
    shortened,
)


@click.group(cls=hints.Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lipbench")
def cli() -> None:
    """Provable against empirical adversarial robustness, sample by sample.

    \b
    lipbench evaluate                   evaluate the bundled zoo with the suite quick
    lipbench evaluate ZOO --suite standard -o RUN
    lipbench verify MODEL               test a claim: attack a model inside its certified radii
    lipbench compare RUN RUN            what two runs share, side by side
    lipbench export RUN --samples out.parquet
    lipbench train recipe.toml -o ZOO   train a zoo over losses and hyperparameters
    lipbench add ZOO --factory F ...    add a network of your own to a zoo
    lipbench reproduce all              the claims of the paper, measured here
    lipbench list attacks               list names: attacks, losses, suites, recipes, ...
    """


def _without_click(work: Callable[..., Any]) -> Callable[..., Any]:
    """The work of a command: click's exceptions are about the command line, and mean nothing once it is read."""

    @functools.wraps(work)
    def guarded(*args: Any, **options: Any) -> Any:
        try:
            return work(*args, **options)
        except (click.exceptions.Exit, click.ClickException, click.Abort) as error:
            raise RuntimeError(f"click's {type(error).__name__} came out of a command's work") from error

    return guarded


COMMANDS = (
    *(evaluate.command, status.command, verify.command, train.command, add.command, report.command, compare.command),
    export.command,
    reproduce.command,
    listing.command,
)
for command in COMMANDS:
    if command.callback is not None:
        command.callback = _without_click(command.callback)
    cli.add_command(command)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status; every error of a user is one line on stderr."""
    try:
        with cli.make_context("lipbench", arguments) as context:  # cli.main adds an empty line to an interrupt
            return int(cli.invoke(context) or 0)
    except click.exceptions.Exit as stop:  # --help, --version
        return EXIT_HOLDS if stop.exit_code == 0 else _unexpected(stop)
    except LipbenchError as error:
        return _fail(str(error), EXIT_WRONG_USE)
    except click.exceptions.NoArgsIsHelpError as shown:
        click.echo(shown.format_message())
        return EXIT_HOLDS
    except click.ClickException as error:
        return _fail(hints.message(error, cli.commands), EXIT_WRONG_USE)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted: rerun the same command to resume", EXIT_INTERRUPTED)
    except OSError as error:  # a full disk, a lost file: not ours, and the message names it
        return _fail(shortened(one_line(error)), EXIT_WRONG_USE)
    except (Exception, SystemExit) as error:  # a library's sys.exit is no verdict of ours, whatever status it asks for
        return _unexpected(error)


def _unexpected(error: BaseException) -> int:
    traceback.print_exc()
    return _fail(
        f"unexpected {type(error).__name__}: {one_line(error)}; please report the lines above", EXIT_UNEXPECTED
    )


def _fail(message: str, status: int) -> int:
    click.echo(f"lipbench: {' '.join(message.split())}", err=True)
    return status
