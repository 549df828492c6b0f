"""An epoch of batches, by seeds alone.

Every random choice is drawn from a generator of its own, seeded by (seed, purpose, epoch, turn,
sample): nothing depends on the order in which patches are made, or by how many workers. A patch is
computed by one thread, as PyTorch's workers do: how a machine parts an array over threads decides
no bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from stages.train.params import TrainParams
from stages.train.patches import Shape, draw
from stages.train.source import Purpose, Source, blind, generator

Place = tuple[int, int]
"""A patch of an epoch: the turn of its source, from 0, and the source's index."""
View = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]
"""Makes another view of a patch, (slices, rows, columns), by random numbers of its own."""


@dataclass(frozen=True)
class Batch:
    """What a network sees at once."""

    images: torch.Tensor
    """(batch, 1, slices, rows, columns), float32."""
    targets: torch.Tensor
    """The same shape: channel indices as float32; zeros without labels."""
    labels: torch.Tensor
    """(batch,), int64: index of each case's class, -1 where unknown."""
    places: tuple[Place, ...] = ()
    """Where each patch came from."""
    unlabeled: torch.Tensor | None = None
    """(batch, views, slices, rows, columns): images whose labels are not looked at, as they were
    drawn, and in a second channel another view of the same, if the way asks for one."""

    def update(self, digest: hashlib._Hash) -> None:
        """Add all that the network sees to a digest."""
        for tensor in (self.images, self.targets, self.labels, self.unlabeled):
            if tensor is not None:
                digest.update(tensor.contiguous().numpy().data)

    def to(self, device: str) -> Batch:
        """The same on another device."""
        return Batch(
            self.images.to(device),
            self.targets.to(device),
            self.labels.to(device),
            self.places,
            None if self.unlabeled is None else self.unlabeled.to(device),
        )


def batches(
    sources: Sequence[Source],
    epoch: int,
    patch: Shape,
    train: TrainParams,
    seed: int,
    *,
    workers: int = 0,
    unlabeled: Sequence[Source] = (),
    second: View | None = None,
    by_chance: bool = False,
) -> Iterator[Batch]:
    """One epoch: the sources in turns, each turn in an order of its own.

    Args:
        sources: volumes.
        epoch: from 1.
        patch: voxels of a patch.
        train: batch size, patches an epoch, augmentation.
        seed: of all choices.
        workers: processes that draw ahead; 0 draws here. They decide no bit.
        unlabeled: further volumes; each batch has as many patches of them. Nothing that anybody
            said about them is looked at.
        second: makes another view of an unlabeled patch.
        by_chance: each batch takes every source with the same chance, so that its size differs
            and it may be empty (Poisson sampling, for privacy).
    """
    count = train.patches or len(sources)
    chosen = list(_order(len(sources), count, seed, Purpose.ORDER, epoch))
    beside = list(_order(len(unlabeled), count, seed, Purpose.UNLABELED_ORDER, epoch))
    starts = range(0, count, train.batch)
    groups = [
        list(zip(chosen[s : s + train.batch], _beside(beside, s, train.batch), strict=False))
        for s in starts
    ]
    if by_chance:
        share = min(1.0, train.batch / len(sources))
        groups = [
            [((step, int(index)), None) for index in np.flatnonzero(taken < share)]
            for step in range(len(starts))
            for taken in [generator(seed, Purpose.CHANCE, epoch, step).uniform(size=len(sources))]
        ]
    loader = DataLoader(
        _Drawn(sources, [blind(s) for s in unlabeled], epoch, patch, train, seed, second),
        batch_sampler=[group for group in groups if group],
        collate_fn=_join,
        num_workers=workers,
        generator=torch.Generator(),  # else it takes a number from torch's own
    )
    drawn = iter(loader)
    for group in groups:
        yield next(drawn) if group else _empty(patch)


def _empty(patch: Shape) -> Batch:
    nothing = torch.zeros((0, 1, *patch))
    return Batch(nothing, nothing, torch.zeros(0, dtype=torch.int64))


def _beside(beside: list[Place], start: int, batch: int) -> list[Place | None]:
    return list(beside[start : start + batch]) if beside else [None] * batch


def _order(sources: int, count: int, seed: int, purpose: Purpose, epoch: int) -> Iterator[Place]:
    """So many places: every source once a turn."""
    for turn in range(-(-count // sources) if sources else 0):
        order = generator(seed, purpose, epoch, *([turn] if turn else [])).permutation(sources)
        yield from ((turn, int(index)) for index in order[: count - turn * sources])


@dataclass(frozen=True)
class _Drawn(Dataset[Batch]):
    """The patches of one epoch, by place."""

    sources: Sequence[Source]
    unlabeled: Sequence[Source]
    epoch: int
    patch: Shape
    train: TrainParams
    seed: int
    second: View | None

    def __getitem__(self, index: tuple[Place, Place | None]) -> Batch:
        place, beside = index
        source, other = self.sources[place[1]], None
        with _one_thread():
            image, target = self._draw(source, Purpose.PATCH, place)
            if beside is not None:
                other = self._other(beside)
        return Batch(image, target, torch.tensor([source.label]), (place,), other)

    def _other(self, place: Place) -> torch.Tensor:
        """An unlabeled patch, its second view in a second channel."""
        image, _ = self._draw(self.unlabeled[place[1]], Purpose.UNLABELED_PATCH, place)
        if self.second is None:
            return image
        view = self.second(image[0, 0].numpy(), self._random(Purpose.STRONG_VIEW, place))
        return torch.cat([image, torch.from_numpy(view)[None, None]], dim=1)

    def _draw(self, source: Source, purpose: Purpose, place: Place) -> tuple[torch.Tensor, ...]:
        return draw(source, self.patch, self.train, self._random(purpose, place))

    def _random(self, purpose: Purpose, place: Place) -> np.random.Generator:
        turn, index = place
        return generator(self.seed, purpose, self.epoch, index, *([turn] if turn else []))


def _join(drawn: list[Batch]) -> Batch:
    others = [batch.unlabeled for batch in drawn if batch.unlabeled is not None]
    return Batch(
        images=_last(torch.cat([batch.images for batch in drawn])),
        targets=torch.cat([batch.targets for batch in drawn]),
        labels=torch.cat([batch.labels for batch in drawn]),
        places=tuple(place for batch in drawn for place in batch.places),
        unlabeled=_last(torch.cat(others)) if others else None,
    )


def _last(images: torch.Tensor) -> torch.Tensor:
    """Channels last in memory, as the networks have them."""
    return images.contiguous(memory_format=torch.channels_last_3d)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
