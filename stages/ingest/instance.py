"""One instance: bytes in, pseudonymized bytes and the facts that its series is judged by out.

The header goes through the profile; the pixel data's bytes pass on as they are, neither decoded nor
copied (`raw_pixels.py`), unless text is looked for in them (`pixels.py`). What equals an earlier
instance is looked up (`raw_memo.py`). An own output passes byte for byte (`own.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from pydicom.dataset import Dataset

from stages.artifact import Digest
from stages.ingest.counts import Counts
from stages.ingest.document import DOCUMENT, convert_document
from stages.ingest.geometry import KEYWORDS, Place, place_of
from stages.ingest.header import parsed, quiet, read_header
from stages.ingest.params import Limits, PixelParams
from stages.ingest.pixels import (
    PICTURE,
    UNTOUCHED,
    Treated,
    is_sampled,
    look_of,
    must_look,
    state,
    treat,
)
from stages.ingest.pixels_box import Looker
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import PIXEL_DATA, Buffer, scan
from stages.ingest.raw_file import ENCAPSULATED, EXPLICIT, RawFile, open_file
from stages.ingest.raw_frame import Header, frame_of, header_of
from stages.ingest.raw_memo import Memo, fill
from stages.ingest.raw_pixels import pixels_at, shape_of, turn, turned
from stages.ingest.raw_write import pixel_head, preamble
from stages.ingest.rules import Rules, reader_of, value_of
from stages.ingest.sandbox import Decoder
from stages.ingest.sources import Handle

ANNOTATION: Final = "annotation"
IMAGE: Final = "image"
OWN: Final = "own"
"""What stands for the pixels of an own output: it passed as it was."""
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
_BODY: Final = ("BodyPartExamined", "StudyDescription", "SeriesDescription", "ProtocolName")
_FACTS: Final = (*_TEXTS, *_BODY, "ReferencedSeriesSequence", *KEYWORDS)


@dataclass(frozen=True, slots=True)
class Item:
    """An instance to take in, by its new UIDs."""

    kind: str
    series: str
    sop: str
    sha256: Digest
    handle: Handle = field(repr=False)
    own: bool = False
    """Whether it is this project's own output, which passes as it is."""


@dataclass(frozen=True, slots=True)
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
    place: Place | None
    """Of an image."""
    references: frozenset[str]
    """Series that an annotation refers to."""
    body: str = ""
    """Body part and descriptions, as they pass."""
    pixels: str = UNTOUCHED
    """What was done to the pixels."""
    text_boxes: int = 0
    """Lines of text that were blanked."""

    def without_data(self) -> Self:
        """The facts alone, to be kept while the series is written."""
        return replace(self, pieces=())


