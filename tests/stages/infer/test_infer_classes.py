"""A released classifier on studies: what it answers, on which images, in which file."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from helpers_dicom import encode, uid
from helpers_infer import LIMITS, NAME, PATCH, SHAPE, bright, instances, study, voxels
from helpers_infer import TASK as STRUCTURES
from helpers_picture import SIDE, TASK, picture, shade

from stages.archive import write_zip
from stages.artifact import FileEntry, Manifest
from stages.bundle import CONFIG, MANIFEST, MODELS, BundleConfig, Limits
from stages.infer.infer import infer
from stages.params import Network, Numerics, Task, Volume

FLAT = Volume(window=(0.0, 255.0), patch=(1, SIDE, SIDE))
DEEP = Volume(patch=PATCH)
PICTURES = Limits.seen([((1, SIDE, SIDE), (1.0, 1.0, 1.0))], margin=0.25)
ALONE = TASK.model_copy(update={"modality": "MR"})
BOTH = STRUCTURES.model_copy(update={"classes": TASK.classes})


@cache
def model(kind: str) -> bytes:
    """Bright where the mean of the image's middle is; `both` marks bright voxels too."""
    import torch

    from stages.optimize.export import onnx_model

    class Net(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Any:
            middle = images[..., images.shape[-2] // 2, images.shape[-1] // 2].flatten(1)
            mean = middle.mean(dim=1, keepdim=True) * 4 - 2
            classes = torch.cat([-mean, mean], dim=1)
            grid = torch.cat([1 - images, images], dim=1)
            return (grid, classes) if kind == "both" else classes

    return onnx_model(Net(), FLAT.patch if kind == "flat" else PATCH)


def bundle(path: Path, task: Task, volume: Volume, limits: Limits, kind: str) -> Path:
    config = BundleConfig(
        name="toy",
        version="1.2.0",
        epoch=datetime(2026, 1, 1, tzinfo=UTC),
        task=task,
        volume=volume,
        network=Network(),
        channels_out=len(task.structures) + 1,
        numerics=Numerics(threads=1),
        models={"onnxruntime-cpu": MODELS["onnxruntime-cpu"]},
        limits=limits,
    )
    found = {
        CONFIG: config.model_dump_json(by_alias=True).encode(),
        MODELS["onnxruntime-cpu"]: model(kind),
    }
    listed = tuple(
        FileEntry(path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())
        for name, data in sorted(found.items())
    )
    found[MANIFEST] = Manifest(files=listed).model_dump_json().encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_zip(path, found.items())
    return path


def pictures(tmp_path: Path, *shades: str, **changes: Any) -> Path:
    made = [
        picture(f"exam/{number}", shade(number, label), **changes)
        for number, label in enumerate(shades)
    ]
    return study(tmp_path / "study", {f"{n}.dcm": encode(one) for n, one in enumerate(made)})


def groups(path: Path) -> list[tuple[str, dict[str, float], list[str]]]:
    """Finding, probabilities by class code, and images of each measurement group."""
    sr = hd.sr.srread(path)
    found = []
    for group in sr.content.get_image_measurement_groups():
        probabilities = {
            str(number.ContentSequence[0].ConceptCodeSequence[0].CodeValue): float(
                number.MeasuredValueSequence[0].NumericValue
            )
            for measurement in group.get_measurements()
            for number in [measurement[0]]
        }
        images = [image.referenced_sop_instance_uid for image in group.source_images]
        found.append((str(group.finding_type.value), probabilities, images))
    return found


@pytest.mark.peer("dciodvfy")
def test_dciodvfy_finds_no_error_in_a_report(tmp_path: Path) -> None:
    release = bundle(tmp_path / "r.zip", TASK, FLAT, PICTURES, "flat")
    infer(release, pictures(tmp_path, "dark", "bright"), tmp_path / "sr.dcm")
    report = subprocess.run(
        ["dciodvfy", tmp_path / "sr.dcm"], capture_output=True, text=True, check=False
    )
    assert "ComprehensiveSR" in report.stdout + report.stderr, "it was read as what it is"
    assert [line for line in report.stderr.splitlines() if line.startswith("Error")] == []


@pytest.mark.rule("INF-7")
def test_every_picture_of_a_study_is_answered_in_one_report(tmp_path: Path) -> None:
    release = bundle(tmp_path / "r.zip", TASK, FLAT, PICTURES, "flat")
    exam = pictures(tmp_path, "dark", "bright", "bright")
    result = infer(release, exam, tmp_path / "sr.dcm")
    assert (result.refused, result.output) == (None, tmp_path / "sr.dcm")
    assert result.outputs == (tmp_path / "sr.dcm",)
    found = {images[0]: (finding, said) for finding, said, images in groups(tmp_path / "sr.dcm")}
    for number, label in enumerate(("dark", "bright", "bright")):
        finding, said = found[uid(f"exam/{number}")]
        assert finding == f"K-{label}"
        assert said[f"K-{label}"] > 0.5
        assert sum(said.values()) == pytest.approx(1, abs=1e-5)
    sr = pydicom.dcmread(tmp_path / "sr.dcm")
    assert sr.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"
    assert sr.StudyInstanceUID == uid("exam/study")
    assert sr.PatientName == "s^"
    assert sr.VerificationFlag == "UNVERIFIED"
    assert sr.ContentDate == "20260101"


@pytest.mark.rule("INF-5")
def test_the_same_pictures_give_the_same_bytes_and_others_another_uid(tmp_path: Path) -> None:
    release = bundle(tmp_path / "r.zip", TASK, FLAT, PICTURES, "flat")
    for name in ("a", "b"):
        infer(release, pictures(tmp_path / name, "dark"), tmp_path / f"{name}.dcm")
    infer(release, pictures(tmp_path / "c", "bright"), tmp_path / "c.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    uids = {pydicom.dcmread(tmp_path / f"{name}.dcm").SOPInstanceUID for name in "ac"}
    assert len(uids) == 2


@pytest.mark.rule("INF-3")
def test_pictures_outside_the_limits_are_refused_and_others_of_the_study_answered(
    tmp_path: Path,
) -> None:
    release = bundle(tmp_path / "r.zip", TASK, FLAT, PICTURES, "flat")
    small = {"s.dcm": encode(picture("exam/9", np.zeros((8, 8), np.uint8)))}
    refused = infer(release, study(tmp_path / "small", small), tmp_path / "no.dcm")
    assert refused.output is None
    assert "extent along the row axis is 8 voxels" in str(refused.refused)
    assert not (tmp_path / "no.dcm").exists()
    exam = study(pictures(tmp_path, "dark"), small)
    assert infer(release, exam, tmp_path / "sr.dcm").refused is None
    assert [images for _, _, images in groups(tmp_path / "sr.dcm")] == [[uid("exam/0")]]


@pytest.mark.rule("INF-2")
def test_pictures_of_several_studies_are_refused(tmp_path: Path) -> None:
    release = bundle(tmp_path / "r.zip", TASK, FLAT, PICTURES, "flat")
    other = {"x.dcm": encode(picture("other/0", shade(1, "dark")))}
    result = infer(release, study(pictures(tmp_path, "dark"), other), tmp_path / "sr.dcm")
    assert "several studies" in str(result.refused)


@pytest.mark.rule("INF-7")
def test_a_series_that_is_a_volume_gets_one_class(tmp_path: Path) -> None:
    release = bundle(tmp_path / "r.zip", ALONE, DEEP, LIMITS, "deep")
    scan = study(tmp_path / "study", instances(voxels()))
    assert infer(release, scan, tmp_path / "sr.dcm").refused is None
    ((_, said, images),) = groups(tmp_path / "sr.dcm")
    assert len(images) == SHAPE[0]
    assert set(said) == {"K-dark", "K-bright"}
    sr = pydicom.dcmread(tmp_path / "sr.dcm")
    assert (sr.PatientName, sr.ContentDate) == (NAME, "20240306")
    two = study(scan, instances(voxels(), number=2))
    assert "2 MR series" in str(infer(release, two, tmp_path / "two.dcm").refused)


@pytest.mark.rule("INF-7")
def test_a_multi_task_release_answers_with_a_segmentation_and_a_report_beside_it(
    tmp_path: Path,
) -> None:
    release = bundle(tmp_path / "r.zip", BOTH, DEEP, LIMITS, "both")
    scan = study(tmp_path / "study", instances(voxels()))
    result = infer(release, scan, tmp_path / "seg.dcm")
    assert result.outputs == (tmp_path / "seg.dcm", tmp_path / "seg.sr.dcm")
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert seg.pixel_array.sum() == bright().sum()
    ((_, said, _),) = groups(tmp_path / "seg.sr.dcm")
    assert sum(said.values()) == pytest.approx(1, abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "r.zip",
        "seg.dcm",
        "seg.sr.dcm",
        "study",
    ]


@pytest.mark.rule("INF-6")
def test_a_report_that_cannot_be_written_leaves_the_older_segmentation(tmp_path: Path) -> None:
    release = bundle(tmp_path / "r.zip", BOTH, DEEP, LIMITS, "both")
    scan = study(tmp_path / "study", instances(voxels()))
    (tmp_path / "seg.dcm").write_bytes(b"older")
    (tmp_path / ".seg.sr.dcm.part").mkdir()
    from audit.errors import Fault

    with pytest.raises((Fault, OSError)):
        infer(release, scan, tmp_path / "seg.dcm")
    assert (tmp_path / "seg.dcm").read_bytes() == b"older"


def test_the_limits_tell_whether_a_release_is_for_pictures() -> None:
    def config(task: Task, limits: Limits) -> BundleConfig:
        return BundleConfig(
            name="toy",
            version="1",
            epoch=datetime(2026, 1, 1, tzinfo=UTC),
            task=task,
            volume=DEEP,
            network=Network(),
            channels_out=len(task.structures) + 1,
            numerics=Numerics(),
            models={"onnxruntime-cpu": MODELS["onnxruntime-cpu"]},
            limits=limits,
        )

    assert config(TASK, PICTURES).pictures
    assert not config(TASK, LIMITS).pictures
    assert not config(STRUCTURES, PICTURES).pictures
