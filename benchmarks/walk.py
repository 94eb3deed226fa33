"""How the code walks from `lipbench evaluate` to a table cell and to the report: files, functions, changes of file.

    python benchmarks/walk.py [--suite standard] [--samples 5] [--model mlp-tau_cross_entropy-tau4-seed0]
    python benchmarks/walk.py --list          every function in the order of the first call, file by file

One model of the bundled digits zoo is evaluated in this process, and calls of Python functions in lipbench's files are
counted. Functions are distinguished by file and qualified name, comprehensions and lambdas too; a change of file is a
call in another file than the call before it in the same thread. What runs because a module is imported does not count.
"To the table" ends where the command first prints; "with report" is the whole command. Reads count how often
pyarrow parses each record, and how often each is opened at all, which includes looks at its end.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import io
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import pyarrow.parquet as pq

PACKAGE = Path(importlib.util.find_spec("lipbench").origin).parent
ZOO = PACKAGE.parent / "reports" / "digits" / "zoo"


class Call(NamedTuple):
    """A call of a function of lipbench."""

    file: str  # relative to the package
    function: str  # qualified name
    thread: int


class Walk:
    """What happens while it is entered: calls, reads of records, and where in ``calls`` the table was printed."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.parsed: Counter[str] = Counter()  # by the digest of the record
        self.opened: Counter[str] = Counter()  # by its name
        self.table: int | None = None
        self._files: dict[str, str | None] = {}  # None: not of lipbench
        self._importing = threading.local()  # .depth: of modules of lipbench that are being imported

    def _file(self, code: CodeType) -> str | None:
        path = code.co_filename
        if path not in self._files:
            inside = Path(path).is_relative_to(PACKAGE)
            self._files[path] = Path(path).relative_to(PACKAGE).as_posix() if inside else None
        return self._files[path]

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return"):
            return
        file = self._file(frame.f_code)
        if file is None:
            return
        depth = getattr(self._importing, "depth", 0)
        if frame.f_code.co_name == "<module>":
            self._importing.depth = depth + (1 if event == "call" else -1)
        elif event == "call" and not depth:
            self.calls.append(Call(file, frame.f_code.co_qualname, threading.get_ident()))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".parquet") and "r" in (arguments[1] or ""):
            self.opened[Path(arguments[0]).name] += 1

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Once only: audit hooks cannot be removed."""
        walk, read_table = self, pq.read_table

        class Screen(io.StringIO):
            def write(self, text: str) -> int:
                walk.table = len(walk.calls) if walk.table is None else walk.table
                return len(text)

        def counted(source: Any, *args: Any, **options: Any) -> Any:
            content = source.getvalue() if isinstance(source, io.BytesIO) else Path(source).read_bytes()
            self.parsed[hashlib.sha256(content).hexdigest()] += 1
            return read_table(source, *args, **options)

        sys.addaudithook(self._audit)
        pq.read_table = counted
        threading.setprofile(self._profile)
        try:
            with contextlib.redirect_stdout(Screen()):
                sys.setprofile(self._profile)
                yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
            pq.read_table = read_table


def changes(calls: Sequence[Call]) -> Counter[tuple[str, str]]:
    """How often a call in one file was followed by one in another, thread by thread."""
    threads: dict[int, list[str]] = {}
    for call in calls:
        threads.setdefault(call.thread, []).append(call.file)
    return Counter((a, b) for files in threads.values() for a, b in pairwise(files) if a != b)


def show(what: str, calls: Sequence[Call]) -> None:
    functions = {(call.file, call.function) for call in calls}
    named = sum(not function.rpartition(".")[2].startswith("<") for _, function in functions)
    print(
        f"{what}: {len({file for file, _ in functions})} files, {len(functions)} functions ({named} with a name), "
        f"{sum(changes(calls).values()):,} changes of file, {len(calls):,} calls"
    )


def show_shares(what: str, calls: Sequence[Call], most: int) -> None:
    """Functions and changes of file by room, by file, and the pairs of files with most changes."""
    functions = dict.fromkeys((call.file, call.function) for call in calls)
    pairs = changes(calls)
    rooms = {file: file.split("/")[0] for file, _ in functions}
    for title, key in (("room", rooms), ("file", {file: file for file in rooms})):
        entered = Counter(dict.fromkeys(key.values(), 0))
        within = Counter()
        for (a, b), count in pairs.items():
            entered[key[b]] += count
            within[key[b]] += count if key[a] == key[b] else 0
        held = Counter(key[file] for file, _ in functions)
        files = Counter(key[file] for file in rooms)
        print(f"\n{what}, by {title}: changes of file that lead into it (from its own files), functions, files")
        for name, count in entered.most_common(None if title == "room" else most):
            print(f"{count:>7,} ({within[name]:,})\t{held[name]:>4}\t{files[name]:>3}\t{name}")
    print(f"\n{what}: changes of file, by pair")
    for (a, b), count in pairs.most_common(most):
        print(f"{count:>7,}\t{a} -> {b}")


def show_list(calls: Sequence[Call]) -> None:
    files: dict[str, dict[str, None]] = {}
    for call in calls:
        files.setdefault(call.file, {})[call.function] = None
    for file, functions in files.items():
        print(f"\n{file} ({len(functions)})")
        print("\n".join(f"    {function}" for function in functions))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--model", default="mlp-tau_cross_entropy-tau4-seed0")
    parser.add_argument("--most", type=int, default=25, help="lines of each table of shares")
    parser.add_argument("--list", action="store_true", help="the functions on the way to the table, and of the report")
    args = parser.parse_args()
    from lipbench.cli import run

    walk = Walk()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        shutil.copytree(ZOO / args.model, place / "zoo" / args.model)
        command = ["evaluate", str(place / "zoo"), "--suite", args.suite, "--samples", str(args.samples), "--quiet"]
        with walk.recorded():
            status = run([*command, "--device", "cpu", "--out", str(place / "run")])
        written = len(list(place.glob("run/records/*.parquet")))
    if status != 0 or walk.table is None:
        parser.exit(2, f"lipbench evaluate ended with status {status}\n")
    before, after = walk.calls[: walk.table], walk.calls[walk.table :]
    print(f"{args.model}, {args.samples} samples, suite {args.suite}")
    show("to the table", before)
    show("with report", walk.calls)
    for verb, counts in (("parsed", walk.parsed), ("opened", walk.opened)):
        most = max(counts.values(), default=0)
        print(f"{written} records, {verb} {sum(counts.values())} times, each at most {most}")
    if args.list:
        print("\nto the table")
        show_list(before)
        known = {(call.file, call.function) for call in before}
        print("\nonly after it")
        show_list([call for call in after if (call.file, call.function) not in known])
        return
    show_shares("to the table", before, args.most)
    show_shares("with report", walk.calls, args.most)


if __name__ == "__main__":
    main()
