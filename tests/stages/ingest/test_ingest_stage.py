"""ING-1 … ING-12: the stage as a whole, on a small hospital."""

import random
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pydicom
import pytest
from helpers_ingest import (
    BIRTH,
    NAME,
    PATIENT,
    ROOT,
    change,
    ct,
    encoded,
    ingest,
    item,
    new_vault,
    parameters,
    save,
    seg,
    study,
)
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    RLELossless,
)

from audit.errors import Fault, WrongUse
from stages.ingest.quarantine import Reason
from stages.ingest.stage import STAGE
from stages.params import Structure
from stages.phantom_root import UID_ROOT
from stages.series import read_series
from stages.stage import PlanContext, RunContext, Verdict

R = Reason


def with_syntax(data: bytes, uid: str) -> bytes:
    """The file with another transfer syntax in its meta (padded to the same length)."""
    old = b"1.2.840.10008.1.2.1\0"
    assert len(uid) >= len(old) - 1
    new = uid.encode() + b"\0" * (len(uid) % 2)
    data = data.replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new, 1)
    (length,) = struct.unpack_from("<I", data, 140)
    return data[:140] + struct.pack("<I", length + len(new) - len(old)) + data[144:]


@pytest.mark.rule("ING-1")
def test_a_study_becomes_series_that_the_next_stages_read(tmp_path: Path) -> None:
    result = ingest(
        tmp_path / "out",
        save(tmp_path / "in", *study()),
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(readers={"Reader^A": "reader-a"}),
    )
    image, annotation = sorted(result.table("series"), key=lambda row: -row["instances"])
    assert (image["kind"], image["instances"], image["modality"]) == ("image", 5, "CT")
    assert (annotation["kind"], annotation["reader"]) == ("annotation", "reader-a")
    assert annotation["annotates"] == image["series"]
    assert image["study"] == annotation["study"] != image["series"]
    assert image["manufacturer"] == "AURORA IMAGING"
    tree = result.units[image["subject"]]
    series = read_series(tree / f"{image['series']}.zip")
    assert series.geometry.spacing_mm == (3, 1, 1)
    assert set(series.sop_uids) == {
        row["sop"] for row in result.table("instances") if row["series"] == image["series"]
    }
    assert result.outcome.findings == {
        "subjects": 1,
        "series": 2,
        "instances_in": 6,
        "instances_out": 6,
        "quarantined": 0,
        "reasons": {},
        "duplicates": 0,
        "ignored": 0,
        "class_labels": 0,
        "label_tables": [],
        "labels_unknown": 0,
        "profile": "PS3.15 2026c",
    }
    assert result.outcome.gate.verdict is Verdict.PASSED


