"""ING-3, ING-4, ING-5, ING-7, ING-9: what is in an output instance, and what is not."""

import struct
from datetime import date
from io import BytesIO

import pydicom
import pytest
from helpers_ingest import (
    BIRTH,
    CT,
    NAME,
    PATIENT,
    ROOT,
    change,
    code,
    ct,
    encode,
    encoded,
    item,
    parameters,
    parse,
    seg,
    segment,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest.codes import codes_of
from stages.ingest.header import quiet
from stages.ingest.params import Limits, Options
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.rules import Rules

TASK = parameters().task
RULES = Rules(
    subject="s-aaaaaaaaaa",
    uid_key=b"u" * 32,
    reader_key=b"r" * 32,
    days=-1000,
    readers={"Reader^A": "reader-a"},
    labels={"lesion": ("Lesion", ("benign", "malignant"))},
    codes=codes_of(TASK),
    depth=16,
)
PLANTED = ("Leonore", "Krähwinkler", "KH-4711", "19431207", "Quacksalber", ROOT, "20240229")


def through(dataset: Dataset, *, implicit: bool = False, rules: Rules = RULES) -> Dataset:
    """Written, read, pseudonymized, written and read again; nothing planted may be in the bytes."""
    with quiet():
        source = parse(encoded(dataset, implicit=implicit, preamble=b"Leonore " * 16), Limits())
        data = encode(pseudonymize(source, rules)[0])
    for needle in PLANTED:
        for charset in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
            assert needle.encode(charset) not in data
            assert needle.upper().encode(charset) not in data
    return pydicom.dcmread(BytesIO(data))


def nested(dataset: Dataset, levels: int) -> Dataset:
    for _ in range(levels):
        dataset = item(ReferencedImageSequence=Sequence([dataset]))
    return dataset


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize("implicit", [False, True])
def test_no_identifier_of_the_usual_places_is_left(*, implicit: bool) -> None:
    out = through(ct(), implicit=implicit)
    assert out.PatientID == out.PatientName == "s-aaaaaaaaaa"
    assert (out.AccessionNumber, out.PatientBirthDate, out.PatientSex) == ("", "", "F")
    assert out.SeriesDescription == "thorax"
    assert out.StudyDescription == "CT Thorax with contrast"
    assert (out.Manufacturer, out.ManufacturerModelName) == ("AURORA IMAGING", "Helix 64")
    assert (out.RescaleSlope, out.Rows, out.ImagePositionPatient) == (1, 4, [0, 0, 0])
    assert out.file_meta.TransferSyntaxUID.is_little_endian
    assert not out.file_meta.TransferSyntaxUID.is_implicit_VR


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize("name", ["Brain^Hand", "Hand^Brain^^Dr", "BRAIN=Hand", "Ho^Li", "Żak^Zoë"])
def test_a_name_whose_words_are_the_vocabularys_is_not_told(name: str) -> None:
    text = f"CT {name} Thorax"
    with quiet():
        source = change(
            ct(), PatientName=name, SeriesDescription=text, SpecificCharacterSet="ISO_IR 192"
        )
        out = pseudonymize(source, RULES)[0]
    assert out.SeriesDescription == "CT Thorax"


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize("levels", [1, 2, 7])
@pytest.mark.parametrize(
    "leak",
    [
        {"PatientName": NAME},
        {"PatientID": PATIENT},
        {"PatientBirthDate": BIRTH},
        {"PatientComments": f"{NAME} {PATIENT}"},
        {"OtherPatientIDsSequence": Sequence([item(PatientID=PATIENT)])},
        {"SeriesInstanceUID": f"{ROOT}.5"},
        {"StudyDate": "20240229"},
        {"DerivationDescription": NAME},
        {"TextValue": f"seen by {NAME}"},
        {"PersonName": NAME},
        {"PurposeOfReferenceCodeSequence": Sequence([code("4711", "99KH", NAME)])},
        {"PurposeOfReferenceCodeSequence": Sequence([code("121322", "DCM", NAME)])},
    ],
)
def test_nothing_leaks_from_a_nested_item(levels: int, leak: dict[str, object]) -> None:
    assert "ReferencedImageSequence" in through(
        change(ct(), ReferencedImageSequence=Sequence([nested(item(**leak), levels)]))
    )


@pytest.mark.rule("ING-3")
def test_nothing_leaks_from_a_sequence_that_no_table_lists() -> None:
    inner = item(OperatorsName=NAME, FilterType="Krähwinkler", KVP="120")
    out = through(change(ct(), CTExposureSequence=Sequence([inner])))
    kept = {element.keyword: str(element.value) for element in out.CTExposureSequence[0]}
    assert kept == {"OperatorsName": "removed", "KVP": "120"}


@pytest.mark.rule("ING-3")
def test_private_attributes_are_removed_at_every_depth() -> None:
    source = ct()
    block = source.private_block(0x0009, "KRÄHWINKEL", create=True)
    block.add_new(0x01, "LO", NAME)
    block.add_new(0x02, "SQ", Sequence([item(PatientName=NAME)]))
    inner = item(KVP="120")
    inner.private_block(0x0019, "KRÄHWINKEL", create=True).add_new(1, "UN", b"Leonore")
    source.CTExposureSequence = Sequence([inner])
    out = through(source)
    assert not [element for element in out.iterall() if element.tag.is_private]


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x60003000, "OW", b"Leonore Kr"),
        (0x60004000, "LT", NAME),
        (0x60000022, "LO", NAME),
        (0x50003000, "OW", b"Leonore Kr"),
        (0xFFFCFFFC, "OB", b"Leonore Kr"),
        (0x00080002, "UN", b"Leonore Kr"),
        (0x00282000, "OB", b"Leonore Kr"),
        (0x00181160, "SH", "Leonore"),
        (0x00180015, "CS", "LEONORE^K"),
        (0x00180015, "LO", "Leonore"),
        (0x00180060, "LO", "Leonore"),
        (0x0020000D, "LO", "Leonore"),
        (0x00200052, "UI", "Leonore"),
        (0x00080021, "DA", "Leonore"),
        (0x00080031, "TM", "Leonore"),
        (0x00080201, "SH", "Leonore"),
        (0x00080070, "LO", "Krähwinkler AG"),
        (0x00181020, "LO", "Leonore"),
        (0x00080104, "LO", NAME),
        (0x00180050, "DS", "Leonore"),
    ],
)
def test_a_place_that_is_odd_leaks_nothing(tag: int, vr: str, value: object) -> None:
    source = ct()
    with quiet():
        source[tag] = pydicom.DataElement(tag, vr, value, already_converted=True)
        if tag == 0x0020000D:
            source[0x0020000D].VR = "LO"
        data = encode(pseudonymize(source, RULES)[0])
    for needle in (b"leonore", "krähwinkler".encode(), "krähwinkler".encode("latin-1")):
        assert needle not in data.lower()


