"""ING-3, ING-12: no planted identifier is left anywhere, in any spelling."""

import base64
import logging
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from helpers_canary import DATES, OUTSIDE, PLANTS, plant, search, spellings, wrap
from helpers_ingest import ct, ingest, new_vault, parameters, seg
from pydicom.dataset import Dataset

from stages.ingest.codes import codes_of
from stages.ingest.header import quiet
from stages.ingest.params import Options
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.rules import Rules

FOLDER, FILE = (one.needle for one in reversed(OUTSIDE[-2:]))
ALL_RETAINED = {
    "device_identity": "retained",
    "institution_identity": True,
    "patient_characteristics": "retained",
}


def write(folder: Path, datasets: list[Dataset]) -> Path:
    """Planted instances, in a folder and with file names that are identifiers too."""
    place = folder / FOLDER
    place.mkdir(parents=True)
    for number, dataset in enumerate(datasets):
        (place / f"{FILE}_{number}.dcm").write_bytes(wrap(plant(dataset)))
    return folder


def through_the_stage(tmp_path: Path, source: Path, caplog, capfd) -> tuple[dict[str, bytes], int]:
    """Everything that a run leaves or says, and how many instances it let out."""
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = ingest(tmp_path / "out", source, vault_folder=new_vault(tmp_path / "vault"))
    tables = {name: str(result.table(name)) for name in ("series", "instances", "quarantine")}
    spoken = {
        "plan and outcomes": f"{result.plan} {result.outcomes} {result.outcome}",
        "log": caplog.text,
        "warnings": " ".join(str(warning.message) for warning in said),
        "stdout and stderr": " ".join(capfd.readouterr()),
    }
    texts = {name: text.encode() for name, text in (tables | spoken).items()}
    return {**result.files, **result.members, **texts}, len(result.members)


def alone(dataset: Dataset, **options: object) -> dict[str, bytes]:
    """One instance, without its series."""
    rules = Rules(
        subject="s-aaaaaaaaaa",
        uid_key=b"u" * 32,
        reader_key=b"r" * 32,
        days=-1000,
        readers={},
        labels={},
        codes=codes_of(parameters().task),
        depth=16,
        options=Options(**options),
    )
    source = pydicom.dcmread(BytesIO(wrap(plant(dataset))))
    with quiet():
        result, counts = pseudonymize(source, rules)
    result.file_meta = pydicom.dataset.FileMetaDataset()
    result.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, result, enforce_file_format=True)
    return {"instance": buffer.getvalue(), "counts": str(counts.row()).encode()}


def test_the_search_finds_every_needle_where_it_was_planted() -> None:
    assert len(PLANTS) >= 60
    planted = {"file": wrap(plant(ct())), f"{FOLDER}/{FILE}": b""}
    assert set(search(planted)) == {one.place for one in (*PLANTS, *OUTSIDE)} | set(DATES)


@pytest.mark.parametrize("form", ["utf-16", "base64", "reversed", "upper"])
def test_the_search_finds_other_spellings(form: str) -> None:
    one = PLANTS[0]
    folded, cased = spellings(one)
    assert folded
    written = {
        "utf-16": one.needle.encode("utf-16-be"),
        "base64": base64.b64encode(b"x" + one.needle.encode() + b"yz"),
        "reversed": one.needle[::-1].encode(),
        "upper": one.needle.upper().encode(),
    }[form]
    assert one.place in search({"x": b"..." + written + b"..."}, dates=False)
    assert cased


@pytest.mark.rule("ING-3")
@pytest.mark.rule("ING-12")
def test_nothing_planted_in_phantom_ct_is_left(tmp_path: Path, caplog, capfd) -> None:
    source = write(tmp_path / "in", [*(ct(index) for index in range(3)), seg()])
    outputs, instances = through_the_stage(tmp_path, source, caplog, capfd)
    assert instances == 4
    assert search(outputs) == {}


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize("options", [{}, ALL_RETAINED])
def test_nothing_planted_in_the_shared_mr_is_left(shared_data: Path, options) -> None:
    path = shared_data / "brain-mr-study3.zip"
    if not path.is_file():
        pytest.skip("the shared brain MR study (../shared/data/brain-mr-study3.zip) is not here")
    with zipfile.ZipFile(path) as archive:
        first = min(name for name in archive.namelist() if name.endswith(".dcm"))
        dataset = pydicom.dcmread(BytesIO(archive.read(first)))
    found = search(alone(dataset, **options))
    allowed = set()
    if options:  # what these options keep is what was planted there
        allowed = {"InstitutionName", "ST: InstitutionAddress", "InstitutionalDepartmentName"}
        allowed |= {"StationName", "DeviceSerialNumber", "SoftwareVersions", "DetectorID"}
        allowed |= {"PlateID", "equipment"}
    assert set(found) <= allowed


@pytest.mark.rule("ING-3")
@pytest.mark.rule("ING-12")
def test_nothing_planted_in_a_shared_subject_is_left(
    tmp_path: Path, shared_data: Path, caplog, capfd
) -> None:
    path = shared_data / "hippocampus" / "hippocampus_001.zip"
    if not path.is_file():
        pytest.skip("the shared hippocampus cohort (../shared/data/hippocampus) is not here")
    with zipfile.ZipFile(path) as archive:
        slices = [name for name in sorted(archive.namelist()) if "MR/" in name][:4]
        datasets = [pydicom.dcmread(BytesIO(archive.read(name))) for name in slices]
    outputs, instances = through_the_stage(
        tmp_path, write(tmp_path / "in", datasets), caplog, capfd
    )
    assert instances == 4
    assert search(outputs) == {}


@pytest.mark.rule("ING-3")
@pytest.mark.rule("ING-12")
def test_nothing_planted_in_the_shared_ultrasound_is_left(
    tmp_path: Path, shared_data: Path, caplog, capfd
) -> None:
    path = shared_data / "busi" / "busi.zip"
    if not path.is_file():
        pytest.skip("the shared ultrasound (../shared/data/busi) is not here")
    with zipfile.ZipFile(path) as archive:
        first = min(name for name in archive.namelist() if name.endswith(".dcm"))
        dataset = pydicom.dcmread(BytesIO(archive.read(first)))
    outputs, instances = through_the_stage(
        tmp_path, write(tmp_path / "in", [dataset]), caplog, capfd
    )
    assert instances == 1
    assert search(outputs) == {}
