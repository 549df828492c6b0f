"""The ledger's records with who signed each: what `show`, the exports and the page read.

Signatures are not verified here; whoever shows evidence verifies the ledger beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from audit.envelope import read_statement
from audit.errors import WrongUse
from audit.key_events import ENROLLED
from audit.ledger import Ledger
from audit.record import Record


@dataclass(frozen=True)
class Entry:
    """A record, the key that signed it and who holds the key."""

    record: Record
    keyid: str
    holder: str
    """As the key was enrolled; empty where no enrolment says."""


@dataclass(frozen=True)
class Selection:
    """Which records; a field that is None keeps all."""

    stage: str | None = None
    unit: str | None = None
    event: str | None = None
    """Kind of event; `key` keeps `key.enrolled` and its like."""
    subject: str | None = None
    """A pseudonym: records that name it as unit or in the path of an input or output."""
    status: str | None = None
    since: int | str | None = None
    """First index or time (`bound`), included."""
    until: int | str | None = None
    """Last index or time, included."""

    def keeps(self, record: Record) -> bool:
        """Whether a record is one of them."""
        kind = record.kind or ""
        return (
            self.stage in (None, record.stage)
            and self.unit in (None, record.unit)
            and self.status in (None, record.status)
            and (self.event is None or kind == self.event or kind.startswith(f"{self.event}."))
            and (self.subject is None or _concerns(record, self.subject))
            and _place(record, self.since) >= 0
            and _place(record, self.until) <= 0
        )


ALL = Selection()


def entries(ledger: Ledger, selection: Selection = ALL) -> Iterator[Entry]:
    """The selected records, in order of index.

    Raises:
        Refused: for a record that is no envelope.
    """
    holders: dict[str, str] = {}
    for index, raw in ledger.read():
        record = Record(index, read_statement(raw))
        if record.kind == ENROLLED:
            holders[str(record.details.get("keyid"))] = str(record.details.get("holder", ""))
        if selection.keeps(record):
            keyid = str(json.loads(raw)["signatures"][0]["keyid"])
            yield Entry(record, keyid, holders.get(keyid, ""))


def selected(*, since: str | None, until: str | None, **fields: str | None) -> Selection:
    """A selection whose bounds are written as a user writes them.

    Raises:
        WrongUse: as `bound`.
    """
    return Selection(
        since=None if since is None else bound(since),
        until=None if until is None else bound(until, end=True),
        **fields,
    )


def bound(text: str, *, end: bool = False) -> int | str:
    """An index, or a time as the ledger writes it (UTC, microseconds).

    Args:
        text: digits, or an ISO 8601 date or time; without a zone it is UTC.
        end: a date alone means the day's last moment.

    Raises:
        WrongUse: if it is neither.
    """
    if text.isdecimal():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUse(
            "A bound is neither an index nor a time.",
            "Give a number, or a time as 2026-01-31 or 2026-01-31T08:00:00+01:00.",
        ) from None
    if end and len(text) == len("2026-01-31"):
        moment += timedelta(days=1, microseconds=-1)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def started(record: Record) -> str:
    """When a stage's run began, or an event happened."""
    metadata = record.statement["predicate"].get("runDetails", {}).get("metadata", {})
    return str(metadata.get("startedOn") or record.time)


def _place(record: Record, limit: int | str | None) -> int:
    """Before (-1), at (0) or behind (1) a bound."""
    if limit is None:
        return 0
    if isinstance(limit, int):
        return (record.index > limit) - (record.index < limit)
    return (record.time > limit) - (record.time < limit)


def _concerns(record: Record, subject: str) -> bool:
    names = [name for name, _ in record.subjects]
    return any(subject in name.split("/") for name in (*names, *record.inputs))
