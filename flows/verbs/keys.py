"""Verbs on keys, signatures and backups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import console
from flows.verbs.options import HERE, JsonOption, ProjectOption

if TYPE_CHECKING:
    from flows.keys import Desk

app = typer.Typer()
keys = typer.Typer(no_args_is_help=True, help="Keys: who may sign what, since when.")

CustodianOption = Annotated[
    str | None,
    typer.Option(
        "--custodian", metavar="URI", help="Custodian's key; default: this machine's for that role."
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why, for the record.")]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="URI", help="Where the key lies: file2:, keyring:, hsm:, or a key service."
    ),
]
PublicOption = Annotated[
    Path | None, typer.Option("--public", metavar="PEM", help="File of the public key.")
]
KeyidArgument = Annotated[str, typer.Argument(metavar="KEYID", help="Id, or its first digits.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File with the passphrase, its owner's alone; default: KETTE_PASSPHRASE.",
    ),
]


def _desk(project: Path, custodian: str | None) -> Desk:
    from flows.keys import Desk
    from flows.ledger import open_ledger

    return Desk(*open_ledger(project), custodian)


@keys.command("list")
def keys_list(*, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Show each key: holder, roles, state, and since which record."""
    from flows.keys import listed

    rows = listed(_desk(project, None))
    columns = ("key", "type", "holder", "roles", "state", "since", "until", "here")
    cells = [
        (
            row["keyid"][:16],
            row["keytype"],
            row["holder"],
            ", ".join(row["roles"]),
            row["state"],
            row["since"],
            "" if row["until"] is None else row["until"],
            row["here"] or "",
        )
        for row in rows
    ]
    console.show(
        {"keys": rows}, as_json=as_json, text=lambda: console.table("keys", columns, cells)
    )


@keys.command("enroll")
def keys_enroll(
    *,
    role: Annotated[list[str], typer.Option("--role", help="What it may sign; several times.")],
    holder: Annotated[str, typer.Option("--holder", help="Printed name of who has it.")],
    public: PublicOption = None,
    key: KeyOption = None,
    custodian: CustodianOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Let a further key sign: another's public key, or one of this machine for a role."""
    from flows.keys import enroll

    index, keyid = enroll(_desk(project, custodian), role, holder, public=public, uri=key)
    console.show(
        {"keyid": keyid, "record": index},
        as_json=as_json,
        text=lambda: console.line(f"Enrolled {keyid[:16]} (record {index})."),
    )


@keys.command("rotate")
def keys_rotate(
    *,
    reason: ReasonOption,
    slot: Annotated[str, typer.Option("--of", help="Role whose key is replaced.")] = "pipeline",
    role: Annotated[
        list[str] | None, typer.Option("--role", help="Roles of the new key; default: the old's.")
    ] = None,
    key: KeyOption = None,
    public: PublicOption = None,
    replaces: Annotated[
        str | None, typer.Option("--replaces", metavar="KEYID", help="Id of a key that is lost.")
    ] = None,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Revoke the old key: others may have it.")
    ] = False,
    custodian: CustodianOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Put a new key in the place of this machine's key; run again, it goes on where it stopped."""
    from flows.rotation import rotate
    from stages.project import run_lock

    desk = _desk(project, custodian)
    with run_lock(desk.place):
        index, old, new = rotate(
            desk,
            slot,
            reason,
            uri=key,
            public=public,
            roles=role,
            replaces=replaces,
            compromised=compromised,
        )

    def text() -> None:
        console.line(f"{new[:16]} replaces {old[:16]} (record {index}).")
        if desk.machine.signer is not None and slot == "pipeline":
            console.line("Now set the machine setting `signer` to the new key's URI.")

    console.show({"old": old, "new": new, "record": index}, as_json=as_json, text=text)


@keys.command("retire")
def keys_retire(
    keyid: KeyidArgument,
    *,
    reason: ReasonOption,
    custodian: CustodianOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """End a key in good order; what it signed stays good."""
    _end(project, keyid, reason, custodian, compromised=False, as_json=as_json)


@keys.command("revoke")
def keys_revoke(
    keyid: KeyidArgument,
    *,
    reason: ReasonOption,
    custodian: CustodianOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """End a key that was lost or that others may have; what it signed before stays good."""
    _end(project, keyid, reason, custodian, compromised=True, as_json=as_json)


def _end(
    project: Path,
    keyid: str,
    reason: str,
    custodian: str | None,
    *,
    compromised: bool,
    as_json: bool,
) -> None:
    from flows.keys import end

    index, full = end(_desk(project, custodian), keyid, reason, compromised=compromised)
    word = "Revoked" if compromised else "Retired"
    console.show(
        {"keyid": full, "record": index},
        as_json=as_json,
        text=lambda: console.line(f"{word} {full[:16]} (record {index})."),
    )


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What is signed.")],
    *,
    meaning: Annotated[str, typer.Option("--meaning", help="reviewed, approved or released.")],
    signer: Annotated[str, typer.Option("--signer", metavar="NAME", help="Your printed name.")],
    comment: Annotated[str, typer.Option("--comment", help="What you add.")] = "",
    key: KeyOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Sign a file as a person: reviewed, approved or released."""
    from flows.signing import sign_file

    done = sign_file(project, file, meaning, signer=signer, comment=comment, uri=key)
    told = f"{done.signer} {done.meaning} {done.sha256[:16]} (record {done.index})."
    console.show({**done.__dict__}, as_json=as_json, text=lambda: console.line(told))


@app.command()
def backup(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")],
    passphrase_file: PassphraseOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Write ledger, keys and vault into one encrypted file."""
    from flows.backup import back_up
    from flows.ledger import open_ledger
    from flows.passphrase import passphrase

    _, place, _ = open_ledger(project)
    found = back_up(place, out, passphrase(passphrase_file))
    console.show(
        found,
        as_json=as_json,
        text=lambda: console.line(f"{found['files']} files, {found['records']} records → {out}"),
    )


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    *,
    passphrase_file: PassphraseOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Bring ledger, keys and vault back from a backup, if they verify."""
    from flows.known import known_checkpoints
    from flows.ledger import open_ledger
    from flows.passphrase import passphrase
    from flows.restore import bring_back
    from stages.project import run_lock

    _, place, machine = open_ledger(project)
    known = known_checkpoints(place, machine)
    with run_lock(place):
        found = bring_back(place, file, passphrase(passphrase_file), known)

    def text() -> None:
        console.line(f"{found['files']} files, {found['records']} records: verified.")
        for gap in found["missing"]:
            console.line(
                f"Missing: records {gap['first']} to {gap['last']}, known from {gap['known_from']}."
            )

    console.show(found, as_json=as_json, text=text)
