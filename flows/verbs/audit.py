"""Verbs on the evidence, offline."""

from __future__ import annotations

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


@app.command("verify")
def audit_verify(*, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Check every record and checkpoint of the project's ledger."""
    from flows.evidence import verify_ledger

    console.verdict(verify_ledger(project), as_json=as_json)


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


def _cell(row: dict[str, Any], column: str) -> str:
    """A signature's text begins with its meaning and role."""
    value = row[column]
    if column == "text" and row["meaning"]:
        value = f"{row['meaning']} as {row['role']}: {value}".rstrip(": ")
    return "" if value is None else str(value)
