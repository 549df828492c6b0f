"""Ingest on a real subject of the shared cohort: nothing planted is left, the standard is kept."""

import subprocess
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from helpers_ingest import Result, ingest, new_vault, parameters

from stages.ingest.params import Parameters
from stages.params import Code, Structure, Task
from stages.phantom.cohort import generate
from stages.segmentation import read_labels
from stages.series import read_series

Sources = Callable[[Path, Path], tuple[Path, Parameters]]
ARCHIVE = Path("hippocampus") / "hippocampus_303.zip"
TASK = Task(
    modality="MR",
    structures=tuple(
        Structure(
            name=name,
            label=label,
            segment_label=f"{name} hippocampus",
            code=Code(value=value, scheme="SCT", meaning=meaning),
        )
        for label, name, value, meaning in (
            (1, "anterior", "279403005", "Head of hippocampus"),
            (2, "posterior", "279404004", "Body and tail of hippocampus"),
        )
    ),
)


def source(shared_data: Path) -> Path:
    path = shared_data / ARCHIVE
    if not path.is_file():
        pytest.skip("the shared hippocampus cohort (../shared/data/hippocampus) is not here")
    return path


def shared(tmp_path: Path, shared_data: Path) -> tuple[Result, list[pydicom.Dataset]]:
    path = source(shared_data)
    base = parameters(readers={"Reader^A": "reader-a", "Reader^B": "reader-b"})
    params = Parameters(project=base.project, task=TASK, ingest=base.ingest)
    result = ingest(
        tmp_path / "out", path, vault_folder=new_vault(tmp_path / "vault"), params=params
    )
    with zipfile.ZipFile(path) as archive:
        originals = [pydicom.dcmread(BytesIO(archive.read(name))) for name in archive.namelist()]
    return result, originals


@pytest.mark.rule("ING-8")
def test_every_instance_of_a_shared_subject_is_taken_in_and_readable(
    tmp_path: Path, shared_data: Path
) -> None:
    result, originals = shared(tmp_path, shared_data)
    assert len(result.members) == len(originals)
    rows = result.table("series")
    assert sorted(row["reader"] for row in rows) == ["", "reader-a", "reader-b"]
    for row in rows:
        if row["kind"] == "annotation":
            tree = result.units[row["subject"]]
            series = read_series(tree / f"{row['annotates']}.zip")
            labels = read_labels(tree / f"{row['series']}.zip", series, TASK)
            assert labels.map.any()
            assert labels.reader == row["reader"]


@pytest.mark.rule("ING-3")
def test_no_planted_identifier_of_a_shared_subject_is_left(
    tmp_path: Path, shared_data: Path
) -> None:
    result, originals = shared(tmp_path, shared_data)
    needles: set[str] = set()
    for dataset in originals:
        for element in dataset.iterall():
            uid = element.VR == "UI" and not element.value.startswith("1.2.840.10008.")
            if element.VR in ("PN", "DA") or uid or element.tag.is_private:
                needles |= {str(element.value), *str(element.value).split("^")}
        needles |= {
            str(dataset.get(keyword, ""))
            for keyword in (
                "PatientID",
                "PatientAddress",
                "AccessionNumber",
                "InstitutionName",
                "StationName",
                "PatientTelephoneNumbers",
            )
        }
    needles = {needle for needle in needles if len(needle) >= 4} - {"Reader", "None"}
    assert len(needles) > 40
    shown = f"{result.plan}{result.outcomes}{result.outcome}".encode()
    everything = b"".join([*result.files.values(), *result.members.values(), shown])
    found = {
        needle
        for needle in needles
        for charset in ("utf-8", "latin-1", "utf-16-le")
        if needle.encode(charset, "ignore") in everything
    }
    assert not found


@pytest.mark.rule("ING-7")
def test_pixels_of_a_shared_subject_are_the_originals(tmp_path: Path, shared_data: Path) -> None:
    result, originals = shared(tmp_path, shared_data)
    kept = sorted(dataset.PixelData for dataset in result.datasets)
    assert kept == sorted(dataset.PixelData for dataset in originals)


def errors(path: Path) -> set[str]:
    """Errors that dciodvfy finds, with the attribute's place."""
    done = subprocess.run(
        ["dciodvfy", path], capture_output=True, text=True, check=False, errors="replace"
    )
    return {line for line in done.stderr.splitlines() if line.startswith("Error")}


def _phantoms(folder: Path, _shared: Path) -> tuple[Path, Parameters]:
    generate(folder / "phantoms", subjects=2, unlabeled=0, defects=False)
    base = parameters()
    ingest = base.ingest.model_copy(update={"pseudonym_key": "demo"})
    return folder / "phantoms", base.model_copy(update={"ingest": ingest})


def _hippocampus(_folder: Path, shared: Path) -> tuple[Path, Parameters]:
    base = parameters(readers={"Reader^A": "reader-a", "Reader^B": "reader-b"})
    return source(shared), Parameters(project=base.project, task=TASK, ingest=base.ingest)


def _brain(_folder: Path, shared: Path) -> tuple[Path, Parameters]:
    path = shared / "brain-mr-study3.zip"
    if not path.is_file():
        pytest.skip("the shared brain MR (../shared/data/brain-mr-study3.zip) is not here")
    base = parameters()
    return path, Parameters(project=base.project, task=TASK, ingest=base.ingest)


def _ultrasound(folder: Path, shared: Path) -> tuple[Path, Parameters]:
    path = shared / "busi" / "busi.zip"
    if not path.is_file():
        pytest.skip("the shared ultrasound (../shared/data/busi) is not here")
    with zipfile.ZipFile(path) as archive:
        names = [name for name in sorted(archive.namelist()) if name.endswith(".dcm")]
        (folder / "us").mkdir()
        for name in names[:: len(names) // 12]:
            (folder / "us" / Path(name).name).write_bytes(archive.read(name))
    return folder / "us", parameters()


def _instances(path: Path) -> Iterator[bytes]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix == ".zip":
                yield from _instances(file)
            elif file.is_file():
                yield file.read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        yield from (archive.read(name) for name in archive.namelist())


@pytest.mark.peer("dciodvfy")
@pytest.mark.rule("ING-9")
@pytest.mark.parametrize("sources", [_phantoms, _hippocampus, _brain, _ultrasound])
def test_dciodvfy_finds_no_error_that_the_input_did_not_have(
    tmp_path: Path, shared_data: Path, sources: Sources
) -> None:
    path, params = sources(tmp_path, shared_data)
    result = ingest(
        tmp_path / "out", path, vault_folder=new_vault(tmp_path / "vault"), params=params
    )
    assert result.members
    found: list[set[str]] = []
    for instances in (_instances(path), result.members.values()):
        found.append(set())
        for data in instances:
            (tmp_path / "one.dcm").write_bytes(data)
            found[-1] |= errors(tmp_path / "one.dcm")
    assert found[1] <= found[0]
