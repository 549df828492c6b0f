"""The cohort as training and assessment read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_cohort import SHAPE, make_cohort
from helpers_dicom import TASK

from audit.errors import Unreadable
from stages.cohort import load_case, read_cases
from stages.params import Volume

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
