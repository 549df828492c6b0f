"""ING-13, OWN-1 … OWN-5: own outputs pass as they are; a claim to be de-identified does not."""

from __future__ import annotations

import shutil
import zipfile
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from helpers_documents import presentation_state, report, structure_set
from helpers_ingest import (
    PATIENT,
    Result,
    ct,
    ingest,
    new_vault,
    parameters,
    save,
    study,
)
from helpers_text import picture, speckle

from audit.record import Record
from audit.statement import statement
from stages.artifact import Digest, digest_file
from stages.ingest import vault
from stages.ingest.quarantine import Reason
from stages.ingest.stage import STAGE
from stages.own import own_outputs
from stages.stage import PlanContext
from stages.store import Store
from stages.table import write_table

Own = dict[str, frozenset[str]]


@pytest.fixture
def held(tmp_path: Path) -> Path:
    return new_vault(tmp_path / "vault")


@pytest.fixture
def first(tmp_path: Path, held: Path) -> Result:
    return ingest(tmp_path / "first", save(tmp_path / "in", *study()), vault_folder=held)


def listed(*results: Result) -> Own:
    """What the tables of these runs list."""
    rows = [row for result in results for row in result.table("instances")]
    return {
        version: frozenset(r["output_sha256"] for r in rows if r["key_version"] == version)
        for version in {row["key_version"] for row in rows}
    }


def outputs(result: Result, folder: Path, *, flipped: bool = False) -> Path:
    """A run's instances as files of one folder, in the order of their UIDs or against it."""
    folder.mkdir()
    for number, name in enumerate(sorted(result.members, reverse=flipped)):
        (folder / f"IM{number:04}").write_bytes(result.members[name])
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


@pytest.mark.rule("ING-13")
def test_own_outputs_pass_byte_for_byte_under_their_pseudonym(
    tmp_path: Path, held: Path, first: Result
) -> None:
    before = files_of(held)
    again = ingest(
        tmp_path / "again",
        outputs(first, tmp_path / "own"),
        vault_folder=held,
        own=listed(first),
    )
    assert again.members == first.members
    assert again.table("series") == first.table("series")
    assert again.outcome.findings == first.outcome.findings
    rows = again.table("instances")
    assert len(rows) == 6
    assert {(row["pixels"], row["actions"], row["edition"]) for row in rows} == {("own", "", "")}
    assert all(row["input_sha256"] == row["output_sha256"] for row in rows)
    assert {row["key_version"] for row in rows} == {*listed(first)}
    assert files_of(held) == before


@pytest.mark.rule("ING-13")
@pytest.mark.parametrize("make", [structure_set, report, presentation_state, None])
def test_own_outputs_of_every_kind_pass(tmp_path: Path, held: Path, make) -> None:
    one = make() if make else picture(speckle())
    first = ingest(tmp_path / "first", save(tmp_path / "in", one), vault_folder=held)
    assert len(first.members) == 1
    again = ingest(
        tmp_path / "again",
        outputs(first, tmp_path / "own"),
        vault_folder=held,
        own=listed(first),
    )
    assert again.members == first.members
    assert again.table("series") == first.table("series")


@pytest.mark.rule("ING-13")
def test_own_outputs_pass_whatever_the_parameters_say_now(
    tmp_path: Path, held: Path, first: Result
) -> None:
    again = ingest(
        tmp_path / "again",
        outputs(first, tmp_path / "own"),
        vault_folder=held,
        own=listed(first),
        params=parameters(dates="removed", options={"uids": True, "descriptors": False}),
    )
    assert again.members == first.members


@pytest.mark.rule("ING-13")
def test_a_claim_to_be_de_identified_is_treated_like_any(
    tmp_path: Path, held: Path, first: Result
) -> None:
    folder = outputs(first, tmp_path / "own")
    claims = [pydicom.dcmread(path).PatientIdentityRemoved for path in folder.iterdir()]
    assert claims == ["YES"] * 6
    again = ingest(tmp_path / "again", folder, vault_folder=held)
    assert len(again.members) == 6
    assert not set(again.units) & set(first.units)
    assert not {row["sop"] for row in again.table("instances")} & {
        row["sop"] for row in first.table("instances")
    }
    with vault.open_vault(held) as opened:
        assert opened.identity(next(iter(again.units))) == (next(iter(first.units)), "")


