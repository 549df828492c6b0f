"""A backup of what cannot be made again: a project's ledger, keys and vault, in one sealed file.

Rules:

- BAK-1  A backup is of one moment: neither ledger nor vault is written to meanwhile. It is made
         only of a ledger that verifies.
- BAK-2  The file is whole under its name, or not there; an existing one is never replaced.
- BAK-3  A private key in a keyring, a device or a service is not in it, only where it lies.

Inside the sealed stream (`flows/sealed.py`) is a tar archive: `manifest.json` first, then the
files below the project's folder in `KETTE_HOME`. Bringing it back is `flows/restore.py`.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from audit import durable
from audit.canonical import canonical_json
from audit.errors import Fault, Refused, WrongUse
from audit.keys import public_keys
from audit.layout import LOCK, TEMPORARY
from audit.ledger import Ledger
from flows.sealed import SealedWriter
from stages.project import Place

SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
_PASSING: Final = {LOCK, TEMPORARY}


def back_up(place: Place, out: Path, passphrase: bytes) -> dict[str, Any]:
    """Write a backup.

    Args:
        place: the project's folders.
        out: the file to write.
        passphrase: of the file.

    Returns:
        `file`, `files`, `records`, `bytes`.

    Raises:
        WrongUse: there is nothing to back up, or `out` exists or lies in what is backed up.
        Refused: the ledger does not verify (BAK-1).
        Fault: the disk is full or fails.
    """
    home = home_of(place)
    if not (place.ledger / LOCK).exists():
        raise WrongUse("There is no ledger yet to back up.", "Run the chain first.")
    if out.exists() or out.resolve().is_relative_to(home.resolve()):
        raise WrongUse(
            "The backup's file exists, or lies in what is backed up.", "Name another file."
        )
    with _still(place):
        ledger = Ledger(place.ledger, f"kette/{place.name}")
        found = ledger.verify(public_keys(place.keys))
        if not found.ok:
            raise Refused(
                f"The ledger does not verify ({found.first_bad}): a backup of it is worth nothing.",
                "Run `kette audit verify`; restore it from its mirror or an older backup.",
            )
        files = list(_files(home))
        manifest = {
            "schema_version": SCHEMA,
            "project": place.name,
            "records": found.records,
            "files": len(files),
        }
        size = _write(out, passphrase, home, files, manifest)
    return {"file": str(out), "files": len(files), "records": found.records, "bytes": size}


def home_of(place: Place) -> Path:
    """The project's folder in `KETTE_HOME`: what a backup holds."""
    return place.ledger.parent


@contextlib.contextmanager
def _still(place: Place) -> Iterator[None]:
    """Keep writers of ledger and vault out (BAK-1)."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(durable.shared(place.ledger / LOCK))
        if place.vault.is_dir():
            stack.enter_context(durable.exclusive(place.vault / LOCK))
        yield


def _files(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        passing = path.name in _PASSING or path.name.startswith(".")
        if path.is_file() and not path.is_symlink() and not passing:
            yield path


def _write(
    out: Path, passphrase: bytes, home: Path, files: list[Path], manifest: dict[str, Any]
) -> int:
    """The sealed archive, whole or not at all (BAK-2); gives its bytes."""
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            sealed = SealedWriter(target, passphrase)
            with tarfile.open(fileobj=sealed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
                raw = canonical_json(manifest)
                member = tarfile.TarInfo(MANIFEST)
                member.size = len(raw)
                archive.addfile(member, io.BytesIO(raw))
                for path in files:
                    member = tarfile.TarInfo(path.relative_to(home).as_posix())
                    member.size = path.stat().st_size
                    with path.open("rb") as source:
                        archive.addfile(member, source)
            sealed.finish()
            target.flush()
            os.fsync(target.fileno())
            size = target.tell()
        out.hardlink_to(beside)
        beside.unlink()
        durable.sync_folder(out.parent)
    except FileExistsError:
        raise WrongUse("The backup's file exists.", "Name another file.") from None
    except OSError as error:
        raise Fault(
            f"The backup could not be written ({error.strerror}).", "Free space, or name another."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return size
