"""One variant: a network started, trained, and validated, by its way of transfer.

The loss is Dice plus cross-entropy (MONAI's `DiceCELoss`), weighted by class: without weights,
whether a lesion of a hundredth of the voxels was learned at all hung on the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.losses.dice import DiceCELoss

from stages.channels import channels_count, to_labels
from stages.cohort import Sample
from stages.network import build, parameters_count, predictor, weights_sha256
from stages.overlap import dice
from stages.train.loop import fit
from stages.train.params import Parameters
from stages.train.patches import Source, batches
from stages.train.selection import mean_dice
from stages.train.transfer import choose_trained, take_backbone
from stages.train.ways import WAYS, Variant
from stages.volume import restore, sliding_window

Scores = dict[str, float | None]


@dataclass(frozen=True)
class Trained:
    """What became of one variant."""

    module: torch.nn.Module
    """With the weights of the chosen epoch."""
    rows: list[dict[str, Any]]
    """A row (epoch, loss, validation_dice, weights_sha256, batches_sha256) an epoch."""
    result: dict[str, Any]
    """JSON: the chosen epoch, its Dice by structure, counts of parameters, digests."""


def train_variant(
    variant: Variant,
    sources: Sequence[Source],
    validation: Sequence[Sample],
    params: Parameters,
    *,
    pretrained: torch.nn.Module | None,
    say: Callable[[int, float], None],
    workers: int = 0,
) -> Trained:
    """Train one variant; the epoch of the highest validation Dice is chosen, the first of equals.

    Args:
        variant: names the way.
        sources: labeled training volumes.
        validation: labeled samples that no weight is trained on.
        params: of the stage.
        pretrained: the network of one output channel, for ways that start from it.
        say: told each epoch and its loss.
        workers: processes that draw patches.
    """
    seed, train, way = params.numerics.seed, params.train, WAYS[variant]
    torch.manual_seed(seed)
    module = build(params.network, channels_count(params.task))
    new: tuple[str, ...] = ()
    if way.start == "pretrained" and pretrained is not None:
        new = take_backbone(module, pretrained)
    choose_trained(module, way, new, train.unfrozen_layers, params.volume.patch)
    result: dict[str, Any] = {
        "variant": variant,
        "initial_weights_sha256": weights_sha256(module),
        "new_tensors": list(new),
        "parameters": parameters_count(module),
        "trained_parameters": parameters_count(module, trained_only=True),
        "epochs": train.epochs,
    }
    rows: list[dict[str, Any]] = []
    best: dict[str, torch.Tensor] = {}
    for epoch in fit(
        module,
        lambda epoch: _pairs(sources, epoch, params, workers),
        _Objective(class_weights(sources, channels_count(params.task))),
        name=f"variant {variant}",
        epochs=train.epochs,
        learning_rate=train.learning_rate,
        seed=seed,
    ):
        digest, score = weights_sha256(module), None
        if epoch.number % train.validate_every == 0 or epoch.number == train.epochs:
            structures = validate(module, validation, params)
            score = round(mean_dice(structures) or 0.0, 6)
            if not best or score > result["validation_dice"]:
                best = {name: value.clone() for name, value in module.state_dict().items()}
                result |= {
                    "selected_epoch": epoch.number,
                    "validation_dice": score,
                    "structures": structures,
                    "weights_sha256": digest,
                }
        rows.append(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "validation_dice": score,
                "weights_sha256": digest,
                "batches_sha256": epoch.batches_sha256,
            }
        )
        say(epoch.number, epoch.loss)
    module.load_state_dict(best)
    return Trained(module, rows, result)


def validate(module: torch.nn.Module, samples: Sequence[Sample], params: Parameters) -> Scores:
    """Mean Dice by structure over samples, on each series' own grid.

    A sample that lacks a structure in reference and prediction alike says nothing about it and is
    left out; a structure without any sample left is None.
    """
    predict, channels = predictor(module), channels_count(params.task)
    found: dict[str, list[float]] = {structure.name: [] for structure in params.task.structures}
    for sample in samples:
        scores = sliding_window(predict, sample.prepared.array, params.volume, channels)
        labels = restore(to_labels(scores, params.task), sample.prepared)
        assert sample.labels is not None  # noqa: S101 - validation samples are labeled
        for structure in params.task.structures:
            reference, predicted = sample.labels == structure.label, labels == structure.label
            if reference.any() or predicted.any():
                found[structure.name].append(dice(reference, predicted))
    return {
        name: round(sum(values) / len(values), 6) if values else None
        for name, values in found.items()
    }


def class_weights(sources: Sequence[Source], channels: int) -> torch.Tensor:
    """A weight a channel: its share of the voxels to the power of -1/4, the mean being 1."""
    counts = np.zeros(channels)
    for source in sources:
        if source.target is not None:
            counts += np.bincount(
                source.target.numpy().astype(np.uint8).ravel(), minlength=channels
            )
    weights = (np.maximum(counts, 1) / counts.sum()) ** -0.25
    return torch.from_numpy(np.round(weights / weights.mean(), 4).astype(np.float32))


def _pairs(
    sources: Sequence[Source], epoch: int, params: Parameters, workers: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    patch, seed = params.volume.patch, params.numerics.seed
    for images, targets, _ in batches(sources, epoch, patch, params.train, seed, workers=workers):
        yield images, targets


class _Objective:
    def __init__(self, weights: torch.Tensor) -> None:
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, weight=weights)

    def __call__(
        self, module: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        images, targets = batch
        loss: torch.Tensor = self._loss(module(images), targets)
        return loss
