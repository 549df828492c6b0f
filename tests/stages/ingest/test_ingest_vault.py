"""VLT-1 … VLT-5: the vault."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from audit.errors import Fault, KetteError, WrongUse
from stages.ingest import vault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vault.create(tmp_path / "home" / "vault")
    return tmp_path / "home" / "vault"


def add(folder: Path, patient: str) -> tuple[str, bytes]:
    with vault.open_vault(folder) as held:
        entry = held.subject(patient, "")
    return entry.pseudonym, entry.secret


@pytest.mark.rule("VLT-1")
def test_folder_and_files_are_the_owners_alone(folder: Path) -> None:
    add(folder, "KH-1")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {stat.S_IMODE((folder / name).stat().st_mode) for name in ("vault.key", "vault.bin")}
    assert modes == {0o600}


@pytest.mark.rule("VLT-1")
@pytest.mark.parametrize("name", [".", "vault.key"])
def test_a_vault_that_others_can_open_is_refused(folder: Path, name: str) -> None:
    (folder / name).chmod(0o755)
    with pytest.raises(WrongUse, match="Others"), vault.open_vault(folder):
        pass


@pytest.mark.rule("VLT-2")
def test_the_table_is_encrypted(folder: Path) -> None:
    pseudonym, secret = add(folder, "KH-4711-0815")
    sealed = (folder / "vault.bin").read_bytes()
    for needle in (b"KH-4711", pseudonym.encode(), secret, secret.hex().encode(), b"subjects"):
        assert needle not in sealed


@pytest.mark.rule("VLT-2")
@pytest.mark.parametrize("name", ["vault.bin", "vault.key"])
def test_any_changed_byte_is_refused_and_nothing_shown(folder: Path, name: str) -> None:
    add(folder, "KH-4711-0815")
    raw = (folder / name).read_bytes()
    for at in range(len(raw)):
        (folder / name).write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(Fault, match="changed") as caught, vault.open_vault(folder):
            pass
        assert "KH-4711" not in caught.value.diagnostics()
    for cut in (b"", raw[:5], raw[:-1]):
        (folder / name).write_bytes(cut)
        with pytest.raises(Fault), vault.open_vault(folder):
            pass


@pytest.mark.rule("VLT-3")
def test_an_error_while_it_is_held_changes_nothing(folder: Path) -> None:
    before = (folder / "vault.bin").read_bytes()

    def interrupted() -> None:
        with vault.open_vault(folder) as held:
            held.subject("KH-1", "")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert (folder / "vault.bin").read_bytes() == before


@pytest.mark.rule("VLT-3")
def test_a_left_over_of_a_killed_write_does_not_matter(folder: Path) -> None:
    (folder / ".vault.bin.new").write_bytes(b"half")
    entry = add(folder, "KH-1")
    assert add(folder, "KH-1") == entry
    assert {path.name for path in folder.iterdir()} == {"vault.key", "vault.bin", "lock"}


def _extend(folder: Path, first: int) -> None:
    for number in range(first, first + 5):
        add(folder, f"KH-{number}")


@pytest.mark.rule("VLT-3")
def test_processes_that_extend_it_together_lose_no_entry(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_extend, args=(folder, 5 * n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with vault.open_vault(folder) as held:
        assert len(held.export()["subjects"]) == 15


@pytest.mark.rule("VLT-4")
def test_a_vault_within_what_is_passed_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="passed on"):
        vault.check_place(tmp_path / "project" / "vault", [tmp_path / "project"])
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    with pytest.raises(WrongUse, match="git"):
        vault.create(tmp_path / "repository" / "deep" / "vault")
    (tmp_path / "link").symlink_to(tmp_path / "project")
    with pytest.raises(WrongUse, match="passed on"):
        vault.check_place(tmp_path / "link" / "vault", [tmp_path / "project"])
    vault.check_place(tmp_path / "projects" / "vault", [tmp_path / "project"])


@pytest.mark.rule("VLT-5")
def test_a_patient_keeps_pseudonym_and_secret(folder: Path) -> None:
    first = add(folder, "KH-1")
    add(folder, "KH-2")
    assert add(folder, "KH-1") == first
    assert add(folder, "KH-2")[0] != first[0]


@pytest.mark.rule("VLT-5")
def test_two_vaults_give_unlinkable_pseudonyms(folder: Path, tmp_path: Path) -> None:
    vault.create(tmp_path / "other")
    assert add(folder, "KH-1") != add(tmp_path / "other", "KH-1")


def test_a_missing_vault_is_wrong_use_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(WrongUse) as caught, vault.open_vault(tmp_path / "none"):
        pass
    assert caught.value.remedy


def test_a_vault_is_never_made_over_another(folder: Path) -> None:
    before = (folder / "vault.key").read_bytes()
    with pytest.raises(WrongUse, match="not empty"):
        vault.create(folder)
    assert (folder / "vault.key").read_bytes() == before


def test_another_schema_is_refused(folder: Path) -> None:
    with vault.open_vault(folder) as held:
        held.export()["schema"] = 99
        held.changed = True
    with pytest.raises(KetteError, match="schema"), vault.open_vault(folder):
        pass
