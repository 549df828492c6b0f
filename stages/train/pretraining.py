"""Self-supervised pre-training: weights from images whose labels are not looked at.

Rules (with TRN-2):

- PRE-1  No label is read: sources are stripped of them, and so are batches, before anything is
         drawn; not even where a patch lies depends on a label.
- PRE-2  What a method makes of a patch hangs on seed, epoch, turn and volume alone.
- PRE-3  What remains is the bare network's weights; decoders and projections go.
- PRE-4  A method whose loss compares the cases of a batch runs in one process alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stages.network import assemble, weights_sha256
from stages.train.batches import Batch, batches
from stages.train.checkpoint import Checkpoint
from stages.train.log import Log
from stages.train.loop import Course, Training
from stages.train.params import Parameters
from stages.train.pretext import Method
from stages.train.selfsup_contrastive import CONTRASTIVE
from stages.train.selfsup_masked import MASKED
from stages.train.selfsup_restoration import RESTORATION
from stages.train.setting import Setting
from stages.train.source import UNKNOWN, Purpose, Source, blind, generator

METHODS: dict[str, Method] = {
    "masked": MASKED,
    "restoration": RESTORATION,
    "contrastive": CONTRASTIVE,
}


def pretrain(
    method: str,
    sources: Sequence[Source],
    params: Parameters,
    say: Callable[[int, float], None],
    *,
    setting: Setting | None = None,
) -> tuple[torch.nn.Module, list[dict[str, Any]]]:
    """Train a network on images alone.

    Args:
        method: one of `METHODS`.
        sources: images; their labels are not read.
        params: of the stage.
        say: told each epoch and its loss.
        setting: what decides no bit.

    Returns:
        The network, and a row (epoch, loss, weights_sha256, batches_sha256) an epoch.
    """
    seed, options, chosen = params.numerics.seed, params.train.pretraining, METHODS[method]
    setting = setting or Setting()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = untrained(params)
        objective = chosen.objective(module, params)
    course = Course.of(
        f"pre-training ({method})", options.epochs, seed, params.train, params.numerics
    )
    rate = params.train.learning_rate * chosen.rate
    training = Training(module, objective, replace(course, average=None, learning_rate=rate))
    unseen = [blind(source) for source in sources]
    checkpoint = Checkpoint(setting.saved(f"pretraining/{method}"))
    log = Log(setting.logs if setting.leads else None, f"pretraining/{method}")
    rows: list[dict[str, Any]] = []
    if (saved := checkpoint.load()) is not None:
        training.restore(saved[0])
        rows = saved[1]["rows"]
    for epoch in training.run(
        lambda number: tasks(chosen, unseen, number, params, workers=setting.workers),
        after=len(rows),
    ):
        rows.append(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "weights_sha256": weights_sha256(module),
                "batches_sha256": epoch.batches_sha256,
            }
        )
        log.epoch(rows[-1])
        say(epoch.number, epoch.loss)
        if setting.leads:
            last = epoch.number == options.epochs
            checkpoint.save(training.state(), {"rows": rows}, now=last)
    return module, rows


def untrained(params: Parameters) -> torch.nn.Module:
    """The task's network, of one channel where it answers on the grid."""
    if params.task.structures:
        return assemble(params.network, params.volume, channels=1)
    return assemble(params.network, params.volume, channels=0, classes=len(params.task.classes))


def tasks(
    method: Method,
    sources: Sequence[Source],
    epoch: int,
    params: Parameters,
    *,
    workers: int = 0,
) -> Iterator[Batch]:
    """An epoch's batches: what the network sees, and what it is to make of it (PRE-1, PRE-2)."""
    seed, options = params.numerics.seed, params.train.pretraining
    train = params.train.model_copy(update={"batch": method.batch(params)})
    for batch in batches(sources, epoch, params.volume.patch, train, seed, workers=workers):
        made = [
            method.change(
                image,
                options,
                generator(seed, Purpose.PRETEXT, epoch, index, *([turn] if turn else [])),
            )
            for image, (turn, index) in zip(batch.images[:, 0].numpy(), batch.places, strict=True)
        ]
        yield replace(
            batch,
            images=_stacked([seen[None] for seen, _ in made]),
            targets=_stacked([target for _, target in made]),
            labels=torch.full_like(batch.labels, UNKNOWN),
        )


def _stacked(arrays: Sequence[np.ndarray]) -> torch.Tensor:
    stacked = torch.from_numpy(np.stack(arrays))
    return stacked.contiguous(memory_format=torch.channels_last_3d)
