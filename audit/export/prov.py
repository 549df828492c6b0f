"""W3C PROV-JSON: records are activities, trees entities, keys agents.

A tree's files are left out, as its digest covers them, but for those that an event is about: they
are members of their tree. A tree that a later record made again, bit for bit, is generated once.

Source: The PROV-JSON Serialization, W3C Member Submission 24 April 2013.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from audit.canonical import canonical_json
from audit.export.codes import objects, person, signer
from audit.reading import Entry, started
from audit.show import told, verdict

Json = dict[str, Any]


def export(found: Iterable[Entry], origin: str) -> bytes:
    """One PROV document in canonical JSON."""
    entries = list(found)
    document: dict[str, Any] = defaultdict(dict)
    document["prefix"] = {
        "kette": "urn:kette:terms:v1:",
        "ledger": f"urn:kette:ledger:{origin}:",
        "sha256": "urn:kette:sha256:",
    }
    about = {sha for e in entries if e.record.stage is None for _, sha in e.record.subjects}
    generated: set[str] = set()
    for entry in entries:
        activity = f"ledger:record-{entry.record.index}"
        document["activity"][activity] = _activity(entry)
        agent = f"ledger:key-{entry.keyid}"
        document["agent"].setdefault(agent, _agent(entry))
        if person(entry):
            document["agent"][agent] = _agent(entry)
        _relate(document, "wasAssociatedWith", {"prov:activity": activity, "prov:agent": agent})
        for label, sha, made in objects(entry):
            entity = f"sha256:{sha}"
            document["entity"].setdefault(entity, {"prov:label": label})
            link = {"prov:activity": activity, "prov:entity": entity}
            if not made:
                _relate(document, "used", {**link, "prov:role": label})
            elif sha not in generated:
                generated.add(sha)
                _relate(document, "wasGeneratedBy", {**link, "prov:time": entry.record.time})
                _members(document, entry, about)
    return canonical_json(document)


def _activity(entry: Entry) -> Json:
    record = entry.record
    kind = record.stage if record.stage is not None else record.kind
    label = f"{record.stage}/{record.unit}" if record.unit else str(kind)
    found: Json = {
        "prov:startTime": started(record),
        "prov:endTime": record.time,
        "prov:label": label,
        "prov:type": {"$": "kette:stage" if record.stage else "kette:event", "type": "xsd:QName"},
        "kette:index": record.index,
        "kette:kind": kind,
        "kette:status": record.status,
        "kette:gate": verdict(record.gate) if record.gate else None,
        "kette:commit": record.commit,
        "kette:text": told(entry) or None,
    }
    if person(entry):
        found["kette:role"] = record.details.get("role")
        found["kette:meaning"] = record.details.get("meaning")
    return {name: value for name, value in found.items() if value is not None}


def _agent(entry: Entry) -> Json:
    kind = "prov:Person" if person(entry) else "prov:SoftwareAgent"
    return {"prov:label": signer(entry), "prov:type": {"$": kind, "type": "xsd:QName"}}


def _members(document: dict[str, Any], entry: Entry, about: set[str]) -> None:
    (_, tree), *files = entry.record.subjects
    for label, sha in files:
        if sha in about:
            document["entity"].setdefault(f"sha256:{sha}", {"prov:label": label})
            link = {"prov:collection": f"sha256:{tree}", "prov:entity": f"sha256:{sha}"}
            _relate(document, "hadMember", link)


def _relate(document: dict[str, Any], relation: str, link: Json) -> None:
    """Add a relation under the next blank name of its kind."""
    document[relation][f"_:{relation}{len(document[relation])}"] = link
