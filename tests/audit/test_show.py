"""Rows of the ledger: what is told of each record, and what the filters keep."""

from __future__ import annotations

from datetime import timedelta

import pytest
from helpers_audit import EPOCH, ORIGIN, look, new_signer, sha, stage_run
from helpers_trace import chain

from audit import key_events
from audit.errors import WrongUse
from audit.ledger import Ledger
from audit.reading import Selection, bound, entries
from audit.show import COLUMNS, rows
from audit.statement import event

SIGNER = new_signer()
OTHER = new_signer()
REFUSED = {"checks": [{"verdict": "passed"}, {"verdict": "refused"}]}
FOUND = {"checks": [{"verdict": "passed with findings"}, {"verdict": "passed"}]}


def happenings():
    """One event of each kind that has a line of its own."""
    later = EPOCH + timedelta(days=1)
    keyid = OTHER.public_key.keyid
    bundle = [("x-1.0.0.zip", sha(1))]
    hold = {"version": "1.0.0", "on": True, "reason": "a claim"}
    released = {
        "version": "1.0.0", "tag": "x@v1.0.0", "commit": "a" * 40, "manifest_sha256": sha(2),
        "retention": {"years": 15, "until": "2041-01-01", "legal_hold": False},
    }  # fmt: skip
    reproduced = {
        "version": "1.0.0", "tag": "x@v1.0.0", "level": "R2", "asked": "R1",
        "first_difference": "weights", "causes": [],
    }  # fmt: skip
    return [
        key_events.enrolled(OTHER.public_key, ["reviewer"], "Ada Byron", later),
        key_events.signature(
            bundle, "reviewed", "reviewer", signer="Ada Byron", comment="read", at=later
        ),
        event("released", at=later, details=released),
        event("legal_hold", at=later, details=hold),
        event("legal_hold", at=later, details={**hold, "on": False}),
        event("deprecated", at=later, details={"version": "1.0.0", "reason": "1.1.0 is out"}),
        event("reproduced", at=later, details=reproduced),
        event(
            "finding.raised", at=later, details={"rule": "MIR-3", "what": "off", "version": None}
        ),
        event("reused", at=later, details={"stage": "train", "keys": {"train": sha(3)}}),
        key_events.retired(keyid, "left", later),
        key_events.revoked(keyid, "stolen", later),
        look(),
    ]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """Chain, then events, then gates."""
    ledger = Ledger(tmp_path_factory.mktemp("show") / "ledger", ORIGIN)
    roles = list(key_events.ROLES)
    ledger.append(key_events.enrolled(SIGNER.public_key, roles, "machine", EPOCH), SIGNER)
    ledger.append(chain(), SIGNER)
    ledger.append(happenings()[:1], SIGNER)
    ledger.append(happenings()[2:], SIGNER)
    ledger.append(stage_run(8, stage="assess", gate=REFUSED), SIGNER)
    ledger.append([stage_run(9, gate=FOUND), stage_run(9, gate={"checks": []})], SIGNER)
    return ledger


def told(ledger):
    return {row["event"]: row["text"] for row in rows(ledger) if row["event"]}


def test_a_ledger_that_is_not_there_has_no_rows(tmp_path):
    assert rows(Ledger(tmp_path / "none", ORIGIN)) == []


def test_a_row_has_the_columns_and_says_who_signed(ledger):
    found = rows(ledger)
    assert {tuple(row) for row in found} == {COLUMNS}
    assert {row["signer"] for row in found} == {"machine"}
    assert {row["keyid"] for row in found} == {SIGNER.public_key.keyid}


def test_events_say_in_a_line_what_their_details_say(ledger):
    found = told(ledger)
    keyid = OTHER.public_key.keyid[:12]
    assert found["key.enrolled"] == f"key {keyid} of Ada Byron: reviewer"
    assert found["key.retired"] == f"key {keyid}: left"
    assert found["key.revoked"] == f"key {keyid}: stolen"
    assert found["released"] == "1.0.0 as x@v1.0.0, kept until 2041-01-01"
    assert found["legal_hold"] == "1.0.0: legal hold lifted: a claim"
    assert found["deprecated"] == "1.0.0: 1.1.0 is out"
    assert found["reproduced"] == "1.0.0: R2, first difference: weights"
    assert found["finding.raised"] == "MIR-3: off"
    assert found["reused"] == "1 trees of train"
    assert found["look"] == ""


def test_a_persons_signature_shows_name_role_and_meaning(tmp_path):
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    roles = list(key_events.ROLES)
    ledger.append(key_events.enrolled(SIGNER.public_key, roles, "machine", EPOCH), SIGNER)
    ledger.append(happenings()[1], SIGNER)
    (row,) = rows(ledger, Selection(event="signature"))
    shown = (row["signer"], row["role"], row["meaning"], row["text"])
    assert shown == ("Ada Byron", "reviewer", "reviewed", "read")


def test_a_gates_row_shows_its_worst_verdict(ledger):
    found = [row["gate"] for row in rows(ledger)][-3:]
    assert found == ["refused", "passed with findings", "passed"]


@pytest.mark.parametrize(
    ("selection", "keeps"),
    [
        ({"stage": "ingest"}, {"ingest/S1", "ingest/S2", "ingest"}),
        ({"stage": "ingest", "unit": "S1"}, {"ingest/S1"}),
        ({"subject": "S1", "stage": "ingest"}, {"ingest/S1", "ingest"}),
        ({"subject": "S1", "stage": "assess", "unit": "test"}, {"assess/test"}),
        ({"subject": "S"}, set()),
        ({"event": "legal_hold"}, {"details"}),
        ({"status": "reused"}, set()),
        ({"since": 1, "until": 2}, {"ingest/S1", "ingest/S2"}),
    ],
)
def test_filters_keep_what_they_name(ledger, selection, keeps):
    found = entries(ledger, Selection(**selection))
    assert {entry.record.subjects[0][0] for entry in found} == keeps


def test_a_kind_keeps_the_kinds_below_it(ledger):
    found = [row["event"] for row in rows(ledger, Selection(event="key"))]
    assert found == ["key.enrolled", "key.enrolled", "key.retired", "key.revoked"]


def test_times_bound_what_is_kept_both_ends_included(ledger):
    day = bound("2026-01-02")
    until = bound("2026-01-02", end=True)
    found = rows(ledger, Selection(since=day, until=until))
    assert {row["time"] for row in found} == {"2026-01-02T00:00:00.000000Z"}
    assert rows(ledger, Selection(since=bound("2026-01-02T00:00:00.000001"))) == []


@pytest.mark.parametrize(
    ("text", "end", "bounds"),
    [
        ("12", False, 12),
        ("2026-01-31", False, "2026-01-31T00:00:00.000000Z"),
        ("2026-01-31", True, "2026-01-31T23:59:59.999999Z"),
        ("2026-01-31T08:00:00+01:00", True, "2026-01-31T07:00:00.000000Z"),
    ],
)
def test_a_bound_is_an_index_or_a_time(text, end, bounds):
    assert bound(text, end=end) == bounds


@pytest.mark.parametrize("text", ["", "-1", "yesterday", "2026-13-01"])
def test_any_other_bound_is_wrong_use(text):
    with pytest.raises(WrongUse):
        bound(text)
