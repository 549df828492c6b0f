"""Verbs on the vault: the way back to a patient, and the vault's key."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import console
from flows.verbs.options import HERE, JsonOption, ProjectOption

app = typer.Typer()
vault = typer.Typer(no_args_is_help=True, help="The vault: who each pseudonym is.")


@app.command()
def reidentify(
    pseudonym: Annotated[str, typer.Argument(metavar="PSEUDONYM", help="The subject's: s-….")],
    *,
    purpose: Annotated[str, typer.Option("--purpose", help="Why, for the record; one line.")],
    person: Annotated[str, typer.Option("--person", help="Printed name of who will know.")],
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show who a subject is, after a signed record of why and for whom."""
    from flows.ledger import open_ledger
    from flows.reidentify import reidentify as look_up

    found = look_up(*open_ledger(project), pseudonym, purpose=purpose, person=person)

    def text() -> None:
        console.line(f"patient ID: {found['patient_id']}")
        if found["issuer"]:
            console.line(f"issuer: {found['issuer']}")
        console.line(f"Recorded as record {found['record']}.")

    console.show(found, as_json=as_json, text=text)


@vault.command("rotate")
def vault_rotate(
    *,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="PLACE",
            help="Where the new key shall lie: file:PATH, keyring:SERVICE/NAME or env:VARIABLE; "
            "default: the vault's own folder.",
        ),
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Put another key in the place of the vault's; every pseudonym stays."""
    from datetime import UTC, datetime
    from pathlib import Path

    from audit.statement import event
    from flows.ledger import cover, open_ledger, record, signer_for
    from stages.ingest.vault import check_place, rotate
    from stages.ingest.vault_key import FILE, KINDS

    ledger, place, machine = open_ledger(project)
    if key is not None and key.startswith(FILE):
        folder = Path(key.removeprefix(FILE)).expanduser().absolute().parent
        check_place(folder, (place.project, *place.shared, place.ledger, place.vault))
    signer = signer_for(place, machine, "pipeline")
    rotate(place.vault, key)
    kind = "vault" if key is None else next(k for p, k in KINDS.items() if key.startswith(p))
    details = {"key": kind}
    index = record(ledger, signer, event("vault.rotated", at=datetime.now(UTC), details=details))
    cover(ledger, place, machine)
    console.show(
        {"key": kind, "record": index},
        as_json=as_json,
        text=lambda: console.line(f"The vault has a new key (record {index}). Back it up."),
    )
