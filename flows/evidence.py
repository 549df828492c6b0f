"""A project's ledger, read offline: no lock, no worker, no Prefect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from audit.errors import Refused
from audit.export import dicom, fhir, openlineage, prov, table
from audit.keys import public_keys
from audit.ledger import Ledger
from audit.reading import Entry, Selection, entries
from audit.show import rows
from audit.timestamp import SUFFIX, read_roots, verify
from flows.known import MIRROR, checkpoints_at, known_checkpoints
from flows.ledger import open_ledger
from stages.project import Place
from stages.store import write_whole

Json = dict[str, Any]

_EMPTY = (
    "It holds no checkpoint of this ledger. Mend `KETTE_MIRROR`, or run once to mirror it; without "
    "a mirror: `KETTE_MIRROR= kette audit verify`."
)
FORMATS: dict[str, Callable[[Iterable[Entry], str], bytes]] = {
    "fhir": fhir.export,
    "dicom": dicom.export,
    "openlineage": openlineage.export,
    "prov": prov.export,
    "csv": table.export,
}


def verify_ledger(
    project: Path,
    *,
    against: Sequence[str] = (),
    tree: bool = False,
    roots: Path | None = None,
) -> Json:
    """Check every record and checkpoint, and hold the ledger against checkpoints kept elsewhere.

    Args:
        project: folder of the project.
        against: further places of checkpoints (`flows.known.checkpoints_at`).
        tree: hashes and tree alone; signatures are those of the checkpoint and what it leaves.
        roots: certificates (PEM) that time stamps must end in; without, no time stamp is checked.

    Returns:
        The fields of `kette audit verify --json`.

    Raises:
        Fault: a copy elsewhere cannot be reached.
        WrongUse: there is no checkpoint where one was said to be.
    """
    ledger, place, machine = open_ledger(project)
    known = known_checkpoints(place, machine)
    mirrored = machine.mirror is None or any(label.startswith(MIRROR) for label in known)
    for where in against:
        known |= {f"{where}: {name}": note for name, note in checkpoints_at(where).items()}
    found = ledger.verify(public_keys(place.keys), known=known, signatures=not tree)
    result: Json = {
        "ok": found.ok,
        "records": found.records,
        "covered": found.covered,
        "first_bad": found.first_bad,
        "reason": found.reason,
        "compared": sorted(known),
        "time_stamps": [],
    }
    if found.ok and found.records and not mirrored:
        # An empty mirror is a lost one, or a folder that is not mounted: it confirms nothing.
        return {**result, "ok": False, "first_bad": f"checkpoint {MIRROR}", "reason": _EMPTY}
    return _time_stamps(result, place, roots) if found.ok and roots is not None else result


def _time_stamps(result: Json, place: Place, roots: Path) -> Json:
    """Check the time stamps; the first that does not hold fails the whole."""
    trusted = read_roots(roots)
    for token in sorted(place.checkpoints.glob(f"*{SUFFIX}"), key=lambda path: int(path.stem)):
        try:
            at = verify(token.read_bytes(), token.with_suffix("").read_bytes(), trusted)
        except Refused as error:
            bad = {"ok": False, "covered": 0, "first_bad": f"time stamp {token.stem}"}
            return {**result, **bad, "reason": error.what}
        result["time_stamps"].append({"records": int(token.stem), "time": at.isoformat()})
    return result


def show_ledger(project: Path, selection: Selection) -> list[Json]:
    """The selected records, as rows."""
    ledger, _, _ = open_ledger(project)
    return rows(ledger, selection)


def export_ledger(project: Path, form: str, out: Path, selection: Selection) -> Json:
    """Write the selected records in another format, of a ledger that holds.

    Returns:
        `out`, `records`.

    Raises:
        Refused: the ledger does not hold.
    """
    ledger, place, _ = open_ledger(project)
    _require_whole(ledger, place)
    found = list(entries(ledger, selection))
    write_whole(out, FORMATS[form](found, ledger.origin))
    return {"out": str(out), "records": len(found)}


def report_ledger(project: Path, out: Path) -> Json:
    """Write the evidence as a page; it says itself whether the ledger holds.

    Returns:
        `out`, `ok`.
    """
    from flows.audit_page import audit_page

    ledger, place, _ = open_ledger(project)
    keys = public_keys(place.keys)
    write_whole(out, audit_page(ledger, keys))
    return {"out": str(out), "ok": ledger.verify(keys, signatures=False).ok}


def _require_whole(ledger: Ledger, place: Place) -> None:
    found = ledger.verify(public_keys(place.keys))
    if not found.ok:
        raise Refused(
            f"The ledger does not hold ({found.first_bad}): {found.reason}",
            "Restore the ledger from its mirror or a backup; nothing was written.",
        )
