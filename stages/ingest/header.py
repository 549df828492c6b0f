"""DICOM files: what is checked before a data set is trusted, and how it is read and written.

pydicom's warnings, log lines and exceptions quote values, so they end here (`quiet`), and a fault
becomes a fixed reason.
"""

from __future__ import annotations

import hashlib
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from pydicom import config, dcmread, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.values import parts

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
MR: Final = "1.2.840.10008.5.1.4.1.1.4"
SEG: Final = "1.2.840.10008.5.1.4.1.1.66.4"
DICOMDIR: Final = "1.2.840.10008.1.3.10"
_TRANSFER_SYNTAXES: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_UID_LENGTH: Final = 64
_IDENTITY: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
)
_IMPLEMENTATION: Final = (
    f"2.25.{int.from_bytes(hashlib.sha256(b'Kette ingest').digest()[:16])}",
    "KETTE_INGEST_1",
)


@dataclass(frozen=True)
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


def is_dicomdir(data: bytes) -> bool:
    """Whether a file is a media's directory, which holds no image."""
    return _meta(data).get(0x0002) == DICOMDIR


def identify(data: bytes) -> Header:
    """Read whose instance a file is, after its file meta was checked.

    Raises:
        Quarantined: no DICOM file, a transfer syntax or SOP class that is not accepted, no patient
            ID, or a missing or malformed UID.
    """
    meta = _meta(data)
    if 0x0010 not in meta:
        raise Quarantined(Reason.CORRUPT)
    if meta[0x0010] not in _TRANSFER_SYNTAXES:
        raise Quarantined(Reason.TRANSFER_SYNTAX)
    dataset = _parse(data, stop_before_pixels=True, specific_tags=list(_IDENTITY))
    texts = ["\\".join(_parts(dataset, keyword)) for keyword in _IDENTITY]
    header = Header(*texts)
    if header.sop_class not in (CT, MR, SEG):
        raise Quarantined(Reason.SOP_CLASS)
    if not all(_is_uid(uid) for uid in (header.sop, header.series, header.study)):
        raise Quarantined(Reason.NO_UID)
    if not header.patient_id:
        raise Quarantined(Reason.NO_PATIENT)
    return header


def parse(data: bytes, limits: Limits) -> Dataset:
    """Read a whole instance and check what of it can be trusted.

    Raises:
        Quarantined: the data set is damaged, too large, or holds an annotation in its pixels.
    """
    dataset = _parse(data)
    try:
        _check_pixels(dataset, limits)
        _check_burned_in(dataset)
    except Quarantined:
        raise
    except Exception:  # noqa: BLE001 - any fault of the parser is a damaged file
        raise Quarantined(Reason.CORRUPT) from None
    return dataset


def encode(dataset: Dataset) -> bytes:
    """A DICOM file in Explicit VR Little Endian: zeroed preamble, file meta of our own."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID, meta.ImplementationVersionName = _IMPLEMENTATION  # type: ignore[assignment]
    dataset.file_meta = meta
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _check_pixels(dataset: Dataset, limits: Limits) -> None:
    rows, columns, bits, samples = (
        int(dataset.get(keyword) or 0)
        for keyword in ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel")
    )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if not (0 < rows <= limits.rows and 0 < columns <= limits.rows and 0 < frames <= limits.frames):
        raise Quarantined(Reason.SIZE)
    length = (rows * columns * frames * samples * bits + 7) // 8
    data = dataset.get("PixelData")
    if not isinstance(data, bytes) or not length or len(data) != length + length % 2:
        raise Quarantined(Reason.PIXELS)


def _check_burned_in(dataset: Dataset) -> None:
    image_type = [text.upper() for text in _parts(dataset, "ImageType")]
    if any("SCREEN" in text for text in image_type) or (
        "".join(_parts(dataset, "BurnedInAnnotation")).upper() not in ("", "NO")
    ):
        raise Quarantined(Reason.BURNED_IN)
    for group in range(0x6000, 0x6020, 2):
        bits, position = (dataset.get((group, element)) for element in (0x0100, 0x0102))
        if int(bits.value if bits else 1) > 1 or int(position.value if position else 0) > 0:
            raise Quarantined(Reason.OVERLAY)


def _parse(data: bytes, **options: Any) -> Dataset:
    try:
        dataset = dcmread(BytesIO(data), **options)
    except Exception:  # noqa: BLE001 - any fault of the parser is a damaged file
        raise Quarantined(Reason.CORRUPT) from None
    return dataset


def _parts(dataset: Dataset, keyword: str) -> list[str]:
    try:
        return parts(dataset.get(keyword))
    except Exception:  # noqa: BLE001 - any fault of the parser is a damaged file
        raise Quarantined(Reason.CORRUPT) from None


def _is_uid(text: str) -> bool:
    return 0 < len(text) <= _UID_LENGTH and all(arc.isdecimal() for arc in text.split("."))


def _meta(data: bytes) -> dict[int, str]:
    """UIDs of the file meta group by element number (PS3.10 Section 7.1: always explicit VR).

    It is read by hand so that nothing is inflated or decoded before the transfer syntax is known.

    Raises:
        Quarantined: no DICOM file, or a damaged group.
    """
    if data[128:132] != b"DICM":
        raise Quarantined(Reason.NOT_DICOM)
    found: dict[int, str] = {}
    at = 132
    while data[at : at + 2] == b"\x02\x00" and len(data) >= at + 12:
        element, vr = struct.unpack_from("<H2s", data, at + 2)
        long = vr in (b"OB", b"UN", b"OW", b"SQ", b"UT")
        (length,) = struct.unpack_from("<I" if long else "<H", data, at + (8 if long else 6))
        at += 12 if long else 8
        if at + length > len(data):
            raise Quarantined(Reason.CORRUPT)
        if vr == b"UI":
            found[element] = data[at : at + length].decode("ascii", "replace").strip(" \0")
        at += length
    return found
