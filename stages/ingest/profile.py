"""Which action an attribute gets: PS3.15 Annex E as a table, and what the table leaves open.

Rules:

- PRO-1  A code with alternatives is resolved by the type that the instance's IOD gives the
         attribute (`types.csv`): type 3 is removed, type 2 emptied, type 1 gets a dummy, as far as
         the code allows it; a code that would make the instance invalid gives way. Where the type
         is not known, and in items, the last alternative holds, which is valid for every type and
         keeps nothing of the value. U* is taken for every type: what refers to an instance keeps
         referring.
- PRO-2  An option that is on goes before the basic action for values that it can retain or clean;
         for all others the basic action holds. Rows that have no option columns yet have no option.
- PRO-3  An attribute in neither table passes by its VR alone: numbers, code strings, dates (which
         shift), UIDs (which are replaced) and sequences (whose items are treated alike); text of
         one line as a descriptor, by its words. Names, prose and bulk data do not pass. A code
         string that tells of the subject is replaced, since it may be of type 1.
- PRO-4  Curves, overlays, group lengths, groups that belong to no data set, and attributes unknown
         to the dictionary are removed; private attributes are, unless `safe_private.csv` names
         creator and element, and the value has the VR and number of values that it gives.
- PRO-5  An action of a sequence holds for the whole; D and U* reach into the items.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Literal

from stages.ingest.params import Options
from stages.ingest.tables import Row, additions, rows, types

Dates = Literal["removed", "modified", "full"]


class Action(StrEnum):
    """What is done to one attribute."""

    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"
    KEEP = "keep"
    SHIFT = "shift"
    TEXT = "text"
    """Keep the words of a free text that are in the vocabulary."""
    TOKEN = "token"  # noqa: S105 - no secret: a technical name
    """Keep a technical name that is none of the subject's identifiers."""
    TERM = "term"
    """Keep a code string; put REMOVED in place of values that tell of the subject."""
    NAME = "name"
    """Keep a text that holds none of the subject's identifiers."""
    DEVICE = "device"
    """Put a keyed pseudonym in place of a device's identity."""
    RANGE = "range"
    """Keep age, size and weight as the lower end of a range."""
    ITEMS = "items"
    CODES = "codes"
    """Keep those items of a sequence that are known codes."""
    SUBJECT = "subject"
    READER = "reader"
    LABEL = "label"
    CLASS = "class"


@dataclass(frozen=True)
class Decision:
    """An attribute's action, and the one that holds where its value does not allow the first."""

    action: Action
    otherwise: Action
    vr: str
    """VR of the dictionary; another VR in the file makes the value invalid."""
    option: str = ""
    """The option that the first action belongs to: a code of CID 7050."""


@dataclass(frozen=True)
class Policy:
    """What decides beside the tag."""

    options: Options
    dates: Dates
    iod: str
    """The instance's IOD; "" in items, and where it is not known."""


UIDS: Final = "113110"
DEVICE: Final = "113109"
INSTITUTION: Final = "113112"
PATIENT: Final = "113108"
FULL_DATES: Final = "113106"
MODIFIED_DATES: Final = "113107"
DESCRIPTORS: Final = "113105"
STRUCTURED: Final = "113104"
GRAPHICS: Final = "113103"
SAFE_PRIVATE: Final = "113111"

_DATES: Final = frozenset({"DA", "DT", "TM"})
_LINES: Final = frozenset({"LO", "SH"})
_TEXTS: Final = frozenset({"CS", "LO", "LT", "SH", "ST", "UC", "UT"})
_NUMBERS: Final = frozenset({"AT", "DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"})
_DATE_OPTIONS: Final = {"modified": MODIFIED_DATES, "full": FULL_DATES}
_TIMEZONE: Final = 0x00080201
_CODE: Final = re.compile(r"[XZDUKC]|X/Z|X/D|Z/D|X/Z/D|X/Z/U\*|X/Z/U")
_BY_TYPE: Final = {"3": "XZD", "2": "ZD", "1": "D"}
"""Type → the alternatives that keep an instance valid, the one that leaves least first."""
_GONE: Final = Decision(Action.REMOVE, Action.REMOVE, "")


@lru_cache(maxsize=100_000)
def decide(tag: int, policy: Policy) -> Decision:
    """The action for an attribute that is not private, by its tag alone."""
    from pydicom.datadict import dictionary_VR

    group, element = tag >> 16, tag & 0xFFFF
    repeating = 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF
    if group % 2 or group < 0x0008 or element == 0 or repeating:
        return _GONE
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return _GONE
    if tag in additions():
        return _added(Action(additions()[tag]), vr, policy)
    if tag in rows():
        basic = resolve(rows()[tag].basic, vr, types().get((policy.iod, tag), ""))
        return _listed(_Case(rows()[tag], tag, vr, basic, policy))
    return _unlisted(vr, policy)