class Converter:
    """Converts one subject's instances, one after the other; a context manager.

    While it is open, no library quotes a value (`quiet`).
    """

    def __init__(self, rules: Rules, limits: Limits, pixels: PixelParams | None = None) -> None:
        self._rules = rules
        self._limits = limits
        self._pixels = pixels or PixelParams()
        self._memo = Memo()
        self._decoder = Decoder()
        self._looker = Looker()
        self._open = ExitStack()
        self.with_text: set[str] = set()
        """Series with an instance in which text was found and not blanked."""

    def __enter__(self) -> Self:
        self._open.enter_context(quiet())
        return self

    def __exit__(self, *_: object) -> None:
        with self._open:
            self._decoder.close()
            self._looker.close()

    def convert(self, item: Item, data: Buffer) -> Converted:
        """Check, pseudonymize and write an instance anew.

        Raises:
            Quarantined: it is damaged or not what it was when its header was read.
        """
        try:
            file = open_file(data, self._limits)
            return self._own(item, data, file) if item.own else self._convert(item, file)
        except Quarantined as error:
            if error.reason is Reason.TEXT:
                self.with_text.add(item.series)
            raise
        except Exception:  # noqa: BLE001 - a fault of the file, whose text may quote values
            raise Quarantined(Reason.CORRUPT) from None

    def _convert(self, item: Item, file: RawFile) -> Converted:
        if item.kind == DOCUMENT:
            return self._document(item, file)
        if file.codec and item.kind not in (IMAGE, PICTURE):
            raise Quarantined(Reason.TRANSFER_SYNTAX)
        sampled = is_sampled(self._rules.uid_key, item.sop, self._pixels.sampled)
        looked = must_look(item.kind, self._pixels, sampled=sampled)
        found = None if looked else self._remembered(item, file)
        header, treated = found or self._full(item, file, sampled=sampled)
        texts = {keyword: str(header.facts[keyword] or "") for keyword in _TEXTS}
        uids = [texts["SeriesInstanceUID"], texts["SOPInstanceUID"]]
        if uids != [item.series, item.sop] or not texts["StudyInstanceUID"]:
            raise Quarantined(Reason.NO_UID)
        if header.pixel_vr is None:
            raise Quarantined(Reason.PIXELS)
        if file.codec and treated.done == UNTOUCHED:
            self._decoder.check(file.transfer_syntax, treated.pixels)
        syntax = treated.transfer_syntax if file.codec else EXPLICIT
        value = treated.pixels.value
        native = syntax not in ENCAPSULATED and treated.pixels.shape.bits > 8
        vr = "OW" if file.codec and native else header.pixel_vr
        head = (
            preamble(texts["SOPClassUID"], texts["SOPInstanceUID"], syntax),
            *header.elements,
            pixel_head(vr, None if syntax in ENCAPSULATED else len(value)),
        )
        annotation = item.kind == ANNOTATION
        return Converted(
            pieces=(b"".join(head), value, header.after),
            counts=header.counts,
            study=texts["StudyInstanceUID"],
            modality=texts["Modality"],
            manufacturer=texts["Manufacturer"],
            model=texts["ManufacturerModelName"],
            reader=texts["ContentCreatorName"] if annotation else "",
            place=None if annotation else place_of(header.facts),
            references=_references(header.facts) if annotation else frozenset(),
            body=" ".join(str(header.facts[keyword] or "") for keyword in _BODY),
            pixels=treated.done,
            text_boxes=treated.text_boxes,
        )

    def _own(self, item: Item, data: Buffer, file: RawFile) -> Converted:
        """An own output's facts; not a byte of it is changed, and nothing is done to it."""
        scanned = scan(file.data, file.at, file.syntax, self._limits)
        if scanned.pixels is None:
            source = parsed(bytes(file.data[scanned.start : scanned.stop]), file.syntax)
        else:
            source = read_header(file.data, scanned, file.syntax, self._limits)
        return replace(_facts(item, source, data, Counts()), pixels=OWN)

    def _document(self, item: Item, file: RawFile) -> Converted:
        document = convert_document(file, self._rules, self._limits)
        return _facts(item, document.result, document.data, document.counts)

    def _remembered(self, item: Item, file: RawFile) -> tuple[Header, Treated] | None:
        """The header of an instance like an earlier one, and its pixels."""
        found = self._memo.find(file) if item.kind == IMAGE else None
        if found is None or found.at - file.at > self._limits.header_bytes:
            return None
        pixels = pixels_at(file, found.at, found.frame.shape, self._limits)
        if file.data[found.at + len(pixels.value) :] != found.frame.tail:
            return None
        header = fill(found)
        return None if header is None else (header, Treated(pixels, file.transfer_syntax))

    def _full(self, item: Item, file: RawFile, *, sampled: bool) -> tuple[Header, Treated]:
        """The header as pydicom reads and writes it, and the pixels."""
        scanned = scan(file.data, file.at, file.syntax, self._limits)
        source = read_header(file.data, scanned, file.syntax, self._limits)
        shape = shape_of(source, self._limits)
        if scanned.pixels is None or scanned.encapsulated != bool(file.codec):
            raise Quarantined(Reason.PIXELS)
        pixels = pixels_at(file, scanned.pixels.value, shape, self._limits)
        if len(pixels.value) != scanned.pixels.stop - scanned.pixels.value:
            raise Quarantined(Reason.PIXELS)
        look = look_of(source, item.kind)
        result, counts = pseudonymize(source, self._rules)
        if item.kind == ANNOTATION:
            result.ContentCreatorName = reader_of(source, self._rules)
        if not file.syntax.little:
            turn(result)
            pixels = replace(pixels, value=turned(pixels.value, _pixel_vr(result)))
        treated = treat(
            file,
            source,
            pixels,
            look=look,
            sampled=sampled,
            params=self._pixels,
            looker=self._looker,
        )
        state(result, treated, file.transfer_syntax)
        header = header_of(result, counts, scanned, _FACTS)
        untouched = treated.done == UNTOUCHED and treated.pixels is pixels
        if item.kind == IMAGE and file.syntax.little and untouched:
            self._memo.add(
                frame_of(file, scanned, source, header=header, shape=shape, rules=self._rules)
            )
        return header, treated


def _facts(item: Item, result: Dataset, data: Buffer, counts: Counts) -> Converted:
    """What a data set says of itself, which is written as it stands in `data`.

    Raises:
        Quarantined: its UIDs are not the item's.
    """
    facts = {keyword: value_of(result, keyword) for keyword in _FACTS}
    texts = {keyword: str(facts[keyword] or "") for keyword in _TEXTS}
    uids = [texts["SeriesInstanceUID"], texts["SOPInstanceUID"]]
    if uids != [item.series, item.sop] or not texts["StudyInstanceUID"]:
        raise Quarantined(Reason.NO_UID)
    annotation = item.kind == ANNOTATION
    return Converted(
        pieces=(data,),
        counts=counts,
        study=texts["StudyInstanceUID"],
        modality=texts["Modality"],
        manufacturer=texts["Manufacturer"],
        model=texts["ManufacturerModelName"],
        reader=texts["ContentCreatorName"] if annotation else "",
        place=place_of(facts) if item.kind in (IMAGE, PICTURE) else None,
        references=_references(facts) if annotation else frozenset(),
        body=" ".join(str(facts[keyword] or "") for keyword in _BODY),
    )


def _pixel_vr(result: Dataset) -> str:
    return str(result[PIXEL_DATA].VR) if PIXEL_DATA in result else ""


def _references(facts: Mapping[str, Any]) -> frozenset[str]:
    items: list[Dataset] = facts["ReferencedSeriesSequence"] or []
    return frozenset(str(item.get("SeriesInstanceUID") or "") for item in items)
