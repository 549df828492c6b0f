"""CSV (RFC 4180): a row a record, with the columns of `kette audit show`.

A cell that a spreadsheet would take for a formula begins with an apostrophe (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from audit.reading import Entry
from audit.show import COLUMNS, row

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")
"""What begins a formula, in full width too."""


def export(found: Iterable[Entry], origin: str) -> bytes:
    """The records as CSV in UTF-8; the first column is the ledger's origin."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(("ledger", *COLUMNS))
    for entry in found:
        cells = row(entry)
        writer.writerow([_safe(value) for value in (origin, *(cells[name] for name in COLUMNS))])
    return out.getvalue().encode()


def _safe(value: object) -> object:
    text = "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
