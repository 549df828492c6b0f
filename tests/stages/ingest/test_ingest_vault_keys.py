"""VLT-6, VLT-7, VKY-1 … VKY-3, SUP-1, SUP-2: keys elsewhere, other keys, destroyed subjects."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from helpers_ingest import PATIENT, change, ct, ingest, save, study
from keyrings.alt.file import PlaintextKeyring

from audit.errors import Fault, WrongUse
from stages.ingest import vault, vault_file
from stages.ingest.quarantine import Reason

PATIENTS = ("KH-1", "KH-2", "KH-3")
VARIABLE = "KETTE_VAULT_KEY"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vault.create(tmp_path / "home" / "vault")
    known(tmp_path / "home" / "vault")
    return tmp_path / "home" / "vault"


@pytest.fixture
def _keyring(tmp_path: Path) -> Iterator[None]:
    backend, before = PlaintextKeyring(), keyring.get_keyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    keyring.set_keyring(backend)
    yield
    keyring.set_keyring(before)


def known(folder: Path) -> dict[str, tuple[str, bytes]]:
    with vault.open_vault(folder) as held:
        entries = {patient: held.subject(patient, "") for patient in PATIENTS}
    return {patient: (entry.pseudonym, entry.secret) for patient, entry in entries.items()}


@pytest.mark.rule("VLT-6")
def test_another_key_changes_no_pseudonym_and_the_old_one_opens_nothing(folder: Path) -> None:
    before, old = known(folder), (folder / "vault.key").read_bytes()
    vault.rotate(folder)
    assert known(folder) == before
    sealed = (folder / "vault.bin").read_bytes()
    with pytest.raises(InvalidTag):
        AESGCM(old).decrypt(sealed[:12], sealed[12:], b"Kette vault, schema 1")


def _killed_at(step: int, action: Callable[[], None]) -> bool:
    """Run an action in a process that is killed at its n-th write to the disk; whether it was."""

    def run() -> None:
        left = step

        def count(original):
            def counted(*args, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **options)

            return counted

        os.fsync, Path.replace = count(os.fsync), count(Path.replace)
        os.open, Path.open = count(os.open), count(Path.open)
        action()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    return process.exitcode == -signal.SIGKILL


@pytest.mark.rule("VLT-6")
def test_killed_at_any_step_of_the_exchange_the_vault_opens_as_before(folder: Path) -> None:
    before, step = known(folder), 0
    while _killed_at(step, lambda: vault.rotate(folder)):
        assert known(folder) == before, step
        assert not (folder / vault_file.NEXT_KEY).exists()
        step += 1
    assert step > 8
    vault.rotate(folder)
    assert known(folder) == before


@pytest.mark.rule("VLT-7")
def test_killed_at_any_step_a_subject_is_there_or_gone_for_good(folder: Path) -> None:
    before, step, seen = known(folder), 0, set()
    name = before["KH-2"][0]
    copies = {path.name: path.read_bytes() for path in folder.iterdir()}
    while _killed_at(step, lambda: vault.destroy(folder, name)):
        with vault.open_vault(folder) as held:
            there = name in held.export()["subjects"]
            assert held.suppressed("KH-2", "") is not there
        seen.add(there)
        for file, raw in copies.items():
            (folder / file).write_bytes(raw)
        step += 1
    assert seen == {True, False}


@pytest.mark.rule("VKY-1")
@pytest.mark.parametrize("where", ["file", "keyring", "env"])
@pytest.mark.usefixtures("_keyring")
def test_a_key_may_lie_elsewhere_and_come_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setenv(VARIABLE, "ab" * 32)
    place = {
        "file": f"file:{tmp_path / 'keys' / 'vault'}",
        "keyring": "keyring:kette/vault of a test",
        "env": f"env:{VARIABLE}",
    }[where]
    before = known(folder)
    vault.rotate(folder, place)
    assert len((folder / "vault.key").read_bytes()) != 32
    assert known(folder) == before
    if where == "file":
        (tmp_path / "keys" / "vault").chmod(0o644)
        with pytest.raises(WrongUse, match="Others"):
            known(folder)
        (tmp_path / "keys" / "vault").chmod(0o600)
    with pytest.raises(WrongUse, match="already"):
        vault.rotate(folder, place)
    vault.rotate(folder)
    assert known(folder) == before
    if where == "keyring":
        assert keyring.get_password("kette", "vault of a test") is None


@pytest.mark.rule("VKY-2")
@pytest.mark.parametrize("text", [None, "abc", "zz" * 32, "ab" * 31])
def test_a_key_that_is_gone_or_none_is_wrong_use_and_not_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.setenv(VARIABLE, "cd" * 32)
    vault.rotate(folder, f"env:{VARIABLE}")
    if text is None:
        monkeypatch.delenv(VARIABLE)
    else:
        monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(WrongUse) as caught:
        known(folder)
    assert text is None or text not in caught.value.diagnostics()
    monkeypatch.setenv(VARIABLE, "ef" * 32)
    with pytest.raises(Fault, match="another"):
        known(folder)


@pytest.mark.rule("VKY-2")
@pytest.mark.parametrize("place", ["env:KETTE_NOT_SET", "https://example.org/key", "vault.key"])
def test_a_place_that_has_no_key_changes_nothing(folder: Path, place: str) -> None:
    before = (folder / "vault.key").read_bytes(), known(folder)
    with pytest.raises(WrongUse):
        vault.rotate(folder, place)
    assert ((folder / "vault.key").read_bytes(), known(folder)) == before


@pytest.mark.rule("VLT-7")
def test_nothing_of_a_destroyed_subject_is_left(folder: Path) -> None:
    pseudonym, secret = known(folder)["KH-2"]
    old = (folder / "vault.key").read_bytes()
    vault.destroy(folder, pseudonym)
    assert (folder / "vault.key").read_bytes() != old
    with vault.open_vault(folder) as held:
        table = str(held.export())
        assert held.suppressed("KH-2", "")
        assert not held.suppressed("KH-2", "another hospital")
        assert not held.suppressed("KH-1", "")
    for needle in ("KH-2", pseudonym, secret.hex()):
        assert needle not in table
    with pytest.raises(WrongUse, match="no subject"):
        vault.destroy(folder, pseudonym)


@pytest.mark.rule("SUP-1")
def test_two_vaults_list_the_same_patient_differently(folder: Path, tmp_path: Path) -> None:
    vault.create(tmp_path / "other")
    lists = []
    for place in (folder, tmp_path / "other"):
        vault.destroy(place, known(place)["KH-1"][0])
        with vault.open_vault(place) as held:
            lists.append(held.export()["suppressed"])
    assert lists[0] != lists[1]


@pytest.mark.rule("SUP-2")
def test_a_study_of_a_destroyed_subject_is_refused_when_it_comes_again(tmp_path: Path) -> None:
    place = tmp_path / "vault"
    vault.create(place)
    source = save(tmp_path / "in", *study())
    first = ingest(tmp_path / "first", source, vault_folder=place)
    (subject,) = first.units
    vault.destroy(place, subject)
    others = [change(ct(n, "2"), PatientID="KH-9", StudyInstanceUID="1.2.3") for n in range(5)]
    save(source, *others)
    again = ingest(tmp_path / "again", source, vault_folder=place)
    assert again.reasons == [Reason.SUPPRESSED] * 6
    assert len(again.units) == 1
    with vault.open_vault(place) as held:
        assert PATIENT not in str(held.export())
