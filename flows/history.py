"""What became of a release, by the ledger of this machine and by the tags of every clone.

Rules:

- HIS-1  A release that was withdrawn or deprecated stays a release; the stronger word is told.
- HIS-2  A clone without the project's ledger still learns it from the tags.
- HIS-3  A subject of whom the ledger holds `subject.erased` is not brought back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from audit.key_events import ENROLLED
from audit.ledger import Ledger
from audit.record import Record
from flows import tag
from flows.git import Repository

State = Literal["released", "deprecated", "withdrawn"]


@dataclass(frozen=True)
class Standing:
    """What became of a release."""

    state: State = "released"
    reason: str = ""
    """As the ledger holds it; empty where only a tag says it."""

    @property
    def sentence(self) -> str:
        """The same in words; empty for a release that nobody took back."""
        if self.state == "released":
            return ""
        return f"This release is {self.state}{f': {self.reason}' if self.reason else ''}."


@dataclass
class History:
    """What this machine's ledger says, read once."""

    taken_back: dict[str, Standing] = field(default_factory=dict)
    """Version → its standing."""
    erased: set[str] = field(default_factory=set)
    """Pseudonyms."""
    keys: set[str] = field(default_factory=set)
    """Ids of all keys that were ever enrolled."""


def history(ledger: Ledger) -> History:
    """Read the ledger.

    Raises:
        Refused: a record is no envelope.
    """
    found = History()
    for index, statement in ledger.records():
        _note(found, Record(index, statement))
    return found


def _note(found: History, record: Record) -> None:
    details = record.details
    match record.kind:
        case "deprecated" | "withdrawn" as state:
            version = str(details.get("version"))
            if found.taken_back.get(version, Standing()).state != "withdrawn":
                found.taken_back[version] = Standing(state, str(details.get("reason", "")))
        case "subject.erased":
            found.erased.add(str(details.get("subject")))
        case kind if kind == ENROLLED:
            found.keys.add(str(details.get("keyid")))


def standing(repository: Repository, name: str, version: str, found: History) -> Standing:
    """A release's standing (HIS-1, HIS-2)."""
    told = found.taken_back.get(version, Standing())
    if told.state == "withdrawn":
        return told
    if repository.commit_of(tag.withdrawn(name, version)):
        return Standing("withdrawn")
    if told.state == "deprecated":
        return told
    commit = repository.commit_of(tag.registered(name, version))
    marks = repository.tags(f"{name}#{tag.DEPRECATED}#*")
    if commit and any(repository.commit_of(mark) == commit for mark in marks):
        return Standing("deprecated")
    return told
