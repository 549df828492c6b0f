"""Verbs on a released product: infer with it, verify it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import console
from flows.verbs.options import JsonOption

app = typer.Typer()


@app.command()
def infer(
    release: Annotated[Path, typer.Argument(metavar="RELEASE", help="Bundle or its folder.")],
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Folder or zip of one study.")],
    *,
    out: Annotated[Path, typer.Option("--out", help="DICOM SEG or SR to write.")],
    target: Annotated[str | None, typer.Option(help="Runtime; default: the release's.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a released model on a DICOM study; answers with a DICOM SEG, SR, or both."""
    from stages.infer.infer import infer as work

    result = work(release, study, out, target=target)
    found = {
        "output": str(result.output) if result.output else None,
        "outputs": [str(path) for path in result.outputs],
        "refused": result.refused,
        "seconds": result.seconds,
    }
    line = f"refused: {result.refused}" if result.refused else f"{out} ({result.seconds} s)"
    console.show(found, as_json=as_json, text=lambda: console.line(line))
    if result.refused:
        raise typer.Exit(1)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Archive of the release.")],
    *,
    key: Annotated[Path, typer.Option("--key", help="Public key (PEM) of the manufacturer.")],
    evidence: Annotated[
        Path | None, typer.Option(help="Evidence folder; default: beside the archive.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a release's archive and evidence against a public key alone."""
    from stages.package.verify import verify_bundle

    found = verify_bundle(bundle, evidence or bundle.parent / "evidence", key)
    console.verdict(found, as_json=as_json)
