"""One instance: bytes in, pseudonymized bytes and the facts that its series is judged by out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Self

from pydicom.dataset import Dataset

from stages.artifact import Digest
from stages.ingest.counts import Counts
from stages.ingest.geometry import Slice, slice_of
from stages.ingest.header import encode, parse, quiet
from stages.ingest.params import Limits
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.rules import Rules, reader_of
from stages.ingest.sources import Handle

ANNOTATION: Final = "annotation"
IMAGE: Final = "image"


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

    data: bytes = field(repr=False)
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
        return replace(self, data=b"")


def convert(item: Item, data: bytes, rules: Rules, limits: Limits) -> Converted:
    """Check, pseudonymize and write an instance anew.

    Raises:
        Quarantined: it is damaged or not what it was when its header was read.
    """
    with quiet():
        source = parse(data, limits)
        try:
            return _convert(item, source, rules)
        except Quarantined:
            raise
        except Exception:  # noqa: BLE001 - a fault of the file, whose text may quote values
            raise Quarantined(Reason.CORRUPT) from None


def _convert(item: Item, source: Dataset, rules: Rules) -> Converted:
    result, counts = pseudonymize(source, rules)
    reader = ""
    if item.kind == ANNOTATION:
        reader = result.ContentCreatorName = reader_of(source, rules)
    uids = [_text(result, name) for name in ("SeriesInstanceUID", "SOPInstanceUID")]
    study = _text(result, "StudyInstanceUID")
    if uids != [item.series, item.sop] or not study:
        raise Quarantined(Reason.NO_UID)
    return Converted(
        data=encode(result),
        counts=counts,
        study=study,
        modality=_text(result, "Modality"),
        manufacturer=_text(result, "Manufacturer"),
        model=_text(result, "ManufacturerModelName"),
        reader=reader,
        slice=slice_of(result) if item.kind == IMAGE else None,
        references=_references(result) if item.kind == ANNOTATION else frozenset(),
    )


def _references(result: Dataset) -> frozenset[str]:
    items = result.get("ReferencedSeriesSequence") or ()
    return frozenset(_text(item, "SeriesInstanceUID") for item in items)


def _text(result: Dataset, keyword: str) -> str:
    return str(result.get(keyword) or "")
