"""Run folders: ``run.json`` says what a run is, ``records/`` holds what was found, see ``store``."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from lipbench._internal import files
from lipbench._internal.arrays import Ints
from lipbench.errors import LipbenchError, nothing_left, one_line
from lipbench.runs.chains import Chains, known_of_factors
from lipbench.runs.checks import Known
from lipbench.runs.failures import Failures
from lipbench.runs.journal import Journal
from lipbench.runs.plans import FORMAT, ModelEntry, Run
from lipbench.runs.records import CertifyRecord, Record
from lipbench.runs.store import DamagedError, MissingError, RecordStore
from lipbench.runs.suite_plans import SuitePlan
from lipbench.runs.units import Shard, SuiteUnit, Unit
from lipbench.work.lease import Leases, is_lease

RUN = "run.json"


class RunFolder(RecordStore):
    """A run on disk: ``run.json``, ``records/``, ``witnesses/`` and ``failures/``, beside ``leases/`` and ``journal/``.

    Sent to another process, it arrives with nothing read.
    """

    def __init__(self, path: Path):
        super().__init__(path)
        self.leases = Leases(path / "leases")
        self.journal = Journal(path / "journal")
        self.failures = Failures(path / "failures")

    def __reduce__(self) -> "tuple[type[RunFolder], tuple[Path]]":
        return RunFolder, (self.path.resolve(),)

    def read(self) -> Run:
        """The run that the folder holds; raises LipbenchError if it holds none."""
        path = self.path / RUN
        if os.path.lexists(path) and not path.is_file():  # reading a pipe would never end
            raise LipbenchError(f"{path} is not a run of lipbench: it is no file")
        content = files.read_json(path, "run")
        try:
            if content["format"] != FORMAT:
                raise LipbenchError(
                    f"{self.path / RUN} has format {content['format']}, expected {FORMAT}: another version of lipbench "
                    "made it; evaluate again, into another folder"
                )
            return Run.from_plain(content)
        except (KeyError, TypeError, ValueError) as error:
            raise LipbenchError(f"{self.path / RUN} is not a run of lipbench: {one_line(error)}") from error

    def evaluated(self) -> Run:
        """The run without the models that failed. Raises LipbenchError, with the reasons, if that leaves none."""
        failures = self.failures.read()
        run = self.read().without(failures)
        if not run.models:
            raise nothing_left({name: failure.reason for name, failure in failures.items()})
        return run

    def open(self, run: Run) -> Run:
        """Make the folder that of ``run``, joined to what it holds, and return both.

        Several processes may do so at once. Raises LipbenchError if the folder holds another run, or something else, or
        cannot be written.
        """
        if not self._held():
            foreign = files.foreign(self.path, lambda path: files.is_harmless(path) or self._made(path))
            if foreign is not None and not self._held():  # which another process may have changed meanwhile
                raise LipbenchError(
                    f"{self.path} is not empty and not a run folder: it holds {foreign.name}; choose another folder "
                    "with -o"
                )
        for folder in self._folders:
            files.refuse_link(folder)
        with self.leases.waiting("run"):
            held = self._held()
            if held:
                run = self._joined(run)
            if not held or run != self.read():
                files.write_json(self.path / RUN, run.plain())
        self.tidy()
        return run

    def tidy(self) -> None:
        """Remove what killed processes have left."""
        self.leases.tidy()
        made = (files.make_own_folder(self.records), files.make_own_folder(self.witnesses))
        for folder in (self.path, *made, self.failures.folder):
            files.sweep(folder)

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.records, self.witnesses, self.failures.folder, self.journal.folder, self.leases.folder

    def _held(self) -> bool:
        """Whether there is a run; raises LipbenchError for something else of its name."""
        if not os.path.lexists(self.path / RUN):
            return False
        self.read()
        return True

    def _made(self, path: Path) -> bool:
        """Whether it is what ``open`` makes before there is a run."""
        known = is_lease if path.name == self.leases.folder.name else lambda _: False
        names = {folder.name for folder in self._folders}
        return path.name in names and files.is_own_folder(path) and files.foreign(path, known) is None

    def _joined(self, run: Run) -> Run:
        held = self.read()
        # the hash of the data follows from other settings: it is named last
        for key in sorted({*held.settings, *run.settings}, key=lambda name: (name == "data_sha256", name)):
            old, new = held.settings.get(key), run.settings.get(key)
            if old != new:
                raise LipbenchError(
                    f"{self.path} holds a run with other settings ({key}: {old} there, {new} now); "
                    "choose another folder with -o, or delete it"
                )
        return held.merged(run, self.failures.read())

    def missing(self, run: Run) -> list[Unit]:
        """The units of a run that are not there yet, in the order of work."""
        return list(itertools.filterfalse(self.has, list(run.units())))

    def chain(
        self, run: Run, model: ModelEntry, shard: Shard, plan: SuitePlan, certify: CertifyRecord
    ) -> Iterator[tuple[SuiteUnit, Record]]:
        """The units of a model and shard under a suite, each with its record, checked against the bounds before it.

        Raises as ``load`` does.
        """
        chains = Chains.of(run, model, shard, plan, certify)
        for unit in chains.units:
            record = self.load(unit, chains.known(unit))
            chains.add(unit, record)
            yield unit, record

    def mend(self, run: Run, labels: Ints | None = None) -> None:
        """Remove damaged records, so that they count as missing, except where another process works on them.

        ``labels``: int64 (samples,), of the test set, where the caller has them.
        """
        for model in run.models:
            for shard in run.shards:
                true = None if labels is None else labels[shard.start : shard.stop]
                if not self._damaged_of(run, model, shard, true):
                    continue
                with self.leases.holding(run.certify_unit(model, shard).name) as lease:
                    if lease is None:
                        continue
                    for unit, damage in self._damaged_of(run, model, shard, true):  # others may have computed some
                        self.discard(unit, damage)

    def _damaged_of(
        self, run: Run, model: ModelEntry, shard: Shard, labels: Ints | None
    ) -> list[tuple[Unit, DamagedError]]:
        """The damaged units of a model and shard; after one that is missing or damaged, less is known of the others."""
        found: dict[str, tuple[Unit, DamagedError]] = {}

        def record_of(unit: Unit, known: Known | None) -> Record | None:
            try:
                return self.load_whole(unit, known)
            except DamagedError as damage:
                found[unit.name] = (unit, damage)
            except MissingError:
                pass
            return None

        found_certify = record_of(run.certify_unit(model, shard), None if labels is None else Known(labels))
        certify = found_certify if isinstance(found_certify, CertifyRecord) else None
        record_of(run.factor_unit(model, shard), None if certify is None else known_of_factors(certify))
        for plan in run.suites:
            chains = Chains.of(run, model, shard, plan, certify)
            for unit in chains.units:
                chains.add(unit, record_of(unit, chains.known(unit)))
        return list(found.values())
