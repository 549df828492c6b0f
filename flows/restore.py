"""Bringing ledger, keys and vault back from a backup, if they verify.

Rules:

- RES-1  What is restored lies beside until all of it is authentic and verifies; then it takes its
         place in one step. A refused backup leaves everything as it was.
- RES-2  A ledger that is newer than the backup's, or another one, is never replaced, and neither is
         a vault that knows more, or knows of an erasure that the backup's does not. A damaged one
         is.
- RES-3  Checkpoints known from elsewhere must be of the restored ledger; where they cover more
         records than it has, these are named.
- RES-4  Killed at any point, the same command finishes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from audit import durable, layout
from audit.checkpoint import open_checkpoint, read_checkpoint
from audit.errors import KetteError, Refused, WrongUse
from audit.keys import load_public, public_keys
from audit.ledger import Ledger
from audit.merkle import Tree, leaf_hash
from audit.signers import FILE, signer_at
from flows.backup import MANIFEST, SCHEMA, home_of
from flows.sealed import SealedReader
from stages.ingest.vault import open_vault
from stages.project import Place

Json = dict[str, Any]

_LARGEST_MANIFEST: Final = 2**20
_DAMAGED = "Try another copy of the backup."


def bring_back(
    place: Place, file: Path, passphrase: bytes, known: Mapping[str, bytes]
) -> dict[str, Any]:
    """Restore a backup.

    Args:
        place: the project's folders.
        file: the backup.
        passphrase: of the backup.
        known: where from → signed checkpoint that was kept elsewhere.

    Returns:
        `files`, `records`, and `missing`: for each known checkpoint that covers more,
        `known_from`, `first` and `last` of the records that the backup does not have.

    Raises:
        Refused: the backup was changed or cut off, does not verify, is older than what is here, or
            of another ledger than a known checkpoint's (RES-1 to RES-3).
        WrongUse: the file cannot be read, or is another project's.
    """
    home = home_of(place)
    beside, replaced = (home.with_name(f".{home.name}.{word}") for word in ("new", "old"))
    home.parent.mkdir(parents=True, exist_ok=True)
    _settle(home, beside, replaced)
    restored = Place(place.project, place.name, beside / "home")
    try:
        # 1. Unpack beside, to the stream's authenticated end, and verify (RES-1).
        manifest = _unpack(file, passphrase, home_of(restored))
        if manifest["project"] != place.name:
            raise WrongUse("The backup is another project's.", "Name a backup of this project.")
        records = _verify(restored, manifest, known)
        # 2. Compare with what is here (RES-2).
        count = _count(place.ledger)
        _check_older(place, restored, records)
        # 3. Take the place, in one step that the same command would finish.
        with _held(place.ledger):
            if _count(place.ledger) != count:
                raise _newer("ledger")  # somebody appended meanwhile
            if home.exists():
                home.rename(replaced)
            home_of(restored).rename(home)
            durable.sync_folder(home.parent)
    finally:
        _settle(home, beside, replaced)
    return {
        "files": manifest["files"],
        "records": records,
        "missing": [
            {"known_from": label, "first": records, "last": size - 1}
            for label, size in ((label, read_checkpoint(raw).size) for label, raw in known.items())
            if size > records
        ],
    }


def _settle(home: Path, beside: Path, replaced: Path) -> None:
    """Put right what a killed restore left: either all is the old, or all the new (RES-4)."""
    if replaced.exists() and not home.exists():
        replaced.rename(home)
    for path in (beside, replaced):
        if path.exists():
            shutil.rmtree(path)


def _unpack(file: Path, passphrase: bytes, target: Path) -> Json:
    """Unpack into an empty folder; every file for its owner alone."""
    target.mkdir(mode=0o700, parents=True)
    try:
        with file.open("rb") as source:
            stream = io.BufferedReader(SealedReader(source, passphrase))
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                members = iter(archive)
                manifest = _manifest(archive, next(members, None))
                count = sum(_unpack_one(archive, member, target) for member in members)
            while stream.read(layout.BATCH_BYTES):
                pass  # authenticated to its end
    except tarfile.TarError as error:
        raise Refused("The backup's archive is damaged.", _DAMAGED) from error
    except OSError as error:
        raise WrongUse(
            f"The backup cannot be read, or not be unpacked ({error.strerror}).",
            "Name a file that can be read; free space.",
        ) from error
    for folder in (target.parent, *target.parent.rglob("*/")):
        folder.chmod(0o700)
    if count != manifest["files"]:
        raise Refused("The backup's archive lacks files.", _DAMAGED)
    return manifest


def _manifest(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> Json:
    file = archive.extractfile(member) if member is not None else None
    if member is None or file is None or member.name != MANIFEST:
        raise Refused("The backup has no manifest.", _DAMAGED)
    manifest: Json = json.loads(file.read(_LARGEST_MANIFEST))
    if manifest["schema_version"] != SCHEMA:
        raise WrongUse("The backup is of another version.", "Restore it with the Kette it is of.")
    return manifest


def _unpack_one(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> int:
    name = PurePosixPath(member.name)
    file = archive.extractfile(member) if member.isreg() else None
    if file is None or name.is_absolute() or ".." in name.parts:
        raise Refused("The backup holds something that is no file of ours.", _DAMAGED)
    path = target / name
    durable.make_folder(path.parent)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        shutil.copyfileobj(file, written)
        written.flush()
        os.fsync(written.fileno())
    return 1


def _verify(restored: Place, manifest: Json, known: Mapping[str, bytes]) -> int:
    """Whether ledger, keys and vault hold; gives the number of records."""
    ledger = Ledger(restored.ledger, f"kette/{restored.name}")
    sizes = {label: read_checkpoint(raw).size for label, raw in known.items()}
    within = {label: raw for label, raw in known.items() if sizes[label] <= manifest["records"]}
    found = ledger.verify(public_keys(restored.keys), known=within)
    if not found.ok or found.records != manifest["records"]:
        raise Refused(
            f"The backup's ledger does not hold ({found.first_bad}). {found.reason}",
            "Try another copy of the backup. If a checkpoint from elsewhere is named, find out "
            "first which of the two is the true one.",
        )
    for path in sorted(restored.keys.glob("*.pem")):
        signer_at(f"{FILE}{path}", load_public(path.with_suffix(".pub")))
    if restored.vault.exists():
        with open_vault(restored.vault):
            pass
    return found.records


def _roots(ledger: Ledger, sizes: set[int]) -> dict[int, bytes]:
    tree = Tree()
    roots = {0: tree.root()}
    for _, raw in ledger.read():
        tree.append(leaf_hash(raw))
        if tree.size in sizes:
            roots[tree.size] = tree.root()
    return roots


def _check_older(place: Place, restored: Place, records: int) -> None:
    """Refuse to replace what is newer than the backup, or another (RES-2)."""
    if not _has_all(place, restored, records):
        raise _newer("ledger")
    try:
        with open_vault(place.vault) as here:
            mine = here.export()
    except KetteError:
        return  # there is none, or it is damaged
    if not restored.vault.exists():
        raise _newer("vault")
    with open_vault(restored.vault) as vault:
        theirs = vault.export()
    same = all(theirs["subjects"].get(name) == it for name, it in mine["subjects"].items())
    erased = set(mine["suppressed"]) <= set(theirs["suppressed"])
    if mine["domain_key"] != theirs["domain_key"] or not (same and erased):
        raise _newer("vault")


def _has_all(place: Place, restored: Place, records: int) -> bool:
    """Whether the restored ledger has every record of the one that is here.

    Of a damaged one it can only be told how many it had, and what its checkpoint covers.
    """
    here = Ledger(place.ledger, f"kette/{place.name}")
    theirs = Ledger(restored.ledger, here.origin)
    keys = public_keys(restored.keys)
    with contextlib.suppress(WrongUse):  # its keys may be damaged too
        keys |= public_keys(place.keys)
    if here.verify(keys).ok:
        others = theirs.read()
        return all(next(others, None) == mine for mine in here.read())
    try:
        covered = open_checkpoint(
            here.signed_checkpoint(), here.origin, {**keys, **theirs.keyring().keys}
        )
        if _roots(theirs, {covered.size}).get(covered.size) != covered.root:
            return False
    except Refused:
        pass  # it is gone or damaged too
    return _count(here.folder) <= records


def _count(ledger: Path) -> int:
    """How many records a ledger has, damaged or not."""
    last = layout.newest_batch(ledger)
    if last is None:
        return 0
    return last + layout.batch_path(ledger, last).read_bytes().count(b"\n")


def _held(ledger: Path) -> contextlib.AbstractContextManager[None]:
    """Keep writers out of a ledger, if there is one."""
    lock = ledger / layout.LOCK
    return durable.exclusive(lock) if lock.exists() else contextlib.nullcontext()


def _newer(what: str) -> Refused:
    return Refused(
        f"What is here has a {what} that is newer than the backup's, or another one.",
        "Keep it; to go back nevertheless, move the project's folder in KETTE_HOME away first.",
    )
