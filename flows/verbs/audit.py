"""Verbs on the evidence, offline."""

from __future__ import annotations

from typing import Annotated

import typer

from flows import console
from flows.verbs.options import HERE, JsonOption, ProjectOption

app = typer.Typer(no_args_is_help=True, help="The evidence, offline.")


@app.command("verify")
def audit_verify(*, project: ProjectOption = HERE, as_json: JsonOption = False) -> None:
    """Check every record and checkpoint of the project's ledger."""
    from flows.evidence import verify_ledger

    console.verdict(verify_ledger(project), as_json=as_json)


@app.command("show")
def audit_show(
    *,
    project: ProjectOption = HERE,
    stage: Annotated[str | None, typer.Option(help="Only this stage.")] = None,
    since: Annotated[int, typer.Option(help="From this index on.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List the records of the project's ledger."""
    from flows.evidence import show_ledger

    rows = show_ledger(project, stage=stage, since=since)
    columns = ("index", "time", "stage", "unit", "status", "gate")
    console.show(
        {"records": rows},
        as_json=as_json,
        text=lambda: console.table(
            "ledger", columns, [tuple(row.get(c) or "" for c in columns) for row in rows]
        ),
    )
