"""Verbs on releases: make one, deprecate it, withdraw it, hold it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import console
from flows.verbs.options import (
    HERE,
    JsonOption,
    MeasurementsOption,
    ProjectOption,
    SourceOption,
)

if TYPE_CHECKING:
    from flows.candidate import Candidate
    from flows.publish import Released

app = typer.Typer()
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Such as 1.2.0.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="One line; it is recorded.")]


@app.command()
def release(
    version: VersionArgument,
    *,
    project: ProjectOption = HERE,
    source: SourceOption = None,
    measurements: MeasurementsOption = None,
    archive_environment: Annotated[
        bool,
        typer.Option("--archive-environment", help="Keep all wheels and the interpreter, too."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the chain and release what it makes: pin, manifest, commit, record, signed tag."""
    from flows.publish import publish
    from flows.releasing import open_releasing

    work = open_releasing(project, version)
    with contextlib.redirect_stdout(sys.stderr), console.progress() as say:

        @contextlib.contextmanager
        def candidates() -> Iterator[Candidate]:
            from flows import orchestrator
            from flows.candidate import candidate_of
            from flows.chain import open_chain

            with (
                open_chain(
                    project, sources=source or (), measurements=measurements, say=say
                ) as chain,
                orchestrator.api(chain.run.place),
            ):
                from flows.release import run_chain

                yield candidate_of(chain, run_chain(chain))

        done = publish(work, candidates, archive=archive_environment, say=say)
    _show(done, as_json=as_json)


def _show(done: Released, *, as_json: bool) -> None:
    manifest = done.manifest
    found = {
        "version": manifest.version,
        "tag": done.tag,
        "commit": done.commit,
        "record": done.record,
        "release": f"releases/{manifest.version}",
        "manifest": f"releases/{manifest.version}.yaml",
        "manifest_sha256": manifest.digest,
        "bundle": f"releases/{manifest.version}/{manifest.bundle.name}",
        "bundle_sha256": manifest.bundle.sha256,
        "source_commit": manifest.source_commit,
    }

    def text() -> None:
        for name, value in found.items():
            console.line(f"{name:16}{value}")
        console.line(f"Publish it: git push origin HEAD {done.tag}, and dvc push.")

    console.show(found, as_json=as_json, text=text)


@app.command()
def deprecate(
    version: VersionArgument,
    *,
    reason: ReasonOption,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Say that a release is not to be chosen any more; nothing is deleted."""
    from flows.releasing import open_releasing
    from flows.standing import take_back

    _tell(take_back(open_releasing(project, version), "deprecated", reason), as_json=as_json)


@app.command()
def withdraw(
    version: VersionArgument,
    *,
    reason: ReasonOption,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Take a release back: it is not to be used any more; nothing is deleted."""
    from flows.releasing import open_releasing
    from flows.standing import take_back

    _tell(take_back(open_releasing(project, version), "withdrawn", reason), as_json=as_json)


@app.command()
def hold(
    version: VersionArgument,
    *,
    reason: ReasonOption,
    lift: Annotated[bool, typer.Option("--lift", help="End the hold.")] = False,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Put a release under a legal hold: it is kept beyond its retention until the hold ends."""
    from flows.releasing import open_releasing
    from flows.standing import hold as work

    _tell(work(open_releasing(project, version), reason, on=not lift), as_json=as_json)


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    console.show(
        found,
        as_json=as_json,
        text=lambda: console.line(", ".join(f"{key} {value}" for key, value in found.items())),
    )
