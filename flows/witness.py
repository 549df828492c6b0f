"""Where a record goes on a machine that has not the project's ledger: to the witness's own.

A project has one ledger. Whoever reproduces a release elsewhere, from a clone, is a witness: a
second ledger of the project's origin would be a fork of the first, and would stand in its way when
that is restored. So a witness has a ledger, an origin and a key of its own.

Rules:

- WIT-1  The project's ledger takes the record wherever it is.
- WIT-2  Elsewhere `KETTE_HOME/<project>.witness/` takes it, of origin `kette/<project>.witness`; no
         project can have that name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from audit.ledger import Ledger
from flows.ledger import cover, open_ledger, record, signer_for
from stages.project import Machine, Place
from stages.stage import Json


def testify(project: Path, statement: Json) -> tuple[str, int]:
    """Record an event and sign a checkpoint over it.

    Returns:
        Origin of the ledger that took it, and its index there.

    Raises:
        WrongUse, Refused: as `flows.ledger`.
    """
    ledger, place, machine = _ledger(project)
    index = record(ledger, signer_for(place, machine, "pipeline"), statement)
    cover(ledger, place, machine)
    return ledger.origin, index


def _ledger(project: Path) -> tuple[Ledger, Place, Machine]:
    ledger, place, machine = open_ledger(project)
    if next(ledger.read(), None) is not None:
        return ledger, place, machine
    own = replace(place, name=f"{place.name}.witness")
    return Ledger(own.ledger, origin=f"kette/{own.name}"), own, machine
