"""The cohort as training and assessment read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_cohort import SHAPE, make_cohort
from helpers_dicom import TASK
from helpers_picture import SIDE, make_pictures
from helpers_picture import TASK as PICTURES

from audit.errors import Unreadable
from stages.cohort import load_case, read_cases
from stages.params import ClassLabel, Code, Volume
from stages.table import write_table

SPLITS = {"train": 1, "test": 1, "unlabeled": 1, "excluded": 1}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("cohort") / "tree", SPLITS)


@pytest.mark.rule("COH-1")
def test_cases_are_the_images_of_the_tasks_modality_that_are_not_excluded(tree: Path) -> None:
    cases = read_cases(tree, TASK)
    assert [(case.subject, case.split, case.vendor) for case in cases] == [
        ("test-0", "test", "north"),
        ("train-0", "train", "north"),
        ("unlabeled-0", "unlabeled", "north"),
    ]
    assert all(case.image.is_file() for case in cases)
    assert read_cases(tree, TASK.model_copy(update={"modality": "MR"})) == ()


@pytest.mark.rule("COH-2")
def test_only_a_series_with_a_consensus_has_a_reference(tree: Path) -> None:
    test, _, unlabeled = read_cases(tree, TASK)
    _, sample = load_case(test, TASK, Volume(patch=(8, 16, 16)))
    assert sample.labels is not None
    assert set(np.unique(sample.labels)) == {0, 2, 5}
    _, without = load_case(unlabeled, TASK, Volume(patch=(8, 16, 16)))
    assert unlabeled.consensus is None
    assert without.labels is None
    assert without.prepared_labels is None


def test_labels_follow_the_volume_when_it_is_resampled(tree: Path) -> None:
    case = read_cases(tree, TASK)[0]
    window = (-100.0, 200.0)
    _, sample = load_case(case, TASK, Volume(patch=(8, 8, 8), spacing_mm=(1, 2, 2), window=window))
    assert sample.prepared.array.shape == (16, 8, 8)
    labels = sample.prepared_labels
    assert labels is not None
    assert labels.shape == (16, 8, 8)
    assert sample.labels is not None
    assert sample.labels.shape == SHAPE
    lesion = sample.prepared.array[labels == 5]
    outside = sample.prepared.array[labels == 0]
    assert np.median(lesion) > np.median(outside) + 0.4


def test_a_reference_to_another_series_is_unreadable(tree: Path, tmp_path: Path) -> None:
    test, train, _ = read_cases(tree, TASK)
    wrong = type(test)(**{**vars(test), "consensus": train.consensus})
    with pytest.raises(Unreadable):
        load_case(wrong, TASK, Volume(patch=(8, 16, 16)))


@pytest.mark.rule("COH-3")
def test_pictures_are_cases_of_a_task_of_classes_alone(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "tree", {"train": 2, "unlabeled": 1, "excluded": 1})
    cases = read_cases(pictures, PICTURES)
    assert [(case.subject, case.label) for case in cases] == [
        ("train-0", "dark"),
        ("train-1", "bright"),
        ("unlabeled-0", None),
    ]
    assert all(case.sop for case in cases)
    with_structures = TASK.model_copy(update={"modality": "US"})
    assert read_cases(pictures, with_structures) == ()


@pytest.mark.rule("COH-3")
def test_a_picture_is_prepared_as_a_volume_of_its_frames(tmp_path: Path) -> None:
    pictures = make_pictures(tmp_path / "tree", {"train": 1})
    (case,) = read_cases(pictures, PICTURES)
    series, sample = load_case(case, PICTURES, Volume(patch=(1, 8, 8), window=(0, 255)))
    assert series is None
    assert sample.labels is None
    assert sample.prepared_labels is None
    assert sample.prepared.array.shape == (1, SIDE, SIDE)
    assert 0 <= sample.prepared.array.min() < sample.prepared.array.max() <= 1


@pytest.mark.rule("COH-2")
def test_a_series_has_the_class_that_the_cohort_holds_for_it(tmp_path: Path) -> None:
    tree = make_cohort(tmp_path / "tree", {"train": 2})
    first, second = read_cases(tree, TASK)
    rows = [
        {"series": first.series, "sop": "", "class": "benign"},
        {"series": second.series, "sop": "", "class": ""},
    ]
    write_table(tree / "classes.parquet", rows, dict.fromkeys(rows[0], "string"))
    classes = tuple(
        ClassLabel(name=name, code=Code(value=name, scheme="99TEST", meaning=name))
        for name in ("benign", "malignant")
    )
    both = TASK.model_copy(update={"classes": classes})
    assert [case.label for case in read_cases(tree, both)] == ["benign", None]
    assert [case.label for case in read_cases(tree, TASK)] == [None, None]
    alone = both.model_copy(update={"structures": ()})
    _, sample = load_case(read_cases(tree, alone)[0], alone, Volume(patch=(8, 16, 16)))
    assert sample.labels is None
