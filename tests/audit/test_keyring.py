"""A key signs what the ledger's records allow it, and nothing after the one that ended it."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from helpers_audit import EPOCH, ORIGIN, keys_of, look, new_signer, put, stage_run
from helpers_generated import BUNDLE, NOW, approval, clock_at
from securesystemslib.signer import Signer

from audit import layout
from audit.admission import Admission
from audit.checkpoint import open_checkpoint
from audit.envelope import keyid_of, read_statement, sign
from audit.errors import Refused
from audit.key_events import ROLES, enrolled, retired, revoked, signature
from audit.keyring import Keyring
from audit.ledger import Ledger
from audit.place import placed
from audit.proof import check, prove
from audit.record import Record
from audit.statement import event

FIRST, SECOND, PERSON = new_signer(), new_signer(), new_signer()
ALL = list(ROLES)


def enroll(signer: Signer, *roles: str) -> dict[str, Any]:
    return enrolled(signer.public_key, roles or ROLES, "holder", EPOCH)


def end(signer: Signer, *, revoke: bool = False) -> dict[str, Any]:
    return (revoked if revoke else retired)(signer.public_key.keyid, "replaced", EPOCH)


def release(kind: str = "released") -> dict[str, Any]:
    return event(kind, at=EPOCH, details={"version": "1.0.0"}, subjects=BUNDLE)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Record 0 enrolls FIRST."""
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    ledger.append(look(), FIRST)
    return ledger


@pytest.mark.rule("LED-4")
@pytest.mark.rule("RNG-1")
def test_the_first_record_enrolls_its_own_key_in_all_roles(ledger: Ledger) -> None:
    record = Record(*next(ledger.records()))
    assert (record.kind, record.index) == ("key.enrolled", 0)
    assert record.details["keyid"] == FIRST.public_key.keyid
    assert record.details["roles"] == ALL
    assert ledger.keyring().members[FIRST.public_key.keyid].since == 0


