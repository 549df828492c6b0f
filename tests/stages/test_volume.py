from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.params import Volume
from stages.volume import prepare, restore, sliding_window

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

    class Noisy(np.ndarray[Any, Any]):
        def mean(self, *args: Any, **kwargs: Any) -> Any:
            return np.nextafter(np.asarray(self).mean(), np.inf)

        def std(self, *args: Any, **kwargs: Any) -> Any:
            return np.nextafter(np.asarray(self).std(), np.inf)

    clip = np.clip
    monkeypatch.setattr(np, "clip", lambda *args: clip(*args).view(Noisy))
    assert np.array_equal(prepare(ramp(), SPACING, volume()).array, expected)


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
