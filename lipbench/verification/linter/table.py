"""The table of checks, and their findings."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lipbench.errors import LipbenchError
from lipbench.verification.linter.subject import Severity, Subject

Remarks = Iterator[tuple[Severity, str]]


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    code: str  # stable, such as "L201"
    sentence: str  # with the numbers
    reference: str  # the source of the fact behind it
    severity: Severity


Run = Callable[[Subject], Remarks]


@dataclass(frozen=True)
class Check:
    """A row of the table: a check, and the source of the fact behind it."""

    summary: str
    reference: str
    run: Run


TABLE: dict[str, Check] = {}


def check(code: str, summary: str, reference: str) -> Callable[[Run], Run]:
    """Register the decorated generator of (severity, sentence) under a code. Raises ValueError if it is taken."""

    def register(function: Run) -> Run:
        if code in TABLE:
            raise ValueError(f"the code {code} is taken by {TABLE[code].summary!r}")
        TABLE[code] = Check(summary, reference, function)
        return function

    return register


# --- L201, which also a failed certificate gives ---------------------------------------------------------------------

UNBOUNDED = "L201"


def unbounded(error: LipbenchError) -> str:
    """The sentence of L201, from what ``certificate`` raised."""
    return f"no bound of the network exists, so nothing confirms a claim: {error}"
