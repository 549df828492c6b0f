"""A project's ledger and this machine's keys, for verbs that add a record outside a run."""

from __future__ import annotations

from pathlib import Path

from securesystemslib.signer import Signer

from audit.keys import load_or_create_signer
from audit.ledger import Ledger
from audit.slots import slot_of
from flows.chain import place_of
from stages.project import Machine, Place
from stages.stage import Json


def open_ledger(project: Path) -> tuple[Ledger, Place, Machine]:
    """The project's ledger, its folders and this machine's settings; nothing is written.

    Raises:
        WrongUse: the folder is no project, or its home lies inside it.
    """
    machine = Machine.here()
    place, _ = place_of(project, machine)
    place.check()
    return Ledger(place.ledger, origin=f"kette/{place.name}"), place, machine


def signer_for(place: Place, machine: Machine, role: str) -> Signer:
    """This machine's key for a role: its own where there is one, else the machine's one key.

    Raises:
        WrongUse, Refused: as `audit.keys.load_or_create_signer`.
    """
    return load_or_create_signer(place.keys, machine.signer, role=role)


def record(ledger: Ledger, signer: Signer, statement: Json) -> int:
    """Append one statement; gives its index. It is on the disk, but behind the checkpoint."""
    return ledger.append(statement, signer)[0]


def cover(ledger: Ledger, place: Place, machine: Machine) -> None:
    """Sign a checkpoint over all records, if this machine holds the key that signs its runs."""
    if slot_of(place.keys, "pipeline").public.exists():
        ledger.checkpoint(signer_for(place, machine, "pipeline"))
