"""Time stamps over checkpoints, by a real authority (`openssl ts`)."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from helpers_audit import new_ledger, new_signer
from helpers_authority import new_authority, served

from audit.errors import Fault, Refused, WrongUse
from audit.timestamp import read_roots, request, verify

pytestmark = pytest.mark.peer("openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Folder and root of an authority."""
    folder = tmp_path_factory.mktemp("authority") / "tsa"
    return folder, new_authority(folder)


@pytest.fixture(scope="module")
def url(authority):
    with served(authority[0]) as url:
        yield url


@pytest.fixture
def note(tmp_path):
    return new_ledger(tmp_path / "ledger", new_signer()).signed_checkpoint()


@pytest.mark.rule("TST-2")
def test_a_time_stamp_says_when_the_authority_saw_the_checkpoint(note, url, authority):
    token = request(note, url)
    at = verify(token, note, read_roots(authority[1]))
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=10)


def test_openssl_verifies_the_same_files(note, url, authority, tmp_path):
    (tmp_path / "7.tsr").write_bytes(request(note, url))
    (tmp_path / "7").write_bytes(note)
    done = subprocess.run(
        ["openssl", "ts", "-verify", "-in", "7.tsr", "-data", "7", "-CAfile", str(authority[1])],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "Verification: OK" in done.stdout + done.stderr


@pytest.mark.rule("TST-2")
def test_a_time_stamp_of_another_checkpoint_does_not_hold(note, url, authority):
    token = request(note, url)
    with pytest.raises(Refused, match="time stamp does not hold"):
        verify(token, note.replace(b"\n6\n", b"\n7\n"), read_roots(authority[1]))


@pytest.mark.rule("TST-2")
def test_a_time_stamp_of_an_authority_that_is_not_trusted_does_not_hold(note, url, tmp_path):
    other = read_roots(new_authority(tmp_path / "other"))
    with pytest.raises(Refused, match="time stamp does not hold"):
        verify(request(note, url), note, other)


@pytest.mark.rule("TST-2")
def test_no_changed_byte_of_a_time_stamp_is_taken_for_another_time(note, url, authority):
    token, roots = request(note, url), read_roots(authority[1])
    at, refused = verify(token, note, roots), 0
    for place in range(0, len(token), 7):
        changed = bytearray(token)
        changed[place] ^= 1
        try:
            assert verify(bytes(changed), note, roots) == at
        except Refused:
            refused += 1
    assert refused > len(token) / 7 / 2  # the rest is not signed: versions, unused certificates


@pytest.mark.rule("TST-1")
@pytest.mark.parametrize("path", ["other", "no"])
def test_an_answer_to_something_else_is_refused(note, url, path):
    with pytest.raises(Refused, match="no time stamp"):
        request(note, url + path)


def test_an_authority_that_is_down_is_a_fault(note, url):
    with pytest.raises(Fault, match="could not be reached"):
        request(note, url + "down")


def test_a_url_of_another_scheme_is_wrong_use(note):
    with pytest.raises(WrongUse):
        request(note, "file:///etc/hostname")
