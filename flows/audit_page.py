"""The evidence as a page: chain of stages, gates, signatures, keys, checkpoint, retention, holds.

It is rendered as a release's report is (`stages/package/document.py`): one file, nothing fetched,
every value escaped. The same ledger gives the same bytes.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from securesystemslib.signer import Key

from audit.checkpoint import Checkpoint, read_checkpoint
from audit.key_events import RETIRED, REVOKED, ROLES, SIGNATURE
from audit.keyring import Member
from audit.ledger import Ledger
from audit.reading import Entry, entries
from audit.show import row, told, verdict
from audit.verification import Verification
from stages.package.document import Document, Section, Table, Tile, render, table

_SHORT = 12
_RELEASES = ("released", "deprecated", "withdrawn", "legal_hold")
_OTHERS = ("finding.raised", "reproduced", "clock.back", "subject.erased")


def audit_page(
    ledger: Ledger, keys: Mapping[str, Key], indexes: Collection[int] | None = None
) -> bytes:
    """The page, as one HTML file in UTF-8.

    Args:
        ledger: verified here, as a whole.
        keys: key id → public key that is trusted.
        indexes: the records of one release; None shows all of the ledger.

    Raises:
        Refused: the ledger has no checkpoint, or a record is no envelope.
    """
    checked = ledger.verify(keys)
    everything = list(entries(ledger))
    found = [e for e in everything if indexes is None or e.record.index in indexes]
    note = read_checkpoint(ledger.signed_checkpoint())
    behind = checked.records - checked.covered
    covered = _BEHIND.format(behind) if behind else _COVERED
    holds = "The ledger holds" if checked.ok else f"The ledger does not hold: {checked.first_bad}"
    return render(
        Document(
            title="Evidence of a release" if indexes is not None else "Evidence",
            subtitle=ledger.origin,
            label="Verification.",
            lead=f"{holds}. {checked.reason or covered}",
            tiles=tuple(_tiles(checked, found, everything)),
            sections=(
                _stages(found),
                _gates(found),
                _signatures(everything if indexes is None else _about(everything, found)),
                _keys(ledger, everything),
                _kept(everything),
                _happened(everything),
                _checkpoint(note),
            ),
            footer="This page shows the evidence; it is none. The signed records are.",
        )
    )


_PROOFS = (
    "Any file of the chain can be proved against this checkpoint with `kette audit prove FILE`; "
    "`kette audit check PROOF --key PUB` verifies the proof offline, without the ledger."
)
_COVERED = (
    "Every record is signed by a key that was allowed to, and the signed checkpoint covers them."
)
_BEHIND = (
    "Every record is signed by a key that was allowed to; {} of them came after the signed "
    "checkpoint, and the next run's will cover them."
)


def _tiles(
    checked: Verification, found: Sequence[Entry], everything: Sequence[Entry]
) -> Iterator[Tile]:
    yield Tile("Records", str(checked.records), f"{checked.covered} below the checkpoint")
    gates = [verdict(e.record.gate) for e in found if e.record.gate]
    passed = sum(gate != "refused" for gate in gates)
    yield Tile("Gates passed", f"{passed} of {len(gates)}")
    kinds = Counter(entry.record.kind for entry in everything)
    yield Tile("Signatures of persons", str(kinds[SIGNATURE]))
    yield Tile("Releases", str(kinds["released"]))


def _stages(found: Sequence[Entry]) -> Section:
    units = Counter(e.record.stage for e in found if e.record.stage and e.record.unit)
    rows = [
        {
            "index": str(entry.record.index),
            "stage": entry.record.stage,
            "time": entry.record.time,
            "units": units[entry.record.stage],
            "gate": verdict(entry.record.gate) if entry.record.gate else "",
            "tree": entry.record.subjects[0][1][:_SHORT],
            "key": (entry.record.key or "")[:_SHORT],
            "commit": (entry.record.commit or "")[:_SHORT],
        }
        for entry in found
        if entry.record.stage and not entry.record.unit
    ]
    columns = {
        "index": "record", "time": "ended", "stage": "stage", "units": "records of units",
        "gate": "gate", "tree": "made", "key": "key", "commit": "commit",
    }  # fmt: skip
    text = "Each stage ended in one record with its gate; its units have records of their own."
    return Section("stages", "Chain of stages", (text,), (table("Stages", rows, columns),))


def _gates(found: Sequence[Entry]) -> Section:
    rows = [
        {"index": str(entry.record.index), "stage": entry.record.stage, **check}
        for entry in found
        if entry.record.gate
        for check in entry.record.gate["checks"]
    ]
    columns = {
        "index": "record", "stage": "stage", "rule": "rule", "figure": "figure",
        "limit": "limit", "verdict": "verdict",
    }  # fmt: skip
    return Section("gates", "Gates", tables=(table("Checks", rows, columns),))


def _signatures(found: Sequence[Entry]) -> Section:
    rows = [
        {
            **row(entry),
            "index": str(entry.record.index),
            "files": ", ".join(f"{n} ({sha[:_SHORT]})" for n, sha in entry.record.subjects),
            "keyid": entry.keyid[:_SHORT],
        }
        for entry in found
        if entry.record.kind == SIGNATURE
    ]
    columns = {
        "index": "record", "time": "signed", "signer": "signer", "role": "role",
        "meaning": "meaning", "files": "file", "text": "comment", "keyid": "key",
    }  # fmt: skip
    return _told("signatures", "Signatures", table("Signatures", rows, columns))


def _about(everything: Sequence[Entry], found: Sequence[Entry]) -> list[Entry]:
    """Signatures over what these records made."""
    made = {sha for entry in found for _, sha in entry.record.subjects}
    return [e for e in everything if any(sha in made for _, sha in e.record.subjects)]


def _keys(ledger: Ledger, found: Sequence[Entry]) -> Section:
    reasons = {
        entry.record.details.get("keyid"): str(entry.record.details.get("reason"))
        for entry in found
        if entry.record.kind in {RETIRED, REVOKED}
    }
    rows: list[dict[str, Any]] = [
        {
            "key": keyid[:_SHORT],
            "type": member.key.scheme,
            "holder": member.holder,
            "roles": ", ".join(role for role in ROLES if role in member.roles),
            "state": _state(member),
            "since": str(member.since),
            "until": "" if member.until is None else str(member.until),
            "reason": reasons.get(keyid, ""),
        }
        for keyid, member in ledger.keyring().members.items()
    ]
    columns = {
        "key": "key", "type": "type", "holder": "holder", "roles": "roles", "state": "state",
        "since": "from record", "until": "to record", "reason": "reason",
    }  # fmt: skip
    return _told("keys", "Keys", table("Keys", rows, columns))


def _state(member: Member) -> str:
    if member.until is None:
        return "active"
    return "revoked" if member.revoked else "retired"


def _kept(found: Sequence[Entry]) -> Section:
    caption = "Releases, retention and legal hold"
    return _told("releases", caption, _lines(caption, found, _RELEASES))


def _happened(found: Sequence[Entry]) -> Section:
    return _told("events", "What else happened", _lines("Events", found, _OTHERS))


def _checkpoint(note: Checkpoint) -> Section:
    root = base64.b64encode(note.root).decode()
    text = f"Origin {note.origin}, {note.size} records, root {root}."
    return Section("checkpoint", "Checkpoint and proofs", (text, _PROOFS))


def _lines(caption: str, found: Sequence[Entry], kinds: Collection[str]) -> Table:
    rows = [
        {
            "index": str(entry.record.index),
            "time": entry.record.time,
            "kind": entry.record.kind,
            "text": told(entry),
        }
        for entry in found
        if entry.record.kind in kinds
    ]
    columns = {"index": "record", "time": "time", "kind": "event", "text": "what"}
    return table(caption, rows, columns)


def _told(name: str, title: str, shown: Table) -> Section:
    """A section with one table, or a word that there is nothing."""
    if shown.rows:
        return Section(name, title, tables=(shown,))
    return Section(name, title, texts=("None so far.",))
