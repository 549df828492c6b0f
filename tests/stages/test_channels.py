"""Channels and labels: one table both ways, and no vote for the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_dicom import TASK

from stages.channels import channels_count, to_channels, to_labels


@pytest.mark.rule("CHN-1")
def test_labels_and_channels_are_each_others_inverse() -> None:
    labels = np.array([[[0, 2, 5, 2]]], np.uint8)
    channels = to_channels(labels, TASK)
    assert channels.tolist() == [[[0, 1, 2, 1]]]
    scores = np.eye(channels_count(TASK), dtype=np.float32)[channels].transpose(3, 0, 1, 2)
    assert np.array_equal(to_labels(scores, TASK), labels)
    assert to_labels(scores, TASK).dtype == np.uint8


@pytest.mark.rule("CHN-1")
def test_a_label_of_no_structure_is_background() -> None:
    assert to_channels(np.array([[[7, 255]]], np.uint8), TASK).tolist() == [[[0, 0]]]


@pytest.mark.rule("CHN-2")
@pytest.mark.parametrize(
    ("scores", "label"),
    [
        ((0.50001, 0.50002, 0.0), 0),  # equal in four decimals: the first
        ((0.5, 0.5002, 0.5001), 2),
        ((-3.0, -2.0, -1.0), 5),
    ],
)
def test_noise_below_four_decimals_flips_no_label(scores: tuple[float, ...], label: int) -> None:
    array = np.array(scores, np.float32).reshape(3, 1, 1, 1)
    assert to_labels(array, TASK).item() == label
