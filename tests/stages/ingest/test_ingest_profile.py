"""PRO-1 … PRO-4: which action an attribute gets."""

import csv
from pathlib import Path

import pytest
from pydicom.datadict import keyword_for_tag, tag_for_keyword

from stages.ingest.profile import Action, additions, decide, resolve, table, vocabulary

SHARED = Path(__file__).parents[4] / "shared" / "standards" / "ps3.15-table-e1-1.csv"
A = Action


@pytest.mark.rule("PRO-1")
@pytest.mark.parametrize(
    ("code", "vr", "action"),
    [
        ("X", "LO", A.REMOVE),
        ("Z", "LO", A.EMPTY),
        ("D", "LO", A.DUMMY),
        ("U", "UI", A.UID),
        ("K", "LO", A.KEEP),
        ("C", "LO", A.REMOVE),
        ("X/Z", "DA", A.EMPTY),
        ("X/D", "LO", A.DUMMY),
        ("Z/D", "PN", A.DUMMY),
        ("X/Z/D", "LO", A.DUMMY),
        ("X/Z/U*", "SQ", A.ITEMS),
        ("X", "SQ", A.REMOVE),
        ("Z", "SQ", A.EMPTY),
        ("X/Z", "SQ", A.REMOVE),
        ("X/D", "SQ", A.REMOVE),
        ("X/Z/D", "SQ", A.REMOVE),
        ("D", "SQ", A.EMPTY),
    ],
)
def test_every_code_has_one_action(code: str, vr: str, action: Action) -> None:
    assert resolve(code, vr) is action


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
        ("PatientAge", A.REMOVE, A.REMOVE),
        ("PatientSex", A.EMPTY, A.EMPTY),
        ("SOPInstanceUID", A.UID, A.REMOVE),
        ("Manufacturer", A.TOKEN, A.REMOVE),
        ("DeviceSerialNumber", A.DUMMY, A.DUMMY),
        ("ReferencedImageSequence", A.ITEMS, A.REMOVE),
        ("ImageComments", A.TEXT, A.REMOVE),
        pytest.param("KVP", A.KEEP, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("Modality", A.KEEP, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("SmallestImagePixelValue", A.KEEP, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("FilterType", A.REMOVE, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("ICCProfile", A.REMOVE, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("CTExposureSequence", A.ITEMS, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
        pytest.param("SOPClassUID", A.UID, A.REMOVE, marks=pytest.mark.rule("PRO-3")),
    ],
)
def test_an_attribute_gets_its_action(keyword: str, action: Action, otherwise: Action) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    decision = decide(tag, dates=True)
    assert (decision.action, decision.otherwise) == (action, otherwise)


@pytest.mark.rule("PRO-2")
def test_without_the_option_a_date_gets_its_basic_action() -> None:
    assert decide(0x00080020, dates=False).action is A.EMPTY
    assert decide(0x00080022, dates=False).action is A.EMPTY
    assert decide(0x00189074, dates=False).action is A.DUMMY


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
    assert decide(tag, dates=True).action is A.REMOVE


def test_every_code_of_the_table_resolves() -> None:
    assert len(table()) == 652
    for tag, row in table().items():
        decide(tag, dates=True)
        resolve(row.basic, "LO")


def test_additions_and_vocabulary_are_well_formed() -> None:
    assert all(keyword_for_tag(tag) for tag in additions())
    assert vocabulary() == {word.casefold() for word in vocabulary()}
    assert not any(word.isdecimal() for word in vocabulary())


def test_no_addition_is_weaker_than_the_table() -> None:
    own = {A.SUBJECT, A.READER, A.EMPTY, A.DUMMY, A.REMOVE}
    both = additions().keys() & table().keys()
    assert {additions()[tag] for tag in both} <= own


def test_the_table_is_the_standards() -> None:
    if not SHARED.is_file():
        pytest.skip("the standard's table is not beside the project (../shared/standards)")
    with SHARED.open(encoding="utf-8") as file:
        standard = [row for row in csv.DictReader(file) if row["tag"].startswith("(")]
    ours = (Path(__file__).parents[3] / "stages/ingest/profile.csv").read_text(encoding="utf-8")
    expected = [
        [
            row["tag"],
            " ".join(row["name"].split()),
            row["basic_2026c"],
            row["retain_longitudinal_modified_dates"],
            row["clean_descriptors"],
        ]
        for row in standard
    ]
    assert list(csv.reader(ours.splitlines()))[1:] == expected
