"""One data set in, its pseudonymized copy out: the profile applied at every depth.

The copy is built anew, element by element; what no rule lets pass is not in it. The source is not
changed. Nothing here reads or writes files.
"""

from __future__ import annotations

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.sequence import Sequence

from stages.ingest import codes, private
from stages.ingest.counts import Counts, Done
from stages.ingest.elements import PIXEL_DATA, Elements
from stages.ingest.known import known_of
from stages.ingest.profile import SAFE_PRIVATE, Action, Dates, Policy, decide
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.rules import Rules, value_of
from stages.ingest.statement import state
from stages.ingest.tables import classes

_PRIVATE: dict[str, Action] = {"SQ": Action.ITEMS, "LO": Action.TOKEN, "SH": Action.TOKEN}
"""VR → the action of a safe private element; numbers and code strings are kept."""


def pseudonymize(source: Dataset, rules: Rules) -> tuple[Dataset, Counts]:
    """Apply the profile to a data set.

    Raises:
        Quarantined: sequences are nested deeper than the limit, or the option that would clean an
            object of this kind is off.
    """
    work = _Work(source, rules)
    result = work.copy(source, depth=0)
    result.SpecificCharacterSet = "ISO_IR 192"
    result.PatientName = result.PatientID = rules.subject
    state(result, work.applied, rules.options, work.iod)
    correct_ambiguous_vr(result, is_little_endian=True)
    return result, work.counts


class Alone:
    """The profile on single elements, for instances that share all else with a first one.

    What becomes of a date, number, UID or private value at the top depends on itself and on what
    `source` says of text, codes and structure; never on another of its kind. What the output
    states about itself is not added.
    """

    def __init__(self, source: Dataset, rules: Rules) -> None:
        self.rules = rules
        self._work = _Work(source, rules)

    def pseudonymize(self, elements: Dataset, tag: int) -> tuple[DataElement | None, Counts]:
        """Apply the profile to an element of another instance.

        Args:
            elements: that element, the character set and the private blocks' creators.
            tag: which of them.
        """
        counts = Counts()
        self._work.counts = self._work.elements.counts = counts
        return self._work.one(elements, tag, depth=0), counts

    def spells(self, data: bytes) -> bool:
        """Whether a binary value is the letters of one of the subject's words."""
        return self._work.elements.known.in_bytes(data)

    def action(self, elements: Dataset, tag: int, vr: str) -> Action | None:
        """What the profile does first to an element of that VR; None if that VR is not expected."""
        if (tag >> 16) % 2:
            listed = private.safe(elements, tag) if self.rules.options.safe_private else None
            return _PRIVATE.get(vr, Action.KEEP) if listed and listed.vr == vr else None
        decision = decide(tag, self._work.policies[0])
        return decision.action if vr in decision.vr.split(" or ") else None

    def is_fixed(self, elements: Dataset, tag: int) -> bool:
        """Whether the same becomes of an element whatever its value is."""
        if (tag >> 16) % 2:
            keeps = self.rules.options.safe_private
            return not (keeps and private.safe(elements, tag))
        action = decide(tag, self._work.policies[0]).action
        return action in (Action.REMOVE, Action.EMPTY, Action.DUMMY)


def iod_of(source: Dataset) -> str:
    """The IOD that an instance's types are looked up in; "" if it is not in the table."""
    known = classes().get(str(value_of(source, "SOPClassUID")))
    return known.iod if known else ""


