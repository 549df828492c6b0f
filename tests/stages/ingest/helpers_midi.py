"""A scorer with the ten actions of the MIDI-B challenge, written from their descriptions.

Every element of a source instance gets the actions that it must pass, from the standard's table,
its VR and what was planted; never from what the product decides. Stricter than the challenge's own
validator in three ways: a missing instance fails all its checks, dates are held to one shift for
each subject (so that intervals are exact), and pixels are compared as a whole.

| action | passes if |
| --- | --- |
| tag_retained | the element is there |
| text_notnull | it has a value |
| text_retained | it has the source's value |
| text_removed | none of what was planted in it is anywhere in the instance |
| date_shifted | it moved by the subject's one shift, which is not 0 |
| uid_changed | it is there, and another UID |
| uid_consistent | one source UID has one UID, and the other way round, over the whole cohort |
| patid_consistent | one patient ID has one pseudonym, and the other way round, over the cohort |
| pixels_hidden | a box that held text has one value, and OCR reads nothing in all the image |
| pixels_retained | all pixels farther from such a box than a margin are the source's |

Source: the MIDI-B challenge's description of its validation (Synapse syn53065760).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import import_module
from typing import Any, Final

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from stages.ingest.tables import Row, rows, safe_private

ACTIONS: Final = (
    "tag_retained",
    "text_notnull",
    "text_removed",
    "text_retained",
    "date_shifted",
    "uid_changed",
    "uid_consistent",
    "patid_consistent",
    "pixels_hidden",
    "pixels_retained",
)
OVER_REMOVAL: Final = ("tag_retained", "text_notnull", "text_retained", "pixels_retained")
"""Actions whose failure is a loss, not a leak."""

Path = tuple[tuple[int, int], ...]
"""(tag, index of the item) from the top; the last index is 0."""
Box = tuple[slice, ...]
_NUMBERS: Final = frozenset(["DS", "IS", "US", "SS", "UL", "SL", "FD", "FL", "AT", "CS"])
_REQUIRED: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "Manufacturer",
)
_TECHNICAL: Final = (
    "SeriesDescription",
    "ProtocolName",
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "RescaleType",
)


@dataclass(frozen=True)
class Pair:
    """A source instance, and what came of it; None if nothing did."""

    source: Dataset = field(repr=False)
    output: Dataset | None = field(repr=False)
    data: bytes = field(default=b"", repr=False)
    """The output's bytes."""
    boxes: tuple[Box, ...] = ()
    """Where text is burned into the source's pixels."""
    margin: int = 0
    """Pixels around a box of text that may be blanked with it."""


