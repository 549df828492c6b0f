"""Lineage: from a file to all that it was made of."""

from __future__ import annotations

import pytest
from helpers_audit import EPOCH, ORIGIN, new_signer
from helpers_trace import chain, chain_ledger, file_of, tree

from audit.ledger import Ledger
from audit.record import Record
from audit.statement import event
from audit.trace import trace


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    return chain_ledger(tmp_path_factory.mktemp("trace") / "ledger", new_signer())


def traced(ledger, digest):
    envelopes = dict(ledger.read())
    return trace(iter(envelopes.items()), envelopes.__getitem__, digest)


def labels(records):
    return [record.subjects[0][0] for record in records]


@pytest.mark.rule("TRC-2")
def test_a_prediction_leads_to_every_subject_it_was_learned_from(ledger):
    name, digest = file_of("assess/test", "predictions/S1/1.2.3.dcm")
    found = traced(ledger, digest)
    assert found.names == (name,)
    assert labels(found.records) == [
        "ingest/S1", "ingest/S2", "ingest", "dataset/cohort", "train/plain", "assess/test",
    ]  # fmt: skip
    assert found.missing == ()


@pytest.mark.rule("TRC-1")
def test_notes_of_reuse_made_nothing(ledger):
    found = traced(ledger, tree("assess/test"))
    assert labels(found.named) == ["assess/test"]


@pytest.mark.rule("TRC-2")
def test_each_of_two_versions_leads_to_its_own_inputs(ledger):
    found = [traced(ledger, file_of("package/bundle", "x-1.0.0.zip", n)[1]) for n in (0, 1)]
    made = [labels(f.records).count("assess/test") for f in found]
    assert made == [1, 1]
    assert {r.index for r in found[0].named}.isdisjoint(r.index for r in found[1].named)
    assert found[0].maker("assess/test").subjects[0][1] == tree("assess/test", 0)
    assert found[1].maker("assess/test").subjects[0][1] == tree("assess/test", 1)


@pytest.mark.rule("TRC-2")
def test_what_a_rebuild_cited_counts_as_its_maker(tmp_path):
    signer = new_signer()
    ledger = Ledger(tmp_path / "ledger", ORIGIN)
    trees = [(label, tree(label)) for label in ("ingest", "ingest/S1", "ingest/S2")]
    ledger.append(event("cited", at=EPOCH, details={"stage": "ingest"}, subjects=trees), signer)
    ledger.append(chain()[3:], signer)
    found = traced(ledger, tree("dataset/cohort"))
    assert found.missing == ()
    assert [record.kind for record in found.records] == ["cited", None]
    assert found.maker("ingest/S2").kind == "cited"


@pytest.mark.rule("TRC-2")
def test_an_input_whose_record_is_not_here_is_told(ledger):
    envelopes = dict(ledger.read())
    gone = next(i for i, s in ledger.records() if Record(i, s).subjects[0][0] == "ingest/S2")
    del envelopes[gone]
    found = trace(iter(envelopes.items()), envelopes.__getitem__, tree("dataset/cohort"))
    assert found.missing == ("ingest/S2",)


def test_a_digest_that_is_only_an_input_has_no_record(ledger):
    outside = next(
        sha
        for index, statement in ledger.records()
        for label, sha in Record(index, statement).inputs.items()
        if label.startswith("source/")
    )
    assert traced(ledger, outside).named == ()


@pytest.mark.rule("TRC-3")
def test_only_records_that_matter_are_decoded(ledger, monkeypatch):
    import audit.trace as module

    decoded = []
    real = module.Record
    monkeypatch.setattr(module, "Record", lambda *words: decoded.append(words) or real(*words))
    found = traced(ledger, tree("ingest/S1"))
    assert len(decoded) == len(found.records) == 1
