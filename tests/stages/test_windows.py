"""Sliding windows: the bits of a plain loop over the whole, in the memory of a few layers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from audit.errors import Refused
from stages.channels import to_labels
from stages.params import Code, Structure, Task, Volume
from stages.windows import _gaussian, _starts, blocks, predict_labels, sliding_window

PATCH = (8, 16, 16)
Array = NDArray[np.float32]


def volume(**changes: Any) -> Volume:
    return Volume(patch=changes.pop("patch", PATCH), **changes)


def task(structures: int) -> Task:
    code = Code(value="10200004", scheme="SCT", meaning="Liver")
    return Task(
        modality="CT",
        structures=tuple(
            Structure(name=f"s{n}", label=3 * n, segment_label=f"s{n}", code=code)
            for n in range(1, structures + 1)
        ),
    )


def ramp(shape: tuple[int, int, int] = (6, 10, 12)) -> Array:
    return np.random.default_rng(1).normal(50, 20, shape).astype(np.float32)


def network(patch: tuple[int, int, int], channels: int) -> Callable[[Array], Array]:
    """Answers that depend on the voxel's place in the window, as a real network's do."""
    chance = np.random.default_rng(2)
    factor = chance.normal(size=(channels, *patch)).astype(np.float32)
    offset = chance.normal(size=(channels, *patch)).astype(np.float32)

    def predict(window: Array) -> Array:
        answer: Array = (factor * np.sin(window[0]) + offset)[None]
        return answer

    return predict


def whole(predict: Callable[[Array], Array], array: Array, volume: Volume, channels: int) -> Array:
    """The plain loop, with sums of the whole volume: the bits to hold."""
    lacking = [max(0, p - n) for p, n in zip(volume.patch, array.shape, strict=True)]
    padding = [(lack // 2, lack - lack // 2) for lack in lacking]
    padded = np.pad(array, padding, constant_values=array.min())
    weight = _gaussian(volume.patch)
    total = np.zeros((channels, *padded.shape), np.float32)
    weights = np.zeros(padded.shape, np.float32)
    starts = [
        _starts(n, p, volume.overlap) for n, p in zip(padded.shape, volume.patch, strict=True)
    ]
    for corner in product(*starts):
        window = tuple(slice(c, c + p) for c, p in zip(corner, volume.patch, strict=True))
        result = predict(np.ascontiguousarray(padded[window])[None, None])
        total[(slice(None), *window)] += result[0] * weight
        weights[window] += weight
    crop = tuple(slice(low, low + n) for (low, _), n in zip(padding, array.shape, strict=True))
    total /= weights
    return np.ascontiguousarray(total[(slice(None), *crop)])


SIDES = st.sampled_from([1, 2, 5, 7, 8, 9, 15, 16, 17, 23, 24, 31, 40])


@pytest.mark.rule("WIN-1")
@given(
    shape=st.tuples(SIDES, SIDES, SIDES),
    patch=st.sampled_from([(8, 8, 8), (8, 16, 16), (16, 8, 24), (1, 16, 8), (1, 8, 8)]),
    overlap=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.6, 0.9]),
    channels=st.integers(1, 4),
    piece=st.sampled_from([1, 2**10, 2**23]),
)
@settings(max_examples=120, deadline=None)
def test_the_bits_are_those_of_the_loop_over_the_whole(
    shape: tuple[int, int, int],
    patch: tuple[int, int, int],
    overlap: float,
    channels: int,
    piece: int,
) -> None:
    array, asked = ramp(shape), volume(patch=patch, overlap=overlap)
    predict = network(patch, channels)
    expected = whole(predict, array, asked, channels)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("stages.windows._PIECE", piece)
        seen = np.zeros(shape, np.uint8)
        for where, scores in blocks(predict, array, asked, channels):
            assert scores.dtype == np.float32
            assert np.array_equal(scores, expected[(slice(None), *where)])
            seen[where] += 1
        assert (seen == 1).all(), "each voxel once"
    if channels > 1:
        labels = predict_labels(predict, array, asked, task(channels - 1))
        assert np.array_equal(labels, to_labels(expected, task(channels - 1)))


def test_a_volume_may_lie_in_a_file(tmp_path: Any) -> None:
    array, predict = ramp((11, 20, 33)), network(PATCH, 3)
    np.save(tmp_path / "array.npy", array)
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    own = predict_labels(predict, array, volume(), task(2))
    assert np.array_equal(predict_labels(predict, mapped, volume(), task(2)), own)


@pytest.mark.rule("WIN-3")
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(value: float) -> None:
    def predict(window: Array) -> Array:
        return np.full((1, 2, *PATCH), value, np.float32)

    with pytest.raises(Refused, match="not made of numbers"):
        predict_labels(predict, ramp((9, 20, 20)), volume(), task(1))


def _peak(slices: int, channels: int) -> int:
    """Bytes that labeling takes besides the volume."""
    array, answer = ramp((slices, 64, 64)), np.zeros((1, channels, *PATCH), np.float32)
    tracemalloc.start()
    labels = predict_labels(lambda _: answer, array, volume(), task(channels - 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - labels.nbytes


@pytest.mark.rule("WIN-2")
def test_memory_does_not_grow_with_the_slices() -> None:
    channels = 20
    short, long = _peak(16, channels), _peak(160, channels)
    layer = 4 * (channels + 1) * 64 * 64 * PATCH[0]
    assert abs(long - short) < 0.05 * short
    assert long < 3 * layer, "far below the sums of the whole, which are twenty layers"


@pytest.mark.parametrize("shape", [(8, 16, 16), (5, 7, 40), (19, 33, 16), (1, 1, 1)])
def test_windows_cover_any_shape_and_a_linear_network_passes_through(
    shape: tuple[int, int, int],
) -> None:
    array = ramp(shape)
    seen: list[tuple[int, ...]] = []

    def predict(window: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(window.shape)
        return np.concatenate([window, 2 * window], axis=1)

    out = sliding_window(predict, array, volume(), 2)
    assert set(seen) == {(1, 1, *PATCH)}
    assert out.shape == (2, *shape)
    assert out.dtype == np.float32
    assert np.allclose(out[0], array, rtol=1e-5)
    assert np.allclose(out[1], 2 * array, rtol=1e-5)


def test_padding_is_the_minimum() -> None:
    array = ramp((8, 16, 10))
    windows: list[NDArray[np.float32]] = []

    def predict(window: NDArray[np.float32]) -> NDArray[np.float32]:
        windows.append(window[0, 0])
        return window

    sliding_window(predict, array, volume(), 1)
    assert np.array_equal(windows[0][:, :, 3:13], array)
    assert (windows[0][:, :, :3] == array.min()).all()


def test_windows_are_weighted_as_in_monai() -> None:
    torch = pytest.importorskip("torch")
    from monai.inferers import sliding_window_inference

    array = ramp((13, 30, 25))
    position = np.random.default_rng(2).normal(size=PATCH).astype(np.float32)
    theirs = sliding_window_inference(
        torch.from_numpy(array)[None, None],
        PATCH,
        1,
        lambda window: window * torch.from_numpy(position),
        overlap=0.5,
        mode="gaussian",
    )
    ours = sliding_window(lambda window: window * position, array, volume(), 1)
    # MONAI floors its weights elsewhere; within the windows the mean is the same.
    assert np.abs(ours - theirs[0].numpy()).max() < 0.05 * np.abs(array).max()
    assert np.corrcoef(ours.ravel(), theirs[0].numpy().ravel())[0, 1] > 0.9999
