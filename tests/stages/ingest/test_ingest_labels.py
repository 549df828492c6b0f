"""Tables of class labels: taken whole or not at all, and nothing of their text passes."""

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from helpers_ingest import NAME, PATIENT, ROOT, Result, ct, encoded, ingest, new_vault, parameters

from stages.archive import read_zip
from stages.ingest.label_table import LabelTable, is_table, read_label_table
from stages.ingest.params import Parameters
from stages.ingest.quarantine import Quarantined, Reason
from stages.params import ClassLabel, Code, Task

CLASSES = ("benign", "malignant", "normal")
SERIES, STUDY = f"{ROOT}.1", f"{ROOT}.77"
TASK = Task(
    modality="CT",
    classes=tuple(
        ClassLabel(name=name, code=Code(value=str(n), scheme="99TEST", meaning=name))
        for n, name in enumerate(CLASSES)
    ),
)


def table(*rows: str, uid: str = "SeriesInstanceUID") -> bytes:
    return "\n".join([f"{uid},label,reader", *rows, ""]).encode()


def read(data: bytes, limit: int = 1 << 20) -> LabelTable:
    return read_label_table("0" * 64, data, CLASSES, limit)


def taken_in(
    tmp_path: Path, *tables: bytes, name: str = "labels.csv", **ingested: object
) -> Result:
    """A study of five slices with tables beside it, as one archive."""
    tmp_path.mkdir(exist_ok=True)
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for number, data in enumerate(tables):
            archive.writestr(f"{number}/{name}", data)
        for index in range(5):
            archive.writestr(f"{index}.dcm", encoded(ct(index)))
    base = parameters(**ingested)
    return ingest(
        tmp_path / "out",
        tmp_path / "in.zip",
        vault_folder=new_vault(tmp_path / "vault"),
        params=Parameters(project=base.project, task=TASK, ingest=base.ingest),
    )


@pytest.mark.rule("LAB-1")
def test_a_table_is_told_by_its_first_line_and_not_by_its_name(tmp_path: Path) -> None:
    result = taken_in(tmp_path, table(f"{SERIES},benign,Reader^A"), name="notes.txt")
    assert [row["label"] for row in result.table("class_labels")] == ["benign"]
    assert not is_table(b"name,label,reader\n")
    assert not is_table(b"")
    assert is_table(b"\xef\xbb\xbf" + table())


@pytest.mark.rule("LAB-2")
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SOPInstanceUID,label\n1.2,benign\n", Reason.LABEL_TABLE),
        (b"SOPInstanceUID,reader,label\n1.2,a,benign\n", Reason.LABEL_TABLE),
        (table("1.2,benign"), Reason.LABEL_TABLE),
        (table("1.2,benign,a,b"), Reason.LABEL_TABLE),
        (table("1.x,benign,a"), Reason.LABEL_TABLE),
        (table(f"1.{'2' * 64},benign,a"), Reason.LABEL_TABLE),
        (table("1.2,benign,"), Reason.LABEL_TABLE),
        (table(f"1.2,benign,{'a' * 65}"), Reason.LABEL_TABLE),
        (table('1.2,benign,"a'), Reason.LABEL_TABLE),
        (table() + b"1.2,benign,\xff\n", Reason.LABEL_TABLE),
        (table("1.2,cystic,a"), Reason.LABEL_CLASS),
        (table("1.2,,a"), Reason.LABEL_CLASS),
    ],
)
def test_a_table_that_is_not_as_it_must_be_is_refused(data: bytes, reason: Reason) -> None:
    assert is_table(data)
    with pytest.raises(Quarantined) as caught:
        read(data)
    assert caught.value.reason is reason


@pytest.mark.rule("LAB-2")
def test_a_table_as_large_as_the_limit_is_read_and_one_byte_more_is_not() -> None:
    data = table("1.2,benign,a")
    assert read(data, len(data)).rows == (("1.2", "benign", "a"),)
    with pytest.raises(Quarantined):
        read(data, len(data) - 1)


@pytest.mark.rule("LAB-2")
def test_a_bad_table_is_quarantined_by_its_digest_and_stops_nothing(tmp_path: Path) -> None:
    bad = table(f"{SERIES},cystic,Reader^A")
    result = taken_in(tmp_path, bad, table(f"{STUDY},benign,a", uid="StudyInstanceUID"))
    (row,) = result.table("quarantine")
    assert row == {
        "input_sha256": hashlib.sha256(bad).hexdigest(),
        "reason": Reason.LABEL_CLASS.value,
    }
    assert result.outcome.findings["class_labels"] == 1
    assert result.outcome.findings["instances_in"] == 6  # the bad one is accounted for as a file


@pytest.mark.rule("LAB-3")
def test_labels_of_each_level_bear_the_uids_and_readers_that_the_instances_bear(
    tmp_path: Path,
) -> None:
    result = taken_in(
        tmp_path,
        table(f"{SERIES},Benign,Reader^A", f"{SERIES},malignant,{NAME}"),
        table(f"{STUDY},normal,Reader^A", uid="StudyInstanceUID"),
        table(f"{ROOT}.1.2,benign,Reader^A", uid="SOPInstanceUID"),
        readers={"Reader^A": "reader-a"},
    )
    (series,) = result.table("series")
    slices = {
        int(data.InstanceNumber): str(data.SOPInstanceUID)
        for data in result.datasets
        if data.Modality == "CT"
    }
    rows = result.table("class_labels")
    assert {row["subject"] for row in rows} == {series["subject"]}
    assert {row["study"] for row in rows} == {series["study"]}
    uid = series["series"]
    assert {(row["series"], row["sop"], row["label"]) for row in rows} == {
        (uid, "", "benign"),
        (uid, "", "malignant"),
        ("", "", "normal"),
        (uid, slices[2], "benign"),
    }
    readers = {row["label"]: row["reader"] for row in rows}
    assert (readers["benign"], readers["normal"]) == ("reader-a", "reader-a")
    assert readers["malignant"].startswith("r-")


