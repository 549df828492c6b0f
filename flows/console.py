"""What a verb says: progress on stderr, its result on stdout, its exit code.

Exit codes: 0 done, 1 refused by a gate or a failed verification, 2 wrong use, 3 a fault.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from audit.errors import KetteError, Refused

Say = Callable[[str, float], None]


def show(result: dict[str, Any], *, as_json: bool, text: Callable[[], None]) -> None:
    """Print a result: one JSON object on stdout, or what `text` prints."""
    if as_json:
        sys.stdout.write(json.dumps(result, sort_keys=True, ensure_ascii=False) + "\n")
    else:
        text()


def line(text: str) -> None:
    """Print one line on stdout."""
    sys.stdout.write(f"{text}\n")


def table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left")
    for column in columns:
        shown.add_column(column)
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    Console().print(shown)


@contextmanager
def progress() -> Iterator[Say]:
    """A progress bar on stderr if it is a terminal; else one line for each new text."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def say(text: str, fraction: float) -> None:
            bar.update(task, description=text, completed=fraction)

        yield say


class _Lines:
    """Progress as plain lines: a text once, when it changes."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, text: str, fraction: float) -> None:
        del fraction
        if text != self._last:
            self._last = text
            sys.stderr.write(f"{text}\n")


def verdict(found: dict[str, object], *, as_json: bool) -> None:
    """Show the result of a verification; ends with exit code 1 if it failed."""
    text = f"ok: {found['records']} records" if found["ok"] else f"{found['first_bad']}: "
    if not found["ok"]:
        text += str(found["reason"])
    show(found, as_json=as_json, text=lambda: line(text))
    if not found["ok"]:
        raise typer.Exit(1)


def fail(error: BaseException) -> int:
    """Tell an error on stderr; gives the exit code. An unexpected one is told by type and place."""
    if isinstance(error, OSError):
        from stages.store import DISK_ERRORS, disk_fault

        error = disk_fault(error) if error.errno in DISK_ERRORS else error
    if isinstance(error, KetteError):
        word = "refused" if isinstance(error, Refused) else "error"
        sys.stderr.write(f"kette: {word}: {error.diagnostics()}\n")
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        sys.stderr.write("kette: stopped; run the same command again to go on\n")
        return 3
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = (
        f"{trace.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        if trace
        else "?"
    )
    sys.stderr.write(
        f"kette: fault: {type(error).__name__} at {place}. "
        "This is a defect of the program or its environment: report it with this line.\n"
    )
    return 3
