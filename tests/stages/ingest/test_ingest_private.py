"""PRI-1 … PRI-3: private elements pass by the standard's list alone."""

import struct
from typing import Any

import pytest
from helpers_ingest import BIRTH, NAME, ct, item, parameters
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from stages.ingest.codes import codes_of
from stages.ingest.header import quiet
from stages.ingest.params import Options
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.rules import Rules

SIEMENS, GE, PHILIPS = "SIEMENS MR HEADER", "GEMS_PARM_01", "Philips Imaging DD 001"


def through(source: Dataset, **options: object) -> Dataset:
    rules = Rules(
        subject="s-aaaaaaaaaa",
        uid_key=b"u" * 32,
        reader_key=b"r" * 32,
        days=-1000,
        readers={},
        labels={},
        codes=codes_of(parameters().task),
        depth=16,
        options=Options(**options),
    )
    with quiet():
        return pseudonymize(source, rules)[0]


def private(creator: str, group: int, offset: int, vr: str, value: Any) -> Dataset:
    source = ct()
    with quiet():
        source.private_block(group, creator, create=True).add_new(offset, vr, value)
    return source


def kept(result: Dataset) -> dict[str, Any]:
    return {f"{int(e.tag):08x}": e.value for e in result if e.tag.is_private}


@pytest.mark.rule("PRI-1")
@pytest.mark.rule("PRI-3")
@pytest.mark.parametrize(
    ("place", "vr", "value", "expected"),
    [
        ((SIEMENS, 0x19, 0x0C), "IS", "1000", 1000),
        ((SIEMENS, 0x19, 0x0E), "FD", [0.0, 0.5, 1.0], [0.0, 0.5, 1.0]),
        ((SIEMENS, 0x19, 0x0D), "CS", "DIRECTIONAL", "DIRECTIONAL"),
        ((GE, 0x43, 0x39), "IS", ["1000", "8", "0", "0"], [1000, 8, 0, 0]),
        ((GE, 0x43, 0x6F), "DS", ["1", "2", "3"], [1, 2, 3]),
        ((PHILIPS, 0x2001, 0x03), "FL", 800.0, 800.0),
        ((SIEMENS, 0x19, 0x0C), "UN", b"1000", 1000),
        ((SIEMENS, 0x19, 0x0E), "UN", struct.pack("<3d", 0, 0.5, 1), [0.0, 0.5, 1.0]),
    ],
)
def test_a_listed_element_passes_with_its_creator(place, vr, value, expected) -> None:
    result = through(private(*place, vr, value))
    passed = kept(result)
    assert passed.pop(f"{place[1]:04x}0010") == place[0]
    assert list(passed.values()) == [expected]
    stated = {step.CodeValue for step in result.DeidentificationMethodCodeSequence}
    assert "113111" in stated


@pytest.mark.rule("PRI-1")
@pytest.mark.parametrize(
    ("creator", "group", "offset", "vr", "value"),
    [
        (SIEMENS, 0x19, 0x08, "CS", "IMAGE NUM 4"),
        (SIEMENS, 0x29, 0x0C, "IS", "1000"),
        ("SIEMENS MR HEADER 2", 0x19, 0x0C, "IS", "1000"),
        ("siemens mr header", 0x19, 0x0C, "IS", "1000"),
        ("KLINIK NOTIZ", 0x19, 0x0C, "IS", "1000"),
    ],
)
def test_no_other_private_element_passes(creator, group, offset, vr, value) -> None:
    result = through(private(creator, group, offset, vr, value))
    assert kept(result) == {}
    stated = {step.CodeValue for step in result.DeidentificationMethodCodeSequence}
    assert "113111" not in stated


@pytest.mark.rule("PRI-2")
@pytest.mark.parametrize(
    ("creator", "group", "offset", "vr", "value"),
    [
        (SIEMENS, 0x19, 0x0C, "LO", NAME),
        (SIEMENS, 0x19, 0x0C, "IS", ["1", "2"]),
        (SIEMENS, 0x19, 0x0C, "IS", BIRTH),
        (SIEMENS, 0x19, 0x0D, "CS", "KRAEHWINKLER"),
        (SIEMENS, 0x19, 0x0E, "FD", [0.0, 1.0]),
        (SIEMENS, 0x19, 0x0E, "UN", b"Leonore Kraehwin"),
        (SIEMENS, 0x19, 0x0C, "UN", b"Leonore"),
        (PHILIPS, 0x2001, 0x6E, "SH", "Leonore"),
        (PHILIPS, 0x2001, 0xC1, "LO", "Frau Kraehwinkler"),
    ],
)
def test_a_listed_element_of_another_form_does_not_pass(creator, group, offset, vr, value) -> None:
    passed = kept(through(private(creator, group, offset, vr, value)))
    assert list(passed.values()) == [creator]


@pytest.mark.rule("PRI-2")
def test_the_items_of_a_safe_sequence_are_treated_like_any() -> None:
    shutter = item(PatientName=NAME, KVP="120")
    source = private(PHILIPS, 0x2001, 0x69, "SQ", Sequence([shutter]))
    items = through(source)[0x20011069].value
    assert [[element.keyword for element in entry] for entry in items] == [["PatientName", "KVP"]]
    assert items[0].PatientName == "s-aaaaaaaaaa"


@pytest.mark.rule("PRI-1")
def test_safe_elements_stand_in_items_too_and_go_without_the_option() -> None:
    inner = item(KVP="120")
    inner.private_block(0x19, SIEMENS, create=True).add_new(0x0C, "IS", "1000")
    source = ct()
    source.CTExposureSequence = Sequence([inner])
    assert kept(through(source).CTExposureSequence[0]) == {"00190010": SIEMENS, "0019100c": 1000}
    without = through(source, safe_private=False)
    assert kept(without.CTExposureSequence[0]) == {}
    codes = {step.CodeValue for step in without.DeidentificationMethodCodeSequence}
    assert "113111" not in codes
