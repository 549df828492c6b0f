"""Images, annotations and defects of the phantom cohort, read by others' tools."""

from __future__ import annotations

import itertools
import subprocess
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from helpers_phantom import datasets, of, read_all, small_cohort
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from stages.overlap import dice
from stages.phantom.cohort import generate, identities
from stages.phantom.readers import CLASSES
from stages.phantom.site import READERS
from stages.phantom.study import Defect
from stages.phantom.subject import Subject


def _series(dataset: Dataset, files: dict[str, bytes]) -> list[Dataset]:
    """The CT slices of the study that an annotation belongs to, lowest first."""
    found = [
        other
        for _, other in datasets(files)
        if other.Modality == "CT" and other.StudyInstanceUID == dataset.StudyInstanceUID
    ]
    return sorted(found, key=lambda one: float(one.ImagePositionPatient[2]))


def _hu(slices: list[Dataset]) -> NDArray[np.float64]:
    return np.stack([one.pixel_array + float(one.RescaleIntercept) for one in slices])


def _labels(data: bytes, slices: list[Dataset]) -> NDArray[np.uint8]:
    """Label map of an annotation on the slices' grid, by highdicom."""
    seg = highdicom.seg.segread(BytesIO(data))
    uids = [one.SOPInstanceUID for one in slices]
    return np.asarray(
        seg.get_pixels_by_source_instance(
            uids, combine_segments=True, assert_missing_frames_are_empty=True
        ),
        dtype=np.uint8,
    )


def _with(defect: Defect) -> tuple[Subject, dict[str, bytes]]:
    known, files = small_cohort()
    one = next(one for one in known.subjects if one.defect is defect)
    return one, of(files, one)


@pytest.mark.rule("PHA-3")
@pytest.mark.peer("dciodvfy")
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    known, files = small_cohort()
    checked = set()
    for one in known.subjects[:6]:
        own = [(name, data) for name, data in of(files, one).items() if "scout" not in name]
        slices = [data for name, data in own if "SEG_" not in name and not name.endswith(".txt")]
        for data in [*slices[:1], *slices[-1:], *(data for name, data in own if "SEG_" in name)]:
            path = tmp_path / "instance.dcm"
            path.write_bytes(data)
            done = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False)
            said = (done.stdout + done.stderr).decode("latin-1").splitlines()
            assert [line for line in said if line.startswith(("Error", "Abort"))] == []
            checked.add((one.site.vendor.name, "Segmentation" in said))
    assert len(checked) == 6


@pytest.mark.peer("dciodvfy")
def test_dciodvfy_would_find_an_error(tmp_path: Path) -> None:
    _, files = _with(Defect.TRUNCATED)
    path = tmp_path / "instance.dcm"
    path.write_bytes(next(data for name, data in files.items() if "scout" in name))
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, check=False)
    assert b"Error" in done.stdout + done.stderr


def test_the_organ_is_denser_than_its_lesions_and_both_overlap_with_other_tissue() -> None:
    known, files = small_cohort()
    for one in known.subjects[2:6]:
        own = of(files, one)
        data = next(data for name, data in own.items() if "SEG_" in name)
        slices = _series(dcmread(BytesIO(data)), own)
        if len(slices) < one.site.vendor.space.shape[0]:
            continue
        hu, labels = _hu(slices), _labels(data, slices)
        organ, lesion = hu[labels == 1], hu[labels == 2]
        assert 85 < np.median(organ) < 125
        assert 15 < np.median(organ) - np.median(lesion) < 60
        other = (labels == 0) & (hu > np.percentile(lesion, 10)) & (hu < np.percentile(lesion, 90))
        assert np.sum(other) > lesion.size, "a threshold must not be enough"
        assert np.min(hu[hu > -2000]) >= -1100


def test_vendors_differ_in_grid_noise_and_storage() -> None:
    known, files = small_cohort()
    grids, noises = set(), set()
    for one in known.subjects[3:6]:
        own = of(files, one)
        data = next(data for name, data in own.items() if "SEG_" in name)
        slices = _series(dcmread(BytesIO(data)), own)
        grids.add((slices[0].SliceThickness, slices[0].PixelRepresentation, len(slices)))
        organ = _hu(slices)[_labels(data, slices) == 1]
        low, high = np.percentile(organ, [16, 84])
        noises.add(round((high - low) / 2))
    assert len(grids) == len(noises) == 3
    assert min(noises) > 6
    assert max(noises) < 30


