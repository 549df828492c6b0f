"""One run of stages on a project: keys, reuse, workers, records.

Rules:

- CHN-1  A unit is given back only if the store holds its key *and* the ledger holds its record; an
         entry without a record was cut off before it: the record is appended now, as `recovered`.
- CHN-2  A refused gate stops the chain; its record is written first.

Usage::

    with Run.open(place, parameters, machine) as run:
        for name in CHAIN:
            planned = run.plan(name)
            for unit in planned.todo:
                run.execute(planned, unit)
            result = run.finish(planned)
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from audit.canonical import canonical_json, digest_json
from audit.errors import Fault, KetteError, WrongUse
from stages.artifact import Artifact, Digest
from stages.key import class_digests, key_parts
from stages.lock import check_environment, lock_digest, read_lock
from stages.params import Numerics, Params
from stages.planned import Planned, StageResult, external, refusal
from stages.pool import SEES_IDENTITIES, Job, Say, Workers, load_stage, unexpected
from stages.project import Machine, Place, run_lock
from stages.recorder import Recorder
from stages.stage import Json, Plan, PlanContext, Stage, Unit, Upstream, Verdict
from stages.store import Entry, Store

CHAIN = ("ingest", "annotate", "dataset", "train", "assess", "optimize", "package")


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
        self.store = Store(place.store)
        self._exit = ExitStack()
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
        run = cls(place, sections, machine, say)
        run.pins = pins
        run.lock = lock_digest(pins)
        run._exit.enter_context(run_lock(place))
        if not dry:
            run.store.sweep()
        run.recorder = Recorder(place, machine.signer, run.lock, dry=dry)
        return run

    pins: dict[str, str]
    lock: Digest
    recorder: Recorder

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
            self.recorder.checkpoint()
        finally:
            self._exit.__exit__(kind, error, trace)

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
        """Name a stage's units and keys, and find which of them are here already (CHN-1)."""
        started = time.monotonic()
        stage = load_stage(name)
        parameters = self.parameters(stage)
        context = PlanContext(
            params=parameters,
            upstream=self.upstream(stage),
            sources=self.sources if name == "ingest" else (),
            vault=self.place.vault if name == "ingest" else None,
            measured=self.facts_for_report() if name == "package" else {},
        )
        plan = _planned_safely(stage, context)
        classes = class_digests(stage.classes(parameters), self.place.project, self.pins)
        units, done, todo = {}, {}, []
        for planned in sorted(plan.units, key=lambda unit: unit.name):
            unit = replace(planned, facts=in_order(planned.facts))
            parts = key_parts(stage, unit, parameters, self.lock, classes)
            key = digest_json(parts)
            units[unit.name] = (unit, key, parts)
            entry = self._held(key)
            if entry is None:
                todo.append(unit.name)
            else:
                done[unit.name] = entry
        return Planned(stage, parameters, units, in_order(plan.notes), classes, done, todo, started)

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
        unit, key, parts = planned.units[name]
        if (held := self._held(key)) is not None:
            planned.done[name] = held
            return held
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
        entry = self._settle(self._pool(planned).do(job), "ran")
        planned.done[name] = entry
        planned.ran.append(name)
        return entry

    def _tree(self, label: str) -> Digest:
        """Digest of the tree that a label names among the stages before."""
        stage, _, unit = label.partition("/")
        artifact = self.results[stage].artifact
        return artifact.units[unit] if unit else artifact.merged

    def _settle(self, entry: Entry, status: str) -> Entry:
        """Give an entry what was measured before under its key, and record it."""
        kept = self.recorder.settled(entry)
        if kept is not entry and not self.recorder.dry:
            self.store.remember(kept)
        if other := self.recorder.ran(kept, self.store.manifest(kept.digest).files, status):
            self.say(f"{kept.stage}: the same key gave {other[:12]} before; see the record", 1.0)
        return kept

    def _pool(self, planned: Planned) -> Workers:
        """The workers of a stage: its own process if it is numeric, else the shared ones."""
        with self._starting:
            if planned.stage.numeric:
                if planned.workers is None or planned.workers.broken:
                    numerics = self.sections["numerics"]
                    assert isinstance(numerics, Numerics)  # noqa: S101 - narrows the type
                    planned.workers = self._start(1, numerics)
                return planned.workers
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
        name = planned.stage.name
        units = {unit: planned.done[unit].digest for unit in sorted(planned.units)}
        job = self._merge_job(planned, units)
        key = job.key
        entry = self._held(key)
        fresh = entry is None
        try:
            if entry is None:
                entry = self._settle(self._pool(planned).do(job), "ran")
        finally:
            if planned.workers is not None:
                planned.workers.close()
        parts_done = [planned.done[unit] for unit in sorted(planned.units)] + [entry]
        made = set(planned.ran) | ({""} if fresh else set())
        self.recorder.reused(name, [part for part in parts_done if part.unit not in made])
        self.keys.extend(part.key for part in parts_done)
        verdict = entry.gate.verdict
        measured: Json = {}
        for part in parts_done:
            measured |= part.measured  # a stage measures a name in one place alone
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

    def facts_for_report(self) -> dict[str, Json]:
        """What the report shows beside the trees.

        Stage → what was measured while it ran (for `assess` the number of the look at the test
        split), with its `gate`; under `parameters` every resolved section.
        """
        found: dict[str, Json] = {
            name: dict(result.measured) for name, result in self.results.items()
        }
        found["parameters"] = {
            name: section.model_dump(mode="json", by_alias=True)
            for name, section in self.sections.items()
        }
        for name, result in self.results.items():
            found[name]["gate"] = result.gate.model_dump(mode="json")
        return found


def in_order(value: Json) -> Json:
    """The same JSON with its keys sorted: their order is no part of a key, so no stage sees it."""
    ordered: Json = json.loads(canonical_json(value))
    return ordered


def _planned_safely(stage: Stage[Any], context: PlanContext[Any]) -> Plan:
    """Plan a stage; an unexpected error of one that sees identities is told without values."""
    try:
        return stage.plan(context)
    except KetteError as error:
        raise error from None
    except Exception as error:
        if stage.name in SEES_IDENTITIES:
            raise unexpected(stage.name, "plan", error) from None
        raise
