"""The command line: one file per subcommand, one handler for errors.

Exit status: 0 done, 1 a certificate was broken, 2 wrong use, 3 a fault of lipbench or of a library, 130 interrupted.
"""

import sys
import traceback
from typing import NoReturn

from lipbench.cli import exit_status
from lipbench.errors import EXIT_INTERRUPTED, EXIT_UNEXPECTED


def main() -> NoReturn:
    """The console script. It imports little before the exit status is guarded."""
    exit_status.guard()
    exit_status.let_readers_leave()
    status = EXIT_UNEXPECTED
    try:
        status = run(sys.argv[1:])
    except KeyboardInterrupt:  # before there is a handler
        status = EXIT_INTERRUPTED
    except BaseException:  # what is missing from the installation, or what no handler expects
        traceback.print_exc()
    exit_status.end(status)


def run(arguments: list[str]) -> int:
    """Run a command line in this process and return its exit status; every error of a user is one line on stderr."""
    from lipbench.cli import commands

    return commands.run(arguments)
