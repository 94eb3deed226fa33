"""Progress on stderr: a bar on a terminal and in a notebook; elsewhere, as in a log file, a line a minute."""

import sys
import time
from typing import Any, Protocol, Self

from tqdm import tqdm

MINUTE = 60.0


class Bar(Protocol):
    """What counts steps; tqdm's bar is one."""

    n: float  # steps done

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: Any) -> Any: ...
    def update(self, n: int = 1) -> Any:
        """So many steps more are done."""

    def refresh(self) -> Any:
        """Nothing was done, but time passes."""

    def set_description(self, desc: str) -> Any:
        """The text before the count."""


class Lines:
    """A line a minute, and one at the end if any steps were done: ``lipbench-run: 31 of 171 units``."""

    def __init__(self, total: int, initial: int, unit: str, desc: str, leave: bool):
        self.n: float = initial
        self._total, self._unit, self._text, self._leave = total, unit, desc, leave
        self._printed: tuple[float, float] = initial, time.monotonic()  # steps, and when

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._leave and self.n != self._printed[0]:
            self._print()

    def update(self, n: int = 1) -> None:
        """See ``Bar``."""
        self.n += n
        self.refresh()

    def refresh(self) -> None:
        """See ``Bar``."""
        if time.monotonic() - self._printed[1] >= MINUTE:
            self._print()

    def set_description(self, desc: str) -> None:
        """See ``Bar``."""
        self._text = desc

    def _print(self) -> None:
        self._printed = self.n, time.monotonic()
        text = "".join(letter if letter.isprintable() else " " for letter in self._text)
        print(f"{text}: {int(self.n)} of {self._total} {self._unit}s", file=sys.stderr, flush=True)


def bar(total: int, *, initial: int = 0, unit: str, title: str, leave: bool = True, silent: bool = False) -> Bar:
    """A bar where someone watches it, else lines. leave: the last state stays visible; silent: show nothing."""
    if silent or on_terminal():
        return tqdm(total=total, initial=initial, unit=unit, desc=title, leave=leave, disable=silent)
    return Lines(total, initial, unit, title, leave)


def on_terminal() -> bool:
    """Whether stderr may rewrite its last line."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
