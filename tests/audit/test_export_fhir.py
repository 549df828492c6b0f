"""FHIR AuditEvents, read by fhir.resources (R4B)."""

from __future__ import annotations

import pytest
from fhir.resources.R4B.bundle import Bundle
from helpers_audit import new_signer
from helpers_export import everything

from audit.export.fhir import export


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("fhir") / "ledger", new_signer())


@pytest.fixture(scope="module")
def events(whole):
    origin, found = whole
    bundle = Bundle.model_validate_json(export(found, origin))
    return [entry.resource for entry in bundle.entry]


def test_every_record_is_a_valid_audit_event_of_its_own(whole, events):
    assert len({event.id for event in events}) == len(whole[1])
    assert {event.get_resource_type() for event in events} == {"AuditEvent"}


def test_a_signature_names_person_role_and_meaning(events):
    (event,) = [e for e in events if e.subtype[1].code == "signature"]
    (agent,) = event.agent
    shown = (agent.name, agent.type.coding[0].code, agent.role[0].coding[0].code)
    assert shown == ("Ada <Byron> & Co", "humanuser", "approver")
    details = {detail.type: detail.valueString for detail in event.entity[0].detail}
    assert details["meaning"] == "approved"


def test_holds_and_their_lifting_are_iso_life_cycle_events(events):
    found = [e.subtype[0].code for e in events if e.subtype[1].code == "legal_hold"]
    assert found == ["hold", "unhold"]


def test_a_refused_gate_is_a_failure_that_says_why(events):
    (event,) = [event for event in events if event.outcome != "0"]
    assert (event.outcome, event.outcomeDesc.split(":")[0]) == ("8", "ASS-4")


def test_a_run_names_its_pseudonym_and_counts_its_sources(events):
    entities = events[1].entity
    assert entities[1].what.identifier.value == "S1"
    details = {detail.type: detail.valueString for detail in entities[0].detail}
    assert details["sources"] == "1"


def test_no_record_is_an_empty_bundle():
    assert Bundle.model_validate_json(export([], "kette/none")).entry is None
