"""The verb that brings a past release back."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows import console
from flows.verbs.options import HERE, JsonOption, ProjectOption

if TYPE_CHECKING:
    from flows.reproduced import Reproduction

app = typer.Typer()


@app.command()
def reproduce(
    ref: Annotated[str, typer.Argument(metavar="REF", help="Version, tag or commit.")],
    *,
    project: ProjectOption = HERE,
    level: Annotated[
        Literal["R0", "R1", "R2"] | None,
        typer.Option(help="R0: retrieve. R1: equal bits. R2: within tolerances."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option("--key", help="Public key (PEM) of the releaser, if not known here."),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the work tree behind.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Copy the page here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Rebuild a past release and say how equal it is."""
    from flows.reproduction import reproduce as work

    with contextlib.redirect_stdout(sys.stderr), console.progress() as say:
        found = work(project.absolute(), ref, asked=level, key=key, keep=keep, say=say)
    if out is not None and found.page is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(found.page.read_bytes())
    console.show(found.as_json(), as_json=as_json, text=lambda: _text(found))
    if not found.reached:
        raise typer.Exit(1)


def _text(found: Reproduction) -> None:
    if found.standing.sentence:
        console.line(found.standing.sentence)
    if found.rungs:
        rows = [
            (rung["name"], "equal" if rung["equal"] else "differs", ", ".join(rung["differs"][:3]))
            for rung in found.rungs
        ]
        console.table(f"{found.tag}", ("rung", "", "parts that differ"), rows)
    for cause in (*found.lost, *found.causes):
        console.line(f"- {cause}")
    level = f"level {found.level}" if found.level else "no level"
    first = f", first difference: {found.first_difference}" if found.first_difference else ""
    console.line(f"{level} reached, {found.asked} asked for{first}")
    console.line(f"page {found.page}")
