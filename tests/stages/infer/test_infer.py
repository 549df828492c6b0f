"""`infer` end to end: studies in, DICOM SEG out, and all that is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from helpers_infer import (
    LIMITS,
    NAME,
    ORIENTATION,
    ORIGIN_MM,
    SPACING_MM,
    TASK,
    bright,
    bundle,
    directory,
    instances,
    members,
    study,
    study_zip,
    voxels,
    without,
)

from audit.errors import Fault, WrongUse
from stages.archive import write_zip
from stages.bundle import CONFIG, Limits
from stages.infer.infer import InferResult, infer
from stages.overlap import dice
from stages.segmentation import read_labels
from stages.series import read_series

TARGETS = ("onnxruntime-cpu", "openvino-cpu")


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return bundle(tmp_path / "release" / "toy-1.2.0.zip")


@pytest.fixture
def mr(tmp_path: Path) -> Path:
    return study(tmp_path / "study", instances(voxels()))


def _refusal(result: InferResult, out: Path) -> str:
    """Why a study was refused; nothing may have been written, no identifier shown."""
    assert result.output is None
    assert not out.exists()
    assert result.refused is not None
    assert not any(word in result.refused for word in (NAME, "4711", "1.2.3", "IM0", "DICOM/"))
    return result.refused


@pytest.mark.parametrize("target", TARGETS)
def test_the_answer_lies_on_the_series_grid(
    release: Path, mr: Path, tmp_path: Path, target: str
) -> None:
    result = infer(release, mr, tmp_path / "out" / "seg.dcm", target=target)

    assert result.refused is None
    assert result.output == tmp_path / "out" / "seg.dcm"
    series = read_series(_flat(mr, tmp_path))
    found = read_labels(result.output, series, TASK).map == 3
    assert dice(found, bright()) == 1.0


def test_another_program_reads_frame_of_reference_geometry_and_patient(
    release: Path, mr: Path, tmp_path: Path
) -> None:
    infer(release, mr, tmp_path / "seg.dcm")

    seg = hd.seg.segread(tmp_path / "seg.dcm")
    volume = seg.get_volume(combine_segments=True)
    assert seg.FrameOfReferenceUID == volume.frame_of_reference_uid == "1.2.4"
    assert (seg.StudyInstanceUID, str(seg.PatientName), seg.PatientID) == ("1.2.3", NAME, "4711")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.3.1"
    assert volume.spacing == pytest.approx(SPACING_MM)
    np.testing.assert_allclose(volume.direction[:, 2], ORIENTATION[:3])
    np.testing.assert_allclose(volume.direction[:, 1], ORIENTATION[3:])
    # The planes that hold the structure, in the patient: slices 1 to 4.
    first = volume.map_indices_to_reference(np.array([[0, 0, 0]]))[0]
    last = volume.map_indices_to_reference(np.array([[volume.array.shape[0] - 1, 0, 0]]))[0]
    normal = np.cross(ORIENTATION[:3], ORIENTATION[3:])
    assert {round(float((p - ORIGIN_MM) @ normal), 3) for p in (first, last)} == {2.0, 8.0}


def test_the_answer_says_which_model_made_it(release: Path, mr: Path, tmp_path: Path) -> None:
    infer(release, mr, tmp_path / "seg.dcm")

    (segment,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("toy", "1.2.0")


@pytest.mark.rule("INF-4")
def test_no_training_framework_is_imported(release: Path, mr: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from stages.infer.infer import infer\n"
        "assert 'numpy' not in sys.modules\n"
        "release, study, out = map(Path, sys.argv[1:])\n"
        "for target in ('onnxruntime-cpu', 'openvino-cpu'):\n"
        "    assert infer(release, study, out, target=target).refused is None\n"
        "assert not {'torch', 'monai', 'onnx'} & set(sys.modules)\n"
    )

    subprocess.run(
        [sys.executable, "-c", script, str(release), str(mr), str(tmp_path / "seg.dcm")],
        check=True,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.rule("INF-5")
def test_the_same_inputs_give_the_same_bytes_from_folder_and_zip(
    release: Path, mr: Path, tmp_path: Path
) -> None:
    infer(release, mr, tmp_path / "a.dcm")
    infer(release.parent, study_zip(tmp_path / "study.zip", instances(voxels())), tmp_path / "b")

    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b").read_bytes()
    seg = pydicom.dcmread(tmp_path / "b")
    assert (seg.ContentDate, seg.SeriesDate, seg.StudyDate) == ("20240306", "20240306", "20240305")


@pytest.mark.rule("INF-5")
def test_another_target_makes_another_object(release: Path, mr: Path, tmp_path: Path) -> None:
    for target in TARGETS:
        infer(release, mr, tmp_path / target, target=target)

    first, second = (pydicom.dcmread(tmp_path / target) for target in TARGETS)
    assert first.SOPInstanceUID != second.SOPInstanceUID


@pytest.mark.rule("INF-2")
def test_other_series_and_files_in_the_study_do_not_matter(
    release: Path, mr: Path, tmp_path: Path
) -> None:
    infer(release, mr, tmp_path / "first.dcm")
    localizer = instances(voxels()[:2], number=2)
    ultrasound = instances(voxels(), number=3, modality="US")
    earlier = {"SEG1": (tmp_path / "first.dcm").read_bytes(), "notes.txt": b"see letter"}
    mixed = study(tmp_path / "mixed", instances(voxels()), localizer, ultrasound, earlier)

    assert infer(release, mixed, tmp_path / "second.dcm").refused is None
    assert (tmp_path / "second.dcm").read_bytes() == (tmp_path / "first.dcm").read_bytes()


@pytest.mark.rule("INF-2")
def test_two_suitable_series_are_refused(release: Path, tmp_path: Path) -> None:
    both = study(tmp_path / "both", instances(voxels()), instances(voxels() + 1, number=2))

    reason = _refusal(infer(release, both, tmp_path / "seg.dcm"), tmp_path / "seg.dcm")

    assert reason.startswith("2 MR series of the study are suitable.")


@pytest.mark.rule("INF-2")
@pytest.mark.rule("INF-3")
@pytest.mark.parametrize(
    ("group", "reason"),
    [
        (instances(voxels(), modality="US"), "only 10 instances of other modalities"),
        ({"letter.txt": b"no image"}, "no DICOM instance"),
        (instances(voxels(), drop=4), "a slice is missing or misplaced"),
        (instances(voxels()[:2]), "has 2 slices"),
        ({**instances(voxels()), "IM9": b"\0" * 128 + b"DICM" + b"\xff" * 40}, "damaged"),
    ],
    ids=["modality", "no image", "missing slice", "two slices", "damaged instance"],
)
def test_an_unsuitable_study_is_refused_with_its_reason(
    release: Path, tmp_path: Path, group: dict[str, bytes], reason: str
) -> None:
    bad = study(tmp_path / "bad", group)

    assert reason in _refusal(infer(release, bad, tmp_path / "seg.dcm"), tmp_path / "seg.dcm")


@pytest.mark.rule("INF-3")
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (
            Limits(shape=((20, 40), *LIMITS.shape[1:]), spacing_mm=LIMITS.spacing_mm),
            "The extent along the slice axis is 10 voxels, outside 20 to 40 voxels.",
        ),
        (
            Limits(shape=LIMITS.shape, spacing_mm=(*LIMITS.spacing_mm[:2], (0.5, 1))),
            "The spacing along the column axis is 1.25 mm, outside 0.5 to 1 mm.",
        ),
    ],
)
def test_a_series_outside_the_limits_is_refused_with_figure_and_limit(
    mr: Path, tmp_path: Path, limits: Limits, reason: str
) -> None:
    release = bundle(tmp_path / "narrow.zip", limits)

    assert reason in _refusal(infer(release, mr, tmp_path / "seg.dcm"), tmp_path / "seg.dcm")


def test_an_export_without_patient_attributes_and_with_a_directory_is_answered(
    release: Path, tmp_path: Path
) -> None:
    kinds = ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyTime")
    stripped = {name: without(data, *kinds) for name, data in instances(voxels()).items()}
    sparse = study(tmp_path / "sparse", stripped, {"DICOMDIR": directory()})

    assert infer(release, sparse, tmp_path / "seg.dcm").refused is None
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    assert (seg.PatientID, seg.PatientName, seg.PatientBirthDate) == ("4711", "", "")


def test_a_study_without_the_structure_gets_an_empty_answer(release: Path, tmp_path: Path) -> None:
    blank = study(tmp_path / "blank", instances(np.full_like(voxels(), 20)))

    assert infer(release, blank, tmp_path / "seg.dcm").refused is None
    assert not pydicom.dcmread(tmp_path / "seg.dcm").pixel_array.any()


@pytest.mark.rule("INF-1")
@pytest.mark.parametrize("name", [*members(), "extra.txt"])
def test_a_changed_missing_or_extra_member_is_refused(mr: Path, tmp_path: Path, name: str) -> None:
    whole = members()
    data = whole.get(name, b"")
    changed = {**whole, name: data[:-1] + bytes([data[-1] ^ 1]) if data else b"more"}
    write_zip(tmp_path / "changed.zip", changed.items())
    reason = _refusal(infer(tmp_path / "changed.zip", mr, tmp_path / "seg"), tmp_path / "seg")
    assert "manifest" in reason

    if name in whole:
        write_zip(tmp_path / "missing.zip", [(n, d) for n, d in whole.items() if n != name])
        reason = _refusal(infer(tmp_path / "missing.zip", mr, tmp_path / "seg"), tmp_path / "seg")
        assert "manifest" in reason


@pytest.mark.rule("INF-1")
@pytest.mark.parametrize("name", ["../outside", "/outside", "models\\outside"])
def test_a_hostile_archive_is_refused(mr: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
        for member, data in members().items():
            archive.writestr(member, data)

    reason = _refusal(infer(tmp_path / "hostile.zip", mr, tmp_path / "seg"), tmp_path / "seg")

    assert "climbs" in reason
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.rule("INF-1")
def test_a_bundle_of_a_later_schema_is_refused(mr: Path, tmp_path: Path) -> None:
    later = members()[CONFIG].replace(b'"schema_version":1', b'"schema_version":2')
    write_zip(tmp_path / "later.zip", members(**{CONFIG: later}).items())

    reason = _refusal(infer(tmp_path / "later.zip", mr, tmp_path / "seg"), tmp_path / "seg")

    assert "another schema" in reason


@pytest.mark.rule("INF-1")
def test_a_model_that_no_runtime_opens_is_refused(mr: Path, tmp_path: Path) -> None:
    write_zip(tmp_path / "odd.zip", members(**{"models/model.onnx": b"not a model"}).items())

    reason = _refusal(infer(tmp_path / "odd.zip", mr, tmp_path / "seg"), tmp_path / "seg")

    assert "cannot be opened" in reason


@pytest.mark.rule("INF-6")
def test_a_refusal_leaves_an_older_answer_as_it_was(release: Path, tmp_path: Path) -> None:
    (tmp_path / "seg.dcm").write_bytes(b"older")
    bad = study(tmp_path / "bad", instances(voxels()[:2]))

    assert infer(release, bad, tmp_path / "seg.dcm").refused
    assert (tmp_path / "seg.dcm").read_bytes() == b"older"


@pytest.mark.rule("INF-6")
def test_a_failed_write_leaves_nothing(
    release: Path, mr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        (tmp_path / "out" / ".seg.dcm.part").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr("stages.segmentation.write_labels", full)

    with pytest.raises(Fault, match="cannot be written"):
        infer(release, mr, tmp_path / "out" / "seg.dcm")

    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_calls_say_what_to_do(release: Path, mr: Path, tmp_path: Path) -> None:
    calls = {
        "no such file": (tmp_path / "nowhere", mr, tmp_path / "seg", None),
        "0 archives": (mr, mr, tmp_path / "seg", None),
        "no such study": (release, tmp_path / "nowhere", tmp_path / "seg", None),
        "is a folder": (release, mr, tmp_path, None),
        "no target tensorrt-rtx": (release, mr, tmp_path / "seg", "tensorrt-rtx"),
    }
    for what, (where, images, out, target) in calls.items():
        with pytest.raises(WrongUse, match=what):
            infer(where, images, out, target=target)


def test_a_real_series_is_answered_by_both_runtimes_alike(
    shared_data: Path, tmp_path: Path
) -> None:
    limits = Limits(shape=((3, 500),) * 3, spacing_mm=((0.1, 5),) * 3)
    release = bundle(tmp_path / "toy.zip", limits)
    image = shared_data / "hippocampus" / "hippocampus_001.zip"
    maps = []
    for target in TARGETS:
        assert infer(release, image, tmp_path / target, target=target).refused is None
        maps.append(hashlib.sha256(pydicom.dcmread(tmp_path / target).PixelData).hexdigest())

    assert maps[0] == maps[1]


def _flat(folder: Path, tmp_path: Path) -> Path:
    """The study's instances in one folder of `.dcm` files, as `read_series` takes them."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (folder / "DICOM").iterdir():
        (flat / f"{path.name}.dcm").write_bytes(path.read_bytes())
    return flat
