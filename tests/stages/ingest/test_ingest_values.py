"""Values: dates move exactly, text passes by vocabulary alone."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest import keys
from stages.ingest.values import is_code_string, is_plain, is_technical, shift

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
        ("CT Thorax with contrast", True),
        ("T1_MPRAGE", True),
        ("MRT Schädel nativ", True),
        ("CT Thorax Meier", False),
        ("Thorax 4711", False),
        ("Head", False),  # the subject's own name
        ("", False),
        ("***", False),
    ],
)
def test_free_text_passes_by_its_words_alone(text: str, *, passes: bool) -> None:
    words = {"ct", "thorax", "with", "contrast", "t1", "mprage", "head", "mrt", "schädel", "nativ"}
    assert is_plain(text, words, {"head"}) is passes


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
    ],
)
def test_a_technical_name_is_short_and_not_the_subjects(text: str, *, passes: bool) -> None:
    assert is_technical(text, {"meier"}) is passes


@pytest.mark.rule("ING-3")
def test_a_code_string_is_no_prose() -> None:
    assert is_code_string(["ORIGINAL", "PRIMARY"])
    assert not is_code_string(["ORIGINAL", "Frau Meier"])


@pytest.mark.rule("PSE-1")
def test_pseudonyms_depend_on_key_patient_and_issuer() -> None:
    names = {
        keys.pseudonym(key, patient, issuer)
        for key in (b"1" * 32, b"2" * 32)
        for patient, issuer in (("A", ""), ("A", "B"), ("AB", ""), ('A","', "B"))
    }
    assert len(names) == 8
    assert keys.pseudonym(b"1" * 32, "A", "") == keys.pseudonym(b"1" * 32, "A", "")


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