@pytest.mark.rule("ING-3")
def test_a_code_string_that_tells_of_the_subject_is_replaced_and_the_others_stay() -> None:
    out = through(change(ct(), ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "X_KRAEHWINKLER"]))
    assert out.ImageType == ["ORIGINAL", "PRIMARY", "AXIAL", "REMOVED"]


@pytest.mark.rule("ING-3")
def test_nesting_beyond_the_limit_is_quarantined() -> None:
    with pytest.raises(Quarantined) as caught:
        through(change(ct(), ReferencedImageSequence=Sequence([nested(item(KVP="1"), 20)])))
    assert caught.value.reason is Reason.TOO_DEEP


@pytest.mark.rule("ING-4")
def test_uids_are_replaced_wherever_they_stand_and_references_resolve() -> None:
    image, annotation = through(ct()), through(seg())
    reference = annotation.ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == image.SeriesInstanceUID
    instance = reference.ReferencedInstanceSequence[0]
    assert instance.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert instance.ReferencedSOPClassUID == image.SOPClassUID == CT
    assert annotation.FrameOfReferenceUID == image.FrameOfReferenceUID
    assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID


@pytest.mark.rule("ING-5")
def test_dates_move_together_at_every_depth() -> None:
    inner = item(FrameAcquisitionDateTime="20240305120000.25", ContentDate="20240301")
    source = change(ct(), CTExposureSequence=Sequence([inner]))
    out = through(source)
    moved = [out.StudyDate, out.ContentDate, out.CTExposureSequence[0].ContentDate]
    days = [date.fromisoformat(text).toordinal() for text in moved]
    assert [day - days[0] for day in days] == [0, 1, 1]
    assert date(2024, 2, 29).toordinal() - days[0] == 1000
    assert out.CTExposureSequence[0].FrameAcquisitionDateTime == "20210609120000.25"
    assert out.StudyTime == "101112"
    assert out.LongitudinalTemporalInformationModified == "MODIFIED"


