"""What a run says to the ledger, and what the ledger says of earlier runs.

Rules:

- REC-1  Only the coordinator signs and appends; a worker returns digest and unsigned statement.
- REC-2  A measurement is made once for a key: if the ledger holds one, or another run's is given,
         it is replayed, also after the store was deleted.
- REC-3  A key that gave other bytes before is told in the record (`differs_from`), never hidden.
- REC-4  What was cited from a release is told as cited, never as run.
- REC-5  A dry recorder only reads: it makes no key, no ledger and no record.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from audit.keys import load_or_create_signer
from audit.ledger import Ledger
from audit.record import Record
from audit.statement import event, statement
from stages.artifact import Digest, FileEntry
from stages.citation import Cited
from stages.elsewhere import leave
from stages.lock import environment
from stages.project import Machine, Place, commit_of, work_tree
from stages.stage import Json
from stages.store import Entry


class Recorder:
    """The project's ledger during one run."""

    def __init__(self, place: Place, signer: str | None, lock: Digest, *, dry: bool) -> None:
        self.dry = dry
        self.ledger = Ledger(place.ledger, origin=f"kette/{place.name}")
        self.replay: Mapping[Digest, Json] = {}
        """Key → what another run measured, to be replayed here (REC-2)."""
        self._signer = None if dry else load_or_create_signer(place.keys, signer)
        self._lock = lock
        self._commit = commit_of(place.project)
        self._environment = environment() | {"work_tree": work_tree(place.project)}
        self._records: dict[Digest, Record] = dict(self.ledger.by_key())
        self._citations: set[int] = set()
        """Places of this run's citations."""
        self._one_writer = threading.Lock()
        self._uncovered = False

    def agrees(self, entry: Entry) -> bool:
        """Whether the ledger holds the entry's record, of the same bytes and gate."""
        record = self._records.get(entry.key)
        return (
            record is not None
            and record.subjects[0][1] == entry.digest
            and (bool(entry.unit) or record.gate == entry.gate.model_dump(mode="json"))
        )

    def knows(self, stage: str) -> bool:
        """Whether the ledger holds any record of a stage."""
        return any(record.stage == stage for record in self._records.values())

    def settled(self, entry: Entry) -> Entry:
        """The entry with what was measured under its key, once and for all (REC-2).

        A look at the locked test split is numbered here: one for each candidate held against it.
        """
        before = self._records.get(entry.key)
        measured = before.measured if before else self.replay.get(entry.key)
        if not measured and entry.stage == "assess" and entry.unit:
            measured = {**entry.measured, "looks": 1 + self._looks(entry.findings["test_split"])}
        return entry.model_copy(update={"measured": measured}) if measured else entry

    def _looks(self, split: str) -> int:
        """How many candidates were ever held against this test split."""
        return sum(
            record.stage == "assess"
            and bool(record.unit)
            and record.findings.get("test_split") == split
            for record in self._records.values()
        )

    def measurements(self, keys: Iterable[Digest]) -> dict[Digest, Json]:
        """Key → what was measured under it."""
        found = {
            key: self._records[key].measured if key in self._records else self.replay.get(key)
            for key in keys
        }
        return {key: measured for key, measured in found.items() if measured}

    def indexes(self, keys: Iterable[Digest]) -> list[int]:
        """Places in the ledger of the keys' records, and of what this run cited."""
        made = {self._records[key].index for key in keys if key in self._records}
        return sorted(made | self._citations)

    def ran(self, entry: Entry, files: Sequence[FileEntry], status: str) -> str | None:
        """Record what a unit or merge made.

        Args:
            entry: what it made.
            files: of its tree; with the tree itself they are the statement's subjects.
            status: `ran` or `recovered`.

        Returns:
            The digest that the same key gave before, if that was another (REC-3).
        """
        label = f"{entry.stage}/{entry.unit}" if entry.unit else entry.stage
        before = self._records.get(entry.key)
        other = before.subjects[0][1] if before else entry.digest
        differs = {"differs_from": other} if other != entry.digest else {}
        replayed = {"measured": "replayed"} if entry.key in self.replay and not before else {}
        record = statement(
            subjects=[(label, entry.digest), *((f"{label}/{f.path}", f.sha256) for f in files)],
            stage=entry.stage,
            unit=entry.unit,
            key=entry.key,
            parameters={**entry.parts["parameters"], "facts": entry.parts["facts"]},
            inputs=entry.parts["inputs"],
            commit=self._commit,
            lock=self._lock,
            environment=self._environment | entry.environment,
            findings={**entry.findings, **differs, **replayed},
            measured=entry.measured,
            gate=None if entry.unit else entry.gate.model_dump(mode="json"),
            status=status,
            started=datetime.fromisoformat(entry.started),
            finished=datetime.fromisoformat(entry.finished),
        )
        self._append(entry.key, record)
        return other if differs else None

    def reused(self, stage: str, entries: Sequence[Entry]) -> None:
        """Record in one statement which trees of a stage were given back."""
        if not entries:
            return
        labels = [f"{stage}/{entry.unit}" if entry.unit else stage for entry in entries]
        keys = dict(zip(labels, (entry.key for entry in entries), strict=True))
        subjects = list(zip(labels, (entry.digest for entry in entries), strict=True))
        details = {"stage": stage, "keys": keys}
        record = event("reused", at=datetime.now(UTC), details=details, subjects=subjects)
        self._append(None, record)

    def cited(self, cited: Cited) -> None:
        """Record that ingestion was not run here: its trees stem from a release's citation."""
        trees = {f"ingest/{unit}": digest for unit, digest in cited.artifact.units.items()}
        details = {
            "stage": "ingest",
            "keys": dict(cited.keys),
            "gate": cited.gate.model_dump(mode="json"),
            "missing": list(cited.missing),
        }
        subjects = [*sorted(trees.items()), ("ingest", cited.artifact.merged)]
        record = event("cited", at=datetime.now(UTC), details=details, subjects=subjects)
        if (index := self._append(None, record)) is not None:
            self._citations.add(index)

    def checkpoint(self) -> None:
        """Sign a checkpoint over all that this run recorded since the last one."""
        if self._uncovered and self._signer is not None:
            self.ledger.checkpoint(self._signer)
            self._uncovered = False

    def leave(self, place: Place, machine: Machine) -> None:
        """Stamp and mirror the checkpoint, where the machine is told to (OTH-1)."""
        if self._signer is not None:
            leave(self.ledger, self._signer, place, machine)

    def _append(self, key: Digest | None, record: Json) -> int | None:
        """Sign and append; gives the record's place, or None if nothing is recorded."""
        if self._signer is None:
            return None
        with self._one_writer:
            index = next(iter(self.ledger.append(record, self._signer)))
            self._uncovered = True
            if key is not None:
                self._records[key] = Record(index, record)
            return index