@pytest.mark.rule("LAB-3")
def test_nothing_of_a_table_is_in_outputs_plan_or_outcome(tmp_path: Path) -> None:
    text = table(f"{SERIES},benign,{NAME}", f"{ROOT}.4711,benign,{PATIENT}")
    result = taken_in(tmp_path, text)
    private = [unit.private for unit in result.plan.units]
    assert str(private[0]["labels"])  # by new UIDs already: not even a worker gets the table's text
    shown = f"{result.plan}{private[0]['labels']}{result.outcomes}{result.outcome}".encode()
    everything = b"".join([*result.files.values(), *result.members.values(), shown])
    for needle in (SERIES, f"{ROOT}.4711", NAME, PATIENT, "Leonore"):
        assert needle.encode() not in everything


@pytest.mark.rule("LAB-4")
def test_labels_of_what_is_not_there_are_counted_and_given_to_no_one(tmp_path: Path) -> None:
    result = taken_in(
        tmp_path, table(f"{SERIES},benign,a", f"{ROOT}.4711,benign,a", f"{ROOT}.4712,normal,a")
    )
    assert result.outcome.findings["labels_unknown"] == 2
    assert result.outcome.findings["class_labels"] == 1


@pytest.mark.rule("LAB-4")
def test_a_label_of_a_series_that_was_quarantined_is_dropped(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.writestr("labels.csv", table(f"{ROOT}.2,benign,a", f"{SERIES},normal,a"))
        for index in range(5):
            archive.writestr(f"{index}.dcm", encoded(ct(index)))
        archive.writestr("alone.dcm", encoded(ct(0, series="2")))
    base = parameters()
    result = ingest(
        tmp_path / "out",
        tmp_path / "in.zip",
        vault_folder=new_vault(tmp_path / "vault"),
        params=Parameters(project=base.project, task=TASK, ingest=base.ingest),
    )
    assert result.reasons == [Reason.FEW_SLICES.value]
    assert [row["label"] for row in result.table("class_labels")] == ["normal"]


@pytest.mark.rule("ING-6")
def test_another_subject_in_the_table_changes_no_unit(tmp_path: Path) -> None:
    row = f"{SERIES},benign,a"
    alone = taken_in(tmp_path / "a", table(row))
    vault = tmp_path / "a" / "vault"
    (tmp_path / "b").mkdir()
    vault.rename(tmp_path / "b" / "vault")
    more = taken_in(tmp_path / "b", table(f"{ROOT}.4711,normal,b", row))
    assert [unit.facts for unit in alone.plan.units] == [unit.facts for unit in more.plan.units]
    (tmp_path / "c").mkdir()
    (tmp_path / "b" / "vault").rename(tmp_path / "c" / "vault")
    other = taken_in(tmp_path / "c", table(f"{SERIES},normal,a"))
    assert [unit.facts for unit in other.plan.units] != [unit.facts for unit in more.plan.units]


@pytest.mark.rule("LAB-3")
def test_pictures_of_the_shared_ultrasound_get_their_labels(
    tmp_path: Path, shared_data: Path
) -> None:
    path = shared_data / "busi" / "busi.zip"
    if not path.is_file():
        pytest.skip("the shared ultrasound (../shared/data/busi) is not here")
    names = ("benign-1.dcm", "malignant-1.dcm", "normal-1.dcm")
    with zipfile.ZipFile(path) as busi, zipfile.ZipFile(tmp_path / "in.zip", "w") as few:
        data = {name: busi.read(name) for name in (*names, "labels.csv")}
        for name, content in data.items():
            few.writestr(name, content)
    base = parameters(readers={"reader-a": "reader-a"})
    task = Task(modality="US", classes=TASK.classes)
    result = ingest(
        tmp_path / "out",
        tmp_path / "in.zip",
        vault_folder=new_vault(tmp_path / "vault"),
        params=Parameters(project=base.project, task=task, ingest=base.ingest),
    )
    rows = result.table("class_labels")
    assert sorted(row["label"] for row in rows) == ["benign", "malignant", "normal"]
    assert {row["reader"] for row in rows} == {"reader-a"}
    known = len(data["labels.csv"].splitlines()) - 1
    assert result.outcome.findings["labels_unknown"] == known - 3
    for row in rows:
        archive = result.units[row["subject"]] / f"{row['series']}.zip"
        ((_, picture),) = read_zip(archive, limit_bytes=1 << 22, limit_entries=9)
        pixels = pydicom.dcmread(BytesIO(picture)).pixel_array
        original = pydicom.dcmread(BytesIO(data[f"{row['label']}-1.dcm"])).pixel_array
        assert (pixels == original).mean() > 0.5  # but for blanked text
