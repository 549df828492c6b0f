"""A signing key is made once, kept from others, and fits its public key."""

import multiprocessing
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from helpers_audit import new_signer
from securesystemslib.signer import CryptoSigner

from audit.errors import Refused, WrongUse
from audit.keys import (
    PRIVATE,
    PUBLIC,
    load_or_create_signer,
    load_public,
    public_keys,
    public_pem,
)
from audit.slots import Slot, fill


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys"


@pytest.mark.rule("SIG-1")
def test_a_new_key_is_for_its_owner_alone(keys: Path) -> None:
    load_or_create_signer(keys)
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert stat.S_IMODE((keys / PRIVATE).stat().st_mode) == 0o600
    assert sorted(path.name for path in keys.iterdir()) == [".lock", PRIVATE, PUBLIC]
    assert (keys / PRIVATE).read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_the_same_key_is_loaded_again_and_verifies_what_it_signed(keys: Path) -> None:
    signer = load_or_create_signer(keys)
    again = load_or_create_signer(keys)
    assert again.public_key == signer.public_key == load_public(keys / PUBLIC)
    found = public_keys(keys)
    assert list(found) == [signer.public_key.keyid]
    found[signer.public_key.keyid].verify_signature(again.sign(b"data"), b"data")


@pytest.mark.rule("SIG-1")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666, 0o610])
def test_a_private_key_that_others_can_reach_is_refused(keys: Path, mode: int) -> None:
    load_or_create_signer(keys)
    (keys / PRIVATE).chmod(mode)
    with pytest.raises(Refused, match=f"{mode:04o}"):
        load_or_create_signer(keys)


@pytest.mark.rule("SIG-2")
def test_a_public_key_of_another_pair_is_refused(keys: Path) -> None:
    load_or_create_signer(keys)
    (keys / PUBLIC).write_bytes(public_pem(new_signer().public_key))
    with pytest.raises(Refused, match="another key's"):
        load_or_create_signer(keys)


@pytest.mark.rule("SIG-2")
def test_a_lost_public_key_is_written_again(keys: Path) -> None:
    signer = load_or_create_signer(keys)
    (keys / PUBLIC).unlink()
    load_or_create_signer(keys)
    assert load_public(keys / PUBLIC) == signer.public_key


@pytest.mark.rule("SIG-2")
def test_a_lost_private_key_is_told_and_no_other_takes_its_place(keys: Path) -> None:
    load_or_create_signer(keys)
    (keys / PRIVATE).unlink()
    with pytest.raises(WrongUse, match="cannot be read"):
        load_or_create_signer(keys)
    assert sorted(path.name for path in keys.iterdir()) == [".lock", PUBLIC]


def test_a_role_may_have_a_key_of_its_own(keys: Path) -> None:
    one = load_or_create_signer(keys)
    own = fill(Slot(keys, "releaser"))
    assert load_or_create_signer(keys, role="releaser").public_key == own.public_key
    assert load_or_create_signer(keys, role="reviewer").public_key == one.public_key
    assert load_or_create_signer(keys).public_key == one.public_key != own.public_key
    assert set(public_keys(keys)) == {one.public_key.keyid, own.public_key.keyid}


@pytest.mark.rule("SIG-5")
def test_nothing_is_signed_with_a_slot_whose_key_is_being_replaced(keys: Path) -> None:
    load_or_create_signer(keys)
    fill(Slot(keys, "signer").next)
    with pytest.raises(WrongUse, match="being replaced"):
        load_or_create_signer(keys)


def _create(keys: Path, ready: object) -> None:
    ready.wait()  # type: ignore[attr-defined]
    load_or_create_signer(keys)


@pytest.mark.rule("SIG-3")
def test_processes_that_create_at_once_get_one_key(keys: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Barrier(4)
    workers = [context.Process(target=_create, args=(keys, ready)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert sorted(path.name for path in keys.iterdir()) == [".lock", PRIVATE, PUBLIC]
    load_or_create_signer(keys)


def test_a_key_elsewhere_is_loaded_by_its_uri_even_with_signs_in_its_path(
    keys: Path, tmp_path: Path
) -> None:
    signer = load_or_create_signer(tmp_path / "other #1?")
    found = load_or_create_signer(keys, f"file2:{tmp_path / 'other #1?' / PRIVATE}")
    assert found.public_key == signer.public_key == load_public(keys / PUBLIC)
    assert not (keys / PRIVATE).exists()


@pytest.mark.parametrize("uri", ["file2:/nowhere/signer.pem", "hsm:2?label=x", "unknown:x"])
def test_a_key_that_is_not_there_is_a_clear_error_and_creates_none(keys: Path, uri: str) -> None:
    with pytest.raises(WrongUse):
        load_or_create_signer(keys, uri)
    assert list(keys.iterdir()) == []


def test_a_uri_that_no_signer_knows_is_a_clear_error(keys: Path) -> None:
    load_or_create_signer(keys)
    with pytest.raises(WrongUse, match="URI"):
        load_or_create_signer(keys, "unknown:x")


P384 = generate_ec_key(SECP384R1())
OTHERS = (
    CryptoSigner.generate_rsa().private_bytes,
    P384.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
)


@pytest.mark.parametrize("content", [b"", b"no key", *OTHERS])
def test_a_file_that_is_no_key_of_ours_is_a_clear_error(keys: Path, content: bytes) -> None:
    load_or_create_signer(keys)
    (keys / PRIVATE).write_bytes(content)
    with pytest.raises(WrongUse):
        load_or_create_signer(keys)


def test_a_public_file_that_is_no_key_of_ours_is_a_clear_error(tmp_path: Path) -> None:
    rsa = generate_private_key(65537, 1024).public_key()  # noqa: S505 - its size does not matter
    path = tmp_path / "other.pub"
    for content in (
        b"",
        rsa.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        P384.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ):
        path.write_bytes(content)
        with pytest.raises(WrongUse):
            public_keys(tmp_path)
