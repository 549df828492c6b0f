"""From a candidate to a release, in steps that a kill may part anywhere.

    files        `releases/<version>/`: the candidate, its code, its evidence with the approvals
    environment  where asked for: wheels and interpreter, once for each lock
    pin          DVC keeps the bytes; `releases/<version>.dvc` names them
    manifest     `releases/<version>.yaml` names every digest
    commit       data.dvc, pins and manifest, on the branch checked out
    record       `released` in the ledger, and a checkpoint over it, stamped and mirrored
    index        git's index holds what was committed
    tag          `<project>@v<version>`, signed, with the checkpoint

Rules (REL-2, REL-3 and REL-5 stand in `releasing.py`, REL-6 in `release_files.py`):

- REL-1  Each step looks at what is there and does the rest: after a kill or a full disk the same
         command goes on. Up to the manifest it begins again with the chain; from then on it
         releases exactly what the manifest names.
- REL-4  The tag comes last: a tag that is there is a release that is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from securesystemslib.signer import Key

from audit.envelope import read_statement
from audit.errors import Fault, Refused
from audit.ledger import Ledger
from audit.record import Record
from audit.statement import event
from flows import tag
from flows.candidate import Candidate
from flows.ledger import record, signer_for
from flows.manifest import ReleaseManifest, load
from flows.release_files import build, pending
from flows.releasing import RELEASED, Releasing
from stages.dataset.pin import prepare
from stages.project import run_lock
from stages.store import write_whole

Say = Callable[[str, float], None]
Candidates = Callable[[], AbstractContextManager[Candidate]]
"""Runs the chain; the project is this run's alone until the context ends."""

STEPS = ("files", "environment", "pin", "manifest", "commit", "record", "index", "tag")


@dataclass(frozen=True)
class Released:
    """A release that is whole."""

    tag: str
    commit: str
    record: int
    """Index in the ledger."""
    manifest: ReleaseManifest


def publish(work: Releasing, candidates: Candidates, *, archive: bool, say: Say) -> Released:
    """Make a release, or finish one that was cut off.

    Args:
        work: the project and version.
        candidates: runs the chain; not called where the manifest is there already.
        archive: keep the environment's wheels and interpreter, too.
        say: progress; each step is told before it is taken.

    Raises:
        WrongUse, Refused: what must be so before is not.
        Fault: git, DVC or the disk refused; the same command goes on.
    """

    def step(name: str) -> None:
        say(f"release {work.version}: {name}", STEPS.index(name) / len(STEPS))

    work.require_free()
    commit = work.committed()
    if commit is None:
        prepare(work.project)  # what DVC keeps to itself is ignored by git from here on
        work.require_source()
        manifest = pending(work, archive=archive)
        if manifest is None:
            with candidates() as candidate:
                manifest = build(work, candidate, archive=archive, step=step)
    with run_lock(work.place):
        work.require_ledger()
        if commit is None:
            assert manifest is not None  # noqa: S101 - just built
            step("commit")
            commit = _commit(work, manifest)
        else:
            manifest = _committed(work, commit)
        step("record")
        index = _record(work, manifest, commit)
        step("index")
        _take_into_index(work)
        step("tag")
        _tag(work, manifest, commit, index)
    say(f"release {work.version}: done", 1.0)
    return Released(work.tag, commit, index, manifest)


def _committed(work: Releasing, commit: str) -> ReleaseManifest:
    """The manifest that a commit brought."""
    name = work.manifest.relative_to(work.project).as_posix()
    raw = work.repository.read(commit, name)
    if raw is None:
        raise Fault("Git does not give the release's manifest.", "Run `git fsck`.")
    return load(raw)


def _commit(work: Releasing, manifest: ReleaseManifest) -> str:
    """Commit on top of the commit that was built from, and of no other."""
    parent, branch = manifest.source_commit, work.repository.branch()
    files = {name: (work.project / name).read_bytes() for name in work.own()}
    message = f"Release {work.version}\n\nManifest sha256:{manifest.digest}\n"
    with work.repository.writing(branch) as writer:
        commit = writer.commit(parent, files, message)
        writer.move("HEAD", commit, parent, f"release {work.version}")
    return commit


def _record(work: Releasing, manifest: ReleaseManifest, commit: str) -> int:
    """Record the release, once (REL-2), and sign a checkpoint over it."""
    before = work.released()
    if before is None:
        details = {
            "version": work.version,
            "tag": work.tag,
            "commit": commit,
            "manifest_sha256": manifest.digest,
            "retention": manifest.retention.model_dump(mode="json"),
        }
        subjects = [
            (manifest.bundle.name, manifest.bundle.sha256),
            (f"releases/{work.version}.yaml", manifest.digest),
        ]
        statement = event(RELEASED, at=datetime.now(UTC), details=details, subjects=subjects)
        index = record(work.ledger, signer_for(work.place, work.machine, "releaser"), statement)
    elif before.details["manifest_sha256"] == manifest.digest:
        index = before.index
    else:
        raise Refused(
            f"Version {work.version} was released with another manifest (record {before.index}).",
            "Release another version; what was released is never changed.",
        )
    work.cover()
    return index


def _take_into_index(work: Releasing) -> None:
    """Let git's index hold the commit's files, where the work tree still has them so."""
    head = work.repository.head()
    names = [
        name
        for name in work.own()
        if work.repository.read(head, name) == (work.project / name).read_bytes()
    ]
    with work.repository.writing() as writer:
        writer.take(names)


def _tag(work: Releasing, manifest: ReleaseManifest, commit: str, index: int) -> None:
    """Sign the tag; with it the release is whole (REL-4)."""
    digests = {
        manifest.bundle.name: manifest.bundle.sha256,
        f"releases/{work.version}.yaml": manifest.digest,
    }
    note = work.ledger.signed_checkpoint()
    message = tag.release_message(f"{work.place.name} {work.version}", digests, note, index)
    put_tag(work, work.tag, commit, message)


def put_tag(work: Releasing, name: str, commit: str, message: str) -> None:
    """Sign a tag, and lay the file by which others check it beside the public keys."""
    signer = signer_for(work.place, work.machine, "releaser")
    allowed = tag.allowed_signers(_releasers(work.ledger), work.place.name)
    write_whole(work.place.keys / "allowed_signers", allowed.encode())
    text = tag.TagText(commit, name, work.repository.identity(), message)
    reference = f"refs/tags/{name}"
    with work.repository.writing(reference) as writer:
        made = writer.tag_object(tag.sign(text, signer))
        writer.move(reference, made, None, "release")


def _releasers(ledger: Ledger) -> dict[Key, str | None]:
    """Each key that ever might sign a release → when it was ended, if it was."""
    found: dict[Key, str | None] = {}
    for member in ledger.keyring().members.values():
        if "releaser" in member.roles:
            ends = ledger.envelopes([] if member.until is None else [member.until])
            times = [Record(index, read_statement(raw)).time for index, raw in ends]
            found[member.key] = times[0] if times else None
    return found
