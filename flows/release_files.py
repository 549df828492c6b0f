"""The files of a release: its folder, its pin and its manifest.

Rules (REL-1 stands in `publish.py`):

- REL-6  What the parameters ask for is held before a file is laid: gates, then signatures.
- REL-7  The release's evidence holds the signatures over its bundle beside the chain's records;
         `audit.html` shows it for reading.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml

from audit import evidence
from audit.errors import Fault, Refused
from audit.keys import PUBLIC, public_keys
from audit.reading import Selection, entries
from flows.approvals import approvals, require_approvals, require_gates
from flows.audit_page import audit_page
from flows.candidate import Candidate
from flows.environment_archive import archive_environment
from flows.ledger import signer_for
from flows.machine_class import machine_class
from flows.manifest import Approval, Archive, Bundle, Data, File, ReleaseManifest, load, retention
from flows.releasing import Releasing
from flows.source_archive import NAME as SOURCE
from flows.source_archive import write_source
from stages.artifact import Manifest
from stages.dataset.pin import add, pinned_out
from stages.lock import read_lock
from stages.store import publish_folder, sync_folder, write_whole

EVIDENCE, PAGE = "evidence", "audit.html"


def build(
    work: Releasing, candidate: Candidate, *, archive: bool, step: Callable[[str], None]
) -> ReleaseManifest:
    """The steps up to the manifest."""
    # 1. Gates and signatures, before anything is laid (REL-6).
    wanted = work.parameters.release
    require_gates(candidate.gates, wanted.findings)
    work.require_ledger()
    found = approvals(entries(work.ledger, Selection(event="signature")), candidate.sha256)
    require_approvals(found, wanted.approvals, candidate.bundle)
    # 2. The folder, whole or not at all.
    step("files")
    checkpoint = _lay(work, candidate, [approval.index for approval in found])
    # 3. The environment, which later releases of the same lock share.
    step("environment")
    environment = _environment(work) if archive else None
    # 4. DVC keeps the bytes.
    step("pin")
    add(work.project, f"releases/{work.version}")
    # 5. The page that names them all.
    step("manifest")
    manifest = _manifest(work, candidate, found, environment=environment, checkpoint=checkpoint)
    write_whole(work.manifest, manifest.dump(), through=work.project / ".kette")
    work.manifest.chmod(0o644)
    return manifest


def _lay(work: Releasing, candidate: Candidate, signed: Sequence[int]) -> bytes:
    """Lay `releases/<version>/`; gives the signed checkpoint that its evidence ends in."""
    note = b""

    def fill(folder: Path) -> None:
        nonlocal note
        for path in sorted(candidate.folder.rglob("*")):
            inner = path.relative_to(candidate.folder)
            if path.is_file() and inner.parts[0] != EVIDENCE:  # that was made before the signatures
                (folder / inner).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / inner)
        write_source(folder / SOURCE, candidate.code)
        work.ledger.checkpoint(signer_for(work.place, work.machine, "pipeline"))
        note = work.ledger.signed_checkpoint()
        indexes = sorted({*candidate.indexes, *signed})
        evidence.export(work.ledger, indexes, folder / EVIDENCE, work.place.keys / PUBLIC)
        page = audit_page(work.ledger, public_keys(work.place.keys), indexes)
        (folder / PAGE).write_bytes(page)
        _sync(folder)

    publish_folder(work.folder, fill)
    sync_folder(work.folder.parent)
    return note


def _sync(folder: Path) -> None:
    """Flush a tree to disk, files before the folders that list them."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)


def _environment(work: Releasing) -> Archive:
    """Archive the environment and pin it."""
    name = archive_environment(work.project, read_lock(work.place.lock))
    add(work.project, name)
    return Archive(
        path=name,
        md5=pinned_out(work.project, name)["md5"],
        tree=Manifest.of(work.project / name).digest,
    )


def _files(work: Releasing) -> dict[str, File]:
    return {
        entry.path: File(sha256=entry.sha256, size=entry.size)
        for entry in Manifest.of(work.folder).files
    }


def _manifest(
    work: Releasing,
    candidate: Candidate,
    found: tuple[Approval, ...],
    *,
    environment: Archive | None,
    checkpoint: bytes,
) -> ReleaseManifest:
    now = datetime.now(UTC)
    files = _files(work)
    bundle = files[candidate.bundle]
    if bundle.sha256 != candidate.sha256:
        raise Fault("The archive was changed while it was released.", "Run the same command again.")
    release = work.parameters.release
    return ReleaseManifest(
        project=work.place.name,
        version=work.version,
        tag=work.tag,
        source_commit=work.repository.head(),
        released_at=now,
        bundle=Bundle(name=candidate.bundle, sha256=bundle.sha256, size=bundle.size),
        files=files,
        pin=pinned_out(work.project, f"releases/{work.version}")["md5"],
        data=Data(md5=pinned_out(work.project)["md5"], tree=candidate.cohort),
        lock=candidate.lock,
        stages=candidate.stages,
        gates=candidate.gates,
        checkpoint=checkpoint.decode(),
        approvals=found,
        machine_class=machine_class(),
        tolerances=release.tolerances,
        retention=retention(release.retention_years, now),
        environment=environment,
    )


def pending(work: Releasing, *, archive: bool) -> ReleaseManifest | None:
    """The manifest that a command cut off left, if all that it names is still here (REL-1)."""
    try:
        manifest = load(work.manifest.read_bytes())
        same = (
            manifest.source_commit == work.repository.head()
            and (manifest.environment is not None or not archive)
            and manifest.files == _files(work)
            and manifest.pin == pinned_out(work.project, f"releases/{work.version}")["md5"]
            and manifest.data.md5 == pinned_out(work.project)["md5"]
        )
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, Refused):
        return None
    return manifest if same else None
