"""Verbs that bring studies into a folder, for `kette ingest` to take in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows import console
from flows.verbs.options import HERE, JsonOption, ProjectOption

app = typer.Typer()

InboxOption = Annotated[
    Path, typer.Option("--out", help="Folder for the instances, outside project and KETTE_HOME.")
]


def _forbidden(project: Path) -> tuple[Path, ...]:
    """Where no source may lie: the project, what of it is passed on, and the machine's home."""
    from flows.ledger import open_ledger

    _, place, machine = open_ledger(project)
    return (place.project, *place.shared, machine.home)


@app.command()
def receive(
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")],
    aet: Annotated[str, typer.Option("--aet", help="This listener's application entity title.")],
    out: InboxOption,
    allow: Annotated[
        list[str] | None, typer.Option("--allow", help="Title that may send; several times.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="Own certificate, PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key, PEM.")] = None,
    tls_ca: Annotated[
        Path | None, typer.Option("--tls-ca", help="Who signs the peers' certificates, PEM.")
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Receive studies by C-STORE until SIGTERM or Ctrl-C."""
    import signal
    import sys
    from dataclasses import asdict
    from threading import Event

    from audit.errors import WrongUse
    from stages.ingest.dimse import Tls, listening
    from stages.ingest.inbox import open_inbox

    if (tls_cert is None) != (tls_key is None) or (tls_ca is not None and tls_cert is None):
        raise WrongUse("TLS needs a certificate and its key.", "Give `--tls-cert` and `--tls-key`.")
    if host not in ("127.0.0.1", "::1", "localhost") and not (allow or tls_ca):
        raise WrongUse(
            "A listener that others can reach takes studies from anybody.",
            "Name who may send with `--allow`, or require certificates with `--tls-ca`.",
        )
    tls = Tls(tls_cert, tls_key, tls_ca) if tls_cert and tls_key else None
    stop = Event()
    with (
        open_inbox(out, _forbidden(project)) as inbox,
        listening(inbox, (host, port), aet, allow=allow or (), tls=tls) as received,
    ):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        sys.stderr.write(f"listening on port {received.port}\n")
        sys.stderr.flush()
        stop.wait()
    console.show(
        asdict(received),
        as_json=as_json,
        text=lambda: console.line(
            f"{received.instances} instances received, {received.repeated} repeated, "
            f"{received.refused} refused."
        ),
    )


@app.command()
def fetch(
    url: Annotated[str, typer.Argument(metavar="URL", help="DICOMweb service.")],
    *,
    out: InboxOption,
    study: Annotated[
        list[str] | None, typer.Option("--study", metavar="UID", help="Study; several times.")
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query", metavar="KEY=VALUE", help="Studies by an attribute; several times."
        ),
    ] = None,
    project: ProjectOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Fetch studies by DICOMweb; run again, it fetches what is missing."""
    from dataclasses import asdict

    from audit.errors import WrongUse
    from stages.ingest.dicomweb import fetch as fetch_studies
    from stages.ingest.inbox import open_inbox

    pairs = [text.partition("=") for text in query or ()]
    if not all(key and value for key, _, value in pairs):
        raise WrongUse("A query is none.", "Give KEY=VALUE, such as Modality=CT.")
    filters = {key: value for key, _, value in pairs}
    with open_inbox(out, _forbidden(project)) as inbox, console.progress() as say:
        done = fetch_studies(url, inbox, studies=study or (), query=filters, say=say)
    console.show(
        asdict(done),
        as_json=as_json,
        text=lambda: console.line(f"{done.instances} instances fetched, {done.present} were here."),
    )
