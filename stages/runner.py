"""One run of stages on a project: reuse, workers, records.

Rules:

- CHN-1  A unit is given back only if the store holds its key *and* the ledger holds its record; an
         entry without a record was cut off before it: the record is appended now, as `recovered`.
- CHN-2  A refused gate stops the chain; its record is written first.
- CHN-3  A rebuild cites ingestion and runs everything after it.

Usage::

    with Run.open(place, sections, machine) as run:
        for name in CHAIN:
            planned = run.plan(name)
            for unit in planned.todo:
                run.execute(planned, unit)
            result = run.finish(planned)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from audit.errors import Fault
from stages.artifact import Artifact, Digest
from stages.citation import Cited
from stages.lock import check_environment, lock_digest, read_lock
from stages.params import Numerics, Params
from stages.planned import Planned, StageResult, refusal
from stages.planning import CHAIN, Planner
from stages.pool import Job, Say, Workers
from stages.project import Machine, Place, run_lock
from stages.recorder import Recorder
from stages.stage import Json, Verdict
from stages.store import Entry, Store

__all__ = ["CHAIN", "Run"]

T = TypeVar("T")
R = TypeVar("R")


class Run:
    """The coordinator of one run; use it as a context."""

    def __init__(
        self, planner: Planner, recorder: Recorder, machine: Machine, say: Say, exit_: ExitStack
    ) -> None:
        self.planner = planner
        self.recorder = recorder
        self.machine = machine
        self.say = say
        self.place = planner.place
        self.store = planner.store
        self.lock = planner.lock
        self.results: dict[str, StageResult] = {}
        self._exit = exit_
        self._workers: Workers | None = None
        self._starting = threading.Lock()

    @classmethod
    def open(
        cls,
        place: Place,
        sections: Mapping[str, Params],
        machine: Machine,
        say: Say = lambda text, fraction: None,
        *,
        dry: bool = False,
    ) -> Self:
        """Check place and environment, take the project's lock, open ledger and keys.

        With `dry`, nothing is recorded: for looking at what would run.

        Raises:
            WrongUse: home inside the project, environment not the lock's, another run at work.
        """
        place.check()
        pins = read_lock(place.lock)
        check_environment(pins)
        lock, store = lock_digest(pins), Store(place.store)
        with ExitStack() as opened:
            opened.enter_context(run_lock(place))
            if not dry:
                store.sweep()
            recorder = Recorder(place, machine.signer, lock, dry=dry)
            planner = Planner(
                place, sections, machine.source, pins, lock, store, recorder.ledger, dry
            )
            return cls(planner, recorder, machine, say, opened.pop_all())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers, sign a checkpoint over all that was recorded, and leave it elsewhere."""
        try:
            self.recorder.checkpoint()
            self.recorder.leave(self.place, self.machine)
        finally:
            self._exit.__exit__(kind, error, trace)

    @property
    def keys(self) -> list[Digest]:
        """Keys of all that this run's chain stands on, in order."""
        return [key for result in self.results.values() for key in result.keys.values()]

    def plan(self, name: str) -> Planned:
        """Plan a stage, and find which of its units are here already (CHN-1)."""
        alone = self.planner.dry or self.machine.workers == 1
        planned = self.planner.plan(
            name, self.results, map if alone else partial(self._spread, name)
        )
        for unit, (_, key, _) in planned.units.items():
            if (entry := self._held(key)) is None:
                planned.todo.append(unit)
            else:
                planned.done[unit] = entry
        return planned

    def _held(self, key: Digest) -> Entry | None:
        """What is here under a key, as the ledger has it (CHN-1).

        An entry without a record, or of other bytes than its record, is settled anew.
        """
        entry = self.store.entry(key)
        if entry is None:
            return None
        if entry.key != key:
            raise Fault(
                "An entry of the store is another key's.", "Delete `.kette/store`, run again."
            )
        if self.recorder.agrees(entry):
            return self.recorder.settled(entry)
        self.store.get(entry.digest, check=True)  # what is signed was checked
        return self._settle(entry, "recovered")

    def execute(self, planned: Planned, name: str) -> Entry:
        """Run one unit in a worker and record it. Safe to call from several threads.

        A second try after a fault finds what the first one made.
        """
        job = self.planner.job(planned, name, self.results)
        job = replace(job, loader_workers=self.machine.loader_workers)
        entry = self._held(job.key)
        if entry is None:
            entry = self._settle(self._pool(planned).do(job), "ran")
            planned.ran.append(name)
        planned.done[name] = entry
        return entry

    def _settle(self, entry: Entry, status: str) -> Entry:
        """Give an entry what was measured before under its key, and record it."""
        kept = self.recorder.settled(entry)
        if kept is not entry and not self.recorder.dry:
            self.store.remember(kept)
        if other := self.recorder.ran(kept, self.store.manifest(kept.digest).files, status):
            self.say(f"{kept.stage}: the same key gave {other[:12]} before; see the record", 1.0)
        return kept

    def _spread(self, name: str, do: Callable[[T], R], inputs: Iterable[T], /) -> Iterable[R]:
        """`map` over the shared workers, while the stage of that name is planned."""
        with self._starting:
            workers = self._shared()
        return workers.spread(name, do, inputs)

    def _pool(self, planned: Planned) -> Workers:
        """The workers of a stage: its own process if it is numeric, else the shared ones."""
        with self._starting:
            if planned.stage.numeric:
                if planned.workers is None or planned.workers.broken:
                    numerics = self.planner.sections["numerics"]
                    assert isinstance(numerics, Numerics)  # noqa: S101 - narrows the type
                    planned.workers = self._start(1, numerics)
                return planned.workers
            return self._shared()

    def _shared(self) -> Workers:
        if self._workers is None or self._workers.broken:
            self._workers = self._start(self.machine.workers, None)
        return self._workers

    def _start(self, count: int, numerics: Numerics | None) -> Workers:
        workers = Workers(count, numerics, self.say)

        def end(kind: object, *_: object) -> None:
            workers.close(now=kind is not None)

        self._exit.push(end)
        return workers

    def finish(self, planned: Planned) -> StageResult:
        """Merge a stage whose units are all done, record it, hold its gate (CHN-2).

        Raises:
            Refused: the gate refused; naming rule, figure, limit and remedy.
        """
        whole, fresh = self._merged(planned)
        entries = [planned.done[unit] for unit in sorted(planned.units)] + [whole]
        made = set(planned.ran) | ({""} if fresh else set())
        self.recorder.reused(
            planned.stage.name, [entry for entry in entries if entry.unit not in made]
        )
        result = _result(planned, whole, made)
        self.results[planned.stage.name] = result
        if result.status == "refused":
            raise refusal(planned.stage.name, whole.gate)
        return result

    def cite(self, cited: Cited) -> StageResult:
        """Take ingestion from a release's citation, and record that it was cited (CHN-3)."""
        self.recorder.cited(cited)
        result = StageResult(
            artifact=cited.artifact,
            keys=cited.keys,
            status="cited",
            seconds=0.0,
            gate=cited.gate,
            findings=cited.findings,
            measured=cited.measured,
            units=len(cited.artifact.units),
            ran=0,
        )
        self.results["ingest"] = result
        return result

    def _merged(self, planned: Planned) -> tuple[Entry, bool]:
        """The merge of a stage, and whether it had to run."""
        job = self._merge_job(planned)
        try:
            if (entry := self._held(job.key)) is not None:
                return entry, False
            return self._settle(self._pool(planned).do(job), "ran"), True
        finally:
            if planned.workers is not None:
                planned.workers.close()

    def merged_entry(self, planned: Planned) -> Entry | None:
        """The merge of a stage whose units are all done, if it is here."""
        return self.store.entry(self._merge_job(planned).key)

    def _merge_job(self, planned: Planned) -> Job:
        return self.planner.merge_job(planned, planned.digests, self.results)


def _result(planned: Planned, whole: Entry, made: set[str]) -> StageResult:
    """How a stage ended, of its merge and the units that were made and not given back."""
    measured: Json = {}
    for unit in sorted(planned.units):
        measured |= planned.done[unit].measured  # a stage measures a name in one place alone
    keys = {name: planned.done[name].key for name in sorted(planned.units)} | {"": whole.key}
    status = "ran" if made else "reused"
    if whole.gate.verdict is Verdict.REFUSED:
        status = "refused"
    return StageResult(
        artifact=Artifact(stage=planned.stage.name, units=planned.digests, merged=whole.digest),
        keys=keys,
        status=status,
        seconds=round(time.monotonic() - planned.started, 3),
        gate=whole.gate,
        findings=whole.findings,
        measured=measured | whole.measured,
        units=len(planned.units),
        ran=len(planned.ran),
    )