def test_readers_agree_within_a_realistic_band() -> None:
    known, files = small_cohort()
    found: dict[int, list[float]] = {1: [], 2: []}
    for one in known.subjects[3:6]:
        own = of(files, one)
        drawn = [data for name, data in own.items() if "SEG_" in name and "SEG_alt" not in name]
        slices = _series(dcmread(BytesIO(drawn[0])), own)
        maps = [_labels(data, slices) for data in drawn]
        assert len(maps) == 3
        for first, second in itertools.combinations(maps, 2):
            for value, scores in found.items():
                scores.append(dice(first == value, second == value))
    assert 0.80 < min(found[1]) < max(found[1]) < 0.97
    assert 0.55 < min(found[2]) < max(found[2]) < 0.95


def test_one_reader_draws_larger_than_the_others() -> None:
    known, files = small_cohort()
    one = next(one for one in known.subjects if 3 in one.studies[0].readers and one.number > 2)
    own = of(files, one)
    sizes = {}
    for name, data in own.items():
        if "SEG_" in name and "SEG_alt" not in name:
            dataset = dcmread(BytesIO(data))
            labels = _labels(data, _series(dataset, own))
            sizes[str(dataset.ContentCreatorName)] = int(np.sum(labels > 0))
    assert max(sizes, key=lambda reader: sizes[reader]) == READERS[3].person.pn


def test_every_annotation_has_both_segments_and_a_class() -> None:
    _, files = small_cohort()
    for name, data in files.items():
        if "SEG_" in name:
            seg = highdicom.seg.segread(BytesIO(data))
            organ, lesion = seg.SegmentSequence
            assert (organ.SegmentLabel, lesion.SegmentLabel) == ("organ", "lesion")
            assert lesion.SegmentDescription in CLASSES
            assert lesion.segmented_property_type.value == "4147007"
            assert organ.segmented_property_type.value == "10200004"


def test_a_reader_skipped_a_study() -> None:
    _, files = _with(Defect.SKIPPED_READER)
    assert sum("SEG_" in name for name in files) == 2


def test_the_burned_in_name_is_beside_the_body_and_declared(tmp_path: Path) -> None:
    one, files = _with(Defect.BURNED_IN)
    generate(tmp_path, subjects=1, unlabeled=0, defects=False, first=one.number)
    clean = of(read_all(tmp_path), one)
    corners = []
    for content, declared in ((files, "YES"), (clean, "NO")):
        slices = [dataset for _, dataset in datasets(content) if dataset.Modality == "CT"]
        assert {dataset.BurnedInAnnotation for dataset in slices} == {declared}
        corners.append(_hu(slices)[:, :13, 12:52])
    assert np.all(np.max(corners[0], axis=(1, 2)) > 900)
    assert np.all(np.max(corners[1], axis=(1, 2)) < 400)


def test_the_export_lost_a_slice_of_a_second_study() -> None:
    one, files = _with(Defect.MISSING_SLICE)
    counts = [
        sum(
            dataset.Modality == "CT" and dataset.AccessionNumber == study.accession
            for _, dataset in datasets(files)
        )
        for study in one.studies
    ]
    full = one.site.vendor.space.shape[0]
    assert counts == [full, full - 1]


def test_the_scout_breaks_off_in_its_pixels() -> None:
    _, files = _with(Defect.TRUNCATED)
    scout = next(data for name, data in files.items() if name.endswith("scout.dcm"))
    dataset = dcmread(BytesIO(scout))
    assert len(dataset.PixelData) < dataset.Rows * dataset.Columns * 2


def test_a_note_names_the_patient() -> None:
    one, files = _with(Defect.TEXT_FILE)
    note = next(data for name, data in files.items() if name.endswith(".txt")).decode()
    assert one.person.listed in note
    assert one.patient_id in note


def test_an_annotation_refers_to_a_series_that_is_not_there() -> None:
    _, files = small_cohort()
    present = {str(dataset.SeriesInstanceUID) for _, dataset in datasets(files)}
    absent = [
        name
        for name, dataset in datasets(files)
        if dataset.Modality == "SEG"
        and str(dataset.ReferencedSeriesSequence[0].SeriesInstanceUID) not in present
    ]
    assert [Path(name).name for name in absent] == ["SEG_alt.dcm"]


def test_one_subject_has_one_slice() -> None:
    _, files = _with(Defect.SINGLE_SLICE)
    assert len(files) == 1


def test_unlabeled_subjects_have_no_annotation_and_labeled_ones_three_readers() -> None:
    for one in identities(defects=False).subjects:
        assert {len(study.readers) for study in one.studies} == ({3} if one.labeled else {0})