@pytest.mark.rule("LED-4")
def test_an_enrolment_that_comes_first_is_the_first(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    assert ledger.append([enroll(FIRST, "custodian", "pipeline"), look()], FIRST) == range(2)
    with pytest.raises(Refused, match="does not enroll its own key"):
        Ledger(tmp_path / "other", ORIGIN).append(enroll(SECOND), FIRST)
    with pytest.raises(Refused, match="does not enroll its own key"):
        Ledger(tmp_path / "third", ORIGIN).append(enroll(FIRST, "pipeline"), FIRST)


@pytest.mark.rule("RNG-2")
@pytest.mark.parametrize(
    ("role", "statement", "allowed"),
    [
        ("pipeline", stage_run(), True),
        ("pipeline", look(), True),
        ("pipeline", release(), False),
        ("pipeline", approval(), False),
        ("pipeline", enroll(PERSON), False),
        ("releaser", release(), True),
        ("releaser", release("deprecated"), True),
        ("releaser", release("withdrawn"), True),
        ("releaser", stage_run(), False),
        ("approver", approval(), True),
        ("approver", signature(BUNDLE, "reviewed", "reviewer", signer="A", comment="", at=NOW), 0),
        ("reviewer", signature(BUNDLE, "reviewed", "reviewer", signer="A", comment="", at=NOW), 1),
        ("reviewer", look(), False),
        ("custodian", enroll(PERSON), True),
        ("custodian", end(FIRST), True),
        ("custodian", look(), False),
    ],
)
def test_a_key_signs_in_its_roles_alone(
    ledger: Ledger, role: str, statement: dict[str, Any], allowed: bool
) -> None:
    ledger.append(enroll(SECOND, role), FIRST)
    if allowed:
        assert list(ledger.append(statement, SECOND)) == [3]
        assert Ledger(ledger.folder, ORIGIN).verify(keys_of(FIRST)).records == 4
    else:
        with pytest.raises(Refused, match="has not the role"):
            ledger.append(statement, SECOND)
        assert ledger.append(look(), FIRST) == range(3, 4)


@pytest.mark.rule("RNG-2")
def test_a_stages_run_that_calls_itself_a_release_needs_the_releaser(ledger: Ledger) -> None:
    ledger.append(enroll(SECOND, "pipeline"), FIRST)
    disguised = stage_run()
    disguised["predicate"]["kind"] = "released"
    with pytest.raises(Refused, match="role releaser"):
        ledger.append(disguised, SECOND)


@pytest.mark.rule("RNG-3")
@pytest.mark.parametrize("revoke", [True, False])
def test_a_key_that_was_ended_appends_nothing_and_signs_no_checkpoint(
    ledger: Ledger, revoke: bool
) -> None:
    ledger.append(enroll(SECOND), FIRST)
    other = Ledger(ledger.folder, ORIGIN)  # as another process, which knew the key
    other.append(look(), FIRST)
    ledger.append(end(FIRST, revoke=revoke), SECOND)
    for writer in (ledger, other):
        with pytest.raises(Refused, match=r"Its key was (revoked|retired) by record 4\."):
            writer.append(look(), FIRST)
        with pytest.raises(Refused, match="not in force"):
            writer.checkpoint(FIRST)
        with pytest.raises(Refused, match="enrolled before"):
            writer.append(enroll(FIRST), SECOND)
    ledger.checkpoint(SECOND)
    assert ledger.verify(keys_of(SECOND)).covered == ledger.verify(keys_of(FIRST)).covered == 5


@pytest.mark.rule("RNG-3")
@pytest.mark.parametrize("covered", [True, False])
def test_a_record_signed_by_a_revoked_key_after_its_revocation_is_found(
    ledger: Ledger, covered: bool
) -> None:
    ledger.append([enroll(SECOND), end(FIRST, revoke=True)], FIRST)
    raw = sign(placed(look(), put(4, key_record=3)), FIRST)
    layout.batch_path(ledger.folder, 4).write_bytes(raw + b"\n")
    with pytest.raises(Refused, match="Record 4 does not hold: Its key was revoked by record 3"):
        ledger.append(look(), SECOND)
    with pytest.raises(Refused, match="Record 4 does not hold"):
        ledger.checkpoint(SECOND)
    found = ledger.verify(keys_of(FIRST), signatures=covered)
    assert (found.ok, found.first_bad) == (False, "record 4")
    assert "revoked by record 3" in (found.reason or "")


@pytest.mark.rule("RNG-4")
def test_the_last_custodian_cannot_be_ended(ledger: Ledger) -> None:
    ledger.append(enroll(SECOND, "pipeline"), FIRST)
    with pytest.raises(Refused, match="No custodian would be left"):
        ledger.append(end(FIRST), FIRST)
    ledger.append([enroll(PERSON, "custodian"), end(FIRST)], FIRST)
    assert ledger.keyring().in_force(6).keys() == keys_of(SECOND, PERSON).keys()


@pytest.mark.rule("RNG-3")
def test_a_key_is_ended_once_and_a_retired_one_may_still_be_revoked(ledger: Ledger) -> None:
    ledger.append([enroll(SECOND), end(SECOND)], FIRST)
    with pytest.raises(Refused, match="not in force"):
        ledger.append(end(SECOND), FIRST)
    ledger.append(end(SECOND, revoke=True), FIRST)
    with pytest.raises(Refused, match="not in force"):
        ledger.append(end(SECOND, revoke=True), FIRST)
    with pytest.raises(Refused, match="not in force"):
        ledger.append(end(PERSON), FIRST)
    member = ledger.keyring().members[SECOND.public_key.keyid]
    assert (member.until, member.revoked) == (3, True)


@pytest.mark.rule("RNG-5")
@pytest.mark.parametrize("key_record", [None, 0, 1, 3])
def test_a_record_that_leaves_a_key_event_out_is_refused(
    ledger: Ledger, key_record: int | None
) -> None:
    ledger.append(enroll(SECOND), FIRST)
    raw = sign(placed(look(), put(3, key_record=key_record)), FIRST)
    layout.batch_path(ledger.folder, 3).write_bytes(raw + b"\n")
    assert ledger.verify(keys_of(FIRST)).first_bad == "record 3"


@pytest.mark.rule("RNG-6")
def test_the_first_key_or_the_checkpoints_is_enough_and_no_other_is(ledger: Ledger) -> None:
    ledger.append([enroll(SECOND), enroll(PERSON, "approver")], FIRST)
    ledger.checkpoint(SECOND)
    assert ledger.verify(keys_of(FIRST)).ok
    assert ledger.verify(keys_of(SECOND)).ok
    for stranger in (PERSON, new_signer()):
        found = ledger.verify(keys_of(stranger))
        assert (found.ok, found.first_bad) == (False, "checkpoint")
    assert not ledger.verify({}).ok


@pytest.mark.rule("RNG-6")
def test_records_put_behind_the_empty_checkpoint_of_another_key_are_found(
    tmp_path: Path,
) -> None:
    Ledger(tmp_path / "a", ORIGIN).append([], FIRST)  # its checkpoint over no record
    other = Ledger(tmp_path / "b", ORIGIN)
    other.append([look(), look(1)], SECOND)
    assert other.verify(keys_of(SECOND)).ok
    note = (tmp_path / "a" / "checkpoint").read_bytes()
    (other.folder / "checkpoint").write_bytes(note)
    for keys in (keys_of(FIRST), keys_of(SECOND), keys_of(FIRST, SECOND)):
        assert other.verify(keys).first_bad == "checkpoint"


def test_old_proofs_and_checkpoints_hold_after_rotation_and_revocation(ledger: Ledger) -> None:
    ledger.checkpoint(FIRST)
    note, proof = ledger.signed_checkpoint(), prove(ledger, [1])
    ledger.append([enroll(SECOND), look(1), end(FIRST, revoke=True)], FIRST)
    ledger.append(look(2), SECOND)
    ledger.checkpoint(SECOND)
    assert [record.index for record in check(proof, keys_of(FIRST))] == [0, 1]
    assert ledger.verify(keys_of(SECOND), known={"tag": note}).ok
    # A new proof of the old record holds under either key, and carries the whole chain of keys.
    new = prove(ledger, [1])
    for signer in (FIRST, SECOND):
        assert [record.index for record in check(new, keys_of(signer))] == [0, 1, 2, 4]
    assert open_checkpoint(note, ORIGIN, keys_of(FIRST)).size == 2


@pytest.mark.rule("LED-6")
@pytest.mark.parametrize("years", [10, -10])
def test_a_clock_ten_years_off_is_told_and_breaks_nothing(tmp_path: Path, years: int) -> None:
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    wrong = NOW + timedelta(days=365 * years)
    with clock_at(NOW if years > 0 else wrong):
        ledger.append(look(0), FIRST)
        ledger.checkpoint(FIRST)
    note, proof = ledger.signed_checkpoint(), prove(ledger, [1])
    with clock_at(wrong if years > 0 else NOW):
        ledger.append(look(1), FIRST)
    with clock_at(NOW):
        indexes = ledger.append([look(2), look(3)], FIRST)
    ledger.checkpoint(FIRST)
    records = [Record(*pair) for pair in ledger.records(keys_of(FIRST))]
    assert [records[index].details.get("number") for index in indexes] == [2, 3]
    told = [record for record in records if record.kind == "clock.back"]
    assert [record.index for record in told] == ([3] if years > 0 else [])
    for record in told:
        assert record.details == {
            "was": "2036-05-29T00:00:00.000000Z",
            "now": "2026-06-01T00:00:00.000000Z",
        }
    assert ledger.verify(keys_of(FIRST), known={"old": note}).ok
    assert [record.index for record in check(proof, keys_of(FIRST))] == [0, 1]


@pytest.mark.rule("LED-6")
def test_any_key_may_say_that_its_clock_went_back(ledger: Ledger) -> None:
    with clock_at(NOW + timedelta(days=999_999)):
        ledger.append(enroll(PERSON, "approver"), FIRST)
    assert ledger.append(approval(), PERSON) == range(4, 5)
    assert ledger.verify(keys_of(FIRST)).ok


@pytest.mark.rule("ADM-3")
def test_a_time_that_goes_back_unsaid_is_found(ledger: Ledger) -> None:
    early = placed(look(), put(2))
    early["predicate"]["kette_ledger"]["at"] = "1999-01-01T00:00:00.000000Z"
    layout.batch_path(ledger.folder, 2).write_bytes(sign(early, FIRST) + b"\n")
    found = ledger.verify(keys_of(FIRST))
    assert (found.first_bad, "time" in (found.reason or "")) == ("record 2", True)


@pytest.mark.rule("ADM-1")
@pytest.mark.parametrize(
    "place",
    [
        {},
        None,
        {"origin": ORIGIN, "index": 2},
        {"origin": ORIGIN, "index": "2", "at": "2099-01-01T00:00:00.000000Z", "key_record": 0},
        {"origin": ORIGIN, "index": 2, "at": "2099-01-01", "key_record": 0},
        {"origin": ORIGIN, "index": 2, "at": "2099-01-01T00:00:00.000000Z", "key_record": "0"},
        {
            "origin": ORIGIN,
            "index": 2,
            "at": "2099-01-01T00:00:00.000000Z",
            "key_record": 0,
            "x": 1,
        },
    ],
)
def test_a_record_signed_for_no_place_is_found(ledger: Ledger, place: object) -> None:
    statement = look()
    statement["predicate"]["kette_ledger"] = place
    layout.batch_path(ledger.folder, 2).write_bytes(sign(statement, FIRST) + b"\n")
    assert ledger.verify(keys_of(FIRST)).first_bad == "record 2"


def test_what_is_refused_leaves_the_keyring_as_it_was(ledger: Ledger) -> None:
    ledger.append(enroll(SECOND, "pipeline"), FIRST)
    state = Admission(ORIGIN, Keyring(keys_of(FIRST)))
    for _, raw in ledger.read():
        state.admit(raw)
    before = (dict(state.keyring.members), state.size, state.at, list(state.keyring.events))
    for statement, signer in (
        (enroll(SECOND), FIRST),
        (end(FIRST), FIRST),
        (enroll(PERSON), SECOND),
        (look(), PERSON),
    ):
        raw = sign(placed(statement, put(3, key_record=2)), signer)
        with pytest.raises(Refused):
            state.admit(raw)
        with pytest.raises(Refused):
            state.place(read_statement(raw), keyid_of(raw), state.at)
        now = (dict(state.keyring.members), state.size, state.at, list(state.keyring.events))
        assert now == before
