"""No planted identifier survives ingestion, in anything that a project leaves on a machine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
import yaml
from helpers_leaks import Haystack, git_objects
from helpers_project import ROOT, Project, git, make

from stages.phantom.cohort import generate

pytestmark = pytest.mark.timeout(900)


def _haystack(project: Project) -> Haystack:
    git(project.folder, "add", "--all")
    git(project.folder, "commit", "--quiet", "-m", "Run")
    folders = [project.folder, *(p for p in project.home.glob("*/*") if p.name != "incoming")]
    return Haystack(folders, [git_objects(project.folder), *project.output])


def _every_verb(project: Project, out: Path) -> None:
    """Call every verb that reads a project, so that what it prints is searched as well."""
    bundle = next((project.folder / "releases" / "candidate").glob("*.zip"))
    key = project.home / "kette-phantom" / "keys" / "signer.pub"
    project.call("plan")
    for stage in ("annotate", "dataset", "train", "assess", "optimize", "package"):
        project.call(stage)
    project.call("ingest", str(project.source), "--out", str(out))
    project.call("verify", str(bundle), "--key", str(key))
    project.call("audit", "verify")
    project.call("audit", "show")


def test_no_planted_identifier_of_the_phantoms_is_left(tmp_path: Path) -> None:
    source = tmp_path / "incoming"
    identities = generate(source, subjects=9, unlabeled=2)
    project = make(tmp_path, source)
    project.run()
    _every_verb(project, tmp_path / "out")
    haystack = _haystack(project)
    assert haystack.hits(identities.planted) == []
    assert haystack.uids(identities.uids) == []

    # The search itself finds what is there: the same strings in the incoming studies.
    incoming = Haystack([source])
    found = {needle for needle, _ in incoming.hits(identities.planted)}
    assert len(found) > 0.9 * len([n for n in identities.planted if len(n) > 3])
    assert {uid for uid, _ in incoming.uids(identities.uids)} == set(identities.uids)


def test_no_subjects_own_date_is_in_its_own_outputs(tmp_path: Path) -> None:
    from stages.ingest.keys import DemoKeys

    source = tmp_path / "incoming"
    identities = generate(source, subjects=4, unlabeled=1, defects=False)
    project = make(tmp_path, source)
    out = tmp_path / "out"
    project.call("ingest", str(source), "--out", str(out))
    keys = DemoKeys()
    incoming = Haystack([source])
    for patient_id, dates in identities.dates.items():
        own = out / keys.subject(patient_id, "").pseudonym
        assert own.is_dir()
        assert {date for date, _ in incoming.dates(dates)} == set(dates)
        assert Haystack([own]).dates(dates) == []


@pytest.mark.parametrize("count", [3])
def test_no_identifier_of_the_shared_cohort_is_left(
    tmp_path: Path, shared_data: Path, count: int
) -> None:
    source = tmp_path / "incoming"
    source.mkdir()
    archives = sorted((shared_data / "hippocampus").glob("*.zip"))[:count]
    for archive in archives:
        shutil.unpack_archive(archive, source / archive.stem)
    planted, uids = _read_identities(source)
    project = make(tmp_path, source)
    parameters = yaml.safe_load((ROOT / "docs/examples/hippocampus/params.yaml").read_text("utf-8"))
    parameters["dataset"]["min_test_subjects"] = 1
    (project.folder / "params.yaml").write_text(yaml.safe_dump(parameters), "utf-8")
    project.call("run", "--until", "annotate")
    haystack = _haystack(project)
    assert haystack.hits(planted) == []
    assert haystack.uids(uids) == []


def _read_identities(source: Path) -> tuple[set[str], set[str]]:
    """What the headers of the incoming instances say of persons, and their UIDs."""
    tags = (
        "PatientName", "PatientID", "PatientAddress", "PatientComments", "AccessionNumber",
        "ReferringPhysicianName", "InstitutionName", "StationName",
    )  # fmt: skip
    planted, uids = set(), set()
    for path in source.rglob("*.dcm"):
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        for tag in tags:
            text = str(ds.get(tag, ""))
            planted |= {text, *text.replace("^", " ").replace(",", " ").split()}
        uids |= {
            str(ds[t].value) for t in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
        }
    return {text for text in planted if len(text) > 5}, uids
