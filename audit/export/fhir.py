"""HL7 FHIR R4B: a Bundle (collection) of AuditEvents, one a record.

Codes are those of `codes.py`: the type is DICOM's, the subtype ISO 21089's and Kette's own.

Source: HL7 FHIR R4B (4.3.0), resources Bundle and AuditEvent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from audit.canonical import canonical_json
from audit.export import codes
from audit.export.openlineage import run_id
from audit.reading import Entry, started
from audit.show import told

Json = dict[str, Any]

_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_OURS = "urn:kette:codes:v1"
_HUMAN = {"system": f"{_TERMINOLOGY}/extra-security-role-type", "code": "humanuser"}
_APPLICATION = {"system": _DCM, "code": "110150", "display": "Application"}


def export(found: Iterable[Entry], origin: str) -> bytes:
    """The bundle in canonical JSON."""
    resources = [_resource(entry, origin) for entry in found]
    entries = [{"fullUrl": f"urn:uuid:{found['id']}", "resource": found} for found in resources]
    bundle: Json = {"resourceType": "Bundle", "type": "collection"}
    return canonical_json(bundle | ({"entry": entries} if entries else {}))


def _resource(entry: Entry, origin: str) -> Json:
    record, meaning = entry.record, codes.meaning(entry)
    code, text = codes.own_code(entry)
    subtypes = [
        {"system": f"{_TERMINOLOGY}/iso-21089-lifecycle", "code": meaning.iso},
        {"system": _OURS, "code": code, "display": text},
    ]
    if meaning.type is not None:
        subtypes.append(
            {"system": _DCM, "code": meaning.type, "display": codes.TYPES[meaning.type]}
        )
    outcome, described = codes.outcome(entry)
    resource: Json = {
        "resourceType": "AuditEvent",
        "id": str(run_id(origin, record)),
        "type": {
            "system": _DCM, "code": meaning.event, "display": codes.EVENTS[meaning.event],
        },
        "subtype": subtypes,
        "action": meaning.action,
        "period": {"start": started(record), "end": record.time},
        "recorded": record.time,
        "outcome": outcome,
        "agent": [_agent(entry)],
        "source": {
            "observer": {"identifier": {"value": origin}, "display": origin},
            "type": [{"system": f"{_TERMINOLOGY}/security-source-type", "code": "4"}],
        },
        "entity": _entities(entry, meaning),
    }  # fmt: skip
    if described:
        resource["outcomeDesc"] = described
    return resource


def _agent(entry: Entry) -> Json:
    person = codes.person(entry)
    agent: Json = {
        "type": {"coding": [_HUMAN if person else _APPLICATION]},
        "who": {"identifier": {"value": entry.keyid}},
        "requestor": True,
    }
    if name := codes.signer(entry):
        agent["name"] = name
    if person:
        role = str(entry.record.details.get("role"))
        agent["role"] = [{"coding": [{"system": _OURS, "code": role}]}]
    return agent


def _entities(entry: Entry, meaning: codes.Meaning) -> list[Json]:
    record = entry.record
    details = {
        "index": str(record.index),
        "status": record.status,
        "key": record.key,
        "commit": record.commit,
        "text": told(entry),
        "meaning": record.details.get("meaning") if codes.person(entry) else None,
        "sources": str(codes.sources(entry)) if codes.sources(entry) else None,
    }
    found = [
        {
            "what": {"identifier": {"value": f"record {record.index}"}},
            "type": {"system": f"{_TERMINOLOGY}/audit-entity-type", "code": "2"},
            "role": {"system": f"{_TERMINOLOGY}/object-role", "code": "20"},
            "detail": [
                {"type": name, "valueString": str(value)}
                for name, value in details.items()
                if value
            ],
        }
    ]
    if pseudonym := codes.patient(entry):
        found.append(
            {
                "what": {"identifier": {"value": pseudonym}},
                "type": {"system": f"{_TERMINOLOGY}/audit-entity-type", "code": "1"},
                "role": {"system": f"{_TERMINOLOGY}/object-role", "code": "1"},
            }
        )
    for label, sha, made in codes.objects(entry):
        cycle = meaning.life_cycle if made or record.stage is None else codes.LifeCycle.ACCESS
        uri = {"system": "urn:ietf:rfc:3986", "value": f"urn:kette:sha256:{sha}"}
        found.append(
            {
                "what": {"identifier": uri},
                "type": {"system": f"{_TERMINOLOGY}/audit-entity-type", "code": "2"},
                "lifecycle": {"system": f"{_TERMINOLOGY}/dicom-audit-lifecycle", "code": cycle},
                "name": label,
            }
        )
    return found
