"""DICOM audit messages, against the standard's schema."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from helpers_audit import new_signer
from helpers_export import everything
from lxml import etree

from audit.export.dicom import export

SCHEMA = Path(__file__).parent / "dicom_audit_message.rng"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("dicom") / "ledger", new_signer())


@pytest.fixture(scope="module")
def messages(whole):
    origin, found = whole
    return [etree.fromstring(line) for line in export(found, origin).splitlines()]


def test_every_message_holds_the_standards_schema(whole, messages):
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    for message in messages:
        schema.assertValid(message)
    assert len(messages) == len(whole[1])


def test_the_schema_refuses_what_the_standard_does(messages):
    schema = etree.RelaxNG(etree.parse(SCHEMA))
    broken = etree.fromstring(etree.tostring(messages[0]))
    broken.find("EventIdentification").set("EventActionCode", "X")
    assert not schema.validate(broken)


def test_a_signature_names_person_role_and_meaning(messages):
    (message,) = [m for m in messages if m.xpath("//EventTypeCode[@csd-code='signature']")]
    (who,) = message.findall("ActiveParticipant")
    assert who.get("UserName") == "Ada <Byron> & Co"
    assert who.find("RoleIDCode").get("csd-code") == "approver"
    (meaning,) = message.xpath("//ParticipantObjectDetail[@type='meaning']")
    assert base64.b64decode(meaning.get("value")) == b"approved"


def test_ingestion_is_a_de_identifying_import_of_a_pseudonym(messages):
    message = messages[1]
    assert message.find("EventIdentification/EventID").get("csd-code") == "110107"
    assert message.xpath("//@ParticipantObjectDataLifeCycle") == ["7"]
    (person,) = message.xpath("//ParticipantObjectIdentification[@ParticipantObjectTypeCode='1']")
    assert person.get("ParticipantObjectID") == "S1"


def test_a_refused_gate_is_a_failure_that_says_why(messages):
    (event,) = [
        m.find("EventIdentification") for m in messages if m[0].get("EventOutcomeIndicator") != "0"
    ]
    assert event.findtext("EventOutcomeDescription").startswith('ASS-4: 0.1 <of> "liver"')


def test_the_same_records_give_the_same_bytes(whole):
    origin, found = whole
    assert export(found, origin) == export(list(found), origin)