@pytest.mark.rule("ING-13")
def test_one_changed_byte_makes_another_instance(tmp_path: Path, held: Path, first: Result) -> None:
    folder = outputs(first, tmp_path / "own")
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.StudyDescription = "CT Thorax Leonore"
        dataset.save_as(path)
    again = ingest(tmp_path / "again", folder, vault_folder=held, own=listed(first))
    assert not set(again.units) & set(first.units)
    assert b"Leonore" not in b"".join(again.members.values())


@pytest.mark.rule("OWN-4")
def test_an_own_output_and_its_original_give_one_output(
    tmp_path: Path, held: Path, first: Result
) -> None:
    own = outputs(first, tmp_path / "own")
    both = ingest(tmp_path / "both", tmp_path / "in", own, vault_folder=held, own=listed(first))
    assert both.members == first.members
    assert both.outcome.findings == first.outcome.findings | {"instances_in": 12, "duplicates": 6}
    assert [(u.inputs, u.facts) for u in both.plan.units] == [
        (u.inputs, u.facts) for u in first.plan.units
    ]


@pytest.mark.rule("OWN-3")
def test_own_outputs_and_new_originals_make_one_series(
    tmp_path: Path, held: Path, first: Result
) -> None:
    early = ingest(
        tmp_path / "early",
        save(tmp_path / "some", *(ct(index) for index in range(3))),
        vault_folder=held,
    )
    rest = save(tmp_path / "rest", *study()[3:])
    own = outputs(early, tmp_path / "own")
    both = ingest(tmp_path / "both", rest, own, vault_folder=held, own=listed(early))
    assert both.members == first.members
    assert (
        sorted(row["pixels"] == "own" for row in both.table("instances"))
        == [False] * 3 + [True] * 3
    )


@pytest.mark.rule("ING-6")
def test_order_folder_and_archive_of_own_outputs_decide_nothing(
    tmp_path: Path, held: Path, first: Result
) -> None:
    own, rest = outputs(first, tmp_path / "own"), save(tmp_path / "rest", ct(0))
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for path in outputs(first, tmp_path / "flipped", flipped=True).iterdir():
            archive.write(path, path.name)
    results = [
        ingest(tmp_path / name, *sources, vault_folder=held, own=listed(first))
        for name, sources in {
            "a": (own, rest),
            "b": (rest, tmp_path / "flipped"),
            "c": (tmp_path / "own.zip", rest),
        }.items()
    ]
    assert results[0].members == first.members
    for result in results[1:]:
        assert result.files == results[0].files
        assert result.plan.notes == results[0].plan.notes
        assert [(u.inputs, u.facts) for u in result.plan.units] == [
            (u.inputs, u.facts) for u in results[0].plan.units
        ]


@pytest.mark.rule("OWN-5")
def test_one_instance_of_two_subjects_is_a_conflict(
    tmp_path: Path, held: Path, first: Result
) -> None:
    other = save(tmp_path / "other", *study())
    for path in other.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientID = f"{PATIENT}-2"
        dataset.save_as(path)
    both = ingest(
        tmp_path / "both",
        other,
        outputs(first, tmp_path / "own"),
        vault_folder=held,
        own=listed(first),
    )
    assert both.reasons == [Reason.CONFLICT.value] * 12
    assert not both.members


@pytest.mark.rule("SUP-2")
def test_own_outputs_of_an_erased_subject_are_not_taken_in_again(
    tmp_path: Path, held: Path, first: Result
) -> None:
    vault.destroy(held, next(iter(first.units)))
    again = ingest(
        tmp_path / "again",
        outputs(first, tmp_path / "own"),
        vault_folder=held,
        own=listed(first),
    )
    assert again.reasons == [Reason.SUPPRESSED.value] * 6
    assert not again.members


@pytest.mark.rule("ING-13")
def test_outputs_of_another_key_are_treated_like_any(
    tmp_path: Path, held: Path, first: Result
) -> None:
    other = new_vault(tmp_path / "other")
    own = outputs(first, tmp_path / "own")
    again = ingest(tmp_path / "again", own, vault_folder=other, own=listed(first))
    assert len(again.members) == 6
    assert not set(again.units) & set(first.units)


