"""DICOM headers: whose instance a file is, and what is checked before its data set is trusted.

pydicom's warnings, log lines and exceptions quote values, so they end here (`quiet`), and a fault
becomes a fixed reason.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Final

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset

from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import PIXEL_DATA, Buffer, Scan, Syntax, scan
from stages.ingest.raw_file import RawFile, meta_of, open_file
from stages.ingest.raw_layout import Layout, layout_of, stands_alone
from stages.ingest.tables import classes
from stages.ingest.values import parts

DICOMDIR: Final = "1.2.840.10008.1.3.10"
_UID_LENGTH: Final = 64
_IDENTITY: Final = {
    0x00080005: "SpecificCharacterSet",
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
}
_UIDS: Final = {0x00080018: "sop", 0x0020000D: "study", 0x0020000E: "series"}
_IDENTITY_BYTES: Final = 64 * 1024
_SEEN: Final = 8
_META: Final = 1024
"""Bytes among which a media's directory says what it is."""


@dataclass(frozen=True)  # without slots: few are kept, and they go through a pipe faster
class Header:
    """Whose instance a file is. All but the SOP class are identities."""

    sop_class: str
    sop: str = field(repr=False)
    study: str = field(repr=False)
    series: str = field(repr=False)
    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Let no library quote a value (in a warning or a log line)."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled, config.settings.reading_validation_mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled = True
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            logger.disabled, config.settings.reading_validation_mode = before


def is_dicomdir(data: Buffer) -> bool:
    """Whether a file is a media's directory, which holds no image."""
    said = DICOMDIR.encode() in bytes(data[:_META])
    return said and meta_of(data)[0].get(0x0002) == DICOMDIR


class Identifier:
    """Tells whose instance a file is; what equals an earlier file's header is looked up."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: list[tuple[Syntax, Layout, Header]] = []

    def identify(self, data: Buffer) -> Header:
        """Read whose instance a file is, after its file meta was checked.

        Raises:
            Quarantined: no DICOM file, a transfer syntax or SOP class that is not accepted, no
                patient ID, or a missing or malformed UID.
        """
        file = open_file(data, self._limits)
        header = self._remembered(file) or self._read(file)
        if header.sop_class not in classes():
            raise Quarantined(Reason.SOP_CLASS)
        if not all(_is_uid(uid) for uid in (header.sop, header.series, header.study)):
            raise Quarantined(Reason.NO_UID)
        if not header.patient_id:
            raise Quarantined(Reason.NO_PATIENT)
        return header

    def _remembered(self, file: RawFile) -> Header | None:
        for syntax, layout, header in self._seen:
            if syntax == file.syntax and (found := layout.match(file.data, file.at)):
                gaps = [(layout.gaps[number], value) for number, value in found.values]
                uids = {
                    _UIDS[gap.tag]: value[gap.width :].decode("latin-1").strip(" \0")
                    for gap, value in gaps
                    if gap.tag in _UIDS
                }
                return replace(header, **uids)
        return None

    def _read(self, file: RawFile) -> Header:
        found = scan(file.data, file.at, file.syntax, self._limits, last=max(_IDENTITY))
        chosen = [element for element in found.elements if element.tag in _IDENTITY]
        raw = b"".join(bytes(file.data[e.start : e.stop]) for e in chosen)
        if len(raw) > _IDENTITY_BYTES:
            raise Quarantined(Reason.CORRUPT)
        dataset = parsed(raw, file.syntax)
        texts = ["\\".join(_parts(dataset, keyword)) for keyword in _IDENTITY.values()]
        header = Header(*texts[1:])
        if file.syntax.little and found.pixels is None:
            gaps = [e for e in found.elements if stands_alone(e.tag, e.vr)]
            layout = layout_of(file.data, file.at, found.stop, file.syntax, gaps)
            self._seen = [(file.syntax, layout, header), *self._seen[: _SEEN - 1]]
        return header


def read_header(data: Buffer, scanned: Scan, syntax: Syntax, limits: Limits) -> Dataset:
    """Read all of a data set but its pixel data, which two bytes stand for.

    Raises:
        Quarantined: the header is larger than the limit, or damaged.
    """
    pixels = scanned.pixels
    if pixels is None:
        raise Quarantined(Reason.PIXELS)
    before, after = data[scanned.start : pixels.start], data[pixels.stop : scanned.stop]
    if len(before) + len(after) > limits.header_bytes:
        raise Quarantined(Reason.TOO_MANY)
    order = "<" if syntax.little else ">"
    tag = struct.pack(f"{order}HH", PIXEL_DATA >> 16, PIXEL_DATA & 0xFFFF)
    head = tag + (pixels.vr + b"\0\0" if syntax.explicit else b"") + struct.pack(f"{order}I", 2)
    return parsed(b"".join((before, head, b"\0\0", after)), syntax)


def parsed(data: bytes, syntax: Syntax) -> Dataset:
    """Read the elements of a data set.

    Raises:
        Quarantined: they are damaged.
    """
    try:
        return read_dataset(BytesIO(data), not syntax.explicit, syntax.little)
    except Exception:  # noqa: BLE001 - any fault of the parser is a damaged file
        raise Quarantined(Reason.CORRUPT) from None


def _parts(dataset: Dataset, keyword: str) -> list[str]:
    try:
        return parts(dataset.get(keyword))
    except Exception:  # noqa: BLE001 - any fault of the parser is a damaged file
        raise Quarantined(Reason.CORRUPT) from None


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= _UID_LENGTH and all(arc.isdecimal() for arc in text.split("."))
