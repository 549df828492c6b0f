from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import stages.volume
from stages.params import Volume
from stages.volume import prepare, restore

PATCH = (8, 16, 16)
SPACING = (2.0, 1.0, 1.0)


def volume(**changes: Any) -> Volume:
    return Volume(patch=PATCH, **changes)


def ramp(shape: tuple[int, int, int] = (6, 10, 12)) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(50, 20, shape).astype(np.float32)


def test_a_window_maps_to_zero_and_one() -> None:
    voxels = np.array([-500, -100, 0, 100, 900], np.float32).reshape(5, 1, 1)
    array = prepare(voxels, SPACING, volume(window=(-100, 100))).array
    assert array.ravel().tolist() == [0, 0, 0.5, 1, 1]
    assert array.dtype == np.float32


def test_without_a_window_scale_and_offset_of_the_scanner_do_not_matter() -> None:
    voxels = ramp()
    one = prepare(voxels, SPACING, volume()).array
    other = prepare(voxels * 400 + 7000, SPACING, volume()).array
    assert np.abs(one - other).max() < 1e-3
    assert abs(one.mean()) < 1e-4
    assert one.std() == pytest.approx(1, abs=1e-3)


def test_a_constant_series_is_zero_not_an_error() -> None:
    assert not prepare(np.full((4, 4, 4), 7, np.float32), SPACING, volume()).array.any()


@pytest.mark.rule("VOL-1")
def test_a_last_bit_of_the_statistics_does_not_reach_the_array(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = prepare(ramp(), SPACING, volume()).array
    exact = stages.volume._sum
    monkeypatch.setattr(
        stages.volume, "_sum", lambda *args: np.nextafter(np.float64(exact(*args)), np.inf)
    )
    assert np.array_equal(prepare(ramp(), SPACING, volume()).array, expected)


def _whole(voxels: NDArray[np.float32], window: tuple[float, float] | None) -> NDArray[np.float32]:
    """Normalization with the whole series in double precision: the bits to hold."""
    values = voxels.astype(np.float64)
    if window is not None:
        low, high = window
        values = (np.clip(values, low, high) - low) / (high - low)
    else:
        low, high = np.percentile(voxels, (0.5, 99.5))
        values = np.clip(values, float(np.float32(low)), float(np.float32(high)))
        mean, deviation = np.float32(values.mean()), np.float32(values.std())
        values = (values - mean) / max(float(deviation), 1e-6)
    return np.round(values, 5).astype(np.float32)


@pytest.mark.rule("VOL-1")
@pytest.mark.parametrize("window", [None, (-60.0, 180.0)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (31, 33, 37), (61, 173, 211)])
@pytest.mark.parametrize("chunk", [128, 2**16])
def test_slice_by_slice_gives_the_bits_of_the_whole(
    window: Any, shape: tuple[int, int, int], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages.volume, "_CHUNK", chunk)
    voxels = ramp(shape)
    expected = _whole(voxels, window)
    for layout in (voxels, np.asfortranarray(voxels)):
        found = prepare(layout, SPACING, volume(window=window)).array
        assert np.array_equal(found, expected if layout is voxels else _whole(layout, window))


@pytest.mark.rule("VOL-1")
@given(size=st.integers(1, 100_000), seed=st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_a_sum_in_halves_has_the_bits_of_numpys(size: int, seed: int) -> None:
    flat = (10 ** np.random.default_rng(seed).normal(0, 4, size)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages.volume, "_CHUNK", 128)
        assert stages.volume._sum(flat, np.sqrt) == np.sqrt(flat.astype(np.float64)).sum()


@pytest.mark.rule("VOL-4")
def test_preparing_and_restoring_take_little_more_than_their_result() -> None:
    voxels = ramp((64, 96, 96))
    halved = volume(spacing_mm=(4.0, 2.0, 2.0), window=(0, 100))
    for change, most in (({}, 2.2), ({"window": (0, 100)}, 1.2)):
        tracemalloc.start()
        prepared = prepare(voxels, SPACING, volume(**change))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert prepared.array.nbytes <= peak < most * voxels.nbytes
    prepared = prepare(voxels, SPACING, halved)
    labels = (prepared.array > 0.5).astype(np.uint8)
    tracemalloc.start()
    restored = restore(labels, prepared)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert restored.nbytes <= peak < 1.2 * restored.nbytes


@pytest.mark.rule("VOL-2")
def test_resampling_keeps_the_field_of_view() -> None:
    prepared = prepare(ramp(), SPACING, volume(spacing_mm=(1.0, 2.0, 0.75)))
    assert prepared.array.shape == (12, 5, 16)
    extent = np.array(prepared.array.shape) * prepared.spacing_mm
    assert np.allclose(extent, np.array((6, 10, 12)) * SPACING)
    # A bright half stays a bright half.
    half = np.zeros((6, 10, 12), np.float32)
    half[3:] = 100
    fine = prepare(half, SPACING, volume(spacing_mm=(0.5, 1, 1), window=(0, 100))).array
    assert (fine[:10] < 0.5).all()
    assert (fine[14:] > 0.5).all()


@pytest.mark.rule("VOL-3")
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 3)] * 3),
    target=st.none() | st.tuples(*[st.floats(0.4, 3)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_restored_labels_lie_on_the_own_grid(
    shape: tuple[int, int, int], spacing: Any, target: Any
) -> None:
    prepared = prepare(np.zeros(shape, np.float32), spacing, volume(spacing_mm=target))
    labels = np.full(prepared.array.shape, 3, np.uint8)
    restored = restore(labels, prepared)
    assert restored.shape == shape
    assert restored.dtype == np.uint8
    assert (restored == 3).all()


@pytest.mark.rule("VOL-3")
def test_labels_go_there_and_back() -> None:
    voxels = np.zeros((6, 10, 12), np.float32)
    voxels[2:4, 3:7, 4:9] = 100
    prepared = prepare(voxels, SPACING, volume(spacing_mm=(1, 0.5, 0.5), window=(0, 100)))
    labels = (prepared.array > 0.4).astype(np.uint8)
    assert np.array_equal(restore(labels, prepared), voxels > 0)
