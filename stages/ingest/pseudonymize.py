"""One data set in, its pseudonymized copy out: the profile applied at every depth.

The copy is built anew, element by element; what no rule lets pass is not in it. The source is not
changed. Nothing here reads or writes files.
"""

from __future__ import annotations

from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence

from stages.ingest import codes, keys
from stages.ingest.profile import EDITION, Action, Decision, decide, vocabulary
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.rules import Counts, Rules, known_words, reader_of, value_of
from stages.ingest.values import (
    DUMMIES,
    is_code_string,
    is_number_string,
    is_plain,
    is_technical,
    parts,
    shift,
)

PIXEL_DATA: Final = 0x7FE00010
_BULK: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def pseudonymize(source: Dataset, rules: Rules) -> tuple[Dataset, Counts]:
    """Apply the profile to a data set.

    Raises:
        Quarantined: sequences are nested deeper than the limit.
    """
    work = _Work(source, rules)
    result = work.copy(source, depth=0)
    result.SpecificCharacterSet = "ISO_IR 192"
    result.PatientName = result.PatientID = rules.subject
    _state(result, shifted=rules.days is not None)
    correct_ambiguous_vr(result, is_little_endian=True)
    return result, work.counts


class Alone:
    """The profile on single elements, for instances that share all else with a first one.

    What becomes of a date, number, UID or private value at the top depends on itself and on what
    `source` says of text, codes and structure; never on another of its kind. What the output states about
    itself is not added.
    """

    def __init__(self, source: Dataset, rules: Rules) -> None:
        self._work = _Work(source, rules)

    def pseudonymize(self, elements: Dataset, tag: int) -> tuple[DataElement | None, Counts]:
        """Apply the profile to an element of another instance.

        Args:
            elements: that element, the character set and the private blocks' creators.
            tag: which of them.
        """
        self._work.counts = Counts()
        return self._work.one(elements, tag, depth=0), self._work.counts


def _state(result: Dataset, *, shifted: bool) -> None:
    """Say what was done, and only that (PS3.15 Section E.3, PS3.16 CID 7050)."""
    done = [("113100", "Basic Application Confidentiality Profile")]
    done.append(("113105", "Clean Descriptors Option"))
    if shifted:
        done.append(
            ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
        )
    result.PatientIdentityRemoved = "YES"
    result.DeidentificationMethod = f"{EDITION} Annex E"
    result.DeidentificationMethodCodeSequence = Sequence(
        [codes.item_of((value, "DCM", meaning)) for value, meaning in done]
    )
    result.LongitudinalTemporalInformationModified = "MODIFIED" if shifted else "REMOVED"


class _Work:
    """One pass over one instance."""

    def __init__(self, source: Dataset, rules: Rules) -> None:
        self.rules = rules
        self.counts = Counts()
        self.root = source
        self.known = known_words(source)

    def copy(self, source: Dataset, depth: int) -> Dataset:
        """The elements of a data set or item that pass."""
        if depth > self.rules.depth:
            raise Quarantined(Reason.TOO_DEEP)
        result = Dataset()
        coded = codes.is_code(source)
        if coded:
            result = codes.item_of(codes.known(source, self.rules.codes))
            self.counts.kept += 1
        for tag in sorted(source.keys()):
            if coded and codes.FIRST <= tag <= codes.LAST:
                continue
            element = self.one(source, int(tag), depth)
            if element is not None:
                result[tag] = element
        return result

    def one(self, source: Dataset, tag: int, depth: int) -> DataElement | None:
        """What becomes of one element; None if it is removed."""
        decision = decide(tag, dates=self.rules.days is not None)
        element = None
        if decision.action is not Action.REMOVE and not (depth and tag == PIXEL_DATA):
            element = self._element(source, tag, decision, depth)
        self.counts.removed += element is None
        return element

    def _element(
        self, source: Dataset, tag: int, decision: Decision, depth: int
    ) -> DataElement | None:
        if decision.action in (Action.EMPTY, Action.DUMMY):
            return self._fixed(decision.action, tag, decision.vr, None)
        try:
            element = source[tag]
            fits = element.VR in (decision.vr, *decision.vr.split(" or "))
        except Quarantined:
            raise
        except Exception:  # noqa: BLE001 - any fault of the parser: then the value is invalid
            return self._fixed(decision.otherwise, tag, decision.vr, None)
        allowed = self._allowed(element, decision, source, depth) if fits else None
        if allowed is None:
            return self._fixed(decision.otherwise, tag, decision.vr, element.value)
        return allowed

    def _allowed(
        self, element: DataElement, decision: Decision, source: Dataset, depth: int
    ) -> DataElement | None:
        """The element under the decision's first action, None where its value does not allow it."""
        value = element.value
        match decision.action:
            case Action.ITEMS:
                items = Sequence([self.copy(item, depth + 1) for item in value])
                return DataElement(element.tag, "SQ", items)
            case Action.UID:
                uids = [keys.replace_uid(self.rules.uid_key, uid) for uid in parts(value) if uid]
                self.counts.uids += len(uids)
                return DataElement(element.tag, "UI", uids or None)
            case Action.SHIFT:
                moved = shift(decision.vr, value, self.rules.days or 0)
                self.counts.shifted += moved is not None
                return None if moved is None else _text(element, moved)
            case Action.KEEP:
                passes = _passes(element)
            case Action.TEXT:
                passes = is_plain(value, vocabulary(), self.known)
            case Action.TOKEN:
                passes = is_technical(value, self.known)
            case _:
                return self._named(element, decision.action, source)
        self.counts.kept += passes
        return element if passes else None

    def _named(self, element: DataElement, action: Action, source: Dataset) -> DataElement | None:
        """Values that this product writes in place of the source's."""
        label = str(value_of(source, "SegmentLabel") or "").strip()
        known = self.rules.labels.get(label.casefold())
        said = "\\".join(parts(element.value))
        self.counts.replaced += 1
        match action:
            case Action.SUBJECT:
                return _text(element, [self.rules.subject])
            case Action.READER:
                return _text(element, [reader_of(self.root, self.rules)])
            case Action.LABEL:
                number = parts(value_of(source, "SegmentNumber"))
                return _text(element, [known[0] if known else " ".join(["segment", *number])])
            case Action.CLASS if known and said.casefold() in known[1]:
                return _text(element, [said.casefold()])
        self.counts.replaced -= 1
        return None

    def _fixed(self, action: Action, tag: int, vr: str, value: Any) -> DataElement | None:
        """The element under an action that keeps nothing of its value."""
        kind = vr.split(" or ", maxsplit=1)[0]
        if action is Action.EMPTY:
            self.counts.emptied += 1
            return DataElement(tag, kind, Sequence() if kind == "SQ" else None)
        if action is Action.DUMMY and (kind in DUMMIES):
            self.counts.replaced += 1
            return DataElement(tag, kind, DUMMIES[kind])
        if action is Action.DUMMY and kind == "UI":
            self.counts.uids += 1
            replaced = [keys.replace_uid(self.rules.uid_key, uid) for uid in parts(value)]
            return DataElement(tag, kind, replaced or keys.replace_uid(self.rules.uid_key, ""))
        return None


def _passes(element: DataElement) -> bool:
    if element.VR == "CS":
        return is_code_string(element.value)
    if element.VR in ("DS", "IS"):
        return is_number_string(element.value)
    if element.VR in _BULK:
        return isinstance(element.value, bytes)
    return True


def _text(element: DataElement, texts: list[str]) -> DataElement:
    return DataElement(element.tag, element.VR, texts[0] if len(texts) == 1 else texts or None)