@dataclass
class Score:
    """Checks and passes by action, and what failed."""

    checks: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(action, keyword) → how often."""

    def add(self, action: str, keyword: str, *, passed: bool) -> None:
        self.checks[action] += 1
        self.passed[action] += passed
        if not passed:
            self.failed[action, keyword] += 1

    @property
    def fraction(self) -> float:
        return sum(self.passed.values()) / max(sum(self.checks.values()), 1)

    @property
    def over_removed(self) -> int:
        return sum(self.checks[name] - self.passed[name] for name in OVER_REMOVAL)

    def lines(self) -> Iterator[str]:
        for name in ACTIONS:
            share = f"{self.passed[name] / self.checks[name]:.4%}" if self.checks[name] else "none"
            yield f"{name:17}{self.checks[name]:9}{self.passed[name]:9}  {share}"
        total, good = sum(self.checks.values()), sum(self.passed.values())
        yield f"{'all':17}{total:9}{good:9}  {self.fraction:.4%}"
        yield f"over-removed: {self.over_removed}"


def score(pairs: Iterable[Pair], planted: Iterable[str]) -> Score:
    """Hold outputs against their sources.

    Args:
        pairs: every source instance of the cohort.
        planted: texts that must not be left.
    """
    result = Score()
    cohort = _Cohort(list(pairs), planted)
    for pair in cohort.pairs:
        for action, element, path in answers(pair, cohort.needles):
            passed = pair.output is not None and cohort.passes(action, element, path, pair)
            result.add(action, element.keyword or f"{int(element.tag):08x}", passed=passed)
    return result


def answers(pair: Pair, needles: list[str]) -> Iterator[tuple[str, DataElement, Path]]:
    """What the elements of a source must pass."""
    for element, path in _walk(pair.source):
        tag, row = int(element.tag), rows().get(int(element.tag))
        if tag == 0x7FE00010:
            yield "pixels_retained", element, path
            if pair.boxes:
                yield "pixels_hidden", element, path
            continue
        if element.keyword == "PatientID" and len(path) == 1:
            yield "patid_consistent", element, path
            yield "text_notnull", element, path
        if any(needle in _string(element) for needle in needles):
            yield "text_removed", element, path
            continue
        if _goes(pair.source, path):
            continue
        yield from ((action, element, path) for action in _actions(element, row, path))


def _actions(element: DataElement, row: Row | None, path: Path) -> Iterator[str]:
    texts = _string(element)
    keyword = element.keyword
    if len(path) == 1 and keyword in _REQUIRED:
        yield "text_notnull"
    if not texts or keyword in ("PatientName", "SpecificCharacterSet", "BurnedInAnnotation"):
        return
    if element.VR == "UI":
        yield from ("text_retained",) if _well_known(texts) else ("uid_changed", "uid_consistent")
    elif element.VR in ("DA", "DT"):
        yield from ("date_shifted",) if row is None or row.modified_dates else ()
    elif element.VR == "TM":
        yield "text_retained"
    elif (element.VR in _NUMBERS and row is None) or keyword in _TECHNICAL:
        yield from ("tag_retained", "text_retained")


def _goes(source: Dataset, path: Path) -> bool:
    """Whether the standard's table, or the lack of a safe creator, takes an element away."""
    dataset = source
    for tag, index in path:
        row = rows().get(tag)
        if (tag >> 16) % 2:
            creator = dataset.get(((tag >> 16) << 16) | ((tag & 0xFF00) >> 8))
            name = str(creator.value) if creator else ""
            if (name, tag >> 16, tag & 0xFF) not in safe_private():
                return True
        elif (
            row
            and row.basic[0] in "XZD"
            and not (
                row.modified_dates or row.descriptors or row.basic.endswith("U*") or row.structured
            )
        ) or 0x5000 <= tag >> 16 <= 0x60FF:
            return True
        element = dataset[tag]
        if element.VR == "SQ" and index < len(element.value):
            dataset = element.value[index]
        if "CodeMeaning" in dataset or "CodeValue" in dataset or "LongCodeValue" in dataset:
            return True
    return False


class Links:
    """Which new name stands for which old one."""

    def __init__(self) -> None:
        self._new: dict[str, set[str]] = defaultdict(set)
        self._old: dict[str, set[str]] = defaultdict(set)

    def learn(self, old: str, new: str) -> None:
        self._new[old].add(new)
        self._old[new].add(old)

    def one_to_one(self, old: str, new: str) -> bool:
        return self._new[old] == {new} and self._old[new] == {old} and old != new


class _Cohort:
    """What only the whole cohort tells: which name stands for which, and how far dates moved."""

    def __init__(self, pairs: list[Pair], planted: Iterable[str]) -> None:
        self.pairs = pairs
        self.needles = sorted({text for text in planted if len(text) >= 4})
        self._uids, self._patients = Links(), Links()
        self._shifts: dict[str, set[int | None]] = defaultdict(set)
        for pair in pairs:
            self._learn(pair)
        self._tests: dict[str, Callable[[DataElement, DataElement, Pair], bool]] = {
            "tag_retained": lambda _element, _there, _pair: True,
            "text_notnull": lambda _element, there, _pair: bool(_string(there)),
            "text_retained": lambda element, there, _pair: _same(element, there),
            "date_shifted": self._shifted,
            "uid_changed": lambda element, there, _pair: _changed(element, there),
            "uid_consistent": lambda element, there, _pair: self._linked(element, there),
            "patid_consistent": lambda element, there, _pair: self._patients.one_to_one(
                _string(element), _string(there)
            ),
            "pixels_hidden": lambda _element, _there, pair: _hidden(pair),
            "pixels_retained": lambda _element, _there, pair: _pixels_retained(pair),
        }

    def passes(self, action: str, element: DataElement, path: Path, pair: Pair) -> bool:
        """Whether an instance that is there passes an action."""
        if action == "text_removed":
            planted = [needle for needle in self.needles if needle in _string(element)]
            codecs = ("utf-8", "utf-16-le")
            return not any(n.encode(codec) in pair.data for n in planted for codec in codecs)
        there = _at(pair.output, path)
        return there is not None and self._tests[action](element, there, pair)

    def _learn(self, pair: Pair) -> None:
        if pair.output is None:
            return
        patient = str(pair.source.PatientID)
        self._patients.learn(patient, str(pair.output.get("PatientID")))
        for element, path in _walk(pair.source):
            there = _at(pair.output, path)
            if there is None:
                continue
            if element.VR == "UI" and not _well_known(_string(element)):
                for old, new in zip(_values(element), _values(there), strict=False):
                    self._uids.learn(old, new)
            if element.keyword == "StudyDate":
                self._shifts[patient].add(_moved(element, there))

    def _shifted(self, element: DataElement, there: DataElement, pair: Pair) -> bool:
        moves = self._shifts[str(pair.source.PatientID)]
        return len(moves) == 1 and not moves & {0, None} and _moved(element, there) in moves

    def _linked(self, element: DataElement, there: DataElement) -> bool:
        old, new = _values(element), _values(there)
        return len(old) == len(new) and all(map(self._uids.one_to_one, old, new))


