"""Which records made a file, and of what: lineage over the ledger, without an index kept anywhere.

Rules:

- TRC-1  A file's records are those that name its digest among their subjects, but for notes of
         reuse: they made nothing.
- TRC-2  A record's ancestors are those that made its inputs: for each label and digest the newest
         record before it, or where a rebuild took them from a release, the event `cited`. An input
         from outside (`source/…`, the lock) has none; one whose record is not here is told.
- TRC-3  Of a record that does not matter only the end of its payload is looked at: canonical JSON
         sorts `subject` last, and a stage's record names its tree first.

Signatures are not verified here; `audit.proof` does that for what was found.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from audit import layout
from audit.errors import Refused
from audit.ledger import Ledger
from audit.record import Record

SOURCE = "source/"
"""What begins the label of an input from outside."""
LOCK = "lock"
CITED = "cited"
"""Kind of the event by which a rebuild says whose trees it took."""

_SUBJECTS = b',"predicateType":"'
"""No string of canonical JSON holds these bytes: a quote within one follows a backslash."""
_IS_CITED = b'"kind":"cited"'
_TREE = re.compile(
    rb'https://slsa\.dev/provenance/v1","subject":\[\{"digest":\{"sha256":"([0-9a-f]{64})"\},'
    rb'"name":("(?:[^"\\]|\\.)*")'
)


@dataclass(frozen=True)
class Trace:
    """A file's records and their ancestors."""

    digest: str
    named: tuple[Record, ...]
    """The records that name it, in order of index (TRC-1)."""
    records: tuple[Record, ...]
    """These and all their ancestors, in order of index."""
    missing: tuple[str, ...]
    """Labels of inputs whose records are not here, sorted."""

    @property
    def indexes(self) -> list[int]:
        return [record.index for record in self.records]

    @property
    def names(self) -> tuple[str, ...]:
        """What the records call the file, each name once, in order."""
        found = (
            name for record in self.named for name, sha in record.subjects if sha == self.digest
        )
        return tuple(dict.fromkeys(found))

    def maker(self, label: str) -> Record | None:
        """The newest record here that made a tree of this label."""
        for record in reversed(self.records):
            trees = (
                record.subjects if record.kind == CITED else record.subjects[: bool(record.stage)]
            )
            if any(name == label for name, _ in trees):
                return record
        return None


def traced(ledger: Ledger, digest: str) -> Trace:
    """`trace` over a ledger.

    Raises:
        Refused: if a record that matters is no envelope.
    """
    starts: list[int] = []

    def envelope(index: int) -> bytes:
        starts[:] = starts or layout.batches(ledger.folder)
        start = starts[bisect_right(starts, index) - 1]
        return layout.read_batch(ledger.folder, start)[index - start]

    return trace(ledger.read(), envelope, digest)


def trace(
    envelopes: Iterable[tuple[int, bytes]], envelope: Callable[[int], bytes], digest: str
) -> Trace:
    """Find the records of a file and their ancestors.

    Args:
        envelopes: index and envelope of every record, in order; each is looked at once.
        envelope: gives one of them again, by its index.
        digest: SHA-256 of the file, or of a tree.

    Raises:
        Refused: if a record that matters is no envelope.
    """
    naming, made = _look(envelopes, digest)
    found = {record.index: record for record in naming}
    missing = set()
    queue = list(naming)
    while queue:
        record = queue.pop()
        for label, sha in record.inputs.items():
            if label == LOCK or label.startswith(SOURCE):
                continue
            makers = [index for index in made.get((label, sha), ()) if index < record.index]
            if not makers:
                missing.add(label)
            elif makers[-1] not in found:
                maker = Record(makers[-1], json.loads(_payload(envelope(makers[-1]))))
                found[maker.index] = maker
                queue.append(maker)
    ordered = tuple(found[index] for index in sorted(found))
    return Trace(digest, tuple(naming), ordered, tuple(sorted(missing)))


def _look(
    envelopes: Iterable[tuple[int, bytes]], digest: str
) -> tuple[list[Record], Mapping[tuple[str, str], list[int]]]:
    """One pass: the records that name the digest, and label and digest of a tree → its makers."""
    naming: list[Record] = []
    made: dict[tuple[str, str], list[int]] = defaultdict(list)
    wanted = digest.encode()
    for index, raw in envelopes:
        payload = _payload(raw)
        subjects = payload[payload.rfind(_SUBJECTS) + len(_SUBJECTS) :]
        if tree := _TREE.match(subjects):
            made[json.loads(tree[2]), tree[1].decode()].append(index)
        elif _IS_CITED in payload and (cited := Record(index, json.loads(payload))).kind == CITED:
            for subject in cited.subjects:
                made[subject].append(index)
        if wanted in subjects:
            record = Record(index, json.loads(payload))
            if record.kind != "reused" and any(sha == digest for _, sha in record.subjects):
                naming.append(record)
    return naming, made


def _payload(envelope: bytes) -> bytes:
    """An envelope's statement, as it stands; no record of a ledger is written otherwise."""
    try:
        return base64.b64decode(json.loads(envelope)["payload"])
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("A record is no envelope.", "Run `kette audit verify`.") from error
