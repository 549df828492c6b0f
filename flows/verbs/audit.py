"""Verbs on the evidence, offline."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import console
from flows.verbs.options import HERE, JsonOption, ProjectOption

app = typer.Typer(no_args_is_help=True, help="The evidence, offline.")

StageOption = Annotated[str | None, typer.Option(help="Only this stage.")]
UnitOption = Annotated[str | None, typer.Option(help="Only this unit.")]
EventOption = Annotated[
    str | None, typer.Option(help="Only events of this kind: signature, key, released, …")
]
SubjectOption = Annotated[str | None, typer.Option(help="Only what concerns this pseudonym.")]
StatusOption = Annotated[str | None, typer.Option(help="Only runs of this status.")]
SinceOption = Annotated[str | None, typer.Option(help="From this index or time on.")]
UntilOption = Annotated[str | None, typer.Option(help="To this index or time, included.")]


class Format(StrEnum):
    """What others read."""

    FHIR = "fhir"
    DICOM = "dicom"
    OPENLINEAGE = "openlineage"
    PROV = "prov"
    CSV = "csv"


@app.command("verify")
def audit_verify(
    *,
    project: ProjectOption = HERE,
    against: Annotated[
        list[str] | None,
        typer.Option(help="A checkpoint kept elsewhere: file, mirror or release folder."),
    ] = None,
    tree: Annotated[bool, typer.Option("--tree", help="Hashes and tree alone.")] = False,
    tsa_root: Annotated[
        Path | None, typer.Option(help="Trusted certificates (PEM): check the time stamps too.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every record, and hold the ledger against all checkpoints kept elsewhere."""
    from flows.evidence import verify_ledger

    found = verify_ledger(project, against=against or (), tree=tree, roots=tsa_root)
    console.verdict(found, as_json=as_json)


@app.command("show")
def audit_show(
    *,
    project: ProjectOption = HERE,
    stage: StageOption = None,
    unit: UnitOption = None,
    event: EventOption = None,
    subject: SubjectOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the records of the project's ledger; signatures are checked by `audit verify`."""
    from audit.reading import selected
    from flows.evidence import show_ledger

    chosen = selected(
        stage=stage, unit=unit, event=event, subject=subject, status=status,
        since=since, until=until,
    )  # fmt: skip
    rows = show_ledger(project, chosen)
    columns = ("index", "time", "stage", "unit", "event", "status", "gate", "signer", "text")
    console.show(
        {"records": rows},
        as_json=as_json,
        text=lambda: console.table(
            "ledger", columns, [tuple(_cell(row, c) for c in columns) for row in rows]
        ),
    )


@app.command("prove")
def audit_prove(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A file of the chain, or sha256:… of one.")
    ],
    *,
    project: ProjectOption = HERE,
    out: Annotated[
        Path | None, typer.Option("--out", help="Default: FILE's name + .proof.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove a file by one file that verifies offline; say what it was made of."""
    from flows.tracing import prove_file

    found = prove_file(project, file, out)
    console.show(found, as_json=as_json, text=lambda: _tell(found))


@app.command("check")
def audit_check(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="What `audit prove` wrote.")],
    *,
    key: Annotated[Path, typer.Option("--key", help="Public key (PEM) that you trust.")],
    file: Annotated[Path | None, typer.Option("--file", help="The file it must be about.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a proof against a public key alone."""
    from flows.tracing import check_proof

    console.verdict(check_proof(proof, key, file), as_json=as_json)


@app.command("export")
def audit_export(
    *,
    project: ProjectOption = HERE,
    form: Annotated[Format, typer.Option("--format", help="Format of the export.")],
    out: Annotated[Path, typer.Option("--out", help="File to write.")],
    stage: StageOption = None,
    unit: UnitOption = None,
    event: EventOption = None,
    subject: SubjectOption = None,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the ledger for another tool."""
    from audit.reading import selected
    from flows.evidence import export_ledger

    chosen = selected(
        stage=stage, unit=unit, event=event, subject=subject, status=status,
        since=since, until=until,
    )  # fmt: skip
    found = export_ledger(project, form.value, out, chosen)
    text = f"{found['out']}: {found['records']} records"
    console.show(found, as_json=as_json, text=lambda: console.line(text))


@app.command("report")
def audit_report(
    *,
    project: ProjectOption = HERE,
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")],
    as_json: JsonOption = False,
) -> None:
    """Write the evidence as a page for people."""
    from flows.evidence import report_ledger

    found = report_ledger(project, out)
    console.show(found, as_json=as_json, text=lambda: console.line(str(out)))
    if not found["ok"]:
        raise typer.Exit(1)


def _cell(row: dict[str, Any], column: str) -> str:
    """A signature's text begins with its meaning and role."""
    value = row[column]
    if column == "text" and row["meaning"]:
        value = f"{row['meaning']} as {row['role']}: {value}".rstrip(": ")
    return "" if value is None else str(value)


def _tell(found: dict[str, Any]) -> None:
    """A proof's file, and the way from it down to the instances."""
    console.line(f"{found['proof']}: {len(found['records'])} records")
    columns = ("index", "time", "stage", "unit", "event")
    down = [tuple(row[name] or "" for name in columns) for row in found["made_by"]]
    console.table(", ".join(found["names"]), columns, down)
    for label in found["missing"]:
        console.line(f"not here: the record that made {label}")
    if found["instances"] is not None:
        console.line(f"{found['subject']}, series {found['series']}: instance, input, output")
        for row in found["instances"]:
            console.line(f"{row['sop']} {row['input_sha256']} {row['output_sha256']}")
    if found["note"]:
        console.line(found["note"])
