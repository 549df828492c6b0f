"""DICOM audit messages in XML, one a line, as a syslog receiver takes them (RFC 5424, RFC 5425).

A message's event is of CID 400; its type is Kette's own code, and DICOM's where there is one.

Source: DICOM PS3.15 A.5.1, DICOM Audit Message Schema.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element, SubElement, tostring

from audit.export import codes
from audit.reading import Entry
from audit.show import told

_URI = {"csd-code": "12", "codeSystemName": "RFC-3881", "originalText": "URI"}
_PATIENT = {"csd-code": "2", "codeSystemName": "RFC-3881", "originalText": "Patient Number"}
_NOT_XML = re.compile("[^\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PERSON, _SYSTEM_OBJECT = "1", "2"
_ROLE_PATIENT, _ROLE_JOB = "1", "20"
_APPLICATION_SERVER = "4"


def export(found: Iterable[Entry], origin: str) -> bytes:
    """A message a record."""
    lines = (tostring(_message(entry, origin), encoding="unicode") for entry in found)
    return "".join(f"{line}\n" for line in lines).encode()


def _message(entry: Entry, origin: str) -> Element:
    message = Element("AuditMessage")
    meaning = codes.meaning(entry)
    outcome, described = codes.outcome(entry)
    event = SubElement(
        message,
        "EventIdentification",
        EventActionCode=meaning.action,
        EventDateTime=entry.record.time,
        EventOutcomeIndicator=outcome,
    )
    SubElement(event, "EventID", _coded(meaning.event, codes.DCM, codes.EVENTS[meaning.event]))
    if meaning.type is not None:
        text = codes.TYPES[meaning.type]
        SubElement(event, "EventTypeCode", _coded(meaning.type, codes.DCM, text))
    code, text = codes.own_code(entry)
    SubElement(event, "EventTypeCode", _coded(code, codes.OURS, text))
    if described:
        SubElement(event, "EventOutcomeDescription").text = _text(described)
    _participant(message, entry)
    source = SubElement(message, "AuditSourceIdentification", AuditSourceID=origin)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    _objects(message, entry, meaning, origin)
    return message


def _participant(message: Element, entry: Entry) -> None:
    """Who signed: the pipeline's key, or a person."""
    who = SubElement(
        message,
        "ActiveParticipant",
        UserID=entry.keyid,
        UserName=_text(codes.signer(entry)),
        UserIsRequestor="true",
    )
    if codes.person(entry):
        role = str(entry.record.details.get("role"))
        SubElement(who, "RoleIDCode", _coded(role, codes.OURS, role))
    else:
        SubElement(who, "RoleIDCode", _coded("110150", codes.DCM, "Application"))


def _objects(message: Element, entry: Entry, meaning: codes.Meaning, origin: str) -> None:
    record = entry.record
    job = f"urn:kette:ledger:{origin}:record-{record.index}"
    name = f"{record.stage}/{record.unit}" if record.unit else str(record.stage or record.kind)
    details = {
        "status": record.status,
        "key": record.key,
        "commit": record.commit,
        "text": told(entry) or None,
        "meaning": record.details.get("meaning") if codes.person(entry) else None,
        "sources": codes.sources(entry) or None,
    }
    _object(message, job, _URI, name, _SYSTEM_OBJECT, role=_ROLE_JOB, details=details)
    if pseudonym := codes.patient(entry):
        _object(message, pseudonym, _PATIENT, pseudonym, _PERSON, role=_ROLE_PATIENT)
    for label, sha, made in codes.objects(entry):
        cycle = meaning.life_cycle if made or record.stage is None else codes.LifeCycle.ACCESS
        _object(message, f"urn:kette:sha256:{sha}", _URI, label, _SYSTEM_OBJECT, cycle=cycle)


def _object(
    message: Element,
    identifier: str,
    kind: Mapping[str, str],
    name: str,
    type_code: str,
    *,
    role: str | None = None,
    cycle: str | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    found = SubElement(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_text(identifier),
        ParticipantObjectTypeCode=type_code,
    )
    if role is not None:
        found.set("ParticipantObjectTypeCodeRole", role)
    if cycle is not None:
        found.set("ParticipantObjectDataLifeCycle", cycle)
    SubElement(found, "ParticipantObjectIDTypeCode", dict(kind))
    SubElement(found, "ParticipantObjectName").text = _text(name)
    for label, value in (details or {}).items():
        if value is not None:
            encoded = base64.b64encode(str(value).encode()).decode()
            SubElement(found, "ParticipantObjectDetail", type=label, value=encoded)


def _coded(code: str, system: str, text: str) -> dict[str, str]:
    return {"csd-code": code, "codeSystemName": system, "originalText": text}


def _text(text: str) -> str:
    """The text on one line, without what XML 1.0 cannot hold."""
    return _NOT_XML.sub(" ", text)