@pytest.mark.rule("OWN-3")
def test_the_key_of_a_unit_tells_own_outputs_from_claims(
    tmp_path: Path, held: Path, first: Result
) -> None:
    own = outputs(first, tmp_path / "own")

    def inputs(known: Own) -> list[str]:
        context = PlanContext(
            params=parameters(), upstream={}, sources=(own,), vault=held, own_outputs=known
        )
        return [label for unit in STAGE.plan(context).units for label in unit.inputs]

    assert {label.startswith("source/own/") for label in inputs(listed(first))} == {True}
    assert {label.startswith("source/own/") for label in inputs({})} == {False}
    strangers = {version: frozenset({"f" * 64}) for version in listed(first)}
    assert inputs(strangers) == inputs({})


@pytest.mark.rule("VLT-5")
def test_planning_alone_enters_nobody_into_the_vault(tmp_path: Path, held: Path) -> None:
    before = files_of(held)
    sources = (save(tmp_path / "in", *study()),)
    context = PlanContext(params=parameters(), upstream={}, sources=sources, vault=held, dry=True)
    assert len(STAGE.plan(context).units) == 1
    assert files_of(held) == before
    STAGE.plan(PlanContext(params=parameters(), upstream={}, sources=sources, vault=held))
    assert files_of(held) != before


def table(folder: Path, digest: str, name: str = "instances.parquet") -> Path:
    rows = [{"key_version": "vault-1", "output_sha256": digest}]
    write_table(folder / name, rows, {"key_version": "string", "output_sha256": "string"})
    return folder / name


def record(label: str, tree: Digest, name: str, sha256: Digest) -> Record:
    stage, _, unit = label.partition("/")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Record(
        0,
        statement(
            subjects=[(label, tree), (f"{label}/{name}", sha256)],
            stage=stage, unit=unit, key="1" * 64, parameters={}, inputs={}, commit=None,
            lock="2" * 64, environment={}, findings={}, measured={}, gate=None, status="ran",
            started=now, finished=now,
        ),
    )  # fmt: skip


@pytest.mark.rule("OWN-1")
def test_a_table_is_believed_where_a_record_names_its_digest(tmp_path: Path) -> None:
    store, data = Store(tmp_path / "store"), tmp_path / "data"
    path = table(tmp_path / "tree", "a" * 64)
    sha256 = digest_file(path)
    tree = store.put(tmp_path / "tree")
    made = record("ingest", tree, "instances.parquet", sha256)
    assert own_outputs([made], store, data) == {"vault-1": frozenset({"a" * 64})}
    assert own_outputs([], store, data) == {}
    named = record("train/x", tree, "instances.parquet", sha256)
    assert own_outputs([named], store, data) == {}
    changed = record("ingest", tree, "instances.parquet", "b" * 64)
    assert own_outputs([changed], store, data) == {}


@pytest.mark.rule("OWN-2")
def test_without_the_store_the_pinned_table_is_believed_if_a_record_names_it(
    tmp_path: Path,
) -> None:
    store, data = Store(tmp_path / "store"), tmp_path / "data"
    pinned = table(data, "a" * 64, "ingest.parquet")
    sha256 = digest_file(pinned)
    made = record("dataset/cohort", "3" * 64, "ingest.parquet", sha256)
    assert own_outputs([made], store, data) == {"vault-1": frozenset({"a" * 64})}
    table(data, "c" * 64, "ingest.parquet")
    assert own_outputs([made], store, data) == {}
    shutil.rmtree(data)
    assert own_outputs([made], store, data) == {}


@pytest.mark.rule("ING-9")
def test_an_own_output_still_states_what_was_applied_to_it(
    tmp_path: Path, held: Path, first: Result
) -> None:
    again = ingest(
        tmp_path / "again",
        outputs(first, tmp_path / "own"),
        vault_folder=held,
        own=listed(first),
        params=parameters(dates="full"),
    )
    for data in again.members.values():
        stated = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
        assert stated.LongitudinalTemporalInformationModified == "MODIFIED"
