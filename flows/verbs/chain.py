"""Verbs that make: a project, the chain, one stage alone, the chain on a schedule."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audit.errors import Refused, WrongUse
from flows import console
from flows.verbs.options import (
    HERE,
    JsonOption,
    MeasurementsOption,
    OutOption,
    ProjectOption,
    RebuildOption,
    SourceOption,
)

if TYPE_CHECKING:
    from flows.chain import Summary

app = typer.Typer()


@app.command()
def demo(
    *,
    project: ProjectOption = HERE,
    measurements: MeasurementsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the phantom cohort and run the chain on it."""
    from flows.chain import place_of
    from flows.demo import incoming
    from stages.project import Machine

    place, _ = place_of(project, Machine.here())
    _run(project, sources=[incoming(place)], measurements=measurements, as_json=as_json)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.")],
    *,
    name: Annotated[str | None, typer.Option(help="Name; default: the folder's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new project."""
    from flows import template

    made = template.create(folder.absolute(), name or folder.absolute().name.lower())
    console.show(
        {"project": str(folder.absolute()), "files": made},
        as_json=as_json,
        text=lambda: console.line(f"Made {folder}. Next: edit its params.yaml."),
    )


@app.command()
def plan(
    *, project: ProjectOption = HERE, source: SourceOption = None, as_json: JsonOption = False
) -> None:
    """Say what would run, what would be reused, and why."""
    from flows.chain import open_chain
    from flows.preview import preview

    with open_chain(project, sources=source or (), dry=True) as chain:
        rows = preview(chain)
    console.show(
        {"stages": [row.__dict__ for row in rows]},
        as_json=as_json,
        text=lambda: console.table(
            "plan", ("stage", "units", "reused", "would run", "why"),
            [(r.name, r.units, r.reused, r.would_run, r.why) for r in rows],
        ),
    )  # fmt: skip


@app.command()
def run(
    *,
    project: ProjectOption = HERE,
    source: SourceOption = None,
    first: Annotated[str | None, typer.Option("--from", help="First stage.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Last stage.")] = None,
    measurements: MeasurementsOption = None,
    rebuild: RebuildOption = None,
    without_missing: Annotated[
        bool,
        typer.Option("--without-missing", help="Rebuild also without subjects that were erased."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the chain on `params.yaml`, or rebuild a release's folder from `data/`."""
    if rebuild is not None and (source or first or measurements):
        raise WrongUse(
            "A rebuild takes sources, first stage and measurements from the release.",
            "Give `--rebuild` without `--source`, `--from` and `--measurements`.",
        )
    _run(project, sources=source or [], first=first, until=until, measurements=measurements,
         rebuild=rebuild, without_missing=without_missing, as_json=as_json)  # fmt: skip


def _run(
    project: Path,
    *,
    sources: list[Path],
    first: str | None = None,
    until: str | None = None,
    measurements: Path | None = None,
    rebuild: Path | None = None,
    without_missing: bool = False,
    as_json: bool,
) -> None:
    """Run stages as a Prefect flow and show the summary."""
    from flows import orchestrator
    from flows.chain import open_chain, parameters_text

    refused: Refused | None = None
    sys.stderr.write(parameters_text(project))
    with (
        contextlib.redirect_stdout(sys.stderr),
        console.progress() as say,
        open_chain(
            project, first=first, until=until, sources=sources, measurements=measurements,
            rebuild=rebuild, without_missing=without_missing, say=say,
        ) as chain,
        orchestrator.api(chain.run.place),
    ):  # fmt: skip
        from flows.release import run_chain

        try:
            summary = run_chain(chain)
        except Refused as error:
            summary, refused = chain.so_far(), error
    _show(summary, as_json=as_json)
    if refused is not None:
        raise refused


def _show(summary: Summary, *, as_json: bool) -> None:

    def text() -> None:
        rows = [(r.name, r.status, f"{r.ran}/{r.units}", r.seconds, r.gate) for r in summary.stages]
        console.table("chain", ("stage", "status", "units ran", "seconds", "gate"), rows)
        if summary.report:
            sys.stdout.write(f"release {summary.release}\nreport  {summary.report}\n")

    console.show(summary.as_json(), as_json=as_json, text=text)


def _stage(
    name: str, project: Path, sources: list[Path], out: Path | None, *, as_json: bool
) -> None:
    """Run one stage alone, in a pool of processes; the stages before must be here."""
    from flows.alone import run_alone

    refused: Refused | None = None
    with contextlib.redirect_stdout(sys.stderr), console.progress() as say:
        found, refused = run_alone(name, project, sources, out, say)
    rows = [(key, value) for key, value in found.items() if not isinstance(value, list | dict)]
    console.show(found, as_json=as_json, text=lambda: console.table(name, ("field", "value"), rows))
    if refused is not None:
        raise refused


@app.command()
def ingest(
    source: Annotated[
        list[Path], typer.Argument(metavar="SOURCE…", help="Folders, archives, media.")
    ],
    *,
    out: OutOption = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """DICOM → pseudonymized series."""
    _stage("ingest", project, source, out, as_json=as_json)


def _alone(name: str, text: str) -> None:
    """Register the verb of a stage that stands on the stages before it."""

    def verb(
        *,
        out: OutOption = None,
        project: ProjectOption = HERE,
        source: SourceOption = None,
        as_json: JsonOption = False,
    ) -> None:
        _stage(name, project, source or [], out, as_json=as_json)

    app.command(name, help=text)(verb)


for _name, _text in {
    "annotate": "Readers' annotations → checked consensus.",
    "dataset": "Consensus → pinned, split data.",
    "train": "Variants of transfer learning → a candidate.",
    "assess": "A candidate → evidence on the locked test split.",
    "optimize": "A candidate → artifacts for the target hardware.",
    "package": "All of it → a candidate release.",
}.items():
    _alone(_name, _text)


@app.command()
def serve(
    *,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Serve the chain as Prefect deployments: on a schedule, and on approved findings."""
    from flows.serve import serve as work

    work(project, as_json=as_json)
