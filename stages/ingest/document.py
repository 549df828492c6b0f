"""One document: a structure set, a report or a presentation state; a data set without pixels.

It is read, pseudonymized and written as a whole. What it refers to need not be taken in: a
reference to an image that is not there resolves when the image comes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from pydicom.dataset import Dataset

from stages.ingest.counts import Counts
from stages.ingest.header import parsed
from stages.ingest.params import Limits
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import scan
from stages.ingest.raw_file import EXPLICIT, RawFile
from stages.ingest.raw_pixels import turn
from stages.ingest.raw_write import elements_of, preamble
from stages.ingest.rules import Rules

DOCUMENT: Final = "document"


@dataclass(frozen=True)
class Document:
    """A pseudonymized document."""

    data: bytes = field(repr=False)
    result: Dataset = field(repr=False)
    counts: Counts


def convert_document(file: RawFile, rules: Rules, limits: Limits) -> Document:
    """Check, pseudonymize and write a document anew.

    Raises:
        Quarantined: it is damaged, larger than a header may be, or has pixels.
    """
    scanned = scan(file.data, file.at, file.syntax, limits)
    if scanned.pixels is not None or file.codec:
        raise Quarantined(Reason.PIXELS)
    if scanned.stop - scanned.start > limits.header_bytes:
        raise Quarantined(Reason.TOO_MANY)
    source = parsed(bytes(file.data[scanned.start : scanned.stop]), file.syntax)
    result, counts = pseudonymize(source, rules)
    if not file.syntax.little:
        turn(result)
    encoded = elements_of(result)
    head = preamble(str(result.SOPClassUID), str(result.SOPInstanceUID), EXPLICIT)
    return Document(head + b"".join(encoded[tag] for tag in sorted(encoded)), result, counts)
