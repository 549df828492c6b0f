"""W3C PROV-JSON, read back by `prov`."""

from __future__ import annotations

import pytest
from helpers_audit import ORIGIN, new_signer
from helpers_export import everything
from helpers_trace import file_of, tree
from prov.model import (
    ProvActivity,
    ProvAssociation,
    ProvDocument,
    ProvGeneration,
    ProvMembership,
    ProvUsage,
)

from audit.export.prov import export


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("prov") / "ledger", new_signer())


@pytest.fixture(scope="module")
def document(whole):
    origin, found = whole
    return ProvDocument.deserialize(content=export(found, origin), format="json")


def links(document, kind):
    """Pairs of local names, of a relation."""
    return [tuple(str(v.localpart) for _, v in r.formal_attributes[:2])
            for r in document.get_records(kind)]  # fmt: skip


def test_the_library_reads_it_and_gives_it_back_the_same(document):
    again = ProvDocument.deserialize(content=document.serialize(format="json"), format="json")
    assert again == document


def test_every_record_is_an_activity_of_one_agent(whole, document):
    assert len(list(document.get_records(ProvActivity))) == len(whole[1])
    assert len(links(document, ProvAssociation)) == len(whole[1])


def test_a_prediction_can_be_followed_to_the_subjects(document):
    made = dict(links(document, ProvGeneration))
    used = {}
    for activity, entity in links(document, ProvUsage):
        used.setdefault(activity, []).append(entity)
    reached, queue = set(), [tree("assess/test")]
    while queue:
        entity = queue.pop()
        reached.add(entity)
        queue += used.get(made.get(entity), [])
    assert {tree("ingest/S1"), tree("ingest/S2"), tree("train/plain")} <= reached


def test_a_signed_file_is_a_member_of_the_tree_that_holds_it(document):
    _, archive = file_of("package/bundle", "x-1.0.0.zip")
    assert links(document, ProvMembership) == [(tree("package/bundle"), archive)]


def test_no_entity_is_generated_twice(document):
    entities = [entity for entity, _ in links(document, ProvGeneration)]
    assert len(entities) == len(set(entities))


def test_a_person_who_signed_is_a_person(document):
    kinds = {str(kind) for agent in document.get_records() if "key-" in str(agent.identifier)
             for kind in agent.get_asserted_types()}  # fmt: skip
    assert "prov:Person" in kinds
    assert ORIGIN in document.serialize(format="json")
