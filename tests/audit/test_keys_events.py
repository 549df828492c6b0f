"""An enrolment says a key as it is, and proves that its holder has it."""

from __future__ import annotations

from typing import Any

import pytest
from helpers_audit import EPOCH, new_signer, sha
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from audit.errors import Refused, WrongUse
from audit.key_events import (
    MEANINGS,
    ROLES,
    enrolled,
    enrolment,
    possess,
    retired,
    revoked,
    signature,
)
from audit.key_states import key_states

SIGNER = new_signer()
KEY = SIGNER.public_key


def _details(**changes: Any) -> dict[str, Any]:
    proof = possess(SIGNER, ["releaser", "pipeline"], "Ada Lovelace")
    made = enrolled(KEY, ["releaser", "pipeline"], "Ada Lovelace", EPOCH, possession=proof)
    details: dict[str, Any] = made["predicate"]["details"]
    return details | changes


@given(
    st.sets(st.sampled_from(ROLES), min_size=1),
    st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=40),
    st.sampled_from([CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa]),
    st.booleans(),
)
def test_what_was_enrolled_is_read_back(
    roles: set[str], holder: str, made: Any, proven: bool
) -> None:
    signer = made()
    proof = possess(signer, sorted(roles), holder) if proven else None
    event = enrolled(signer.public_key, sorted(roles), holder, EPOCH, possession=proof)
    found = enrolment(event["predicate"]["details"])
    assert (found.key, set(found.roles), found.holder) == (signer.public_key, roles, holder)


@pytest.mark.rule("KEY-1")
@pytest.mark.parametrize(
    "changes",
    [
        {"keyid": sha(1)},
        {"keytype": "ecdsa"},
        {"public": "no key"},
        {"public": None},
        {"roles": []},
        {"roles": ["admin"]},
        {"roles": ["releaser", "pipeline"]},
        {"roles": "pipeline"},
        {"holder": " "},
        {"holder": None},
        {"more": 1},
        {"possession": 7},
        {"possession": ""},
    ],
)
def test_an_enrolment_that_says_something_else_is_refused(changes: dict[str, Any]) -> None:
    assert enrolment(_details()).key == KEY
    with pytest.raises(Refused):
        enrolment(_details(**changes))
    with pytest.raises(Refused):
        enrolment(_details(**{"possession": None} | changes))


@pytest.mark.rule("KEY-2")
def test_a_proof_for_other_roles_or_another_holder_or_key_is_refused() -> None:
    others = (
        possess(SIGNER, ["pipeline"], "Ada Lovelace"),
        possess(SIGNER, ["releaser", "pipeline"], "Grace Hopper"),
        possess(new_signer(), ["releaser", "pipeline"], "Ada Lovelace"),
    )
    for proof in others:
        with pytest.raises(Refused, match="possession"):
            enrolment(_details(possession=proof))


def test_an_enrolment_without_role_or_holder_is_not_made() -> None:
    for roles, holder in (
        ([], "Ada"),
        (["admin"], "Ada"),
        (["pipeline"], " "),
        (["pipeline"], "a\nb"),
    ):
        with pytest.raises(WrongUse):
            enrolled(KEY, roles, holder, EPOCH)


@pytest.mark.rule("KEY-3")
def test_a_signature_needs_a_file_a_name_and_the_role_of_its_meaning() -> None:
    file = [("report.html", sha(1))]
    for meaning, role in MEANINGS.items():
        made = signature(file, meaning, role, signer=" Ada ", comment="", at=EPOCH)
        assert made["predicate"]["details"]["signer"] == "Ada"
    for subjects, meaning, role, name in (
        ([], "reviewed", "reviewer", "Ada"),
        (file, "reviewed", "approver", "Ada"),
        (file, "read", "reader", "Ada"),
        (file, "reviewed", "reviewer", ""),
    ):
        with pytest.raises(WrongUse):
            signature(subjects, meaning, role, signer=name, comment="", at=EPOCH)


def test_states_tell_what_became_of_each_key() -> None:
    other, third = new_signer().public_key, new_signer().public_key
    events = [
        enrolled(KEY, ROLES, "first", EPOCH),
        enrolled(other, ["pipeline"], "other", EPOCH),
        enrolled(third, ["reviewer"], "third", EPOCH),
        retired(KEY.keyid, "yearly", EPOCH),
        revoked(third.keyid, "stolen", EPOCH),
    ]
    told = [
        (state.holder, state.state, state.since, state.until, state.reason)
        for state in key_states(enumerate(events)).values()
    ]
    assert told == [
        ("first", "retired", 0, 3, "yearly"),
        ("other", "active", 1, None, None),
        ("third", "revoked", 2, 4, "stolen"),
    ]
