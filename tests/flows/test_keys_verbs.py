"""Keys are enrolled, replaced and ended by records; people sign with theirs and no others'."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers_home import Home, files_of, kette, key_file, new_home
from securesystemslib.signer import CryptoSigner

from audit.errors import Refused, WrongUse
from audit.key_events import ROLES
from audit.keys import PRIVATE, PUBLIC, load_or_create_signer, load_public, public_keys, public_pem
from audit.record import Record
from audit.signers import signer_at
from flows.keys import Desk, end, enroll, listed
from flows.rotation import rotate
from flows.signing import sign_file

Step = Callable[[Desk], object]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = new_home(tmp_path)
    made.append(2)
    return made


def _desk(home: Home, custodian: str | None = None) -> Desk:
    return Desk(home.ledger, home.place, home.machine, custodian)


def _states(home: Home) -> list[dict[str, Any]]:
    return listed(_desk(home))


def _kinds(home: Home) -> list[str | None]:
    return [Record(index, statement).kind for index, statement in home.ledger.records()]


def _holds(home: Home, *, covered: bool = True) -> None:
    found = home.ledger.verify(public_keys(home.place.keys))
    assert found.ok, found.reason
    assert not covered or found.covered == found.records


def _in_order(keys: Path) -> list[str]:
    """The files of the folder of keys; nothing but its lock may lie beside them."""
    names = sorted(path.name for path in keys.iterdir())
    assert names[0] == ".lock"
    return names[1:]


def _public(home: Home, uri: str, name: str) -> Path:
    path = home.project.parent / f"{name}.pem"
    path.write_bytes(public_pem(signer_at(uri).public_key))
    return path


def _person(home: Home, tmp_path: Path, name: str, *roles: str) -> str:
    """A person's key, enrolled by its public half; gives its URI."""
    uri = key_file(tmp_path / f"{name}.key.pem")
    enroll(_desk(home), roles, name, public=_public(home, uri, name), uri=None)
    return uri


def test_a_ledger_begins_with_its_first_key_for_all_roles(home: Home) -> None:
    (row,) = listed(_desk(home))
    assert row["since"] == 0
    assert set(row["roles"]) == set(ROLES)
    assert (row["state"], row["here"], row["keytype"]) == ("active", "signer", "ed25519")


def test_another_persons_key_is_enrolled_by_its_public_half_once(
    home: Home, tmp_path: Path
) -> None:
    _person(home, tmp_path, "Ada Lovelace", "reviewer", "approver")
    _, ada = _states(home)
    assert (ada["holder"], ada["roles"]) == ("Ada Lovelace", ["reviewer", "approver"])
    public = tmp_path / "Ada Lovelace.pem"
    again = enroll(_desk(home), ["approver", "reviewer"], "Ada Lovelace", public=public, uri=None)
    assert again == (ada["since"], ada["keyid"])
    with pytest.raises(WrongUse, match="other roles"):
        enroll(_desk(home), ["releaser"], "Ada Lovelace", public=public, uri=None)
    assert _in_order(home.place.keys) == [PRIVATE, PUBLIC]
    _holds(home)


