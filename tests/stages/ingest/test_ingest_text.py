"""WRD-1 … WRD-3, KNO-1 … KNO-3: which words of a free text stay, whoever the subject is."""

import pytest
from helpers_ingest import change, ct, item
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sequence import Sequence

from stages.ingest.fold import fold
from stages.ingest.known import Known, known_of
from stages.ingest.tables import vocabulary
from stages.ingest.text import clean

NOBODY = Known()


@pytest.mark.rule("WRD-1")
@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CT Thorax with contrast", "CT Thorax with contrast"),
        ("T1_MPRAGE", "T1_MPRAGE"),
        ("T1_MPRAGE_Meier", "T1 MPRAGE"),
        ("MRT Schädel nativ", "MRT Schädel nativ"),
        ("Thorax 5mm 4711 B30f", "Thorax 5mm B30f"),
        ("Meier Axial Thorax", "Axial Thorax"),
        ("Thorax 12.03.1943", "Thorax"),
        ("Thorax 0301234567", "Thorax"),
        ("Thorax, meier@example.org", "Thorax"),
        ("山田太郎 thorax", "thorax"),
        ("***", ""),
        ("", ""),
    ],
)
def test_a_line_keeps_the_vocabularys_words(text: str, left: str) -> None:
    assert "".join(clean("LO", [text], NOBODY).texts) == left


@pytest.mark.rule("WRD-1")
def test_a_word_of_the_vocabulary_that_is_the_subjects_goes_and_is_counted() -> None:
    known = known_of(change(ct(), PatientName="Head^Lung"))
    cleaned = clean("LO", ["CT head and LUNG thorax"], known)
    assert cleaned.texts == ("CT thorax",)
    assert cleaned.removed == 3


@pytest.mark.rule("WRD-3")
@pytest.mark.parametrize("vr", ["ST", "LT", "UT", "UC"])
def test_prose_stays_whole_or_not_at_all(vr: str) -> None:
    assert clean(vr, ["thorax with contrast"], NOBODY).texts == ("thorax with contrast",)
    assert clean(vr, ["thorax of Mrs Meier"], NOBODY).texts == ()


@pytest.mark.rule("WRD-1")
@given(st.text(max_size=40))
def test_every_word_that_stays_is_harmless(text: str) -> None:
    for left in clean("LO", [text], NOBODY).texts:
        words = [word for word in left.replace(",", ".").split() if word]
        assert words
        assert clean("LO", [left], NOBODY).texts == (left,)


@pytest.mark.rule("KNO-1")
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("Müller^Jörg", "MUELLER"),
        ("Müller^Jörg", "Muller"),
        ("Mueller^Joerg", "Jörg"),
        ("Weiß^Anna", "WEISS"),
        ("Ångström^Åsa", "Angstroem"),
        ("Łukasiewicz^Żaneta", "lukasiewicz"),
        ("Иванов^Сергей", "Ivanov"),
        ("Παπαδόπουλος^Νίκος", "Papadopoylos"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山田"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ＹＡＭＡＤＡ"),
        ("Meier^Karl", "KarlMeierhofer"),
        ("Meier^Karl", "Helix/meier-2"),
    ],
)
def test_a_name_is_found_however_it_is_written(name: str, written: str) -> None:
    source = change(ct(), PatientName=name)
    source.SpecificCharacterSet = "ISO_IR 192"
    assert known_of(source).in_text(written)


@pytest.mark.rule("KNO-1")
@pytest.mark.parametrize(
    "place",
    [
        {"PatientID": "QX-77-12345"},
        {"OtherPatientIDs": "QX-77-12345"},
        {"OtherPatientIDsSequence": Sequence([item(PatientID="QX-77-12345")])},
        {"PatientTelephoneNumbers": "QX 77 12345"},
        {"AccessionNumber": "QX7712345"},
        {"CTExposureSequence": Sequence([item(OperatorsName="QX^77^12345")])},
    ],
)
@pytest.mark.parametrize("written", ["QX-77-12345", "qx7712345", "77 12345", "(QX) 77/12.345"])
def test_an_identifier_is_found_with_any_separators(place, written: str) -> None:
    assert known_of(change(ct(), **place)).in_text(written)


@pytest.mark.rule("KNO-2")
def test_words_of_a_place_go_unless_they_are_the_makers_or_the_vocabularys() -> None:
    source = change(ct(), InstitutionName="Aurora Brain Center Krähwinkel")
    known = known_of(source)
    assert known.in_text("KRAEHWINKEL_CT")
    assert not known.in_text("AURORA IMAGING")
    assert not known.in_text("BRAIN")


@pytest.mark.rule("KNO-1")
def test_bulk_data_are_searched_in_every_usual_encoding() -> None:
    known = known_of(ct())
    for charset in ("utf-8", "latin-1", "utf-16-le", "utf-16-be"):
        assert known.in_bytes(b"\0\1" + "KRÄHWINKLER".lower().encode(charset))
    assert not known.in_bytes(bytes(range(200)))


def test_the_vocabulary_is_folded_text_of_letters() -> None:
    assert all(word == word.lower() and not word.isdecimal() for word in vocabulary())
    assert fold("Müller") == fold("MUELLER") == fold("muller") == "muller"
