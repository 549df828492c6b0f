"""One answer about a whole case: what the network is shown, and what is made of its logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.classify import Answer, classify, softmax
from stages.params import Volume

FLAT, DEEP = Volume(patch=(1, 8, 8)), Volume(patch=(8, 8, 8))
Shown = list[NDArray[np.float32]]


def shown(array: NDArray[np.float32], volume: Volume) -> Shown:
    windows: Shown = []

    def answer(window: NDArray[np.float32]) -> Answer:
        windows.append(window)
        return None, np.zeros((1, 2), np.float32)

    classify(answer, array, volume)
    return windows


@pytest.mark.rule("CLS-1")
def test_a_larger_array_is_seen_in_its_middle() -> None:
    array = np.arange(12 * 16 * 10, dtype=np.float32).reshape(12, 16, 10)
    (window,) = shown(array, DEEP)
    assert window.shape == (1, 1, 8, 8, 8)
    assert (window[0, 0] == array[2:10, 4:12, 1:9]).all()


@pytest.mark.rule("CLS-1")
def test_a_smaller_array_is_padded_with_its_minimum() -> None:
    array = np.full((4, 8, 6), 3, np.float32)
    array[0, 0, 0] = -2
    (window,) = shown(array, DEEP)
    assert (window[0, 0, 2:6, :, 1:7] == array).all()
    assert (window[0, 0, :2] == -2).all()
    assert (window[0, 0, 2:6, :, 7] == -2).all()


@pytest.mark.rule("CLS-1")
def test_a_planar_network_sees_every_slice_and_the_mean_of_its_answers_counts() -> None:
    array = np.repeat(np.arange(3, dtype=np.float32), 64).reshape(3, 8, 8)
    windows = shown(array, FLAT)
    assert [window[0, 0, 0, 0, 0] for window in windows] == [0, 1, 2]
    assert {window.shape for window in windows} == {(1, 1, 1, 8, 8)}

    def answer(window: NDArray[np.float32]) -> Answer:
        return None, np.array([[window.max(), 0]], np.float32)

    first = np.mean([np.exp(v) / (np.exp(v) + 1) for v in range(3)])
    assert classify(answer, array, FLAT) == pytest.approx([first, 1 - first], abs=1e-6)


@pytest.mark.rule("CLS-2")
@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=6))
def test_probabilities_are_of_six_decimals_and_add_up(logits: list[float]) -> None:
    found = classify(
        lambda _: (None, np.array([logits], np.float32)), np.zeros((1, 8, 8), np.float32), FLAT
    )
    assert (found == np.round(found, 6)).all()
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert found.argmax() == np.round(softmax(np.array(logits, np.float32)), 6).argmax()


def test_a_network_without_classes_is_a_fault_of_the_caller() -> None:
    with pytest.raises(TypeError):
        classify(lambda _: (None, None), np.zeros((1, 8, 8), np.float32), FLAT)
