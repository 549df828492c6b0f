"""One run of stages on a project: keys, reuse, workers, records.

Rules:

- RUN-1  A unit is given back only if the store holds its key *and* the ledger holds its record; an
         entry without a record was cut off before it: the record is appended now, as `recovered`.
- RUN-2  Only the coordinator signs and appends; a worker returns digest and unsigned statement.
- RUN-3  A measurement is made once for a key: if the ledger holds one, it is replayed, also after
         the store was deleted.
- RUN-4  A key that gave other bytes before is told in the record (`differs_from`), never hidden.
- RUN-5  A refused gate stops the chain; its record is written first.

Usage::

    with Run.open(place, parameters, machine) as run:
        for name in CHAIN:
            planned = run.plan(name)
            for unit in planned.todo:
                run.execute(planned, unit)
            result = run.finish(planned)
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from securesystemslib.signer import Signer

from audit.canonical import digest_json
from audit.errors import Refused, WrongUse
from audit.keys import load_or_create_signer
from audit.ledger import Ledger
from audit.record import Record
from audit.statement import event, statement
from stages.artifact import Artifact, Digest
from stages.key import class_digests, key_parts
from stages.lock import check_environment, environment, lock_digest, read_lock
from stages.params import Numerics, Params
from stages.pool import Job, Say, Workers, load_stage
from stages.project import Machine, Place, commit_of, run_lock
from stages.stage import Gate, Json, PlanContext, Stage, Unit, Upstream, Verdict
from stages.store import Entry, Store

CHAIN = ("ingest", "annotate", "dataset", "train", "assess", "optimize", "package")


@dataclass
class Planned:
    """A stage whose units are known: what is here already, and what is to do."""

    stage: Stage[Any]
    parameters: Params
    units: dict[str, tuple[Unit, Digest, Json]]
    """Name → unit, key, parts of the key."""
    notes: Json
    classes: dict[str, str]
    """Source digests of the classes that the parameters name."""
    done: dict[str, Entry]
    todo: list[str]
    started: float
    workers: Workers | None = None
    ran: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class StageResult:
    """How a stage ended."""

    artifact: Artifact
    key: Digest
    status: str
    """`ran`, `reused` or `refused`."""
    seconds: float
    gate: Gate
    findings: Json
    measured: Json
    units: int
    ran: int


class Run:
    """The coordinator of one run; use it as a context."""

    def __init__(
        self, place: Place, sections: Mapping[str, Params], machine: Machine, say: Say
    ) -> None:
        self.place = place
        self.sections = sections
        self.machine = machine
        self.say = say
        self.sources: tuple[Path, ...] = machine.source
        self.results: dict[str, StageResult] = {}
        self.keys: list[Digest] = []
        """Keys of all that this run's chain stands on, in order."""
        self.replay: Mapping[Digest, Json] = {}
        """Key → what another run measured, to be replayed here (RUN-3)."""
        self.store = Store(place.store)
        self._exit = ExitStack()
        self._workers: Workers | None = None
        self._append = threading.Lock()
        self._uncovered = False

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
        run = cls(place, sections, machine, say)
        run.pins = pins
        run.lock = lock_digest(pins)
        run._exit.enter_context(run_lock(place))
        run.store.sweep()
        run.dry = dry
        if not dry:
            run.signer = load_or_create_signer(place.keys, machine.signer)
        run.ledger = Ledger(place.ledger, origin=f"kette/{place.name}")
        run.records = dict(run.ledger.by_key())
        run.commit = commit_of(place.project)
        run.environment = environment()
        return run

    dry: bool
    pins: dict[str, str]
    lock: Digest
    signer: Signer
    ledger: Ledger
    records: dict[Digest, Record]
    """Key → its record in the ledger, newest."""
    commit: str | None
    environment: dict[str, str]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the workers and sign a checkpoint over all that was recorded."""
        try:
            self.checkpoint()
        finally:
            self._exit.__exit__(kind, error, trace)

    def checkpoint(self) -> None:
        """Sign a checkpoint over all that this run recorded so far."""
        if self._uncovered:
            self.ledger.checkpoint(self.signer)
            self._uncovered = False

    def measurements(self) -> dict[Digest, Json]:
        """Key → what was measured under it, for all that the chain stands on."""
        found = {key: self.records[key].measured for key in self.keys}
        return {key: measured for key, measured in found.items() if measured}

    def parameters(self, stage: Stage[Any]) -> Params:
        """The sections that a stage takes."""
        fields = {name: self.sections[name] for name in stage.parameters.model_fields}
        parameters: Params = stage.parameters.model_construct(**fields)
        return parameters

    def upstream(self, stage: Stage[Any]) -> dict[str, Upstream]:
        """The artifacts of the stages before, as folders.

        Raises:
            WrongUse: one of them has not run with these parameters and inputs.
        """
        found = {}
        for name in stage.after:
            if name not in self.results:
                raise WrongUse(
                    f"`{stage.name}` needs `{name}` first.", f"Run `kette run --until {name}`."
                )
            artifact = self.results[name].artifact
            found[name] = Upstream(
                {unit: (d, self.store.get(d)) for unit, d in artifact.units.items()},
                (artifact.merged, self.store.get(artifact.merged)),
            )
        return found

    def plan(self, name: str) -> Planned:
        """Name a stage's units and keys, and find which of them are here already (RUN-1)."""
        started = time.monotonic()
        stage = load_stage(name)
        parameters = self.parameters(stage)
        context = PlanContext(
            params=parameters,
            upstream=self.upstream(stage),
            sources=self.sources if name == "ingest" else (),
            vault=self.place.vault if name == "ingest" else None,
            measured=self.measured() if name == "package" else {},
        )
        plan = stage.plan(context)
        classes = class_digests(stage.classes(parameters), self.place.project, self.pins)
        units, done, todo = {}, {}, []
        for unit in sorted(plan.units, key=lambda unit: unit.name):
            parts = key_parts(stage, unit, parameters, self.lock, classes)
            key = digest_json(parts)
            units[unit.name] = (unit, key, parts)
            entry = self.store.entry(key)
            if entry is None:
                todo.append(unit.name)
            else:
                done[unit.name] = entry
                self._recover(entry)
        return Planned(stage, parameters, units, plan.notes, classes, done, todo, started)

    def _recover(self, entry: Entry) -> None:
        """Append the record of an entry that was cut off before it (RUN-1)."""
        if entry.key not in self.records:
            self._record(entry, "recovered")

    def execute(self, planned: Planned, name: str) -> Entry:
        """Run one unit in a worker and record it. Safe to call from several threads."""
        unit, key, parts = planned.units[name]
        job = Job(
            stage=planned.stage.name,
            unit=unit,
            key=key,
            parts=parts,
            parameters=planned.parameters,
            trees={label: self._tree(label) for label in unit.inputs if not external(label)},
            units=None,
            notes={},
            store=self.place.store,
        )
        entry = self._settle(self._pool(planned).do(job))
        planned.done[name] = entry
        planned.ran.append(name)
        return entry

    def _tree(self, label: str) -> Digest:
        """Digest of the tree that a label names among the stages before."""
        stage, _, unit = label.partition("/")
        artifact = self.results[stage].artifact
        return artifact.units[unit] if unit else artifact.merged

    def _settle(self, entry: Entry) -> Entry:
        """Replay what was measured before under this key, keep the entry, record it (RUN-3)."""
        before = self.records.get(entry.key)
        measured = self.replay.get(entry.key) or (before.measured if before else None)
        if measured:
            entry = entry.model_copy(update={"measured": measured})
            self.store.remember(entry)
        self._record(entry, "ran")
        return entry

    def _pool(self, planned: Planned) -> Workers:
        """The workers of a stage: its own process if it is numeric, else the shared ones."""
        with self._append:
            if planned.stage.numeric:
                if planned.workers is None:
                    numerics = self.sections["numerics"]
                    assert isinstance(numerics, Numerics)  # noqa: S101 - narrows the type
                    planned.workers = self._start(1, numerics)
                return planned.workers
            if self._workers is None:
                self._workers = self._start(self.machine.workers, None)
            return self._workers

    def _start(self, count: int, numerics: Numerics | None) -> Workers:
        workers = Workers(count, numerics, self.say)

        def end(kind: object, *_: object) -> None:
            workers.close(now=kind is not None)

        self._exit.push(end)
        return workers

    def finish(self, planned: Planned) -> StageResult:
        """Merge a stage whose units are all done, record it, hold its gate (RUN-5).

        Raises:
            Refused: the gate refused; naming rule, figure, limit and remedy.
        """
        name = planned.stage.name
        units = {unit: planned.done[unit].digest for unit in sorted(planned.units)}
        job = self._merge_job(planned, units)
        key = job.key
        entry = self.store.entry(key)
        fresh = entry is None
        try:
            if entry is None:
                entry = self._settle(self._pool(planned).do(job))
            else:
                self._recover(entry)
        finally:
            if planned.workers is not None:
                planned.workers.close()
        parts_done = [planned.done[unit] for unit in sorted(planned.units)] + [entry]
        made = set(planned.ran) | ({""} if fresh else set())
        self._record_reuse(name, [part for part in parts_done if part.unit not in made])
        self.keys.extend(part.key for part in parts_done)
        verdict = entry.gate.verdict
        measured: Json = {}
        for part in parts_done:
            measured |= part.measured
        ran = bool(planned.ran) or fresh
        result = StageResult(
            artifact=Artifact(stage=name, units=units, merged=entry.digest),
            key=key,
            status="refused" if verdict is Verdict.REFUSED else "ran" if ran else "reused",
            seconds=round(time.monotonic() - planned.started, 3),
            gate=entry.gate,
            findings=entry.findings,
            measured=measured,
            units=len(units),
            ran=len(planned.ran),
        )
        self.results[name] = result
        if verdict is Verdict.REFUSED:
            raise refusal(name, entry.gate)
        return result

    def merged_entry(self, planned: Planned) -> Entry | None:
        """The merge of a stage whose units are all done, if it is here."""
        units = {unit: planned.done[unit].digest for unit in sorted(planned.units)}
        return self.store.entry(self._merge_job(planned, units).key)

    def _merge_job(self, planned: Planned, units: dict[str, Digest]) -> Job:
        name = planned.stage.name
        inputs = [label for unit, _, _ in planned.units.values() for label in unit.inputs]
        trees = {label: self._tree(label) for label in sorted(set(inputs)) if not external(label)}
        of_units = {f"{name}/{unit}": digest for unit, digest in units.items()}
        whole = Unit(name="", inputs=of_units | trees, facts=planned.notes)
        parts = key_parts(planned.stage, whole, planned.parameters, self.lock, planned.classes)
        return Job(
            stage=name,
            unit=whole,
            key=digest_json(parts),
            parts=parts,
            parameters=planned.parameters,
            trees=trees,
            units=units,
            notes=planned.notes,
            store=self.place.store,
        )

    def measured(self) -> dict[str, Json]:
        """What the stages before measured, the looks at the test split, and their gates."""
        found: dict[str, Json] = {
            name: dict(result.measured) for name, result in self.results.items()
        }
        found["parameters"] = {
            name: section.model_dump(mode="json", by_alias=True)
            for name, section in self.sections.items()
        }
        for name, result in self.results.items():
            found[name]["gate"] = result.gate.model_dump(mode="json")
        if "assess" in self.results:
            split = self.results["assess"].findings.get("test_split")
            found["assess"]["looks"] = self._looks(split)
        return found

    def _looks(self, split: str | None) -> int:
        """How many different candidates were ever held against this locked test split."""
        return sum(
            record.stage == "assess"
            and not record.unit
            and record.findings.get("test_split") == split
            for record in self.records.values()
        )

    def _record(self, entry: Entry, status: str) -> None:
        """Sign and append the record of one entry (RUN-2, RUN-4)."""
        files = self.store.manifest(entry.digest).files
        label = f"{entry.stage}/{entry.unit}" if entry.unit else entry.stage
        before = self.records.get(entry.key)
        findings = dict(entry.findings)
        if before is not None and before.subjects[0][1] != entry.digest:
            findings["differs_from"] = before.subjects[0][1]
            self.say(f"{label}: the same key gave other bytes before; see the record", 1.0)
        record = statement(
            subjects=[(label, entry.digest), *((f"{label}/{f.path}", f.sha256) for f in files)],
            stage=entry.stage,
            unit=entry.unit,
            key=entry.key,
            parameters={**entry.parts["parameters"], "facts": entry.parts["facts"]},
            inputs=entry.parts["inputs"],
            commit=self.commit,
            lock=self.lock,
            environment=self.environment,
            findings=findings,
            measured=entry.measured,
            gate=None if entry.unit else entry.gate.model_dump(mode="json"),
            status=status,
            started=datetime.fromisoformat(entry.started),
            finished=datetime.fromisoformat(entry.finished),
        )
        self._append_record(entry.key, record)

    def _record_reuse(self, name: str, entries: list[Entry]) -> None:
        """Record in one statement which trees of a stage were given back."""
        if not entries:
            return
        labels = [f"{name}/{entry.unit}" if entry.unit else name for entry in entries]
        details = {"stage": name, "keys": dict(zip(labels, (e.key for e in entries), strict=True))}
        subjects = list(zip(labels, (entry.digest for entry in entries), strict=True))
        self._append_record(
            None, event("reused", at=datetime.now(UTC), details=details, subjects=subjects)
        )

    def _append_record(self, key: Digest | None, record: Json) -> None:
        if self.dry:
            return
        with self._append:
            index = next(iter(self.ledger.append(record, self.signer)))
            self._uncovered = True
            if key is not None:
                self.records[key] = Record(index, record)


def external(label: str) -> bool:
    """Whether an input's label names a file from outside rather than a tree."""
    return label.startswith("source/")


def refusal(stage: str, gate: Gate) -> Refused:
    """What a refused gate says: rule, figure, limit, remedy."""
    check = next(check for check in gate.checks if check.verdict is Verdict.REFUSED)
    return Refused(
        f"{stage} refused by {check.rule}: {check.figure}; limit: {check.limit}.", check.remedy
    )


def publish_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder anew: filled beside its place, then renamed; a kill leaves one of the two."""
    beside = target.with_name(f".{target.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    fill(beside)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)
