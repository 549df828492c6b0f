"""PRO-1 … PRO-4: which action an attribute gets."""

import csv
from pathlib import Path

import pytest
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from stages.ingest.params import Options
from stages.ingest.profile import Action, Decision, Policy, decide, resolve
from stages.ingest.tables import additions, classes, rows, safe_private, types, vocabulary

STANDARDS = Path(__file__).parents[4] / "shared" / "standards"
TABLES = Path(__file__).parents[3] / "stages" / "ingest"
A = Action


def policy(iod: str = "", dates: str = "modified", **options: object) -> Policy:
    return Policy(Options(**options), dates, iod)


def decided(keyword: str, policy: Policy) -> Decision:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return decide(tag, policy)


@pytest.mark.rule("PRO-1")
@pytest.mark.parametrize(
    ("code", "unknown", "type3", "type2", "type1"),
    [
        ("X", A.REMOVE, A.REMOVE, A.EMPTY, A.DUMMY),
        ("Z", A.EMPTY, A.EMPTY, A.EMPTY, A.DUMMY),
        ("D", A.DUMMY, A.DUMMY, A.DUMMY, A.DUMMY),
        ("U", A.UID, A.UID, A.UID, A.UID),
        ("K", A.KEEP, A.KEEP, A.KEEP, A.KEEP),
        ("C", A.REMOVE, A.REMOVE, A.REMOVE, A.REMOVE),
        ("X/Z", A.EMPTY, A.REMOVE, A.EMPTY, A.DUMMY),
        ("X/D", A.DUMMY, A.REMOVE, A.DUMMY, A.DUMMY),
        ("Z/D", A.DUMMY, A.EMPTY, A.EMPTY, A.DUMMY),
        ("X/Z/D", A.DUMMY, A.REMOVE, A.EMPTY, A.DUMMY),
        ("X/Z/U*", A.UID, A.UID, A.UID, A.UID),
    ],
)
def test_a_code_is_resolved_by_the_attributes_type(code, unknown, type3, type2, type1) -> None:
    assert [resolve(code, "LO", kind) for kind in ("", "3", "2", "1")] == [
        unknown,
        type3,
        type2,
        type1,
    ]


@pytest.mark.rule("PRO-5")
@pytest.mark.parametrize(
    ("code", "kind", "action"),
    [
        ("X", "", A.REMOVE),
        ("Z", "", A.EMPTY),
        ("D", "", A.ITEMS),
        ("X/D", "3", A.REMOVE),
        ("X/D", "", A.ITEMS),
        ("X/Z", "2", A.EMPTY),
        ("X/Z/D", "2", A.EMPTY),
        ("X/Z/U*", "3", A.ITEMS),
        ("U", "", A.ITEMS),
    ],
)
def test_a_sequences_code_holds_for_the_whole_or_its_items(code, kind, action) -> None:
    assert resolve(code, "SQ", kind) is action


@pytest.mark.rule("PRO-1")
@pytest.mark.parametrize("code", ["", "Y", "D/X", "X/", "x"])
def test_a_code_that_the_table_does_not_define_is_refused(code: str) -> None:
    with pytest.raises(ValueError, match="defines no code"):
        resolve(code, "LO")


