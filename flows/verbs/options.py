"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ProjectOption = Annotated[Path, typer.Option("--project", help="Folder of the project.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SourceOption = Annotated[
    list[Path] | None,
    typer.Option("--source", help="Folder or zip of incoming studies; several times, if needed."),
]
MeasurementsOption = Annotated[
    Path | None,
    typer.Option(
        "--measurements", help="Replay the `measurements.json` of another release of this chain."
    ),
]
RebuildOption = Annotated[
    Path | None,
    typer.Option("--rebuild", help="Folder of a release: start from `data/` and what it cites."),
]
OutOption = Annotated[Path | None, typer.Option("--out", help="Copy what the stage made here.")]
HERE = Path()
