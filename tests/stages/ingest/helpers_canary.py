"""Identifiers planted in DICOM instances, and a search for them in whatever comes out.

Rules:

- CAN-1  Each place gets a needle of its own, so that a find names the place that leaked. Where only
         what is known of the subject can be recognized (code strings, numbers, technical names),
         the needle is also one of the patient's other names or IDs.
- CAN-2  A needle counts as found in any usual spelling: UTF-8, UTF-16, Latin-1 and the character
         set that it was planted in, any case, reversed, base64 at any offset; numbers in binary;
         dates in every usual order.

`plant` changes a data set; `wrap` writes it with the places that lie outside the data set; `search`
looks through bytes.
"""

from __future__ import annotations

import base64
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from typing import Any, Final

import pydicom
from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

Put = Callable[[Dataset, str], None]


@dataclass(frozen=True)
class Plant:
    """A place and what is planted there."""

    place: str
    needle: str
    put: Put
    charset: str = "utf-8"
    known: bool = False
    """Whether the needle is also among the patient's other names and IDs."""


def item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def keyword(name: str) -> Put:
    return lambda dataset, needle: setattr(dataset, name, needle)


def after(name: str) -> Put:
    """Append to the words that an attribute holds already."""

    def put(dataset: Dataset, needle: str) -> None:
        before = dataset.get(name)
        setattr(dataset, name, f"{before or 'CT Thorax'} {needle}")

    return put


def element(tag: int, vr: str, make: Callable[[str], Any] = str) -> Put:

    def put(dataset: Dataset, needle: str) -> None:
        dataset[tag] = pydicom.DataElement(tag, vr, make(needle), already_converted=True)

    return put


def nested(*sequences: str, inner: Put, charset: str = "") -> Put:
    """Put into an item of sequences within sequences."""

    def put(dataset: Dataset, needle: str) -> None:
        for name in sequences:
            if name not in dataset:
                setattr(dataset, name, Sequence([Dataset()]))
            dataset = getattr(dataset, name)[0]
        if charset:
            dataset.SpecificCharacterSet = charset.split("\\")
        inner(dataset, needle)

    return put


def private(
    group: int, creator: str, offset: int, vr: str, make: Callable[[str], Any] = str
) -> Put:
    def put(dataset: Dataset, needle: str) -> None:
        block = dataset.private_block(group, creator, create=True)
        block.add_new(offset, vr, make(needle))

    return put


def private_creator(dataset: Dataset, needle: str) -> None:
    dataset.private_block(0x0017, needle, create=True).add_new(1, "DS", "1")


def value(name: str, index: int) -> Put:
    """Replace one of several values."""

    def put(dataset: Dataset, needle: str) -> None:
        values = [*dataset.get(name, [])][:index]
        values += ["NORM"] * (index - len(values))
        setattr(dataset, name, [*values, needle])

    return put


def even(needle: str) -> bytes:
    data = needle.encode()
    return data + b" " * (len(data) % 2)


def wide(needle: str) -> bytes:
    return needle.encode("utf-16-le")


def floats(needle: str) -> bytes:
    data = needle.encode()
    return data + b" " * (-len(data) % 8)


PER_FRAME: Final = ("PerFrameFunctionalGroupsSequence", "FrameContentSequence")
DEEP: Final = ("SourceImageSequence", *["PurposeOfReferenceCodeSequence"] * 6)
UNLISTED: Final = "CTExposureSequence"
JAPANESE: Final = "\\ISO 2022 IR 87"
KOREAN: Final = "\\ISO 2022 IR 149"


_NAMES: Final = """PatientName PatientBirthName PatientMotherBirthName ReferringPhysicianName
    OperatorsName PerformingPhysicianName NameOfPhysiciansReadingStudy RequestingPhysician
    ResponsiblePerson PhysiciansOfRecord"""
_LINES: Final = """PatientID IssuerOfPatientID PatientAddress PatientTelephoneNumbers
    MedicalRecordLocator MilitaryRank PatientReligiousPreference InstitutionName
    InstitutionalDepartmentName StationName AccessionNumber StudyID DeviceSerialNumber
    SoftwareVersions DetectorID AdmissionID CurrentPatientLocation RequestingService Occupation
    RegionOfResidence InsurancePlanIdentification ClinicalTrialSubjectID PlateID"""
_DESCRIPTORS: Final = """StudyDescription SeriesDescription ProtocolName
    RequestedProcedureDescription PerformedProcedureStepDescription PatientComments
    AdditionalPatientHistory ImageComments StudyComments ContrastBolusAgent DerivationDescription
    AcquisitionDeviceProcessingDescription"""