def resolve(code: str, vr: str, kind: str = "") -> Action:
    """The one action for a code of Table E.1-1 (PRO-1, PRO-5).

    Args:
        code: the basic action's code.
        vr: the attribute's VR.
        kind: its type in the IOD, "" if that is not known.

    Raises:
        ValueError: for a code that the table does not define.
    """
    if not _CODE.fullmatch(code):
        raise ValueError(f"Table E.1-1 defines no code {code}")
    choices = code.rstrip("*").split("/")
    valid = _BY_TYPE.get(kind, "")
    if choices[-1] in "XZD" and valid:
        chosen = next((choice for choice in valid if choice in choices), valid[0])
    else:
        chosen = choices[-1]
    if vr == "SQ" and chosen in "KCUD":
        return Action.ITEMS
    names = {"X": "remove", "Z": "empty", "D": "dummy", "U": "uid", "K": "keep", "C": "remove"}
    return Action(names[chosen])


def _added(action: Action, vr: str, policy: Policy) -> Decision:
    identity = policy.options.device_identity
    if action is Action.DEVICE and identity != "pseudonyms":
        action = Action.NAME if identity == "retained" else Action.DUMMY
    if action is Action.TEXT:
        cleans = policy.options.descriptors
        option = DESCRIPTORS if cleans else ""
        return Decision(action if cleans else Action.DUMMY, Action.DUMMY, vr, option)
    needed = (Action.LABEL, Action.READER, Action.SUBJECT, Action.DEVICE, Action.NAME)
    return Decision(action, Action.DUMMY if action in needed else Action.REMOVE, vr)


@dataclass(frozen=True)
class _Case:
    """A listed attribute."""

    row: Row
    tag: int
    vr: str
    basic: Action
    policy: Policy

    def to(self, action: Action, option: str = "") -> Decision:
        return Decision(action, self.basic, self.vr, option)


def _listed(case: _Case) -> Decision:
    for option in (_dates, _uids, _device, _institution, _patient, _descriptors, _objects):
        if decision := option(case):
            return decision
    last = Action.REMOVE if case.basic in (Action.ITEMS, Action.UID) else case.basic
    return Decision(case.basic, last, case.vr)


def _dates(case: _Case) -> Decision | None:
    """Modified dates, or full ones; other attributes of that option keep the basic action."""
    option = _DATE_OPTIONS.get(case.policy.dates)
    moves = case.vr in _DATES or case.tag == _TIMEZONE
    return case.to(Action.SHIFT, option) if option and case.row.modified_dates and moves else None


def _uids(case: _Case) -> Decision | None:
    if not (case.row.uids and case.policy.options.uids and case.vr in ("UI", "SQ")):
        return None
    return case.to(Action.ITEMS if case.vr == "SQ" else Action.KEEP, UIDS)


def _device(case: _Case) -> Decision | None:
    """A device's identity: a pseudonym, or, retained, the name as it is."""
    identity = case.policy.options.device_identity
    if case.row.device != "K" or identity == "removed":
        return None
    if identity == "pseudonyms":
        return case.to(Action.DEVICE) if case.vr in _LINES else None
    names = Action.NAME if case.vr in _TEXTS else Action.KEEP
    return case.to(Action.CODES if case.vr == "SQ" else names, DEVICE)


def _institution(case: _Case) -> Decision | None:
    if not (case.row.institution and case.policy.options.institution_identity):
        return None
    return case.to(Action.CODES if case.vr == "SQ" else Action.NAME, INSTITUTION)


def _patient(case: _Case) -> Decision | None:
    """A patient's characteristics: in ranges, or retained; free text by its words alone."""
    wanted = case.policy.options.patient_characteristics
    if not case.row.patient or wanted == "removed":
        return None
    if case.vr in ("AS", "DS", "CS", "US"):
        ranges = wanted == "ranges" and case.vr in ("AS", "DS")
        return case.to(Action.RANGE if ranges else Action.KEEP, PATIENT)
    if wanted == "ranges":
        return None
    texts = Action.NAME if case.row.patient == "K" else Action.TEXT
    return case.to(Action.CODES if case.vr == "SQ" else texts, PATIENT)


def _descriptors(case: _Case) -> Decision | None:
    cleanable = case.row.descriptors and (case.vr in _TEXTS or case.vr == "SQ")
    if not cleanable or not case.policy.options.descriptors:
        return None
    return case.to(Action.CODES if case.vr == "SQ" else Action.TEXT, DESCRIPTORS)


def _objects(case: _Case) -> Decision | None:
    """Structured content and graphics, item by item."""
    if case.row.structured and case.policy.options.structured_content:
        return case.to(Action.ITEMS, STRUCTURED)
    if case.row.graphics and case.policy.options.graphics:
        return case.to(Action.ITEMS, GRAPHICS)
    return None


def _unlisted(vr: str, policy: Policy) -> Decision:
    kinds = set(vr.split(" or "))
    option = ""
    if vr in _DATES:
        option = _DATE_OPTIONS.get(policy.dates, "")
        action = Action.SHIFT if option else Action.REMOVE
    elif vr == "UI":
        action = Action.KEEP if policy.options.uids else Action.UID
    elif vr == "SQ":
        action = Action.ITEMS
    elif vr == "CS":
        action = Action.TERM
    elif kinds & _NUMBERS:
        action = Action.KEEP
    elif vr in _LINES and policy.options.descriptors:
        action, option = Action.TEXT, DESCRIPTORS
    else:
        action = Action.REMOVE
    return Decision(action, Action.REMOVE, vr, option)
