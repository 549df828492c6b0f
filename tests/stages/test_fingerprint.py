"""A cohort's fingerprint: figures of a known cohort, and no look at the test split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_cohort import SHAPE, anatomy, make_cohort
from helpers_dicom import TASK

from audit.errors import Refused
from stages.fingerprint import fingerprint, read_fingerprint


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"test": 1, "train": 2, "unlabeled": 1, "validation": 1}
    return make_cohort(tmp_path_factory.mktemp("cohort"), splits)


@pytest.mark.rule("FPR-2")
def test_the_figures_are_those_of_the_cohort(tree: Path) -> None:
    found = read_fingerprint(tree, TASK)
    assert (found.modality, found.subjects, found.labeled) == ("CT", 4, 3)
    assert set(found.shapes) == {SHAPE}
    # Seeds of the labeled subjects: the splits in their order, a hundred apart.
    known = [anatomy(seed) for seed in (100, 101, 300)]
    inside = np.concatenate([hu[labels > 0] for hu, labels in known])
    assert found.mean == pytest.approx(inside.mean(), rel=1e-3)
    assert found.deviation == pytest.approx(inside.std(), rel=1e-3)
    assert (found.low, found.high) == pytest.approx(np.percentile(inside, (0.5, 99.5)), abs=0.5)
    for structure in TASK.structures:
        share = np.mean([(labels == structure.label).mean() for _, labels in known])
        assert found.shares[structure.name] == pytest.approx(share)
    assert read_fingerprint(tree, TASK) == found


@pytest.mark.rule("FPR-1")
def test_the_test_split_is_not_opened(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import stages.fingerprint as module

    opened: list[str] = []
    read = module.read_series

    def spy(path: Path) -> object:
        opened.append(path.parent.name)
        return read(path)

    monkeypatch.setattr(module, "read_series", spy)
    read_fingerprint(tree, TASK)
    assert sorted(opened) == ["train-0", "train-1", "unlabeled-0", "validation-0"]


def test_a_cohort_without_series_is_refused() -> None:
    with pytest.raises(Refused, match="no series"):
        fingerprint([], TASK)