class _Work:
    """One pass over one instance."""

    def __init__(self, source: Dataset, rules: Rules) -> None:
        self.rules = rules
        self.counts = Counts()
        self.applied: set[str] = set()
        self.iod = iod_of(source)
        self.elements = Elements(source, rules, known_of(source), self.counts)
        off = {"SR": not rules.options.structured_content, "PR": not rules.options.graphics}
        if off.get(self.iod):
            raise Quarantined(Reason.SOP_CLASS)
        dates: Dates = "modified" if rules.days else "removed" if rules.days is None else "full"
        self.policies = [Policy(rules.options, dates, iod) for iod in (self.iod, "")]

    def copy(self, source: Dataset, depth: int) -> Dataset:
        """The elements of a data set or item that pass."""
        if depth > self.rules.depth:
            raise Quarantined(Reason.TOO_DEEP)
        result = Dataset()
        tags = sorted(int(tag) for tag in source.keys())  # noqa: SIM118 - not its elements
        if codes.is_code(source):
            result = codes.item_of(codes.known(source, self.rules.codes))
            self.counts.add(codes.FIRST, Done.KEPT)
            tags = [tag for tag in tags if not codes.FIRST <= tag <= codes.LAST]
        for tag in tags:
            element = self.one(source, tag, depth)
            if element is not None:
                result[tag] = element
        for creator, name in self._creators(source, tags):
            result.add_new(creator, "LO", name)
        return result

    def one(self, source: Dataset, tag: int, depth: int) -> DataElement | None:
        """What becomes of one element; None if it is removed."""
        element = self._passing(source, tag, depth)
        if element is None and not private.is_creator(tag):
            self.counts.add(tag, Done.REMOVED)
        return element

    def _creators(self, source: Dataset, tags: list[int]) -> list[tuple[int, str]]:
        """The creators of blocks that hold a listed element, whatever becomes of its value."""
        if not self.rules.options.safe_private:
            return []
        return sorted(
            {
                (private.creator_tag(tag), private.creator_of(source, tag))
                for tag in tags
                if (tag >> 16) % 2 and private.safe(source, tag)
            }
        )

    def _passing(self, source: Dataset, tag: int, depth: int) -> DataElement | None:
        """An element of the output; None if nothing of it passes."""
        if (tag >> 16) % 2:
            return self._private(source, tag, depth)
        decision = decide(tag, self.policies[depth > 0])
        if decision.option:
            self.applied.add(decision.option)
        if decision.action is Action.REMOVE or (depth and tag == PIXEL_DATA):
            return None
        if decision.action in (Action.EMPTY, Action.DUMMY):
            return self.elements.fixed(decision.action, tag, decision.vr, None)
        element = _read(source, tag)
        value = element.value if element else None
        if element and element.VR in (decision.vr, *decision.vr.split(" or ")):
            for action in (decision.action, decision.otherwise):
                if allowed := self._allowed(element, action, source, depth):
                    return allowed
        return self.elements.fixed(decision.otherwise, tag, decision.vr, value)

    def _private(self, source: Dataset, tag: int, depth: int) -> DataElement | None:
        """A private element, if the standard's list knows it to be safe."""
        listed = private.safe(source, tag) if self.rules.options.safe_private else None
        if listed is None:
            return None
        self.applied.add(SAFE_PRIVATE)
        element = _read(source, tag)
        element = private.read(element, listed) if element else None
        action = _PRIVATE.get(listed.vr, Action.KEEP)
        return None if element is None else self._allowed(element, action, source, depth)

    def _allowed(
        self, element: DataElement, action: Action, source: Dataset, depth: int
    ) -> DataElement | None:
        """The element under its first action, None where its value does not allow it."""
        if action is Action.ITEMS:
            return self._items(element, depth)
        if action is Action.CODES:
            return self._codes(element, depth)
        return self.elements.allowed(element, action, source)

    def _items(self, element: DataElement, depth: int) -> DataElement:
        items = [self.copy(item, depth + 1) for item in element.value]
        return DataElement(element.tag, "SQ", Sequence(items))

    def _codes(self, element: DataElement, depth: int) -> DataElement | None:
        """The items that are known codes; None if there is none."""
        items = [
            self.copy(item, depth + 1)
            for item in element.value
            if codes.is_code(item) and codes.known(item, self.rules.codes)
        ]
        return DataElement(element.tag, "SQ", Sequence(items)) if items else None


def _read(source: Dataset, tag: int) -> DataElement | None:
    """An element; None if the parser fails."""
    try:
        return source[tag]
    except Exception:  # noqa: BLE001 - any fault of the parser: then the value is invalid
        return None