def _plants() -> list[Plant]:
    number = 0

    def text(place: str, put: Put, charset: str = "utf-8") -> Plant:
        nonlocal number
        number += 1
        return Plant(place, f"Qx{number:02}zwiebelfisch", put, charset)

    def known(place: str, put: Put) -> Plant:
        nonlocal number
        number += 1
        return Plant(place, f"KX{number:02}DOPPELDECK", put, known=True)

    def digits(place: str, put: Put) -> Plant:
        nonlocal number
        number += 1
        return Plant(place, f"77{number:02}4183", put, known=True)

    names = _NAMES.split()
    lines = _LINES.split()
    descriptors = _DESCRIPTORS.split()
    unlisted = ["FilterType", "ReceiveCoilName", "WindowCenterWidthExplanation"]
    codes = ["BodyPartExamined", "ScanOptions", "SequenceVariant"]
    technical = ["Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "RescaleType"]
    return [
        *[text(name, keyword(name)) for name in (*names, *lines, *unlisted)],
        *[text(name, after(name)) for name in descriptors],
        *[known(name, keyword(name)) for name in codes],
        *[known(name, after(name)) for name in technical],
        known("ImageType, fourth value", value("ImageType", 3)),
        text("ST: InstitutionAddress", keyword("InstitutionAddress")),
        text("AE: RetrieveAETitle", lambda ds, needle: setattr(ds, "RetrieveAETitle", needle[:16])),
        text("UR: RetrieveURL", lambda ds, n: setattr(ds, "RetrieveURL", f"http://pacs/{n}")),
        text("UT: TextValue", keyword("TextValue")),
        text("UC: LongCodeValue", nested("ProcedureCodeSequence", inner=keyword("LongCodeValue"))),
        text("UN: a tag of no dictionary", element(0x00080002, "UN", even)),
        text("LO: a tag of no dictionary", element(0x00100003, "LO")),
        text("OB: ICCProfile", element(0x00282000, "OB", even)),
        text("OW: red palette", element(0x00281201, "OW", even)),
        text("OF: FloatPixelData in a CT", element(0x00660016, "OF", floats)),
        text("OD: a bulk value", element(0x00660022, "OD", floats)),
        text("OL: a bulk value", element(0x00660040, "OL", floats)),
        known("OW: LUTData", nested("ModalityLUTSequence", inner=element(0x00283006, "OW", even))),
        known(
            "OW: LUTData in UTF-16", nested("VOILUTSequence", inner=element(0x00283006, "OW", wide))
        ),
        digits("IS: AcquisitionNumber", keyword("AcquisitionNumber")),
        digits("DS: TableHeight", keyword("TableHeight")),
        digits("FD: AcquisitionDuration", element(0x00189073, "FD", float)),
        digits("UL in an item", nested(UNLISTED, inner=element(0x00186016, "UL", int))),
        digits("SL in an item", nested(UNLISTED, inner=element(0x00186020, "SL", int))),
        text("encapsulated document", element(0x00420011, "OB", even)),
        text("overlay data", element(0x60003000, "OW", even)),
        text("overlay comments", element(0x60004000, "LT")),
        text("overlay label", element(0x60021500, "LO")),
        text("curve data", element(0x50003000, "OW", even)),
        text("curve label", element(0x50022500, "LO")),
        text("trailing padding", element(0xFFFCFFFC, "OB", even)),
        text("private text", private(0x0009, "KLINIK NOTIZ", 1, "LO")),
        text("private UN", private(0x0009, "KLINIK NOTIZ", 2, "UN", even)),
        text(
            "private sequence",
            private(0x0009, "KLINIK NOTIZ", 3, "SQ", lambda n: Sequence([item(PatientName=n)])),
        ),
        text("private creator", private_creator),
        text("beside a safe private element", private(0x0019, "SIEMENS MR HEADER", 8, "LO")),
        text("a safe element, another VR", private(0x0019, "SIEMENS MR HEADER", 0x0C, "LO")),
        known("a safe text", private(0x0019, "GEMS_ACQU_01", 0x9E, "LO")),
        known("a safe code string", private(0x2001, "Philips Imaging DD 001", 4, "CS")),
        known("a safe line", private(0x2001, "Philips Imaging DD 001", 0x6E, "SH")),
        text(
            "in a safe sequence",
            private(
                0x2001,
                "Philips Imaging DD 001",
                0x69,
                "SQ",
                lambda n: Sequence([item(PatientComments=n)]),
            ),
        ),
        text("in an item", nested("ReferencedImageSequence", inner=keyword("PatientComments"))),
        text("in seven items", nested(*DEEP, inner=keyword("PatientName"))),
        text("in an unlisted sequence", nested(UNLISTED, inner=keyword("PatientID"))),
        text("private in an item", nested(UNLISTED, inner=private(0x0011, "KLINIK", 1, "LO"))),
        text("in a frame: comments", nested(*PER_FRAME, inner=keyword("FrameComments"))),
        text("in a frame: name", nested(*PER_FRAME, inner=keyword("OperatorsName"))),
        text(
            "in shared groups",
            nested("SharedFunctionalGroupsSequence", UNLISTED, inner=keyword("PatientBirthName")),
        ),
        text(
            "request",
            nested("RequestAttributesSequence", inner=keyword("ScheduledProcedureStepID")),
        ),
        text("other patient IDs", nested("OtherPatientIDsSequence", inner=keyword("PatientID"))),
        text("code meaning", nested("AnatomicRegionSequence", inner=keyword("CodeMeaning"))),
        text("code value", nested("AnatomicRegionSequence", inner=keyword("CodeValue"))),
        text("code scheme", nested("ViewCodeSequence", inner=keyword("CodingSchemeDesignator"))),
        text(
            "what it was before",
            nested(
                "OriginalAttributesSequence",
                "ModifiedAttributesSequence",
                inner=keyword("PatientName"),
            ),
        ),
        text(
            "equipment", nested("ContributingEquipmentSequence", inner=keyword("InstitutionName"))
        ),
        text(
            "physician",
            nested("ReferringPhysicianIdentificationSequence", inner=keyword("PersonName")),
        ),
        text("claims", keyword("DeidentificationMethod")),
        text("a UID that is none", element(0x00081195, "UI")),
        text("a date that is none", element(0x00080024, "DA")),
        text("a time that is none", element(0x00080034, "TM")),
        text("a number that is none", element(0x00181151, "DS")),
        text("an offset that is none", element(0x00080201, "SH")),
        Plant("a UID", "1.2.826.0.1.3680043.10.9999.4711.8150", keyword("StudyInstanceUID")),
        Plant(
            "a UID in an unlisted sequence",
            "1.2.826.0.1.3680043.10.9999.4711.8151",
            nested(UNLISTED, inner=keyword("IrradiationEventUID")),
        ),
        Plant("umlauts, Latin-1", "Grünkäppchen", _charset("ISO_IR 100"), "latin-1"),
        Plant("ideographs, ISO 2022", "山田花子", _charset(JAPANESE), "iso2022_jp"),
        Plant("hangul, ISO 2022", "홍길동전", _charset(KOREAN), "euc_kr"),
        Plant("Cyrillic", "Снегурочкина", _charset("ISO_IR 144"), "iso8859_5"),
        Plant("Greek", "Παπαδοπούλου", _charset("ISO_IR 126"), "iso8859_7"),
        Plant("GB 18030", "孙悟空空", _charset("GB18030"), "gb18030"),
        text(
            "a mail address",
            lambda ds, n: setattr(ds, "AcquisitionComments", f"Head {n}@mail.example"),
        ),
    ]


def _charset(charset: str) -> Put:
    """A name and a comment in an item with a character set of its own."""

    def put(dataset: Dataset, needle: str) -> None:
        inner = item(
            SpecificCharacterSet=charset.split("\\"), PatientName=needle, PatientComments=needle
        )
        held = [*dataset.get("ReferencedImageSequence", [])]
        dataset.ReferencedImageSequence = Sequence([*held, inner])

    return put


PLANTS: Final = tuple(_plants())
MALFORMED: Final = tuple(one for one in PLANTS if one.place.endswith("that is none"))
"""Values that break their VR; some tools fail on them."""
OUTSIDE: Final = (
    Plant("preamble", "Qx91zwiebelfisch", lambda ds, needle: None),
    Plant("file meta: source", "Qx92zwiebelfisch", lambda ds, needle: None),
    Plant("file meta: private", "Qx93zwiebelfisch", lambda ds, needle: None),
    Plant("file name", "Qx94zwiebelfisch", lambda ds, needle: None),
    Plant("folder name", "Qx95zwiebelfisch", lambda ds, needle: None),
)
DATES: Final = {
    "StudyDate": "20240229",
    "AcquisitionDate": "20240301",
    "PatientBirthDate": "19431207",
}
"""Dates of the subject: none of them is left in any order of its digits."""


def plant(
    dataset: Dataset, plants: Iterable[Plant] = PLANTS, dates: Mapping[str, str] = DATES
) -> Dataset:
    """Put every needle into its place, and the subject's dates."""
    with unchecked():
        return _plant(dataset, tuple(plants), dates)


def _plant(dataset: Dataset, plants: tuple[Plant, ...], dates: Mapping[str, str]) -> Dataset:
    dataset.decode()
    for name, day in dates.items():
        setattr(dataset, name, day)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for one in plants:
        one.put(dataset, one.needle)
    dataset.OtherPatientNames = [one.needle for one in plants if one.known]
    dataset.OtherPatientIDs = [one.needle for one in plants if one.known]
    dataset.PatientComments = f"{dataset.get('PatientComments', '')} born 07.12.1943, 12/07/1943"
    nested(*PER_FRAME, inner=keyword("FrameAcquisitionDateTime"))(dataset, "20240301101112")
    return dataset


def wrap(dataset: Dataset) -> bytes:
    """A file with needles in its preamble, its file meta and behind its data set."""
    preamble, source, hidden, *_ = (one.needle for one in OUTSIDE)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.SourceApplicationEntityTitle = source
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3.4"
    dataset.file_meta.PrivateInformation = even(hidden)
    dataset.preamble = (preamble * 9)[:128].encode()
    buffer = BytesIO()
    with unchecked():
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@contextmanager
def unchecked() -> Iterator[None]:
    """Let pydicom write what breaks the standard, without a word."""
    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.settings.writing_validation_mode = before


def search(
    outputs: Mapping[str, bytes], plants: Iterable[Plant] = (*PLANTS, *OUTSIDE), dates: bool = True
) -> dict[str, list[str]]:
    """Place → outputs in which its needle was found.

    Args:
        outputs: name → bytes; the names are searched as well.
        plants: what was planted.
        dates: whether the subject's own dates are looked for too.
    """
    found: dict[str, list[str]] = {}
    wanted = [(one.place, spellings(one)) for one in plants]
    if dates:
        wanted += [(name, day_spellings(day)) for name, day in DATES.items()]
    for name, data in outputs.items():
        haystack = (name.encode() + b"\0" + data).lower()
        exact = name.encode() + b"\0" + data
        for place, (folded, cased) in wanted:
            if any(s in haystack for s in folded) or any(s in exact for s in cased):
                found.setdefault(place, []).append(name)
    return found


def spellings(one: Plant) -> tuple[set[bytes], set[bytes]]:
    """Needles for lower-cased bytes, and needles whose case matters."""
    text = one.needle
    folded: set[bytes] = set()
    for spelled in {text, text[::-1], text.lower(), text.upper(), text.lower()[::-1]}:
        for codec in {"utf-8", "utf-16-le", "utf-16-be", "latin-1", one.charset}:
            data = spelled.encode(codec, "ignore")
            if len(data) >= 6:
                folded.add(data.lower())
    cased = {part for codec in ("utf-8", one.charset) for part in in_base64(text.encode(codec))}
    if text.isdecimal():
        number = int(text)
        cased |= {struct.pack("<i", number), struct.pack("<d", number), struct.pack("<f", number)}
    return folded, cased


def day_spellings(day: str) -> tuple[set[bytes], set[bytes]]:
    """A day in every usual order, with and without separators, reversed, in base64."""
    moment = date.fromisoformat(day)
    formats = "%Y%m%d %d%m%Y %m%d%Y %Y-%m-%d %d.%m.%Y %d/%m/%Y %m/%d/%Y %Y.%m.%d %d-%b-%Y %d%b%Y"
    texts = {moment.strftime(form) for form in formats.split()}
    texts |= {f"{moment.day}.{moment.month}.{moment.year}", moment.strftime("%B %d, %Y")}
    texts |= {text[::-1] for text in texts}
    folded = {
        text.lower().encode(codec)
        for text in texts
        for codec in ("utf-8", "utf-16-le", "utf-16-be")
    }
    return folded, {part for text in texts for part in in_base64(text.encode())}


def in_base64(data: bytes) -> set[bytes]:
    """What base64 of anything that holds these bytes must hold, at the three offsets."""
    found = set()
    for offset in range(3):
        coded = base64.b64encode(bytes(offset) + data).rstrip(b"=")
        start = -(-offset * 8 // 6) + (1 if offset else 0)
        stop = len(coded) - (1 if (offset + len(data)) % 3 else 0)
        part = coded[start:stop]
        if len(part) >= 8:
            found.add(part)
    return found