def test_keys_can_be_set_up_before_the_first_run(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    assert listed(_desk(home)) == []
    _person(home, tmp_path, "Ada Lovelace", "custodian")
    assert [row["holder"] for row in _states(home)] == [home.ledger.origin, "Ada Lovelace"]
    home.append()
    _holds(home)


def test_a_signature_may_be_the_first_record(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    done = sign_file(home.project, home.place.params, "reviewed", signer="Me", comment="")
    assert done.index == 1
    _holds(home)


@pytest.mark.rule("SGN-1")
def test_a_signature_says_name_role_meaning_time_and_file(home: Home, tmp_path: Path) -> None:
    uri = _person(home, tmp_path, "Ada Lovelace", "reviewer")
    file = tmp_path / "report.html"
    file.write_bytes(b"<html>")
    signed = sign_file(
        home.project, file, "reviewed", signer="Ada Lovelace", comment="As agreed.", uri=uri
    )
    record = Record(*list(home.ledger.records())[signed.index])
    assert record.details == {
        "meaning": "reviewed",
        "role": "reviewer",
        "signer": "Ada Lovelace",
        "comment": "As agreed.",
    }
    assert record.subjects == (("report.html", hashlib.sha256(b"<html>").hexdigest()),)
    assert record.time.endswith("Z")
    _holds(home)


@pytest.mark.rule("SGN-2")
@pytest.mark.rule("SGN-3")
@pytest.mark.parametrize(
    ("meaning", "name"),
    [("reviewed", "Grace Hopper"), ("released", "Ada Lovelace"), ("read", "Ada Lovelace")],
)
def test_a_key_signs_in_no_other_name_or_role(
    home: Home, tmp_path: Path, meaning: str, name: str
) -> None:
    uri = _person(home, tmp_path, "Ada Lovelace", "reviewer")
    before = files_of(home.place.ledger)
    with pytest.raises(WrongUse):
        sign_file(home.project, home.place.params, meaning, signer=name, comment="", uri=uri)
    assert files_of(home.place.ledger) == before


@pytest.mark.rule("SGN-3")
def test_a_key_that_was_never_enrolled_or_has_ended_signs_nothing(
    home: Home, tmp_path: Path
) -> None:
    stranger = key_file(tmp_path / "stranger.pem")
    uri = _person(home, tmp_path, "Ada Lovelace", "reviewer")
    end(_desk(home), _states(home)[1]["keyid"], "left the company", compromised=False)
    for key in (stranger, uri):
        with pytest.raises(WrongUse, match="may not sign"):
            sign_file(
                home.project, home.place.params, "reviewed",
                signer="Ada Lovelace", comment="", uri=key,
            )  # fmt: skip
    _holds(home)


def test_the_machines_own_key_for_a_role_signs_by_itself(home: Home) -> None:
    _, keyid = enroll(_desk(home), ["releaser"], "Grace Hopper", public=None, uri=None)
    done = sign_file(home.project, home.place.params, "released", signer="Grace Hopper", comment="")
    assert done.keyid == keyid != load_or_create_signer(home.place.keys).public_key.keyid
    end(_desk(home), keyid[:8], "no more needed", compromised=False)
    assert _in_order(home.place.keys) == [PRIVATE, PUBLIC]
    _holds(home)


@pytest.mark.rule("ROT-1")
def test_a_rotated_key_is_replaced_and_what_it_signed_stays_good(home: Home) -> None:
    old = load_public(home.place.keys / PUBLIC)
    private = (home.place.keys / PRIVATE).read_bytes()
    rotate(_desk(home), "pipeline", "yearly")
    first, second = _states(home)
    assert (first["keyid"], first["state"], first["reason"]) == (old.keyid, "retired", "yearly")
    assert (second["roles"], second["holder"], second["state"]) == (
        first["roles"],
        first["holder"],
        "active",
    )
    assert load_or_create_signer(home.place.keys).public_key.keyid == second["keyid"]
    assert private not in files_of(home.place.keys).values()
    assert _in_order(home.place.keys) == [PRIVATE, PUBLIC]
    home.append(3)
    _holds(home)
    found = home.ledger.verify({old.keyid: old})
    assert found.ok, found.reason


def test_keys_can_be_rotated_again_and_again_to_either_type(home: Home, tmp_path: Path) -> None:
    ecdsa = tmp_path / "p256.pem"
    ecdsa.touch(mode=0o600)
    ecdsa.write_bytes(CryptoSigner.generate_ecdsa().private_bytes)
    for uri in (None, f"file2:{ecdsa}", None):
        rotate(_desk(home), "pipeline", "test", uri=uri)
        home.append()
        _holds(home)
    assert [state["keytype"] for state in _states(home)] == ["ed25519"] * 2 + ["ecdsa", "ed25519"]
    assert ecdsa.exists()


def test_a_key_can_move_to_the_keyring_and_back(home: Home, tmp_path: Path) -> None:
    keyring = pytest.importorskip("keyring")
    backend = pytest.importorskip("keyrings.alt.file").PlaintextKeyring()
    backend.file_path = str(tmp_path / "keyring.cfg")
    before = keyring.get_keyring()
    keyring.set_keyring(backend)
    try:
        rotate(_desk(home), "pipeline", "safer", uri="keyring:kette/phantom")
        assert not (home.place.keys / PRIVATE).exists()
        home.append()
        rotate(_desk(home), "pipeline", "back")
        assert keyring.get_password("kette", "phantom") is None
        home.append()
    finally:
        keyring.set_keyring(before)
    _holds(home)
    assert _in_order(home.place.keys) == [PRIVATE, PUBLIC]


class Killed(BaseException):
    """The process ends here: nothing of it runs any more."""


@contextmanager
def _killed_at(number: int) -> Iterator[list[str]]:
    """End at the n-th change of the disk, before it is made; gives the changes that were made."""
    made: list[str] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            if len(made) >= number:
                raise Killed
            made.append(name)
            return real(*words, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "rename", "unlink", "link", "fsync"):
            patch.setattr(os, name, wrapped(name, getattr(os, name)))
        yield made


def _rotation(desk: Desk) -> object:
    return rotate(desk, "pipeline", "yearly")


def _enrolment(desk: Desk) -> object:
    return enroll(desk, ["releaser"], "Grace Hopper", public=None, uri=None)


def _ending(desk: Desk) -> object:
    keyid = list(desk.members())[1]
    return end(desk, keyid, "no more needed", compromised=True)


@pytest.mark.rule("ROT-2")
@pytest.mark.parametrize(
    "verb",
    [
        "rotate",
        pytest.param("enroll", marks=pytest.mark.slow),
        pytest.param("end", marks=pytest.mark.slow),
    ],
)
def test_killed_at_every_change_the_same_command_finishes(tmp_path: Path, verb: str) -> None:
    step: Step = {"rotate": _rotation, "enroll": _enrolment, "end": _ending}[verb]
    wanted: tuple[list[str | None], list[str]] | None = None
    for number in range(200):
        (folder := tmp_path / str(number)).mkdir()
        home = new_home(folder)
        home = Home(
            home.project, type(home.place)(home.project, "p", folder / "home"), home.machine
        )
        home.append(1)
        if verb == "end":
            _enrolment(_desk(home))
        ended = False
        with _killed_at(number) as made:
            try:
                step(_desk(home))
                ended = True
            except Killed:
                pass
        if ended:
            assert len(made) > 5
            assert (_kinds(home), _in_order(home.place.keys)) == wanted
            return
        if not (ended_by_itself := _ended(home, verb)):
            step(_desk(home))
        found = (_kinds(home), _in_order(home.place.keys))
        wanted = wanted or found
        assert found == wanted, (number, ended_by_itself)
        home.append()
        _holds(home)
    pytest.fail("it never ended")


def _ended(home: Home, verb: str) -> bool:
    """Whether the killed command was done but for what does not matter."""
    names = _in_order(home.place.keys)
    if verb == "rotate":
        return len(_states(home)) == 2 and names == [PRIVATE, PUBLIC]
    return verb == "end" and _states(home)[1]["state"] != "active" and names == [PRIVATE, PUBLIC]


@pytest.mark.rule("ROT-3")
def test_the_last_custodian_stays(home: Home, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="custodian"):
        rotate(_desk(home), "pipeline", "separate duties", roles=["pipeline"])
    _person(home, tmp_path, "Ada Lovelace", "custodian")
    rotate(_desk(home), "pipeline", "separate duties", roles=["pipeline"])
    with pytest.raises(WrongUse, match="custodian"):
        end(_desk(home), _states(home)[1]["keyid"], "mistake", compromised=False)
    _holds(home)


def test_duties_can_be_separated_and_the_machine_then_enrolls_nobody(
    home: Home, tmp_path: Path
) -> None:
    ada = _person(home, tmp_path, "Ada Lovelace", "custodian")
    rotate(_desk(home), "pipeline", "separate duties", roles=["pipeline"])
    grace = _public(home, key_file(tmp_path / "grace.pem"), "grace")
    with pytest.raises(WrongUse, match="custodian's key"):
        enroll(_desk(home), ["reviewer"], "Grace Hopper", public=grace, uri=None)
    enroll(_desk(home, ada), ["reviewer"], "Grace Hopper", public=grace, uri=None)
    with pytest.raises(WrongUse, match="may not sign"):
        sign_file(home.project, home.place.params, "reviewed", signer="Ada Lovelace", comment="")
    home.append()
    _holds(home)


@pytest.mark.rule("ROT-4")
def test_the_machines_own_key_ends_only_by_being_replaced(home: Home) -> None:
    keyid = _states(home)[0]["keyid"]
    with pytest.raises(WrongUse, match="signs with"):
        end(_desk(home), keyid, "stolen", compromised=True)
    rotate(_desk(home), "pipeline", "stolen", compromised=True)
    assert _states(home)[0]["state"] == "revoked"
    home.append()
    _holds(home)


def test_a_revoked_key_signs_nothing_more_even_past_the_verbs(home: Home) -> None:
    stolen = signer_at(f"file2:{home.place.keys / PRIVATE}")
    rotate(_desk(home), "pipeline", "stolen", compromised=True)
    records = home.ledger.verify(public_keys(home.place.keys)).records
    _, statement = next(iter(home.ledger.records(since=1)))
    with pytest.raises(Refused, match="revoked"):
        home.ledger.append(statement, stolen)
    assert home.ledger.verify(public_keys(home.place.keys)).records == records


@pytest.mark.parametrize("lost", ["private key", "keys", "keys and a new one made"])
def test_a_lost_key_is_replaced_with_a_custodians_that_is_kept_elsewhere(
    home: Home, tmp_path: Path, lost: str
) -> None:
    ada = _person(home, tmp_path, "Ada Lovelace", "custodian")
    old = _states(home)[0]["keyid"]
    (home.place.keys / PRIVATE).unlink()
    if lost != "private key":
        (home.place.keys / PUBLIC).unlink()
    if lost == "keys and a new one made":
        stray = load_or_create_signer(home.place.keys)
        _, statement = next(iter(home.ledger.records(since=1)))
        with pytest.raises(Refused):
            home.ledger.append(statement, stray)
    rotate(
        _desk(home, ada), "pipeline", "disk failed", compromised=True,
        replaces=None if lost == "private key" else old,
    )  # fmt: skip
    home.append(2)
    _holds(home)
    assert [state["state"] for state in _states(home)] == ["revoked", "active", "active"]
    assert _in_order(home.place.keys) == [PRIVATE, PUBLIC]


def test_a_lost_key_without_a_custodian_is_told(home: Home) -> None:
    (home.place.keys / PRIVATE).unlink()
    with pytest.raises(WrongUse, match="custodian"):
        rotate(_desk(home), "pipeline", "disk failed")
    with pytest.raises(WrongUse, match="custodian"):
        rotate(_desk(home, key_file(home.project / "x.pem")), "pipeline", "disk failed")
    with pytest.raises(WrongUse, match="cannot be read"):
        rotate(_desk(home, "file2:/nowhere"), "pipeline", "disk failed")


@pytest.mark.rule("ROT-5")
def test_a_refused_rotation_or_enrolment_leaves_the_machine_as_it_was(
    home: Home, tmp_path: Path
) -> None:
    _person(home, tmp_path, "Ada Lovelace", "custodian")
    first = key_file(tmp_path / "first.pem")
    rotate(_desk(home), "pipeline", "to a file", uri=first)
    rotate(_desk(home), "pipeline", "separate duties", roles=["pipeline"])
    before = _in_order(home.place.keys)
    ada = f"file2:{tmp_path / 'Ada Lovelace.key.pem'}"
    for custodian, uri in ((None, None), (ada, first), (ada, ada), (ada, "file2:/nowhere")):
        with pytest.raises(WrongUse):
            rotate(_desk(home, custodian), "pipeline", "refused", uri=uri)
        assert _in_order(home.place.keys) == before
    with pytest.raises(WrongUse, match="custodian's key"):
        enroll(_desk(home), ["releaser"], "Grace Hopper", public=None, uri=None)
    assert _in_order(home.place.keys) == before
    home.append()
    _holds(home)


def test_the_same_key_is_no_replacement(home: Home, tmp_path: Path) -> None:
    uri = key_file(tmp_path / "key.pem")
    rotate(_desk(home), "pipeline", "first", uri=uri)
    with pytest.raises(WrongUse, match="old one"):
        rotate(_desk(home), "pipeline", "again", uri=uri)
    home.append()
    _holds(home)


def test_the_verbs_show_and_keep_keys(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = key_file(tmp_path / "ada.key.pem")
    public = str(_public(home, ada, "ada"))
    kette(home, capsys, "keys", "enroll", "--role", "reviewer", "--role", "approver",
          "--holder", "Ada Lovelace", "--public", public)  # fmt: skip
    kette(home, capsys, "keys", "rotate", "--reason", "yearly")
    told, _ = kette(home, capsys, "sign", str(home.place.params), "--meaning", "approved",
                    "--signer", "Ada Lovelace", "--comment", "fine", "--key", ada)  # fmt: skip
    assert "Ada Lovelace approved" in told
    rows = json.loads(kette(home, capsys, "keys", "list", "--json")[0])["keys"]
    assert [row["state"] for row in rows] == ["retired", "active", "active"]
    assert [row["here"] for row in rows] == [None, None, "signer"]
    done = kette(
        home, capsys, "keys", "revoke", rows[1]["keyid"][:12], "--reason", "lost", "--json"
    )
    assert json.loads(done[0])["keyid"] == rows[1]["keyid"]
    kette(home, capsys, "keys", "retire", rows[1]["keyid"], "--reason", "lost", code=2)
    assert "Lovelace" in kette(home, capsys, "keys", "list")[0]
    _holds(home)
