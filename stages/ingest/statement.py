"""What an output instance says of its own de-identification, and only that.

Source: PS3.15 Section E.1.1 (attributes to add), PS3.16 CID 7050 (codes).

Rules:

- STA-1  The Basic Profile's code always; an option's code where the instance had an attribute that
         the option decided about.
- STA-2  Dates: MODIFIED or UNMODIFIED where there were any, else REMOVED.
- STA-3  What a source claims is never copied: that no text is burned in and no face recognizable is
         for those to state who looked (`BurnedInAnnotation` stays in IODs that demand it). That a
         face can be recognized is a warning, and stays.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest import codes
from stages.ingest.params import Options
from stages.ingest.profile import FULL_DATES, MODIFIED_DATES
from stages.ingest.tables import EDITION

MEANINGS: Final = {
    "113100": "Basic Application Confidentiality Profile",
    "113103": "Clean Graphics Option",
    "113104": "Clean Structured Content Option",
    "113105": "Clean Descriptors Option",
    "113106": "Retain Longitudinal Temporal Information Full Dates Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113108": "Retain Patient Characteristics Option",
    "113109": "Retain Device Identity Option",
    "113110": "Retain UIDs Option",
    "113111": "Retain Safe Private Option",
    "113112": "Retain Institution Identity Option",
}
"""Codes of CID 7050 (scheme DCM) that this stage states, with their meanings."""
_BASIC: Final = "113100"
_PATIENT: Final = "113108"
_ENHANCED: Final = frozenset({"ECT", "EMR"})


def state(result: Dataset, applied: Collection[str], options: Options, iod: str) -> None:
    """Write what was done into the top level of an instance.

    Args:
        result: the pseudonymized instance; changed in place.
        applied: codes of the options that decided about an attribute.
        options: as they were set.
        iod: the instance's.
    """
    method = [f"{EDITION} Annex E"]
    if _PATIENT in applied and options.patient_characteristics == "ranges":
        method.append("Patient characteristics in ranges")
    result.PatientIdentityRemoved = "YES"
    result.DeidentificationMethod = method
    result.DeidentificationMethodCodeSequence = Sequence(
        [codes.item_of((value, "DCM", MEANINGS[value])) for value in sorted({_BASIC, *applied})]
    )
    dates = {MODIFIED_DATES: "MODIFIED", FULL_DATES: "UNMODIFIED"}
    said = [word for code, word in dates.items() if code in applied]
    result.LongitudinalTemporalInformationModified = said[0] if said else "REMOVED"
    if iod not in _ENHANCED and "BurnedInAnnotation" in result:
        del result.BurnedInAnnotation
    if "RecognizableVisualFeatures" in result and result.RecognizableVisualFeatures != "YES":
        del result.RecognizableVisualFeatures