BAD_FILES = [
    (R.NOT_DICOM, lambda: b"no DICOM at all"),
    (R.NOT_DICOM, lambda: b""),
    (R.NOT_DICOM, lambda: encoded(ct())[132:]),
    (R.CORRUPT, lambda: encoded(ct())[:150]),
    (R.PIXELS, lambda: encoded(ct(7))[:-9]),
    (R.PIXELS, lambda: encoded(ct(PixelData=None))),
    (R.PIXELS, lambda: encoded(ct(PixelData=b"\0" * 40))),
    (R.SIZE, lambda: encoded(ct(Rows=9000))),
    (R.SIZE, lambda: encoded(ct(Rows=None))),
    (R.SIZE, lambda: encoded(ct(NumberOfFrames="30000"))),
    (R.CORRUPT, lambda: with_syntax(encoded(ct()), DeflatedExplicitVRLittleEndian)),
    (R.CORRUPT, lambda: with_syntax(encoded(ct()), ExplicitVRBigEndian)),
    (R.TRANSFER_SYNTAX, lambda: with_syntax(encoded(ct()), JPEGLosslessSV1)),
    (R.PIXELS, lambda: with_syntax(encoded(ct()), RLELossless)),
    (R.SOP_CLASS, lambda: encoded(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.4"))),
    (R.SOP_CLASS, lambda: encoded(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.59"))),
    (R.SOP_CLASS, lambda: encoded(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1"))),
    (R.SOP_CLASS, lambda: encoded(ct(SOPClassUID="1.2.840.10008.5.1.4.1.1.9.1.1"))),
    (R.NO_PATIENT, lambda: encoded(ct(PatientID=""))),
    (R.NO_PATIENT, lambda: encoded(ct(PatientID=None))),
    (R.NO_UID, lambda: encoded(ct(StudyInstanceUID=None))),
    (R.NO_UID, lambda: encoded(ct(SeriesInstanceUID=""))),
    (R.BURNED_IN, lambda: encoded(ct(BurnedInAnnotation="YES"))),
    (R.BURNED_IN, lambda: encoded(ct(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]))),
    (R.FEW_SLICES, lambda: encoded(ct(series="3"))),
    (R.NO_REFERENCE, lambda: encoded(seg(number=2, series="77"))),
    (R.NO_REFERENCE, lambda: encoded(seg(number=2, ReferencedSeriesSequence=None))),
    (R.TOO_DEEP, lambda: encoded(_deep(ct(), 20))),
]


def _deep(dataset: pydicom.Dataset, levels: int) -> pydicom.Dataset:
    inner = item(KVP="120")
    for _ in range(levels):
        inner = item(ReferencedImageSequence=Sequence([inner]))
    return change(dataset, ReferencedImageSequence=Sequence([inner]))


@pytest.mark.rule("ING-2")
@pytest.mark.parametrize(("reason", "make"), BAD_FILES)
def test_a_bad_file_is_quarantined_and_the_rest_runs_on(tmp_path: Path, reason, make) -> None:
    folder = save(tmp_path / "in", *(ct(i, series="5") for i in range(4)))
    (folder / NAME).write_bytes(make())
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [reason.value]
    assert len(result.members) == 4
    assert result.outcome.gate.verdict is Verdict.FINDINGS
    assert result.outcome.findings["reasons"] == {reason.value: 1}
    accounted = result.outcome.findings["quarantined"] + result.outcome.findings["instances_out"]
    assert accounted == result.outcome.findings["instances_in"]


@pytest.mark.rule("ING-2")
def test_no_cut_and_no_flipped_byte_stops_the_batch(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    whole = encoded(ct(9, series="6"))
    folder = save(tmp_path / "in", *(ct(i, series="5") for i in range(4)))
    for number in range(150):
        data = bytearray(whole[: chance.randrange(len(whole))] if number % 3 == 0 else whole)
        for _ in range(number % 3):
            data[chance.randrange(len(data) or 1)] = chance.randrange(256)
        (folder / f"bad{number:03}").write_bytes(data)
    result = ingest(
        tmp_path / "out",
        folder,
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(max_quarantined_fraction=1),
    )
    findings = result.outcome.findings
    assert findings["instances_out"] == 4
    places = ("instances_out", "quarantined", "duplicates", "ignored")
    assert sum(findings[place] for place in places) == 154


@pytest.mark.rule("ING-8")
@pytest.mark.parametrize(
    ("reason", "changes"),
    [
        (R.UNEVEN, {2: None}),
        (R.UNEVEN, {4: {"ImagePositionPatient": [0, 0, 13]}}),
        (R.DOUBLE_SLICE, {4: {"ImagePositionPatient": [0, 0, 9]}}),
        (R.MIXED, {1: {"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}}),
        (R.MIXED, {1: {"FrameOfReferenceUID": f"{ROOT}.89"}}),
        (R.MIXED, {1: {"PixelSpacing": [2, 2]}}),
        (R.NO_GEOMETRY, {3: {"ImagePositionPatient": None}}),
        (R.NO_GEOMETRY, {3: {"PixelSpacing": [1]}}),
        (R.TILTED, {i: {"ImagePositionPatient": [0, i, 3 * i]} for i in range(5)}),
        (R.STUDIES, {2: {"StudyInstanceUID": f"{ROOT}.78"}}),
        (R.FEW_SLICES, {0: None, 1: None, 4: None}),
    ],
)
def test_a_series_that_is_no_volume_is_quarantined_whole(tmp_path: Path, reason, changes) -> None:
    slices = [change(ct(i), **(changes.get(i) or {})) for i in range(5) if changes.get(i, 1)]
    folder = save(tmp_path / "in", *slices, *(ct(i, series="5") for i in range(3)))
    result = ingest(
        tmp_path / "out",
        folder,
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(max_quarantined_fraction=1),
    )
    assert result.reasons == [reason.value] * len(slices)
    assert [row["instances"] for row in result.table("series")] == [3]


@pytest.mark.rule("ING-8")
def test_an_annotation_falls_with_its_series(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", ct(0), ct(1), seg(), *(ct(i, series="5") for i in range(9)))
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == sorted([R.FEW_SLICES.value] * 2 + [R.NO_REFERENCE.value])


@pytest.mark.rule("ING-8")
def test_an_annotation_of_another_subject_is_quarantined(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study()[:5], seg(PatientID="KH-2"))
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [R.NO_REFERENCE.value]


@pytest.mark.rule("ING-8")
def test_an_annotation_series_of_two_instances_is_quarantined(tmp_path: Path) -> None:
    second = seg(SOPInstanceUID=f"{ROOT}.91.2")
    folder = save(tmp_path / "in", *study(), second)
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [R.SEVERAL.value] * 2


@pytest.mark.rule("ING-8")
def test_one_series_uid_for_images_and_annotations_is_quarantined(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study()[:5], seg(SeriesInstanceUID=f"{ROOT}.1"))
    save(folder, *(ct(i, series="5", PatientID="KH-2") for i in range(6)))
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [R.KINDS.value] * 6
    assert result.outcome.findings["instances_out"] == 6


@pytest.mark.rule("ING-2")
@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
def test_a_uid_of_another_vr_is_quarantined(tmp_path: Path, keyword: str) -> None:
    odd = ct(9, series="6")
    odd[keyword].VR = "LO"
    folder = save(tmp_path / "in", *study(), odd)
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [R.NO_UID.value]


@pytest.mark.rule("ING-1")
def test_the_same_bytes_again_are_dropped_and_counted(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    shutil.copytree(folder, tmp_path / "in" / "again")
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.outcome.findings["duplicates"] == 6
    assert (len(result.members), result.reasons) == (6, [])


@pytest.mark.rule("ING-1")
def test_one_uid_with_two_contents_is_quarantined_on_both_sides(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study(), ct(4, KVP="120"))
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [R.CONFLICT.value] * 2
    assert result.outcome.findings["instances_out"] == 5


@pytest.mark.rule("ING-1")
def test_a_media_directory_is_ignored_and_counted(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    meta = ct(SOPClassUID="1.2.840.10008.1.3.10", SOPInstanceUID=f"{ROOT}.6")
    (folder / "DICOMDIR").write_bytes(encoded(meta))
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert (result.outcome.findings["ignored"], result.reasons) == (1, [])


@pytest.mark.rule("SRC-2")
@pytest.mark.parametrize("name", ["../climbs.dcm", "/absolute.dcm"])
def test_an_archive_with_a_climbing_path_is_quarantined_whole(tmp_path: Path, name: str) -> None:
    folder = save(tmp_path / "in", *study())
    with zipfile.ZipFile(folder / f"{NAME}.zip", "w") as archive:
        archive.writestr("good.dcm", encoded(ct(9, series="6")))
        archive.writestr(name, encoded(ct(10, series="6")))
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [R.ARCHIVE.value]
    assert len(result.members) == 6
    assert not (tmp_path / "climbs.dcm").exists()


@pytest.mark.rule("SRC-2")
def test_a_damaged_archive_lets_none_of_its_files_pass(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        for index in range(3):
            archive.writestr(f"{index}.dcm", encoded(ct(index, series="6")))
    raw = (tmp_path / "whole.zip").read_bytes()
    last = raw.rindex(b"2.dcm", 0, raw.index(b"PK\x01\x02"))
    (folder / "damaged.zip").write_bytes(raw[: last + 300] + b"\xff" + raw[last + 301 :])
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.reasons == [R.ARCHIVE.value]
    assert len(result.members) == 6


@pytest.mark.rule("SRC-3")
def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    (folder / "large").write_bytes(b"\0" * 5000)
    result = ingest(
        tmp_path / "out",
        folder,
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(limits={"file_bytes": 4000}),
    )
    assert result.reasons == [R.TOO_LARGE.value]


@pytest.mark.rule("SRC-1")
def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    other = save(tmp_path / "other", *(ct(i, series="6") for i in range(3)))
    (folder / "link").symlink_to(other)
    (folder / "file").symlink_to(other / "IM0000")
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    assert result.outcome.findings["instances_in"] == 6


@pytest.mark.rule("ING-6")
def test_order_folder_archive_and_run_do_not_change_a_byte(tmp_path: Path) -> None:
    vault = new_vault(tmp_path / "vault")
    first = ingest(tmp_path / "a", save(tmp_path / "in", *study()), vault_folder=vault)
    names = [f"{number}" for number in range(6)]
    random.Random(7).shuffle(names)
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, dataset in zip(names, reversed(study()), strict=True):
            archive.writestr(f"deep/{name}", encoded(dataset))
    second = ingest(tmp_path / "b", tmp_path / "b.zip", vault_folder=vault)
    assert first.files == second.files
    assert first.plan.units[0].inputs == second.plan.units[0].inputs
    assert first.plan.units[0].facts == second.plan.units[0].facts


@pytest.mark.rule("ING-6")
def test_a_batch_of_its_own_does_not_change_a_byte(tmp_path: Path) -> None:
    vault = new_vault(tmp_path / "vault")
    other = [change(ct(i, series="7"), PatientID="KH-2") for i in range(3)]
    both = ingest(tmp_path / "a", save(tmp_path / "in", *study(), *other), vault_folder=vault)
    parts = [
        ingest(tmp_path / "b", save(tmp_path / "in1", *study()), vault_folder=vault),
        ingest(tmp_path / "c", save(tmp_path / "in2", *other), vault_folder=vault),
    ]
    assert both.members == {**parts[0].members, **parts[1].members}


@pytest.mark.rule("ING-6")
def test_another_process_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    vault = new_vault(tmp_path / "vault")
    here = ingest(tmp_path / "a", folder, vault_folder=vault)
    script = (
        "import sys; from pathlib import Path; from helpers_ingest import ingest;"
        "ingest(*map(Path, sys.argv[1:3]), vault_folder=Path(sys.argv[3]))"
    )
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "b", folder, vault],
        check=True,
        env={
            "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[3]}",
            "PYTHONHASHSEED": "5",
        },
    )
    there = {
        path.relative_to(tmp_path / "b").as_posix(): path.read_bytes()
        for path in (tmp_path / "b").rglob("*")
        if path.is_file()
    }
    assert there == here.files


@pytest.mark.rule("ING-5")
def test_subjects_move_by_their_own_days_and_keep_their_intervals(tmp_path: Path) -> None:
    vault = new_vault(tmp_path / "vault")
    slices = [
        change(
            ct(i, series=str(10 * patient + visit)),
            PatientID=f"KH-{patient}",
            StudyDate=day,
            StudyInstanceUID=f"{ROOT}.7.{patient}.{visit}",
        )
        for patient in range(3)
        for visit, day in enumerate(("20200115", "20200419"))
        for i in range(3)
    ]
    result = ingest(tmp_path / "out", save(tmp_path / "in", *slices), vault_folder=vault)
    dates: dict[str, set[int]] = {}
    for dataset in result.datasets:
        day = pydicom.valuerep.DA(dataset.StudyDate)
        assert day is not None
        dates.setdefault(dataset.PatientID, set()).add(day.toordinal())
    assert {max(days) - min(days) for days in dates.values()} == {95}
    assert len({min(days) for days in dates.values()}) == 3


@pytest.mark.rule("ING-4")
def test_references_resolve_across_runs(tmp_path: Path) -> None:
    vault = new_vault(tmp_path / "vault")
    first = ingest(tmp_path / "a", save(tmp_path / "in1", *study()[:5]), vault_folder=vault)
    second = ingest(tmp_path / "b", save(tmp_path / "in2", *study()), vault_folder=vault)
    annotation = next(d for d in second.datasets if d.Modality == "SEG")
    reference = annotation.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert reference.ReferencedSOPInstanceUID in {d.SOPInstanceUID for d in first.datasets}


@pytest.mark.rule("ING-10")
def test_the_demo_key_takes_in_phantoms_alone(tmp_path: Path) -> None:
    demo = parameters(pseudonym_key="demo", max_quarantined_fraction=1)
    phantom = [
        change(
            ct(i, series="1"),
            SOPInstanceUID=f"{UID_ROOT}.1.{i}",
            SeriesInstanceUID=f"{UID_ROOT}.2",
            StudyInstanceUID=f"{UID_ROOT}.3",
            PatientID="PHANTOM-1",
        )
        for i in range(3)
    ]
    disguised = [
        change(ct(8, series="4"), SOPInstanceUID=f"{UID_ROOT}.9"),
        change(ct(9, series="4"), StudyInstanceUID=f"{UID_ROOT}.9"),
        change(
            ct(9, series="5"), StudyInstanceUID=f"{UID_ROOT}.9", SOPInstanceUID=f"{UID_ROOT}9.1"
        ),
    ]
    folder = save(tmp_path / "in", *phantom, *disguised)
    results = [ingest(tmp_path / name, folder, params=demo) for name in ("a", "b")]
    assert results[0].files == results[1].files
    assert results[0].reasons == [R.NOT_PHANTOM.value] * 3
    assert len(results[0].members) == 3
    assert results[0].plan.units[0].facts["key_version"] == "public-demo-1"


@pytest.mark.rule("ING-10")
def test_the_demo_key_refuses_a_hospitals_export(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    result = ingest(tmp_path / "out", folder, params=parameters(pseudonym_key="demo"))
    assert result.outcome.gate.verdict is Verdict.REFUSED
    assert (result.members, len(result.reasons)) == ({}, 6)


@pytest.mark.rule("ING-11")
@pytest.mark.parametrize(("limit", "verdict"), [(0.1, Verdict.REFUSED), (0.2, Verdict.FINDINGS)])
def test_the_gate_holds_the_declared_share(tmp_path: Path, limit: float, verdict: Verdict) -> None:
    folder = save(tmp_path / "in", *study())
    (folder / "bad").write_bytes(b"bad")
    result = ingest(
        tmp_path / "out",
        folder,
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(max_quarantined_fraction=limit),
    )
    gate = result.outcome.gate
    assert gate.verdict is verdict
    assert all(check.remedy for check in gate.checks if check.verdict is not Verdict.PASSED)


@pytest.mark.rule("ING-12")
def test_no_identifier_is_in_tables_records_logs_or_output(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = save(tmp_path / NAME, *study())
    odd = encoded(change(ct(5), PatientComments=NAME), preamble=NAME.encode().ljust(128))
    odd = odd.replace(b"KH-4711-0815", b"KH-4711-08\xff5").replace(b"DA\x08\x00", b"DA\x06\x00")
    (folder / PATIENT).write_bytes(odd)
    result = ingest(tmp_path / "out", folder, vault_folder=new_vault(tmp_path / "vault"))
    unit = result.plan.units[0]
    shown = [
        repr(result.plan),
        repr(unit),
        str(unit.inputs),
        str(unit.facts),
        str(result.plan.notes),
        str(result.outcomes),
        str(result.outcome),
        str(list(result.files)),
        caplog.text,
        *capfd.readouterr(),
    ]
    raw = "\n".join(shown).encode() + b"".join([*result.files.values(), *result.members.values()])
    for needle in (NAME, "Leonore", PATIENT, "KH-4711", BIRTH, ROOT, "Krähwink", str(tmp_path)):
        for charset in ("utf-8", "latin-1", "utf-16-le"):
            assert needle.encode(charset) not in raw
            assert needle.casefold().encode(charset) not in raw


def test_without_a_vault_planning_is_wrong_use(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    for vault in (None, tmp_path / "none"):
        with pytest.raises(WrongUse, match="vault") as caught:
            ingest(tmp_path / "out", folder, vault_folder=vault)
        assert caught.value.remedy


@pytest.mark.rule("VLT-4")
def test_a_vault_among_the_sources_is_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    with pytest.raises(WrongUse, match="passed on"):
        ingest(tmp_path / "out", folder, vault_folder=new_vault(folder / "vault"))


def test_without_a_source_or_with_an_absent_one_planning_is_wrong_use(tmp_path: Path) -> None:
    vault = new_vault(tmp_path / "vault")
    with pytest.raises(WrongUse, match="nothing"):
        ingest(tmp_path / "a", vault_folder=vault)
    with pytest.raises(WrongUse, match="Source 1") as caught:
        ingest(tmp_path / "b", tmp_path / NAME, vault_folder=vault)
    assert NAME not in caught.value.diagnostics()


def test_a_source_that_changes_during_the_run_is_a_fault(tmp_path: Path) -> None:
    folder = save(tmp_path / "in", *study())
    plan = STAGE.plan(
        PlanContext(
            params=parameters(),
            upstream={},
            sources=(folder,),
            vault=new_vault(tmp_path / "vault"),
        )
    )
    (folder / "IM0002").write_bytes(b"other")
    (tmp_path / "out").mkdir()
    with pytest.raises(Fault, match="changed") as caught:
        STAGE.run(plan.units[0], RunContext(params=parameters(), trees={}, out=tmp_path / "out"))
    assert str(folder) not in caught.value.diagnostics()


def test_labels_pass_on_to_the_next_stage(tmp_path: Path) -> None:
    result = ingest(
        tmp_path / "out",
        save(tmp_path / "in", *study()),
        vault_folder=new_vault(tmp_path / "vault"),
    )
    kept = next(d for d in result.datasets if d.Modality == "SEG").SegmentSequence[0]
    structure: Structure = parameters().task.structures[0]
    assert kept.SegmentLabel == structure.segment_label
    assert kept.SegmentDescription in structure.classes


@pytest.mark.parametrize(
    "section",
    [
        {"readers": {"Meier^Anna": "reader-a"}},
        {"readers": {"Reader^A": "Anna Meier"}},
        {"readers": {"Reader^A": "reader-a", "Reader^B": "reader-a"}},
        {"shift_days": (-1, 1)},
        {"shift_days": (0, 5)},
        {"shift_days": (5, 1)},
        {"key": "vault"},
    ],
)
def test_contradictory_parameters_are_refused(section) -> None:
    with pytest.raises(ValueError, match="IngestParams"):
        parameters(**section)


def test_declaring_the_stage_imports_nothing_heavy() -> None:
    script = (
        "import sys; import stages.ingest.stage;"
        "print(sorted({'torch', 'highdicom', 'pydicom', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
