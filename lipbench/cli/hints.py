"""What to type instead of an option or a command that does not exist."""

import re
from collections.abc import Mapping
from typing import Any

import click

from lipbench._internal.keywords import instead, is_hinted
from lipbench.errors import LONGEST, LipbenchError, shortened, unknown_name

COMMANDS = {  # words that users try
    "eval": "lipbench evaluate",
    "run": "lipbench evaluate",
    "bench": "lipbench evaluate",
    "benchmark": "lipbench evaluate",
    "attack": "lipbench evaluate ZOO --suite NAME: attacks belong to a suite",
    "certify": "lipbench evaluate, which certifies and attacks; lipbench.certify is a function of Python",
    "test": "lipbench verify",
    "check": "lipbench verify",
    "lint": "lipbench verify, which lints first",
    "replay": "lipbench verify --replay WITNESS",
    "fit": "lipbench train",
    "sweep": "lipbench train",
    "plot": "lipbench report",
    "diff": "lipbench compare",
    "summary": "lipbench report, or lipbench export RUN --summary FILE",
    "load": "lipbench report; lipbench.load is a function of Python",
    "ls": "lipbench list",
    "show": "lipbench list",
    "version": "lipbench --version",
    "help": "lipbench --help",
}
_LONG = re.compile(rf"'[^']{{{LONGEST},}}'")  # what click quotes


class Commands(click.Group):
    """A group whose error for an unknown command says which one to use."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, for known commands and for options in the place of one."""
        name = args[0]
        if name in self.commands or name.startswith("-"):
            return super().resolve_command(ctx, args)
        if name in COMMANDS:
            raise LipbenchError(f"unknown command {name!r}: use {COMMANDS[name]}")
        raise unknown_name("command", name, self.commands)


def message(error: click.ClickException, commands: Mapping[str, click.Command]) -> str:
    """The error in one line, with what to type instead where that is known."""
    command = error.ctx.command if isinstance(error, click.UsageError) and error.ctx is not None else None
    words = "lipbench" if command is None or isinstance(command, click.Group) else f"lipbench {command.name}"
    if isinstance(error, click.NoSuchOption) and command is not None:
        hint = _hint(error.option_name, command, commands)
        return shortened(f"`{words}` has no option {error.option_name}: {hint}")
    said = _LONG.sub(lambda found: f"{found[0][: LONGEST - 4]}...'", error.format_message())
    if isinstance(error, click.MissingParameter):
        said = f"{said.rstrip('.')}: see `{words} --help`"
    return shortened(said)


def _hint(word: str, command: click.Command, commands: Mapping[str, click.Command]) -> str:
    known = {parameter.name or "": parameter for parameter in command.params if isinstance(parameter, click.Option)}
    others = [name for name, other in commands.items() if any(word in parameter.opts for parameter in other.params)]
    if others and not is_hinted(command.name or "", word):
        return f"`lipbench {others[0]}` has it"
    return instead(command.name or "", word, known, lambda name, value: _typed(known.get(name), name, value))


def _typed(option: Any, name: str, value: str) -> str:
    """An option as it is typed: ``--seed`` for the keyword ``seeds``."""
    longest = max(option.opts, key=len) if option is not None else f"--{name.replace('_', '-')}"
    return f"{longest} {value}".rstrip()