def _changed(element: DataElement, there: DataElement) -> bool:
    old, new = _values(element), _values(there)
    return len(old) == len(new) and not set(old) & set(new)


def _hidden(pair: Pair) -> bool:
    assert pair.output is not None
    after = pair.output.pixel_array
    blank = all(len(set(after[box].ravel().tolist())) == 1 for box in pair.boxes)
    return blank and not _reads(after)


def _reads(image: Any) -> bool:
    """Whether an OCR engine reads anything in a gray image of 8 bits, wherever it stands."""
    found, _ = _engine()(np.repeat(image.astype(np.uint8)[..., None], 3, axis=2))
    return bool(found)


@cache
def _engine() -> Any:
    return import_module("rapidocr_onnxruntime").RapidOCR()


def _pixels_retained(pair: Pair) -> bool:
    assert pair.output is not None
    if not pair.boxes:
        return bool(pair.source.PixelData == pair.output.PixelData)
    before, after = pair.source.pixel_array.copy(), pair.output.pixel_array.copy()
    for box in pair.boxes:
        sides = ((max(side.start - pair.margin, 0), side.stop + pair.margin) for side in box)
        wider = tuple(slice(*side) for side in sides)
        before[wider] = after[wider] = 0
    return before.shape == after.shape and bool((before == after).all())


def _walk(dataset: Dataset, above: Path = ()) -> Iterator[tuple[DataElement, Path]]:
    for element in dataset:
        tag = int(element.tag)
        if element.VR != "SQ":
            yield element, (*above, (tag, 0))
            continue
        for index, item in enumerate(element.value):
            yield from _walk(item, (*above, (tag, index)))


def _at(dataset: Dataset | None, path: Path) -> DataElement | None:
    if dataset is None:
        return None
    for tag, index in path[:-1]:
        items = dataset[tag].value if tag in dataset else []
        if index >= len(items):
            return None
        dataset = items[index]
    tag = path[-1][0]
    return dataset[tag] if tag in dataset else None  # noqa: SIM401 - `get` gives the value


def _values(element: DataElement) -> list[str]:
    value: Any = element.value
    several = value if element.VM > 1 else [] if value in (None, "") else [value]
    return [str(one) for one in several]


def _string(element: DataElement) -> str:
    if isinstance(element.value, bytes):
        return element.value.decode("latin-1")
    return "\\".join(_values(element))


def _same(element: DataElement, there: DataElement) -> bool:
    if element.VR in ("DS", "IS", "FD", "FL"):
        return [float(one) for one in _values(element)] == [float(one) for one in _values(there)]
    return _values(element) == _values(there)


def _moved(element: DataElement, there: DataElement) -> int | None:
    """Days by which a date moved; None if it is none, or its time changed."""
    old, new = _values(element), _values(there)
    days = set()
    for before, after in zip(old, new, strict=False):
        if before[8:] != after[8:] or len(after) < 8:
            return None
        days.add((_day(after) - _day(before)).days)
    return days.pop() if len(days) == 1 and len(old) == len(new) else None


def _day(text: str) -> date:
    return date(int(text[:4]), int(text[4:6]), int(text[6:8]))


def _well_known(uid: str) -> bool:
    return uid.startswith("1.2.840.10008.")
