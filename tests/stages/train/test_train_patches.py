"""Patches: what is drawn depends on seeds alone and stays true to its volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers_dicom import TASK

from stages.cohort import Case, Sample
from stages.train.batches import batches
from stages.train.params import Augmentation, Pretraining, TrainParams
from stages.train.patches import draw
from stages.train.selfsup_masked import mask
from stages.train.source import Purpose, Source, generator, make_source
from stages.volume import Prepared

STILL = Augmentation(rotation_deg=0, scale=0, shift_voxels=0, intensity=0, noise=0)
PATCH = (8, 8, 8)


def _source(shape: tuple[int, int, int] = (12, 14, 16), seed: int = 0) -> Source:
    random = np.random.default_rng(seed)
    labels = np.zeros(shape, np.uint8)
    labels[2:5, 3:6, 4:7] = 5
    array = random.normal(3, 1, shape).astype(np.float32) + labels
    case = Case("s", "train", "v", "1", None, None)  # type: ignore[arg-type] - never opened
    return make_source(
        Sample(case, Prepared(array, (2.0, 1.0, 1.0), shape), labels), TASK, labeled=True
    )


def _draw(source: Source, train: TrainParams, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return draw(source, PATCH, train, np.random.default_rng(seed))


def test_without_augmentation_a_patch_is_a_crop_with_its_own_labels() -> None:
    source = _source()
    volume = source.image[0, 0].numpy() + source.minimum
    windows = np.lib.stride_tricks.sliding_window_view(volume, PATCH)
    for seed in range(10):
        image, target = _draw(source, TrainParams(augmentation=STILL), seed)
        distance = np.abs(windows - image[0, 0].numpy()).max(axis=(3, 4, 5))
        assert distance.min() < 1e-3
        corner = np.unravel_index(distance.argmin(), distance.shape)
        expected = source.target[0, 0][tuple(slice(c, c + 8) for c in corner)]  # type: ignore[index]
        assert torch.equal(target[0, 0], expected)


def test_a_volume_smaller_than_the_patch_lies_in_its_middle_within_its_minimum() -> None:
    source = _source(shape=(6, 8, 8))
    image, _ = _draw(source, TrainParams(augmentation=STILL))
    volume = source.image[0, 0].numpy() + source.minimum
    assert np.allclose(image[0, 0, 1:7].numpy(), volume, atol=1e-4)
    assert np.allclose(image[0, 0, [0, 7]].numpy(), volume.min(), atol=1e-6)


@pytest.mark.parametrize(("option", "turned"), [("rotation_deg", {1, 2}), ("tilt_deg", {0, 1, 2})])
def test_a_turn_keeps_distances_in_mm_and_the_axes_it_is_about(
    option: str, turned: set[int]
) -> None:
    shape, spacing = (21, 41, 41), (2.0, 1.0, 1.0)
    middle = np.ravel_multi_index((10, 20, 20), shape)
    train = TrainParams(augmentation=STILL.model_copy(update={option: 30}), foreground=1)
    found = set()
    for axis in range(3):  # a volume whose values are its places in mm
        places = (np.indices(shape)[axis] * spacing[axis]).astype(np.float32)
        source = replace(
            _source(),
            image=torch.from_numpy(places)[None, None],
            minimum=0.0,
            target=None,
            spacing_mm=spacing,
            voxels=(np.array([middle]),),
        )
        for seed in range(8):
            image, _ = _draw(source, train, seed)
            steps = [float(image.diff(dim=2 + n).mean()) / spacing[n] for n in range(3)]
            assert sum(step**2 for step in steps) == pytest.approx(1, abs=1e-3)
            if steps[axis] < 0.999:
                found.add(axis)
    assert found == turned


def test_gamma_bends_intensities_between_the_lowest_and_the_highest() -> None:
    source = _source(shape=PATCH)
    own = STILL.model_copy(update={"gamma": 0.9})
    plain = _draw(source, TrainParams(augmentation=STILL))[0].ravel()
    bent = _draw(source, TrainParams(augmentation=own), seed=1)[0].ravel()
    assert float(bent.min()) == pytest.approx(float(plain.min()), abs=1e-4)
    assert float(bent.max()) == pytest.approx(float(plain.max()), abs=1e-4)
    assert torch.equal(bent.argsort(stable=True), plain.argsort(stable=True))
    assert float((bent - plain).abs().max()) > 0.1


def test_a_picture_of_one_slice_is_mirrored_and_warns_of_nothing() -> None:
    source = _source(shape=(1, 8, 8))
    own = STILL.model_copy(update={"mirror": ("columns",)})
    train = TrainParams(augmentation=own, foreground=0)
    drawn = [
        draw(source, (1, 8, 8), train, np.random.default_rng(seed))[0][0, 0].numpy()
        for seed in range(8)
    ]
    picture = source.image[0, 0].numpy() + source.minimum
    kinds = [
        next(
            name
            for name, image in (("plain", picture), ("mirrored", picture[..., ::-1]))
            if np.allclose(one, image, atol=1e-3)
        )
        for one in drawn
    ]
    assert set(kinds) == {"plain", "mirrored"}


def test_foreground_patches_hold_their_structure() -> None:
    source = _source()
    for seed in range(20):
        _, target = _draw(source, TrainParams(foreground=1, augmentation=STILL), seed)
        assert (target == 2).any()


def test_labels_move_with_the_image() -> None:
    array = np.zeros((16, 16, 16), np.float32)
    array[5:11, 5:11, 5:11] = 1
    labels = (array * 2).astype(np.uint8)
    case = Case("s", "train", "v", "1", None, None)  # type: ignore[arg-type] - never opened
    prepared = Prepared(array, (1.0, 1.0, 1.0), (16, 16, 16))
    source = make_source(Sample(case, prepared, labels), TASK, labeled=True)
    strong = Augmentation(rotation_deg=30, scale=0.2, shift_voxels=2, intensity=0, noise=0)
    for seed in range(10):
        image, target = draw(
            source, (16, 16, 16), TrainParams(augmentation=strong), np.random.default_rng(seed)
        )
        agree = ((image > 0.5) == (target == 1)).float().mean()
        assert agree > 0.98


@pytest.mark.rule("TRN-1")
def test_a_patch_depends_on_seed_epoch_and_sample_not_on_the_order_of_work() -> None:
    train = TrainParams(batch=2)
    sources = [_source(seed=number) for number in range(5)]
    run = list(batches(sources, 3, PATCH, train, 7))
    again = list(batches(sources, 3, PATCH, train, 7))
    assert all(
        torch.equal(a.images, b.images) and a.places == b.places
        for a, b in zip(run, again, strict=True)
    )
    assert sorted(place for batch in run for place in batch.places) == [(0, i) for i in range(5)]
    for batch in run:
        for row, (_, index) in enumerate(batch.places):
            alone = draw(sources[index], PATCH, train, generator(7, Purpose.PATCH, 3, index))
            assert torch.equal(batch.images[row], alone[0][0])
            assert torch.equal(batch.targets[row], alone[1][0])


@pytest.mark.rule("TRN-3")
def test_a_given_number_of_patches_takes_the_sources_in_turns() -> None:
    train = TrainParams(batch=2, patches=7)
    sources = [_source(seed=number) for number in range(3)]
    run = list(batches(sources, 1, PATCH, train, 7))
    places = [place for batch in run for place in batch.places]
    assert [turn for turn, _ in places] == [0, 0, 0, 1, 1, 1, 2]
    assert sorted(places[:3]) == [(0, 0), (0, 1), (0, 2)]
    first, second = ([b for b in places if b[0] == turn] for turn in (0, 1))
    images = {p: b.images[i] for b in run for i, p in enumerate(b.places)}
    for (_, one), (_, other) in zip(first, second, strict=True):
        assert not torch.equal(images[0, one], images[1, other])


@pytest.mark.rule("TRN-2")
def test_unlabeled_patches_come_beside_and_change_no_labeled_one() -> None:
    train = TrainParams(batch=2)
    sources = [_source(seed=number) for number in range(5)]
    others = [_source(seed=10 + number) for number in range(2)]
    alone = list(batches(sources, 1, PATCH, train, 7))
    beside = list(batches(sources, 1, PATCH, train, 7, unlabeled=others))
    for one, other in zip(alone, beside, strict=True):
        assert one.unlabeled is None
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)
        assert other.unlabeled is not None
        assert other.unlabeled.shape == other.images.shape


@pytest.mark.rule("TRN-1")
def test_seeds_and_epochs_differ() -> None:
    train = TrainParams(batch=5)
    sources = [_source(seed=number) for number in range(5)]
    first, other_epoch, other_seed = (
        next(iter(batches(sources, epoch, PATCH, train, seed)))
        for epoch, seed in ((1, 7), (2, 7), (1, 8))
    )
    assert not torch.equal(first.images, other_epoch.images)
    assert not torch.equal(first.images, other_seed.images)


@pytest.mark.rule("TRN-2")
def test_pretraining_sources_hold_no_labels() -> None:
    labeled = np.full(PATCH, 2, np.uint8)
    case = Case("s", "train", "v", "1", None, None)  # type: ignore[arg-type] - never opened
    prepared = Prepared(np.ones(PATCH, np.float32), (1.0, 1.0, 1.0), PATCH)
    source = make_source(Sample(case, prepared, labeled), TASK, labeled=False)
    assert source.target is None
    assert source.voxels == ()


@pytest.mark.parametrize(("ratio", "block"), [(0.5, 4), (0.25, 2), (0.6, 3)])
def test_masks_hide_the_declared_share_in_whole_blocks(ratio: float, block: int) -> None:
    options = Pretraining(mask_ratio=ratio, mask_block=block)
    hidden = mask(PATCH, options, np.random.default_rng(0))
    assert hidden.shape == PATCH
    if 8 % block == 0:
        assert float(hidden.mean()) == pytest.approx(ratio, abs=0.01)
        count = 8 // block
        blocks = hidden.reshape(count, block, count, block, count, block).mean(axis=(1, 3, 5))
        assert set(np.unique(blocks).tolist()) <= {0.0, 1.0}
    other = mask(PATCH, options, np.random.default_rng(1))
    assert not np.array_equal(hidden, other)


@pytest.mark.rule("TRN-1")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_draw_ahead_change_no_bit(workers: int) -> None:
    sources = [_source(seed=seed) for seed in range(5)]
    train = TrainParams(batch=2)
    state = torch.random.get_rng_state()
    here = list(batches(sources, 3, PATCH, train, 7))
    there = list(batches(sources, 3, PATCH, train, 7, workers=workers))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [batch.places for batch in there] == [batch.places for batch in here]
    for one, other in zip(there, here, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)
        assert one.images.stride() == other.images.stride()
