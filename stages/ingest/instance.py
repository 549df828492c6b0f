"""One instance: bytes in, pseudonymized bytes and the facts that its series is judged by out.

The header goes through the profile; the pixel data's bytes pass on as they are, neither decoded nor
copied (`raw_pixels.py`). What equals an earlier instance is looked up (`raw_memo.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from pydicom.dataset import Dataset

from stages.artifact import Digest
from stages.ingest.counts import Counts
from stages.ingest.document import DOCUMENT, convert_document
from stages.ingest.geometry import KEYWORDS, Slice, slice_of
from stages.ingest.header import check_burned_in, quiet, read_header
from stages.ingest.params import Limits
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import Buffer, scan
from stages.ingest.raw_file import EXPLICIT, RawFile, open_file
from stages.ingest.raw_frame import Header, frame_of, header_of
from stages.ingest.raw_memo import Memo, fill
from stages.ingest.raw_pixels import Pixels, pixels_at, shape_of, turn, turned
from stages.ingest.raw_write import pixel_head, preamble
from stages.ingest.rules import Rules, reader_of
from stages.ingest.sandbox import Decoder
from stages.ingest.sources import Handle

ANNOTATION: Final = "annotation"
IMAGE: Final = "image"
_TEXTS: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "ContentCreatorName",
)
_FACTS: Final = (*_TEXTS, "ReferencedSeriesSequence", *KEYWORDS)


@dataclass(frozen=True)
class Item:
    """An instance to take in, by its new UIDs."""

    kind: str
    series: str
    sop: str
    sha256: Digest
    handle: Handle = field(repr=False)


@dataclass(frozen=True)
class Converted:
    """A pseudonymized instance; nothing in it is an identity."""

    pieces: tuple[Buffer, ...] = field(repr=False)
    """The file, in pieces: its pixel data is a view of the source's bytes."""
    counts: Counts
    study: str
    modality: str
    manufacturer: str
    model: str
    reader: str
    slice: Slice | None
    """Its place, for an image."""
    references: frozenset[str]
    """Series that an annotation refers to."""

    def without_data(self) -> Self:
        """The facts alone, to be kept while the series is written."""
        return replace(self, pieces=())


class Converter:
    """Converts one subject's instances, one after the other; a context manager."""

    def __init__(self, rules: Rules, limits: Limits) -> None:
        self._rules = rules
        self._limits = limits
        self._memo = Memo()
        self._decoder = Decoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._decoder.close()

    def convert(self, item: Item, data: Buffer) -> Converted:
        """Check, pseudonymize and write an instance anew.

        Raises:
            Quarantined: it is damaged or not what it was when its header was read.
        """
        with quiet():
            try:
                return self._convert(item, open_file(data, self._limits))
            except Quarantined:
                raise
            except Exception:  # noqa: BLE001 - a fault of the file, whose text may quote values
                raise Quarantined(Reason.CORRUPT) from None

    def _convert(self, item: Item, file: RawFile) -> Converted:
        if item.kind == DOCUMENT:
            return self._document(item, file)
        if file.codec and item.kind != IMAGE:
            raise Quarantined(Reason.TRANSFER_SYNTAX)
        header, pixels = self._remembered(item, file) or self._full(item, file)
        texts = {keyword: str(header.facts[keyword] or "") for keyword in _TEXTS}
        uids = [texts["SeriesInstanceUID"], texts["SOPInstanceUID"]]
        if uids != [item.series, item.sop] or not texts["StudyInstanceUID"]:
            raise Quarantined(Reason.NO_UID)
        if header.pixel_vr is None:
            raise Quarantined(Reason.PIXELS)
        if file.codec:
            self._decoder.check(file.transfer_syntax, pixels)
        syntax = file.transfer_syntax if file.codec else EXPLICIT
        head = (
            preamble(texts["SOPClassUID"], texts["SOPInstanceUID"], syntax),
            *header.elements,
            pixel_head(header.pixel_vr, None if file.codec else len(pixels.value)),
        )
        annotation = item.kind == ANNOTATION
        return Converted(
            pieces=(b"".join(head), pixels.value, header.after),
            counts=header.counts,
            study=texts["StudyInstanceUID"],
            modality=texts["Modality"],
            manufacturer=texts["Manufacturer"],
            model=texts["ManufacturerModelName"],
            reader=texts["ContentCreatorName"] if annotation else "",
            slice=None if annotation else slice_of(header.facts),
            references=_references(header.facts) if annotation else frozenset(),
        )

    def _document(self, item: Item, file: RawFile) -> Converted:
        document = convert_document(file, self._rules, self._limits)
        texts = {keyword: str(document.result.get(keyword) or "") for keyword in _TEXTS}
        uids = [texts["SeriesInstanceUID"], texts["SOPInstanceUID"]]
        if uids != [item.series, item.sop] or not texts["StudyInstanceUID"]:
            raise Quarantined(Reason.NO_UID)
        return Converted(
            pieces=(document.data,),
            counts=document.counts,
            study=texts["StudyInstanceUID"],
            modality=texts["Modality"],
            manufacturer=texts["Manufacturer"],
            model=texts["ManufacturerModelName"],
            reader="",
            slice=None,
            references=frozenset(),
        )

    def _remembered(self, item: Item, file: RawFile) -> tuple[Header, Pixels] | None:
        """The header of an instance like an earlier one, and its pixels."""
        found = self._memo.find(file) if item.kind == IMAGE else None
        if found is None or found.at - file.at > self._limits.header_bytes:
            return None
        pixels = pixels_at(file, found.at, found.frame.shape, self._limits)
        if file.data[found.at + len(pixels.value) :] != found.frame.tail:
            return None
        header = fill(found)
        return None if header is None else (header, pixels)

    def _full(self, item: Item, file: RawFile) -> tuple[Header, Pixels]:
        """The header as pydicom reads and writes it, and the pixels."""
        scanned = scan(file.data, file.at, file.syntax, self._limits)
        source = read_header(file.data, scanned, file.syntax, self._limits)
        shape = shape_of(source, self._limits)
        if scanned.pixels is None or scanned.encapsulated != bool(file.codec):
            raise Quarantined(Reason.PIXELS)
        pixels = pixels_at(file, scanned.pixels.value, shape, self._limits)
        if len(pixels.value) != scanned.pixels.stop - scanned.pixels.value:
            raise Quarantined(Reason.PIXELS)
        check_burned_in(source)
        result, counts = pseudonymize(source, self._rules)
        if item.kind == ANNOTATION:
            result.ContentCreatorName = reader_of(source, self._rules)
        if not file.syntax.little:
            turn(result)
        header = header_of(result, counts, scanned, _FACTS)
        if not file.syntax.little:
            return header, replace(pixels, value=turned(pixels.value, header.pixel_vr or ""))
        if item.kind == IMAGE:
            self._memo.add(
                frame_of(file, scanned, source, header=header, shape=shape, rules=self._rules)
            )
        return header, pixels


def _references(facts: Mapping[str, Any]) -> frozenset[str]:
    items: list[Dataset] = facts["ReferencedSeriesSequence"] or []
    return frozenset(str(item.get("SeriesInstanceUID") or "") for item in items)
