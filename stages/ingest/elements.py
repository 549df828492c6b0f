"""What becomes of one element's value under its action; sequences are `pseudonymize.py`'s.

Every function gives the element of the output, or None where the value does not allow the action.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest import keys
from stages.ingest.counts import Counts, Done
from stages.ingest.known import Known
from stages.ingest.profile import Action
from stages.ingest.rules import Rules, reader_of, value_of
from stages.ingest.spellings import packed
from stages.ingest.text import clean
from stages.ingest.values import (
    DUMMIES,
    in_range,
    is_age,
    is_code_string,
    is_foreign,
    is_number,
    is_technical,
    is_uid,
    parts,
    shift,
)

PIXEL_DATA: Final = 0x7FE00010
_BULK: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ORDINAL: Final = re.compile(r"[0-9]{1,5}")
_NUMBERS: Final = frozenset({"DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})


@dataclass
class Elements:
    """The actions on values, for one instance."""

    root: Dataset
    rules: Rules
    known: Known
    counts: Counts

    def allowed(self, element: DataElement, action: Action, source: Dataset) -> DataElement | None:
        """The element under an action that looks at its value.

        Args:
            element: of the source, its VR that of the dictionary.
            action: any but those for sequences, and those that look at nothing.
            source: the data set or item that it stands in.
        """
        if action in _TESTS:
            passes = _TESTS[action](self, element)
            self.counts.add(int(element.tag), Done.KEPT, passes)
            return element if passes else None
        if action in _CHANGES:
            done, texts = _CHANGES[action](self, element)
        else:
            done, texts = Done.REPLACED, self._named(element, action, source)
        if texts is None:
            return None
        self.counts.add(int(element.tag), done, len(texts) if done is Done.UIDS else 1)
        return DataElement(element.tag, element.VR, texts[0] if len(texts) == 1 else texts or None)

    def fixed(self, action: Action, tag: int, vr: str, value: Any) -> DataElement | None:
        """The element under an action that keeps nothing of its value."""
        kind = vr.split(" or ", maxsplit=1)[0]
        if action is Action.EMPTY:
            self.counts.add(tag, Done.EMPTIED)
            return DataElement(tag, kind, Sequence() if kind == "SQ" else None)
        if action is Action.DUMMY and (kind in DUMMIES):
            self.counts.add(tag, Done.REPLACED)
            return DataElement(tag, kind, DUMMIES[kind])
        if action in (Action.DUMMY, Action.UID) and kind == "UI":
            self.counts.add(tag, Done.UIDS)
            replaced = [keys.replace_uid(self.rules.uid_key, uid) for uid in parts(value)]
            return DataElement(tag, kind, replaced or keys.replace_uid(self.rules.uid_key, ""))
        return None

    def _named(self, element: DataElement, action: Action, source: Dataset) -> list[str] | None:
        """Values that this product writes in place of the source's."""
        label = str(value_of(source, "SegmentLabel") or "").strip()
        known = self.rules.labels.get(label.casefold())
        said = "\\".join(parts(element.value))
        match action:
            case Action.SUBJECT:
                return [self.rules.subject]
            case Action.READER:
                return [reader_of(self.root, self.rules)]
            case Action.LABEL:
                number = [
                    n for n in parts(value_of(source, "SegmentNumber")) if _ORDINAL.fullmatch(n)
                ]
                return [known[0] if known else " ".join(["segment", *number])]
            case Action.CLASS if known and said.casefold() in known[1]:
                return [said.casefold()]
        return None


def _uid(at: Elements, element: DataElement) -> tuple[Done, list[str] | None]:
    uids = [uid for uid in parts(element.value) if uid]
    return Done.UIDS, [keys.replace_uid(at.rules.uid_key, uid) for uid in uids]


def _shift(at: Elements, element: DataElement) -> tuple[Done, list[str] | None]:
    return Done.SHIFTED, shift(element.VR, element.value, at.rules.days or 0)


def _text(at: Elements, element: DataElement) -> tuple[Done, list[str] | None]:
    cleaned = clean(element.VR, parts(element.value), at.known)
    done = Done.CLEANED if cleaned.removed else Done.KEPT
    return done, list(cleaned.texts) or None


def _term(at: Elements, element: DataElement) -> tuple[Done, list[str] | None]:
    texts = parts(element.value)
    kept = [text if is_code_string(text, at.known) else DUMMIES["CS"] for text in texts]
    return Done.KEPT if kept == texts else Done.REPLACED, kept


def _range(_at: Elements, element: DataElement) -> tuple[Done, list[str] | None]:
    return Done.REPLACED, in_range(int(element.tag), element.value)


def _device(at: Elements, element: DataElement) -> tuple[Done, list[str] | None]:
    names = [text for text in parts(element.value) if text]
    key = at.rules.device_key
    return Done.REPLACED, [keys.device(key, name) for name in names] or None


def _keeps(at: Elements, element: DataElement) -> bool:
    value, kinds = element.value, set(element.VR.split(" or "))
    if element.tag == PIXEL_DATA:
        return isinstance(value, bytes)
    if isinstance(value, bytes) and kinds & (_BULK | _NUMBERS):
        return not at.known.in_bytes(value)
    if kinds & _NUMBERS:
        return not _spells(value, kinds, at.known) and is_number(value, at.known)
    if element.VR == "CS":
        return all(is_code_string(text, at.known) for text in parts(value))
    tests = {"UI": is_uid, "AS": is_age}
    if element.VR in tests:
        return all(tests[element.VR](text) for text in parts(value) if text)
    return element.VR in ("AT", "DA", "DT", "TM") and not _spells(value, kinds, at.known)


def _spells(value: Any, vrs: set[str], known: Known) -> bool:
    """Whether numbers are the letters of one of the subject's words."""
    return any(known.in_bytes(data) for data in packed(value, vrs))


def _technical(at: Elements, element: DataElement) -> bool:
    return is_technical(element.value, at.known)


def _foreign(at: Elements, element: DataElement) -> bool:
    return is_foreign(element.value, at.known)


_TESTS: Final[dict[Action, Callable[[Elements, DataElement], bool]]] = {
    Action.KEEP: _keeps,
    Action.TOKEN: _technical,
    Action.NAME: _foreign,
}
_CHANGES: Final[dict[Action, Callable[[Elements, DataElement], tuple[Done, list[str] | None]]]] = {
    Action.UID: _uid,
    Action.SHIFT: _shift,
    Action.TEXT: _text,
    Action.TERM: _term,
    Action.RANGE: _range,
    Action.DEVICE: _device,
}
