"""What cannot be made again comes back from a backup whole, or nothing changes."""

from __future__ import annotations

import io
import json
import shutil
import stat
from pathlib import Path

import pytest
from helpers_home import PATIENTS, Home, files_of, kette, new_home
from securesystemslib.signer import CryptoSigner

from audit.errors import Refused, WrongUse
from audit.keys import PRIVATE, public_keys
from flows.backup import back_up, home_of
from flows.passphrase import passphrase
from flows.restore import bring_back
from flows.sealed import CHUNK, MAGIC, SealedReader, SealedWriter
from stages.ingest import vault

SECRET = b"correct horse battery"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A ledger of some records, its keys, and a vault of three patients."""
    made = new_home(tmp_path)
    vault.create(made.place.vault)
    made.patients(*PATIENTS)
    made.append(5)
    return made


def _wipe(home: Home) -> None:
    shutil.rmtree(home_of(home.place))


def _verified(home: Home) -> int:
    found = home.ledger.verify(public_keys(home.place.keys))
    assert found.ok, found.reason
    return found.records


@pytest.mark.rule("RES-1")
def test_the_drill_ledger_keys_and_vault_come_back_and_go_on(home: Home, tmp_path: Path) -> None:
    before, pseudonyms = files_of(home_of(home.place)), home.patients(*PATIENTS)
    records = _verified(home)
    made = back_up(home.place, tmp_path / "backup", SECRET)
    assert made["records"] == records
    _wipe(home)
    found = bring_back(home.place, tmp_path / "backup", SECRET, {})
    assert found == {"files": len(before), "records": records, "missing": []}
    assert files_of(home_of(home.place)) == before
    assert home.patients(*PATIENTS) == pseudonyms
    home.append()
    assert _verified(home) == records + 1


def test_what_comes_back_is_for_its_owner_alone(home: Home, tmp_path: Path) -> None:
    back_up(home.place, tmp_path / "backup", SECRET)
    _wipe(home)
    bring_back(home.place, tmp_path / "backup", SECRET, {})
    for path in (home_of(home.place), *home_of(home.place).rglob("*")):
        if path.name != "lock":
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_a_backup_shows_nothing_of_what_it_holds_and_is_for_its_owner_alone(
    home: Home, tmp_path: Path
) -> None:
    back_up(home.place, tmp_path / "backup", SECRET)
    raw = (tmp_path / "backup").read_bytes()
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    private = (home.place.keys / PRIVATE).read_bytes().splitlines()[1]
    for secret in (private, home.place.name.encode(), b"PRIVATE KEY", b"manifest"):
        assert secret not in raw


@pytest.mark.rule("SEA-1")
@pytest.mark.parametrize("wiped", [True, False])
def test_a_changed_or_cut_backup_is_refused_and_nothing_changes(
    home: Home, tmp_path: Path, wiped: bool
) -> None:
    file = tmp_path / "backup"
    back_up(home.place, file, SECRET)
    raw = file.read_bytes()
    if wiped:
        _wipe(home)
    before = files_of(home.machine.home)
    middle = len(raw) // 2
    changed = raw[:middle] + bytes([raw[middle] ^ 1]) + raw[middle + 1 :]
    for damaged in (raw[:-1], changed, raw[:5]):
        file.write_bytes(damaged)
        with pytest.raises(Refused):
            bring_back(home.place, file, SECRET, {})
        assert files_of(home.machine.home) == before
    assert not list(home.machine.home.glob(".*.new"))


@pytest.mark.rule("SEA-1")
def test_another_passphrase_opens_nothing(home: Home, tmp_path: Path) -> None:
    back_up(home.place, tmp_path / "backup", SECRET)
    with pytest.raises(Refused, match="passphrase"):
        bring_back(home.place, tmp_path / "backup", b"another passphrase", {})


@pytest.mark.rule("SEA-1")
@pytest.mark.parametrize("size", [0, CHUNK, 2 * CHUNK + 1])
def test_what_was_sealed_opens_and_no_chunk_can_be_dropped_or_moved(size: int) -> None:
    plain = bytes(index % 251 for index in range(1000)) * (size // 1000) + bytes(size % 1000)
    target = io.BytesIO()
    writer = SealedWriter(target, SECRET)
    for start in range(0, size, 300_000):
        writer.write(plain[start : start + 300_000])
    writer.finish()
    sealed = target.getvalue()
    assert io.BufferedReader(SealedReader(io.BytesIO(sealed), SECRET)).read() == plain
    head, chunk = len(MAGIC) + 16, CHUNK + 16
    chunks = [sealed[at : at + chunk] for at in range(head, len(sealed), chunk)]
    for others in (chunks[:-1], chunks[1:], chunks[::-1], [*chunks, b"\0"]):
        changed = sealed[:head] + b"".join(others)
        if changed != sealed:
            with pytest.raises(Refused):
                io.BufferedReader(SealedReader(io.BytesIO(changed), SECRET)).read()


@pytest.mark.rule("RES-2")
def test_a_newer_ledger_or_vault_is_never_replaced(home: Home, tmp_path: Path) -> None:
    back_up(home.place, tmp_path / "first", SECRET)
    home.patients("P-4")
    back_up(home.place, tmp_path / "second", SECRET)
    before = files_of(home.machine.home)
    with pytest.raises(Refused, match="vault"):
        bring_back(home.place, tmp_path / "first", SECRET, {})
    assert files_of(home.machine.home) == before
    home.append()
    before = files_of(home.machine.home)
    with pytest.raises(Refused, match="ledger"):
        bring_back(home.place, tmp_path / "second", SECRET, {})
    assert files_of(home.machine.home) == before


@pytest.mark.rule("RES-2")
def test_another_ledger_of_the_same_size_is_never_replaced(home: Home, tmp_path: Path) -> None:
    back_up(home.place, tmp_path / "backup", SECRET)
    _wipe(home)
    home.append(5)
    with pytest.raises(Refused, match="another one"):
        bring_back(home.place, tmp_path / "backup", SECRET, {})


@pytest.mark.rule("RES-2")
def test_an_older_or_damaged_ledger_is_replaced(home: Home, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(home_of(home.place), old)
    home.append(3)
    back_up(home.place, tmp_path / "backup", SECRET)
    after = files_of(home_of(home.place))
    # An older one.
    _wipe(home)
    shutil.copytree(old, home_of(home.place))
    bring_back(home.place, tmp_path / "backup", SECRET, {})
    assert files_of(home_of(home.place)) == after
    # A damaged one: a bit of a record, then its checkpoint, then its vault.
    batch = next(home.place.ledger.rglob("*.jsonl"))
    for damaged in (batch, home.place.ledger / "checkpoint", home.place.vault / "vault.bin"):
        raw = bytearray(damaged.read_bytes())
        raw[len(raw) // 3] ^= 1
        damaged.write_bytes(raw)
        bring_back(home.place, tmp_path / "backup", SECRET, {})
        assert files_of(home_of(home.place)) == after


@pytest.mark.rule("RES-3")
def test_records_that_others_know_of_are_named_as_missing(home: Home, tmp_path: Path) -> None:
    back_up(home.place, tmp_path / "backup", SECRET)
    records, early = _verified(home), home.ledger.signed_checkpoint()
    home.append(4)
    late = home.ledger.signed_checkpoint()
    _wipe(home)
    found = bring_back(home.place, tmp_path / "backup", SECRET, {"tag 1": early, "tag 2": late})
    gap = {"known_from": "tag 2", "first": records, "last": records + 3}
    assert found["missing"] == [gap]


@pytest.mark.rule("RES-3")
def test_a_backup_of_a_ledger_that_others_know_otherwise_is_refused(
    home: Home, tmp_path: Path
) -> None:
    back_up(home.place, tmp_path / "backup", SECRET)
    _wipe(home)
    home.append(2)
    other = home.ledger.signed_checkpoint()
    _wipe(home)
    with pytest.raises(Refused, match="the mirror"):
        bring_back(home.place, tmp_path / "backup", SECRET, {"the mirror": other})
    assert not home_of(home.place).exists()


@pytest.mark.rule("RES-4")
@pytest.mark.parametrize("point", ["unpacked", "moved away", "moved in"])
def test_a_killed_restore_is_finished_by_the_same_command(
    home: Home, tmp_path: Path, point: str
) -> None:
    after = files_of(home_of(home.place))
    back_up(home.place, tmp_path / "backup", SECRET)
    here = home_of(home.place)
    beside, replaced = here.with_name(f".{here.name}.new"), here.with_name(f".{here.name}.old")
    shutil.copytree(here, beside / "home")
    if point != "unpacked":
        here.rename(replaced)
    if point == "moved in":
        (beside / "home").rename(here)
    bring_back(home.place, tmp_path / "backup", SECRET, {})
    assert files_of(here) == after
    assert not beside.exists()
    assert not replaced.exists()


def test_a_backup_of_another_project_is_refused(home: Home, tmp_path: Path) -> None:
    back_up(home.place, tmp_path / "backup", SECRET)
    params = (home.project / "params.yaml").read_text("utf-8")
    other = type(home.place)(home.project, "other", home.place.home)
    with pytest.raises(WrongUse, match="another project"):
        bring_back(other, tmp_path / "backup", SECRET, {})
    assert (home.project / "params.yaml").read_text("utf-8") == params
    assert not other.ledger.exists()


@pytest.mark.rule("BAK-1")
def test_a_ledger_that_does_not_verify_is_not_backed_up(home: Home, tmp_path: Path) -> None:
    batch = next(home.place.ledger.rglob("*.jsonl"))
    batch.write_bytes(batch.read_bytes()[:-2])
    with pytest.raises(Refused, match="does not verify"):
        back_up(home.place, tmp_path / "backup", SECRET)
    assert not (tmp_path / "backup").exists()


@pytest.mark.rule("BAK-2")
def test_a_backup_replaces_no_file_and_lies_not_in_what_it_backs_up(
    home: Home, tmp_path: Path
) -> None:
    (tmp_path / "backup").write_bytes(b"precious")
    for out in (tmp_path / "backup", home_of(home.place) / "backup"):
        with pytest.raises(WrongUse, match="file exists"):
            back_up(home.place, out, SECRET)
    assert (tmp_path / "backup").read_bytes() == b"precious"


def test_a_private_key_of_another_pair_in_a_backup_is_refused(home: Home, tmp_path: Path) -> None:
    other = CryptoSigner.generate_ed25519().private_bytes
    (home.place.keys / PRIVATE).write_bytes(other)
    back_up(home.place, tmp_path / "backup", SECRET)
    _wipe(home)
    with pytest.raises(Refused, match="another key's"):
        bring_back(home.place, tmp_path / "backup", SECRET, {})


@pytest.mark.parametrize("content", [b"short", b"x" * 2000, b""])
def test_a_passphrase_too_short_or_too_long_is_a_clear_error(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_bytes(content)
    with pytest.raises(WrongUse, match="passphrase"):
        passphrase(file)
    with pytest.raises(WrongUse, match="passphrase"):
        passphrase(None)


def test_a_passphrase_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(mode=0o644)
    file.write_bytes(SECRET)
    with pytest.raises(Refused, match="0644"):
        passphrase(file)


def test_the_verbs_back_up_and_restore(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET + b"\n")
    out, file = tmp_path / "backup", ("--passphrase-file", str(secret))
    made = json.loads(kette(home, capsys, "backup", "--out", str(out), *file, "--json")[0])
    assert made["bytes"] == out.stat().st_size
    late = made["records"]
    home.append(2)
    (home.project / "releases").mkdir()
    note = home.ledger.signed_checkpoint().decode()
    manifest = json.dumps({"version": "1.0.0", "checkpoint": note})
    (home.project / "releases" / "1.0.0.yaml").write_text(manifest, "utf-8")
    _, told = kette(home, capsys, "restore", str(out), *file, code=1)
    assert "newer" in told
    _wipe(home)
    monkeypatch.setenv("KETTE_PASSPHRASE", SECRET.decode())
    told, _ = kette(home, capsys, "restore", str(out))
    assert f"{late} records: verified" in told
    assert f"Missing: records {late} to {late + 1}, known from release 1.0.0." in told
