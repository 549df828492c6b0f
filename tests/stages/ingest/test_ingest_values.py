"""Values: dates move exactly, text passes by vocabulary alone."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest import keys
from stages.ingest.known import Known
from stages.ingest.values import (
    AGE,
    in_range,
    is_code_string,
    is_number,
    is_technical,
    reads_like_date,
    shift,
)

MEIER = Known(
    personal=frozenset({"meier", "4711"}),
    runs=("meier", "kh4711"),
    digits=frozenset({"4711001"}),
)
DAYS = st.dates(date(1900, 1, 1), date(2100, 1, 1))


@pytest.mark.rule("ING-5")
@given(first=DAYS, second=DAYS, days=st.integers(-36500, -1))
def test_intervals_stay_exact(first: date, second: date, days: int) -> None:
    moved = [shift("DA", day.strftime("%Y%m%d"), days) for day in (first, second)]
    a, b = (date.fromisoformat(texts[0]) for texts in moved if texts)
    assert b - a == second - first
    assert a == first + timedelta(days=days)


@pytest.mark.rule("ING-5")
@pytest.mark.parametrize(
    ("vr", "value", "moved"),
    [
        ("DA", "20240301", ["20240229"]),
        ("DA", "2024.03.01", ["20240229"]),
        ("DA", "", []),
        ("DA", ["20240301", "20240101"], ["20240229", "20231231"]),
        ("DT", "20240301101112.5+0100", ["20240229101112.5+0100"]),
        ("DT", "20240301", ["20240229"]),
        ("TM", "101112.123456", ["101112.123456"]),
        ("TM", "1011", ["1011"]),
        ("SH", "+0200", ["+0200"]),
        ("DA", "20240230", None),
        ("DA", "202403", None),
        ("DA", "20240301-20240401", None),
        ("DA", "Meier", None),
        ("DA", "00010101", None),
        ("DT", "2024", None),
        ("DT", "20240301 Meier", None),
        ("TM", "10:11", None),
        ("SH", "Meier", None),
    ],
)
def test_a_date_moves_by_whole_days_or_not_at_all(vr: str, value, moved) -> None:
    assert shift(vr, value, -1) == moved


@pytest.mark.rule("ING-5")
@given(secret=st.binary(min_size=32, max_size=32), low=st.integers(-50, 0), high=st.integers(0, 9))
def test_the_shift_is_within_its_range_and_never_zero(secret: bytes, low: int, high: int) -> None:
    if low == high == 0:
        low = -1
    days = keys.shift_days(secret, low, high)
    assert low <= days <= high
    assert days != 0
    assert days == keys.shift_days(secret, low, high)


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("SOMATOM Force", True),
        ("Brilliance iCT/SP (v2)", True),
        ("", True),
        ("Unit of Meier", False),
        ("Tel 0301234567", False),
        ("a\nb", False),
        ("x" * 80, False),
        ("Helix 12.03.1943", False),
        ("Helix 12 Mar 1943", False),
        ("Helix März 43", False),
        ("Helix-Meierhofer", False),
        ("Helix KH 47-11", False),
        ("Größe", False),
    ],
)
def test_a_technical_name_is_short_and_not_the_subjects(text: str, *, passes: bool) -> None:
    assert is_technical(text, MEIER) is passes


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ("PRIMARY", True),
        ("MONOCHROME2", True),
        ("", True),
        ("MEIERHOFER", False),
        ("X_MEIER_1", False),
        ("KH_4711", False),
        ("19430312", False),
        ("Frau Meier", False),
    ],
)
def test_a_code_string_is_no_prose_and_not_the_subjects(value: str, *, passes: bool) -> None:
    assert is_code_string(value, MEIER) is passes


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ("120", True),
        (63.669768, True),
        (["0.5", "1e-3"], True),
        (40_000_000, True),
        ("4711001", False),
        (4711001, False),
        (4711001.0, False),
        ("19430312", False),
        (12031943, False),
        ("Meier", False),
    ],
)
def test_a_number_is_neither_a_date_nor_the_subjects(value, *, passes: bool) -> None:
    assert is_number(value, MEIER) is passes


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("1943-03-12", True),
        ("12/3/1943", True),
        ("12.03.43", True),
        ("19430312", True),
        ("12031943", True),
        ("March 12, 1943", True),
        ("12. Dez", True),
        ("3.0.2", False),
        ("T1 64 Decibel", False),
        ("12345678", False),
    ],
)
def test_dates_are_seen_in_every_usual_order(text: str, *, reads: bool) -> None:
    assert reads_like_date(text) is reads


@pytest.mark.rule("ING-9")
@pytest.mark.parametrize(
    ("tag", "value", "ranged"),
    [
        (AGE, "057Y", ["055Y"]),
        (AGE, "089Y", ["085Y"]),
        (AGE, "101Y", ["090Y"]),
        (AGE, "011M", ["000Y"]),
        (AGE, "57", None),
        (AGE, "", []),
        (0x00101020, "1.78", ["1.75"]),
        (0x00101020, "2.11", ["1.95"]),
        (0x00101020, "0.5", ["1.4"]),
        (0x00101030, "63.9", ["60"]),
        (0x00101030, "171", ["120"]),
        (0x00101030, "Meier", None),
        (0x00101030, "-1", None),
    ],
)
def test_ages_sizes_and_weights_are_told_in_ranges(tag: int, value, ranged) -> None:
    assert in_range(tag, value) == ranged


@pytest.mark.rule("PSE-2")
def test_pseudonym_and_shift_come_from_the_subjects_secret_alone() -> None:
    names = {keys.pseudonym(bytes([number]) * 32) for number in range(100)}
    assert len(names) == 100
    assert all(name.startswith("s-") and len(name) == 12 for name in names)
    shifts = {keys.shift_days(bytes([number]) * 32, -3650, -366) for number in range(100)}
    assert len(shifts) > 80


@pytest.mark.rule("PSE-1")
def test_the_demo_keys_names_depend_on_patient_and_issuer() -> None:
    patients = (("A", ""), ("A", "B"), ("AB", ""), ('A","', "B"))
    assert len({keys.DemoKeys().subject(*patient).pseudonym for patient in patients}) == 4
    assert keys.DemoKeys().subject("A", "B") == keys.DemoKeys().subject("A", "B")


@pytest.mark.rule("PSE-1")
def test_devices_get_a_keyed_name() -> None:
    names = {keys.device(key, name) for key in (b"1" * 32, b"2" * 32) for name in ("A", "B")}
    assert len(names) == 4
    assert all(name.startswith("d-") and len(name) == 12 for name in names)


@pytest.mark.rule("PSE-3")
@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"])
def test_well_known_uids_stay(uid: str) -> None:
    assert keys.replace_uid(b"k" * 32, uid) == uid


@pytest.mark.rule("PSE-3")
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.840.10008.4711", "Meier"])
def test_every_other_uid_is_replaced_by_a_valid_one(uid: str) -> None:
    replaced = keys.replace_uid(b"k" * 32, uid)
    assert replaced.startswith("2.25.")
    assert len(replaced) <= 44
    assert int(replaced.removeprefix("2.25.")) < 2**128
    assert replaced != keys.replace_uid(b"j" * 32, uid)
