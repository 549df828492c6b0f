"""The chain on a micro project: reuse by unit, recovery, records."""

from __future__ import annotations

import shutil

import pytest
from helpers_project import git, make

from stages.phantom.cohort import generate
from stages.runner import CHAIN
from stages.store import Store

pytestmark = pytest.mark.timeout(900)


def _digests(project) -> dict[str, str]:
    store = Store(project.folder / ".kette" / "store")
    return {f"{e.stage}/{e.unit}": e.digest for e in store.entries()}


def test_the_chain_runs_reuses_and_reruns_what_changed(project, cohort, tmp_path):
    first = project.run()
    assert [row["status"] for row in first["stages"]] == ["ran"] * len(CHAIN)
    assert project.call("audit", "verify", "--json").returncode == 0
    before = _digests(project)

    # nothing changed: everything is given back, also without Prefect's home and DVC's cache index
    shutil.rmtree(project.folder / ".kette" / "prefect")
    assert set(project.status().values()) == {"reused"}
    assert _digests(project) == before

    # one training parameter: from train on; what train needs is given back
    project.write(train={"learning_rate": 0.003})
    status = project.status()
    assert [status[name] for name in CHAIN] == ["reused"] * 3 + ["ran"] * 4
    project.write()

    # one more subject: its own units, then what follows
    more = tmp_path / "more"
    shutil.copytree(cohort, more)
    generate(more, subjects=1, unlabeled=0, defects=False, first=40)
    rows = {row["name"]: row for row in project.run("--source", str(more))["stages"]}
    assert (rows["ingest"]["ran"], rows["annotate"]["ran"]) == (1, 1)
    assert rows["ingest"]["units"] == len([k for k in before if k.startswith("ingest/s")]) + 1

    # a run from the deleted store gives the same bytes, the measurements replayed from the ledger
    shutil.rmtree(project.folder / ".kette" / "store")
    assert set(project.status().values()) == {"ran"}
    again = _digests(project)
    assert {name: again[name] for name in before} == before
    project.call("audit", "verify")
    shown = project.call("audit", "show", "--json").stdout
    assert "reused" in shown


def test_the_plan_says_what_would_run_and_records_nothing(project):
    rows = {r["name"]: r for r in _plan(project)}
    assert rows["ingest"]["why"] == "never ran"
    assert rows["train"]["units"] is None
    project.run("--until", "dataset")
    records = project.call("audit", "verify", "--json").stdout
    project.write(annotate={"tolerance_mm": 2.0, "max_queued": 1.0, "min_mean_dice": 0.1})
    rows = {r["name"]: r for r in _plan(project)}
    assert rows["ingest"]["why"] == "all here"
    assert rows["annotate"]["why"] == "parameters changed"
    assert project.call("audit", "verify", "--json").stdout == records


def _plan(project):
    import json

    return json.loads(project.call("plan", "--json").stdout)["stages"]


def test_one_stage_alone_needs_those_before_it(project, tmp_path):
    told = project.call("annotate", "--json", check=2).stderr
    assert "kette run --from ingest" in told
    out = tmp_path / "out"
    project.call("ingest", str(project.source), "--out", str(out), "--json")
    assert (out / "merged" / "series.parquet").is_file()
    project.call("annotate", "--json")


def test_a_second_run_in_the_same_project_is_told_so(project):
    import fcntl

    (project.folder / ".kette").mkdir()
    with (project.folder / ".kette" / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        told = project.call("run", "--json", check=2).stderr
    assert "Another run is at work" in told


def test_git_sees_no_change_after_a_run_but_the_pin(project):
    project.run("--until", "dataset")
    assert git(project.folder, "status", "--porcelain").splitlines() == ["?? .dvc/", "?? data.dvc"]
    git(project.folder, "add", "--all")
    git(project.folder, "commit", "--quiet", "-m", "Pin")
    project.run("--until", "dataset")
    assert git(project.folder, "status", "--porcelain") == ""


@pytest.mark.rule("ING-6")
def test_how_many_processes_take_studies_in_changes_no_byte(tmp_path, cohort):
    found = []
    for workers in ("1", "3"):
        project = make(tmp_path / workers, cohort)
        project.run("--until", "dataset", KETTE_WORKERS=workers)
        found.append(_digests(project))
    assert len(found[0]) > 20
    assert found[0] == found[1]