@pytest.mark.rule("ING-5")
def test_without_the_option_no_date_is_left() -> None:
    rules = Rules(**{**vars(RULES), "days": None})
    out = through(ct(), rules=rules)
    assert (out.StudyDate, out.StudyTime) == ("", "")
    assert "SeriesDate" not in out
    assert out.ContentDate == ""
    assert out.LongitudinalTemporalInformationModified == "REMOVED"


@pytest.mark.rule("ING-9")
@pytest.mark.parametrize(
    ("days", "options", "stated"),
    [
        (-1000, {}, "113100 113105 113107 113108"),
        (None, {}, "113100 113105 113108"),
        (0, {}, "113100 113105 113106 113108"),
        (-1, {"descriptors": False, "patient_characteristics": "removed"}, "113100 113107"),
        (None, {"uids": True, "descriptors": False}, "113100 113108 113110"),
        (-1, {"institution_identity": True}, "113100 113105 113107 113108 113112"),
    ],
)
def test_the_output_states_what_was_done_and_only_that(days, options, stated) -> None:
    claims = Sequence([code("113101", "DCM", "Clean Pixel Data Option")])
    source = change(
        ct(),
        DeidentificationMethod=NAME,
        DeidentificationMethodCodeSequence=claims,
        BurnedInAnnotation="NO",
        RecognizableVisualFeatures="NO",
    )
    rules = Rules(**{**vars(RULES), "days": days, "options": Options(**options)})
    with quiet():
        out = pseudonymize(source, rules)[0]
    assert [step.CodeValue for step in out.DeidentificationMethodCodeSequence] == stated.split()
    assert out.PatientIdentityRemoved == "YES"
    assert "2026c" in str(out.DeidentificationMethod)
    assert "BurnedInAnnotation" not in out
    assert "RecognizableVisualFeatures" not in out


@pytest.mark.rule("ING-7")
@pytest.mark.parametrize("implicit", [False, True])
def test_pixel_bytes_are_not_touched(*, implicit: bool) -> None:
    source = change(ct(), PixelPaddingValue=5, SmallestImagePixelValue=0)
    out = through(source, implicit=implicit)
    assert out.PixelData == struct.pack("<16H", *range(16))
    assert (out.PixelPaddingValue, out.SmallestImagePixelValue) == (5, 0)


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize(
    ("label", "description", "out_label", "out_class"),
    [
        ("LESION", "malignant", "Lesion", "malignant"),
        ("lesion", "Benign", "Lesion", "benign"),
        ("lesion", "Leonore", "Lesion", None),
        ("Leonore", "malignant", "segment 3", None),
    ],
)
def test_a_segment_keeps_only_the_tasks_names(label, description, out_label, out_class) -> None:
    out = through(change(seg(), SegmentSequence=Sequence([segment(label, description, 3)])))
    kept = out.SegmentSequence[0]
    assert kept.SegmentLabel == out_label
    assert kept.get("SegmentDescription") == out_class
    assert kept.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lesion"


@pytest.mark.rule("ING-3")
def test_only_a_role_keeps_its_readers_name() -> None:
    names = [
        through(seg(reader)).ContentCreatorName
        for reader in ("Reader^A", "Quacksalber^Ida", "Quacksalber^Ida", "Quacksalber^Udo")
    ]
    assert names[0] == "reader-a"
    assert names[1] == names[2] != names[3]
    assert all(str(name).startswith("r-") and len(str(name)) == 10 for name in names[1:])


@pytest.mark.rule("ING-3")
def test_a_code_passes_with_a_known_meaning_alone() -> None:
    anatomy = [code("51185008", "SCT", NAME), code("4711", "99KH", "x"), code("", "", "")]
    out = through(change(ct(), AnatomicRegionSequence=Sequence(anatomy)))
    kept = [(step.CodeValue, step.CodingSchemeDesignator) for step in out.AnatomicRegionSequence]
    assert kept == [("51185008", "SCT"), ("REMOVED", "99KETTE"), ("REMOVED", "99KETTE")]