@pytest.mark.parametrize(
    ("keyword", "action", "otherwise"),
    [
        pytest.param("StudyDate", A.SHIFT, A.EMPTY, marks=pytest.mark.rule("PRO-2")),
        pytest.param("AcquisitionDateTime", A.SHIFT, A.DUMMY, marks=pytest.mark.rule("PRO-2")),
        pytest.param("TimezoneOffsetFromUTC", A.SHIFT, A.REMOVE, marks=pytest.mark.rule("PRO-2")),
        pytest.param("PatientBirthDate", A.EMPTY, A.EMPTY, marks=pytest.mark.rule("PRO-2")),
        pytest.param("SeriesDescription", A.TEXT, A.REMOVE, marks=pytest.mark.rule("PRO-2")),
        pytest.param("ProtocolName", A.TEXT, A.DUMMY, marks=pytest.mark.rule("PRO-2")),
        ("PatientName", A.SUBJECT, A.DUMMY),
        ("PatientAge", A.RANGE, A.REMOVE),
        ("PatientSex", A.KEEP, A.EMPTY),
        ("SOPInstanceUID", A.UID, A.REMOVE),
        ("Manufacturer", A.TOKEN, A.REMOVE),
        ("DeviceSerialNumber", A.DEVICE, A.DUMMY),
        ("ReferencedImageSequence", A.ITEMS, A.REMOVE),
        ("ImageComments", A.TEXT, A.REMOVE),
        pytest.param("KVP", A.KEEP, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("Modality", A.TERM, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("SmallestImagePixelValue", A.KEEP, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("FilterType", A.TEXT, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("ICCProfile", A.REMOVE, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("CTExposureSequence", A.ITEMS, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("SOPClassUID", A.UID, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
    ],
)
def test_an_attribute_gets_its_action(keyword: str, action: Action, otherwise: Action) -> None:
    decision = decided(keyword, policy())
    assert (decision.action, decision.otherwise) == (action, otherwise)


@pytest.mark.rule("PRO-2")
@pytest.mark.parametrize(
    ("options", "keyword", "action"),
    [
        ({"dates": "removed"}, "StudyDate", A.EMPTY),
        ({"dates": "removed"}, "AcquisitionDate", A.EMPTY),
        ({"dates": "removed", "iod": "CT"}, "AcquisitionDate", A.REMOVE),
        ({"dates": "removed"}, "FrameAcquisitionDateTime", A.DUMMY),
        ({"dates": "removed"}, "InstructionPerformedDateTime", A.DUMMY),
        ({"dates": "full"}, "StudyDate", A.SHIFT),
        ({"uids": True}, "SOPInstanceUID", A.KEEP),
        ({"uids": True}, "ReferencedStudySequence", A.ITEMS),
        ({"uids": True}, "SpecimenUID", A.KEEP),
        ({"iod": "MR"}, "ReferencedStudySequence", A.REMOVE),
        ({}, "DeviceUID", A.UID),
        ({"device_identity": "retained"}, "DeviceUID", A.KEEP),
        ({"device_identity": "retained"}, "StationName", A.NAME),
        ({"device_identity": "retained"}, "SoftwareVersions", A.NAME),
        ({"device_identity": "removed"}, "SoftwareVersions", A.DUMMY),
        ({"device_identity": "removed"}, "StationName", A.DUMMY),
        ({"device_identity": "removed", "iod": "CT"}, "StationName", A.REMOVE),
        ({"device_identity": "removed", "iod": "SEG"}, "DeviceSerialNumber", A.DUMMY),
        ({"iod": "CT"}, "InstitutionName", A.REMOVE),
        ({"institution_identity": True}, "InstitutionName", A.NAME),
        ({"institution_identity": True}, "InstitutionCodeSequence", A.CODES),
        ({"patient_characteristics": "removed"}, "PatientAge", A.REMOVE),
        ({"patient_characteristics": "removed"}, "PatientSex", A.EMPTY),
        ({"patient_characteristics": "retained"}, "PatientAge", A.KEEP),
        ({"patient_characteristics": "retained"}, "EthnicGroup", A.NAME),
        ({"patient_characteristics": "retained"}, "Allergies", A.TEXT),
        ({}, "EthnicGroup", A.REMOVE),
        ({"descriptors": False}, "SeriesDescription", A.REMOVE),
        ({"descriptors": False}, "FilterType", A.REMOVE),
        ({}, "AdmittingDiagnosesCodeSequence", A.CODES),
        ({}, "ContentSequence", A.ITEMS),
        ({}, "GraphicAnnotationSequence", A.ITEMS),
        ({"iod": "SR"}, "ContentDate", A.SHIFT),
        ({"iod": "SR", "dates": "removed"}, "ContentDate", A.DUMMY),
        ({"iod": "CT", "dates": "removed"}, "ContentDate", A.EMPTY),
        ({"iod": "RTSTRUCT"}, "OperatorsName", A.EMPTY),
    ],
)
def test_an_option_goes_before_the_basic_action_where_it_is_on(options, keyword, action) -> None:
    assert decided(keyword, policy(**options)).action is action


@pytest.mark.rule("PRO-2")
@pytest.mark.parametrize(
    "keyword", ["SecondaryCaptureDeviceID", "ChannelLabel", "WaveformAnnotationSequence"]
)
def test_a_row_without_option_columns_has_no_option(keyword: str) -> None:
    everything = policy(
        uids=True,
        device_identity="retained",
        institution_identity=True,
        patient_characteristics="retained",
    )
    decision = decided(keyword, everything)
    assert decision.action in (A.REMOVE, A.ITEMS)
    assert not decision.option


@pytest.mark.rule("PRO-4")
@pytest.mark.parametrize(
    "tag",
    [
        0x00091001,  # private
        0x00090010,  # private creator
        0x00080000,  # group length
        0x00000010,  # command
        0x00041511,  # media directory
        0x50003000,  # curve
        0x50FE0005,
        0x60003000,  # overlay
        0x60024000,
        0x60000010,
        0xFFFCFFFC,  # trailing padding
        0x00080002,  # unknown to the dictionary
        0x7FDF0001,
    ],
)
def test_private_repeating_and_unknown_attributes_are_removed(tag: int) -> None:
    assert decide(tag, policy()).action is A.REMOVE


@pytest.mark.parametrize("iod", ["", *sorted({entry.iod for entry in classes().values()})])
def test_every_code_of_the_table_resolves(iod: str) -> None:
    assert len(rows()) == 652
    for tag, row in rows().items():
        decide(tag, policy(iod))
        resolve(row.basic, "LO")


def test_additions_and_vocabulary_are_well_formed() -> None:
    assert all(keyword_for_tag(tag) for tag in additions())
    assert vocabulary() == {word.lower() for word in vocabulary()}
    assert not any(word.isdecimal() for word in vocabulary())


def test_no_addition_is_weaker_than_the_table() -> None:
    own = {A.SUBJECT, A.READER, A.EMPTY, A.DUMMY, A.REMOVE}
    both = additions().keys() & rows().keys()
    assert {A(additions()[tag]) for tag in both} <= own


def test_types_are_those_of_rows_with_alternatives_and_of_iods_that_pass() -> None:
    assert {tag for _, tag in types()} <= rows().keys()
    assert set(types().values()) <= {"1", "2", "3"}
    assert all(kind == "1" or "/" in rows()[tag].basic for (_, tag), kind in types().items())
    assert {entry.iod for entry in classes().values()} <= {iod for iod, _ in types()}


def standard(name: str) -> list[dict[str, str]]:
    path = STANDARDS / name
    if not path.is_file():
        pytest.skip("the standard's tables are not beside the project (../shared/standards)")
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ours(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


OPTIONS = {
    "private": "retain_safe_private",
    "uids": "retain_uids",
    "device": "retain_device_identity",
    "institution": "retain_institution_identity",
    "patient": "retain_patient_characteristics",
    "full_dates": "retain_longitudinal_full_dates",
    "modified_dates": "retain_longitudinal_modified_dates",
    "descriptors": "clean_descriptors",
    "structured": "clean_structured_content",
    "graphics": "clean_graphics",
}


def test_the_table_is_the_standards() -> None:
    expected = [
        {
            "tag": row["tag"],
            "name": " ".join(row["name"].split()),
            "basic": row["basic_2026c"],
            **{ours: row[theirs] for ours, theirs in OPTIONS.items()},
        }
        for row in standard("ps3.15-table-e1-1.csv")
    ]
    assert len(expected) == 656
    assert ours("profile.csv") == expected


def test_the_safe_private_elements_are_the_standards() -> None:
    expected = [
        {
            "creator": row["private_creator"],
            "tag": row["tag"],
            "vr": row["vr"],
            "vm": row["vm"],
            "name": " ".join(row["meaning"].split()),
        }
        for row in standard("ps3.15-table-e3-10-1-safe-private.csv")
    ]
    assert ours("safe_private.csv") == expected
    assert len(safe_private()) == len(expected) == 87
