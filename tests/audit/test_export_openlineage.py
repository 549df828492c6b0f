"""OpenLineage run events, read back into openlineage-python's types."""

from __future__ import annotations

import json

import pytest
from helpers_audit import new_signer
from helpers_export import everything
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
from openlineage.client.serde import Serde

from audit.export.openlineage import PRODUCER, export


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("openlineage") / "ledger", new_signer())


@pytest.fixture(scope="module")
def events(whole):
    origin, found = whole
    return [json.loads(line) for line in export(found, origin).splitlines()]


def version(facet):
    return {"version": DatasetVersionDatasetFacet(facet["datasetVersion"], producer=PRODUCER)}


def rebuilt(event):
    """The event, made by the library from the same values."""
    facets = dict(event["run"].get("facets", {}))
    if "errorMessage" in facets:
        error = facets["errorMessage"]
        facets["errorMessage"] = ErrorMessageRunFacet(
            error["message"], error["programmingLanguage"], producer=PRODUCER
        )
    sets = {
        name: [
            kind(d["namespace"], d["name"], facets=version(d["facets"]["version"]))
            for d in event[name]
        ]
        for name, kind in (("inputs", InputDataset), ("outputs", OutputDataset))
    }
    run = Run(event["run"]["runId"], facets=facets)
    job = Job(event["job"]["namespace"], event["job"]["name"])
    return RunEvent(
        eventTime=event["eventTime"], run=run, job=job, producer=PRODUCER,
        eventType=RunState(event["eventType"]), **sets,
    )  # fmt: skip


def plain(value):
    """Without what the library writes as an empty object and ours leaves out."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v not in ({}, None)}
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_the_library_makes_the_same_events_of_the_same_values(events):
    for event in events:
        assert plain(json.loads(Serde.to_json(rebuilt(event)))) == plain(event)


def test_each_run_starts_once_and_ends_once(whole, events):
    runs = [entry for entry in whole[1] if entry.record.stage]
    by_run = {}
    for event in events:
        by_run.setdefault(event["run"]["runId"], []).append(event["eventType"])
    assert len(by_run) == len(runs)
    assert {tuple(kinds) for kinds in by_run.values()} == {("START", "COMPLETE"), ("START", "FAIL")}


def test_outputs_of_one_run_are_inputs_of_the_next(events):
    made = {(d["name"], d["facets"]["version"]["datasetVersion"]) for e in events
            for d in e["outputs"]}  # fmt: skip
    assess = next(e for e in events if e["job"]["name"] == "assess/test")
    inputs = {(d["name"], d["facets"]["version"]["datasetVersion"]) for d in assess["inputs"]}
    assert {name for name, _ in inputs & made} == {"dataset/cohort", "train/plain"}


def test_a_refused_gate_fails_and_says_what_to_do(events):
    (event,) = [event for event in events if event["eventType"] == "FAIL"]
    assert event["run"]["facets"]["errorMessage"]["message"] == "=Train & again."
