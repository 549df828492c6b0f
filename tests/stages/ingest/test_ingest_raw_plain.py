"""PLN-1 … PLN-3: what becomes of a plainly spelled value is what the parser and profile give."""

import struct
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from helpers_ingest import ct, encoded, parameters
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword

from stages.ingest.codes import codes_of
from stages.ingest.header import quiet
from stages.ingest.pseudonymize import Alone
from stages.ingest.raw_file import EXPLICIT, NATIVE
from stages.ingest.raw_frame import Became, become
from stages.ingest.raw_plain import Change, Plain, change_of
from stages.ingest.raw_write import head_of
from stages.ingest.rules import Rules

RULES = Rules(
    subject="s-aaaaaaaaaa",
    uid_key=b"u" * 32,
    reader_key=b"r" * 32,
    days=-1000,
    readers={},
    labels={},
    codes=codes_of(parameters().task),
    depth=16,
)
FIRST = {
    "AcquisitionDate": b"20240229",
    "AcquisitionDateTime": b"20240229101112",
    "AcquisitionTime": b"101112",
    "IrradiationEventUID": b"1.2.3\0",
    "InstanceNumber": b"1 ",
    "SliceLocation": b"-2.5",
    "ImagePositionPatient": b"1.5\\-2.5\\3",
    "CTDIvol": struct.pack("<d", 6.5),
    "LargestImagePixelValue": struct.pack("<H", 7),
}
VRS = {keyword: dictionary_VR(keyword).split(" or ")[0] for keyword in FIRST}
CLOCKS = st.from_regex(rb"\A[0-9.+\\ -]{0,16}\Z") | st.dates().map(
    lambda day: day.strftime("%Y%m%d").encode()
)
NUMBERS = st.from_regex(rb"\A[0-9eE.+\\ -]{0,20}\Z") | st.integers(-20_000, 20_000).map(
    lambda number: str(number).encode()
)
VALUES = {
    **dict.fromkeys(("DA", "DT", "TM"), CLOCKS),
    **dict.fromkeys(("DS", "IS"), NUMBERS),
    "UI": st.from_regex(rb"\A[0-9.\\ \0]{0,20}\Z") | st.just(b"1.2.840.10008.1.2\0"),
    "FD": st.floats().map(lambda number: struct.pack("<d", number)),
    "US": st.integers(0, 65_535).map(lambda number: struct.pack("<H", number)),
}


def alone() -> tuple[Alone, pydicom.Dataset]:
    source = pydicom.dcmread(BytesIO(encoded(ct(1))))
    return Alone(source, RULES), source


def change_for(keyword: str, rules: Rules = RULES) -> Change:
    profile, source = alone()
    tag = tag_for_keyword(keyword) or 0
    change = change_of(
        profile.action(source, tag, VRS[keyword]), VRS[keyword], FIRST[keyword], rules
    )
    assert change is not None
    return change


def element(keyword: str, value: bytes) -> bytes:
    tag = tag_for_keyword(keyword) or 0
    return head_of(tag, VRS[keyword]) + struct.pack("<H", len(value)) + value


@pytest.mark.rule("PLN-1")
@pytest.mark.parametrize("keyword", FIRST)
def test_a_plain_value_becomes_what_the_parser_and_the_profile_give(keyword: str) -> None:
    tag, change, (profile, _) = tag_for_keyword(keyword) or 0, change_for(keyword), alone()

    def full(value: bytes) -> Became:
        with quiet():
            raw = {tag: element(keyword, value)}
            return become(profile, b"", raw, NATIVE[EXPLICIT])[tag]

    first = full(FIRST[keyword])

    @settings(max_examples=60, deadline=None)
    @given(VALUES[VRS[keyword]])
    def agrees(value: bytes) -> None:
        made = change(value)
        if made is not None:
            assert full(value).encoded == element(keyword, made.value)
            assert full(value).counts == first.counts
            assert full(value).value == made.meant

    assert change(FIRST[keyword]) is not None
    agrees()


@pytest.mark.rule("PLN-2")
@pytest.mark.parametrize(
    ("keyword", "value", "kept"),
    [
        ("SliceLocation", b"9999.5", True),
        ("SliceLocation", b"10000 ", False),
        ("InstanceNumber", b"9999", True),
        ("InstanceNumber", b"471108", False),
        ("CTDIvol", struct.pack("<d", -9999.5), True),
        ("CTDIvol", struct.pack("<d", 20240229), False),
        ("CTDIvol", struct.pack("<d", float("nan")), False),
        ("LargestImagePixelValue", struct.pack("<H", 10_000), False),
    ],
)
def test_a_number_that_could_tell_of_the_subject_is_left_to_the_profile(
    keyword: str, value: bytes, kept: bool
) -> None:
    made = change_for(keyword)(value)
    assert (made.value if made else None) == (value if kept else None)


@pytest.mark.rule("PLN-1")
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("AcquisitionDate", b"20240230"),
        ("AcquisitionTime", b"10:11:12"),
        ("AcquisitionTime", b""),
        ("IrradiationEventUID", b"1.2\\1.3\0"),
        ("IrradiationEventUID", b"KH4711"),
        ("InstanceNumber", b"1.5 "),
        ("SliceLocation", b"1e5 "),
        ("SliceLocation", b" 1.5"),
        ("SliceLocation", b"KH-4"),
    ],
)
def test_any_other_spelling_is_left_to_the_parser(keyword: str, value: bytes) -> None:
    assert change_for(keyword)(value) is None


@pytest.mark.rule("PLN-3")
def test_another_number_of_values_is_left_to_the_parser() -> None:
    change = change_for("ImagePositionPatient")
    assert change(b"1\\2\\3 ") == Plain(b"1\\2\\3 ", [1, 2, 3])
    assert change(b"1\\2 ") is None
    assert change_for("LargestImagePixelValue")(b"\1\0\2\0") is None


@pytest.mark.rule("PLN-1")
def test_dates_move_by_the_subjects_own_days() -> None:
    change = change_for("AcquisitionDate", replace(RULES, days=1))
    assert change(b"20240228") == Plain(b"20240229", "20240229")
