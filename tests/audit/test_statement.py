"""Statements hold what they were told, in forms that others read."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.json_format import ParseDict
from helpers_audit import EPOCH, look, sha, stage_run
from hypothesis import given
from hypothesis import strategies as st
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement_pb2 import Statement

from audit.canonical import canonical_json
from audit.record import Record
from audit.statement import event

NOT_SHA256 = ["", "A" * 64, "0" * 63, "0" * 65, "0" * 64 + "\n"]

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    max_leaves=8,
)


@pytest.mark.rule("STM-1")
def test_a_stage_run_parses_as_an_in_toto_statement_with_slsa_provenance() -> None:
    made = stage_run(3)
    parsed = ParseDict(made, Statement())
    provenance = ParseDict(made["predicate"], Provenance(), ignore_unknown_fields=True)
    assert parsed.type == "https://in-toto.io/Statement/v1"
    assert parsed.predicate_type == "https://slsa.dev/provenance/v1"
    assert provenance.build_definition.build_type.startswith("urn:kette:")
    assert provenance.run_details.metadata.started_on.ToDatetime(UTC) == EPOCH + timedelta(
        seconds=3
    )


@pytest.mark.rule("STM-1")
def test_an_event_parses_as_an_in_toto_statement_and_names_its_details() -> None:
    assert ParseDict(look(), Statement()).predicate_type == "urn:kette:event:v1"
    assert look(1)["subject"] != look(2)["subject"]


@pytest.mark.rule("STM-2")
def test_a_record_gives_back_every_fact_of_its_statement() -> None:
    gate = {"checks": [{"rule": "TRN-1", "verdict": "passed"}]}
    record = Record(4, stage_run(3, gate=gate))
    assert record.subjects == (("train/file-3", sha(3)),)
    assert (record.stage, record.unit, record.key) == ("train", "unit-3", sha(3))
    assert record.parameters == {"rate": 0.001, "patch": [8, 8, 8]}
    assert record.inputs == {"dataset/cohort": sha(7), "lock": sha(9)}
    assert record.commit == "a" * 40
    assert record.environment == {"torch": "2", "threads": 2}
    assert (record.status, record.findings, record.gate) == ("ran", {"epochs": 3}, gate)
    assert record.measured == {"seconds": 1.5}
    assert record.time == "2026-01-01T00:00:04.000000Z"
    assert (record.kind, record.details) == (None, {})


def test_an_event_gives_back_its_facts_and_has_no_stage() -> None:
    record = Record(0, look(5))
    assert (record.kind, record.details) == ("look", {"split": "test", "number": 5})
    assert record.time == "2026-01-01T00:00:00.000000Z"
    assert (record.stage, record.unit, record.key, record.status) == (None, None, None, None)
    assert (record.commit, record.gate, record.inputs) == (None, None, {})


@pytest.mark.rule("STM-3")
@pytest.mark.parametrize("number", [2**53, -(2**53), 2**63, 10**30])
def test_an_integer_that_others_would_round_is_a_string(number: int) -> None:
    assert Record(0, stage_run(findings={"seed": [number]})).findings == {"seed": [str(number)]}


@pytest.mark.rule("STM-3")
def test_a_smaller_integer_stays_an_integer_in_the_signed_bytes() -> None:
    assert b'"seed":9007199254740991' in canonical_json(stage_run(findings={"seed": 2**53 - 1}))
    assert b'"on":true' in canonical_json(stage_run(findings={"on": True}))


@given(PLAIN)
def test_plain_json_goes_in_and_comes_out_as_it_was(value: object) -> None:
    made = event("look", at=EPOCH, details={"value": value})
    assert json.loads(canonical_json(made)) == made
    assert Record(0, made).details == {"value": value}


@pytest.mark.rule("STM-4")
def test_times_of_any_zone_are_written_in_utc() -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert Record(0, event("look", at=noon, details={})).time == "2026-06-01T10:00:00.000000Z"


@pytest.mark.parametrize(
    "changes",
    [
        {"subjects": []},
        {"started": datetime(2026, 1, 1)},  # noqa: DTZ001 - the missing zone is the fault
        {"findings": {"dice": float("nan")}},
        {"findings": {"dice": float("inf")}},
        {"findings": {1: "a key that is no string"}},
        {"findings": {"path": object()}},
        {"findings": {"bytes": b"x"}},
        {"commit": "main"},
        *({"lock": bad} for bad in NOT_SHA256),
        *({"key": bad} for bad in NOT_SHA256),
        *({"inputs": {"dataset": bad}} for bad in NOT_SHA256),
        *({"subjects": [("file", bad)]} for bad in NOT_SHA256),
    ],
)
def test_a_value_that_the_formats_do_not_allow_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        stage_run(**changes)


def test_a_project_without_commits_has_a_record_without_commit() -> None:
    assert Record(0, stage_run(commit=None)).commit is None
