"""The cache: the same arrays as without it, mapped, and made again where they are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers_cohort import make_cohort
from helpers_train import parameters

from stages.artifact import Manifest
from stages.stage import RunContext, Unit
from stages.train.cache import Arrays, Cache
from stages.train.cases import part, read_samples
from stages.train.stage import STAGE

UNIT = Unit("variants", {"dataset/cohort": "0" * 64})


def _made() -> Arrays:
    return {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2], np.uint8)}


def test_arrays_are_made_once_and_mapped(tmp_path: Path) -> None:
    calls: list[int] = []

    def make() -> Arrays:
        calls.append(1)
        return _made()

    cache = Cache(tmp_path / "cache")
    for _ in range(3):
        found = cache.arrays({"x": 1}, make)
        assert isinstance(found["a"], np.memmap)
        assert all(np.array_equal(found[name], array) for name, array in _made().items())
        found["a"][0, 0] = 9.0  # stays in this process
    assert len(calls) == 1
    cache.arrays({"x": 2}, make)
    assert len(calls) == 2
    Cache(None).arrays({"x": 1}, make)
    assert len(calls) == 3


@pytest.mark.parametrize("damage", ["bit", "torn", "gone", "digests"])
def test_what_is_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path)
    cache.arrays({"x": 1}, _made)
    (place,) = tmp_path.iterdir()
    file = place / "a.npy"
    data = file.read_bytes()
    if damage == "bit":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "torn":
        file.write_bytes(data[:-8])
    elif damage == "gone":
        file.unlink()
    else:
        (place / "digests.json").write_text("{")
    found = cache.arrays({"x": 1}, _made)
    assert np.array_equal(found["a"], _made()["a"])
    assert file.read_bytes() == data


@pytest.mark.rule("TRN-1")
def test_a_training_with_a_cache_is_one_without(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort", {"train": 2, "validation": 1, "unlabeled": 1})
    params = parameters(variants=("scratch", "finetuned"), epochs=1)
    digests = []
    for name, cache in (("none", None), ("first", "cache"), ("second", "cache")):
        (tmp_path / name).mkdir()
        place = tmp_path / cache if cache else None
        STAGE.run(
            UNIT, RunContext(params, {"dataset/cohort": cohort}, tmp_path / name, cache=place)
        )
        digests.append(Manifest.of(tmp_path / name))
    assert digests[0] == digests[1] == digests[2]


def test_unlabeled_images_share_their_memory_with_the_labeled(tmp_path: Path) -> None:
    cohort = make_cohort(tmp_path / "cohort", {"train": 2, "validation": 1, "unlabeled": 1})
    cache = Cache(tmp_path / "cache")
    samples, skipped = read_samples(cohort, parameters(), cache)
    data = part(samples, parameters(), cache)
    assert skipped == []
    assert len(data.unlabeled) == 3
    for labeled, unlabeled in zip(data.labeled, data.unlabeled, strict=False):
        assert unlabeled.image.data_ptr() == labeled.image.data_ptr()
        assert unlabeled.target is None
