"""`kette`: the command line. Each verb opens what it needs and nothing more.

Verbs stand in `flows/verbs/`, a module a subject; heavy imports stand inside the verbs, so that
`kette --help` stays under 0.3 s.
"""

from __future__ import annotations

import sys

import typer

from flows import console
from flows.verbs import audit, chain, keys, product, release, reproduce, sources, suggest, vault

app = typer.Typer(
    name="kette", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="From DICOM studies to a released network, with signed evidence for every link.",
)  # fmt: skip
app.add_typer(chain.app)
app.add_typer(suggest.app)
app.add_typer(product.app)
app.add_typer(release.app)
app.add_typer(reproduce.app)
app.add_typer(audit.app, name="audit")
app.add_typer(keys.app)
app.add_typer(keys.keys, name="keys")
app.add_typer(sources.app)
app.add_typer(vault.app)
app.add_typer(vault.vault, name="vault")
INTERRUPTED = 130
"""What Typer makes of Ctrl-C."""


def main() -> None:
    """Entry point: exit codes as documented, errors in one line."""
    try:
        code = app(standalone_mode=False)
        sys.exit(console.fail(KeyboardInterrupt()) if code == INTERRUPTED else code)
    except typer.Abort:
        sys.exit(3)
    except Exception as error:  # noqa: BLE001 - the last line: every error gets its exit code
        if hasattr(error, "format_message"):
            if told := error.format_message():
                sys.stderr.write(f"kette: error: {told} See `kette --help`.\n")
            sys.exit(2)
        sys.exit(console.fail(error))


if __name__ == "__main__":
    main()
