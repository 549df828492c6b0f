"""RID-1, RID-2, RES-2: the way back is recorded first, and no backup undoes an erasure unseen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers_home import Home, kette, new_home

from audit.envelope import read_statement
from audit.errors import Fault, KetteError, Refused, WrongUse
from audit.keys import public_keys
from audit.record import Record
from flows.backup import back_up, home_of
from flows.reidentify import reidentify
from flows.restore import bring_back
from stages.ingest import vault

PATIENT = "KH-4711-0815"
PURPOSE, PERSON = "the clinic asked for a lookup after an incidental finding", "Ada Example"
SECRET = b"correct horse battery"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = new_home(tmp_path)
    vault.create(made.place.vault)
    made.append()
    return made


def events(home: Home, kind: str) -> list[dict[str, str]]:
    records = [Record(index, read_statement(raw)) for index, raw in home.ledger.read()]
    return [record.details for record in records if record.kind == kind]


def verified(home: Home) -> bool:
    return home.ledger.verify(public_keys(home.place.keys)).ok


@pytest.mark.rule("RID-1")
def test_who_a_subject_is_is_shown_after_a_record_of_purpose_and_person(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    pseudonym = home.patients(PATIENT)[PATIENT]
    words = ("reidentify", pseudonym, "--purpose", PURPOSE, "--person", PERSON)
    out, err = kette(home, capsys, *words, "--json")
    shown = json.loads(out)
    assert (shown["patient_id"], shown["issuer"]) == (PATIENT, "hospital")
    assert events(home, "reidentified") == [
        {"pseudonym": pseudonym, "purpose": PURPOSE, "person": PERSON}
    ]
    assert verified(home)
    assert PATIENT not in err
    assert PATIENT in kette(home, capsys, *words)[0]
    assert len(events(home, "reidentified")) == 2


@pytest.mark.rule("RID-1")
def test_what_cannot_be_recorded_is_not_shown(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    pseudonym = home.patients(PATIENT)[PATIENT]
    shutil.rmtree(home.place.keys)
    home.place.keys.touch()
    with pytest.raises((KetteError, OSError)):
        reidentify(home.ledger, home.place, home.machine, pseudonym, purpose=PURPOSE, person=PERSON)
    words = ("reidentify", pseudonym, "--purpose", PURPOSE, "--person", PERSON)
    for text in kette(home, capsys, *words, code=3):
        assert PATIENT not in text


@pytest.mark.rule("RID-2")
@pytest.mark.parametrize(
    ("purpose", "person"),
    [("", PERSON), (PURPOSE, " "), ("two\nlines", PERSON), (f"who is {PATIENT.lower()}?", PERSON)],
)
def test_a_purpose_that_says_nothing_or_too_much_is_refused(
    home: Home, purpose: str, person: str
) -> None:
    pseudonym = home.patients(PATIENT)[PATIENT]
    with pytest.raises(WrongUse) as caught:
        reidentify(home.ledger, home.place, home.machine, pseudonym, purpose=purpose, person=person)
    assert PATIENT.casefold() not in caught.value.diagnostics().casefold()
    assert events(home, "reidentified") == []


@pytest.mark.rule("RID-1")
def test_an_unknown_or_destroyed_subject_is_nobody(home: Home) -> None:
    pseudonym = home.patients(PATIENT)[PATIENT]
    vault.destroy(home.place.vault, pseudonym)
    for name in (pseudonym, "s-aaaaaaaaaa"):
        with pytest.raises(WrongUse, match="no subject"):
            reidentify(home.ledger, home.place, home.machine, name, purpose="p", person="x")
    assert events(home, "reidentified") == []


@pytest.mark.rule("VLT-6")
def test_the_vaults_key_is_exchanged_on_record_and_pseudonyms_stay(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = home.patients(PATIENT)
    kette(home, capsys, "vault", "rotate", "--json")
    kette(home, capsys, "vault", "rotate", "--key", f"file:{tmp_path / 'elsewhere' / 'key'}")
    assert home.patients(PATIENT) == before
    assert events(home, "vault.rotated") == [{"key": "vault"}, {"key": "file"}]
    inside = f"file:{home.project / 'key'}"
    assert "passed on" in kette(home, capsys, "vault", "rotate", "--key", inside, code=2)[1]
    assert not (home.project / "key").exists()


@pytest.mark.rule("RES-2")
def test_a_destroyed_subject_stays_suppressed_in_a_restored_backup(
    home: Home, tmp_path: Path
) -> None:
    pseudonyms = home.patients(PATIENT, "KH-2")
    old, new = tmp_path / "old", tmp_path / "new"
    back_up(home.place, old, SECRET)
    vault.destroy(home.place.vault, pseudonyms[PATIENT])
    back_up(home.place, new, SECRET)
    with pytest.raises(Refused, match="newer"):
        bring_back(home.place, old, SECRET, {})  # it would bring the subject back
    shutil.rmtree(home_of(home.place))
    bring_back(home.place, new, SECRET, {})
    with vault.open_vault(home.place.vault) as held:
        assert held.suppressed(PATIENT, "hospital")
        assert pseudonyms[PATIENT] not in held.export()["subjects"]
    assert home.patients("KH-2")["KH-2"] == pseudonyms["KH-2"]


@pytest.mark.rule("BAK-3")
def test_a_backup_holds_no_key_that_lies_elsewhere(home: Home, tmp_path: Path) -> None:
    before, key = home.patients(PATIENT), tmp_path / "elsewhere" / "key"
    vault.rotate(home.place.vault, f"file:{key}")
    back_up(home.place, tmp_path / "backup", SECRET)
    shutil.rmtree(home_of(home.place))
    kept = key.read_bytes()
    key.write_text("ab" * 32)
    with pytest.raises(Fault):
        bring_back(home.place, tmp_path / "backup", SECRET, {})
    key.write_bytes(kept)
    bring_back(home.place, tmp_path / "backup", SECRET, {})
    assert home.patients(PATIENT) == before
