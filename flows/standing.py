"""What becomes of a release later: deprecated, withdrawn, held. Records and tags, never deletions.

Rules:

- STD-1  Each says why, is recorded before it is tagged, and is recorded once.
- STD-2  A deprecated version is not to be chosen any more (GTO's stage `deprecated`); a withdrawn
         one is not to be used (GTO's version taken back). Withdrawn is final.
- STD-3  A legal hold ends the count of retention until it is lifted; it is a record alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from audit.errors import WrongUse
from audit.reading import entries
from audit.statement import event
from flows import tag
from flows.ledger import record, signer_for
from flows.publish import put_tag
from flows.releasing import Releasing
from stages.project import run_lock
from stages.stage import Json

Word = Literal["deprecated", "withdrawn"]
HOLD = "legal_hold"


def take_back(work: Releasing, word: Word, reason: str) -> Json:
    """Deprecate or withdraw a release; after a kill, the same call goes on.

    Returns:
        `version`, `tag`, `record`.

    Raises:
        WrongUse: there is no such release, it was taken back so before, or no reason is given.
    """
    commit = _released(work, reason)
    known = _known(work)
    if "withdrawn" in known and word == "deprecated":
        raise WrongUse(f"Version {work.version} is withdrawn.", "Nothing is left to deprecate.")
    with run_lock(work.place):
        work.require_ledger()
        name = _tag_of(work, word, commit)
        if name is not None:
            raise WrongUse(
                f"Version {work.version} is {word} already: the tag {name} is there.",
                "Nothing is to be done.",
            )
        index = known.get(word)
        if index is None:
            details = {"version": work.version, "reason": reason}
            index = _record(work, word, details, "releaser")
        work.cover()
        taken = work.repository.tags(f"{work.place.name}*")
        name = (
            tag.withdrawn(work.place.name, work.version)
            if word == "withdrawn"
            else tag.deprecated(work.place.name, taken)
        )
        note = work.ledger.signed_checkpoint()
        title = f"{work.place.name} {work.version} {word}: {reason}"
        put_tag(work, name, commit, tag.release_message(title, {}, note, index))
    return {"version": work.version, "tag": name, "record": index}


def hold(work: Releasing, reason: str, *, on: bool) -> Json:
    """Put a release under a legal hold, or lift it.

    Returns:
        `version`, `legal_hold`, `record`.

    Raises:
        WrongUse: there is no such release, it is held (or not held) already, or no reason is given.
    """
    _released(work, reason)
    if held(work) == on:
        raise WrongUse(
            f"Version {work.version} is {'' if on else 'not '}under a legal hold.",
            "Nothing is to be done.",
        )
    with run_lock(work.place):
        work.require_ledger()
        details = {"version": work.version, "on": on, "reason": reason}
        index = _record(work, HOLD, details, "pipeline")
        work.cover()
    return {"version": work.version, "legal_hold": on, "record": index}


def held(work: Releasing) -> bool:
    """Whether a release is under a legal hold, as the ledger has it last."""
    on = False
    for entry in entries(work.ledger):
        if entry.record.kind == HOLD and entry.record.details["version"] == work.version:
            on = bool(entry.record.details["on"])
    return on


def _released(work: Releasing, reason: str) -> str:
    """The commit of a release, its reason checked."""
    if not reason.strip() or not reason.isprintable():
        raise WrongUse("A reason is one line of text.", "Give it with `--reason`.")
    commit = work.repository.commit_of(work.tag)
    if commit is None:
        raise WrongUse(
            f"There is no release {work.version}: the tag {work.tag} is not here.",
            "Fetch the tags (`git fetch --tags`), or name another version.",
        )
    work.repository.identity()
    return commit


def _known(work: Releasing) -> dict[str, int]:
    """Word → index of the record that says it of this version."""
    return {
        entry.record.kind: entry.record.index
        for entry in entries(work.ledger)
        if entry.record.kind in ("deprecated", "withdrawn")
        and entry.record.details["version"] == work.version
    }


def _tag_of(work: Releasing, word: Word, commit: str) -> str | None:
    """The tag that says it of this version, if it is there."""
    pattern = (
        tag.withdrawn(work.place.name, work.version)
        if word == "withdrawn"
        else f"{work.place.name}#{tag.DEPRECATED}#*"
    )
    names = work.repository.tags(pattern)
    return next((name for name in names if work.repository.commit_of(name) == commit), None)


def _record(work: Releasing, kind: str, details: Json, role: str) -> int:
    statement = event(kind, at=datetime.now(UTC), details=details)
    return record(work.ledger, signer_for(work.place, work.machine, role), statement)
