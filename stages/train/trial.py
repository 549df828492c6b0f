"""One trial: a variant with one seed on one set of labels, started, trained and validated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from stages.cohort import Sample
from stages.network import parameters_count, weights_sha256
from stages.train.batches import Batch, batches
from stages.train.data import Data
from stages.train.loop import Course, Training
from stages.train.params import Parameters
from stages.train.rates import choose_trained, groups
from stages.train.regime import beside, objective_of
from stages.train.scores import Outcome, detail, evaluate, score
from stages.train.start import Taken, Weights, new_network, take
from stages.train.ways import Variant


@dataclass(frozen=True)
class Trial:
    """What is tried."""

    variant: Variant
    seed: int
    epochs: int


@dataclass(frozen=True)
class Trained:
    """What became of a trial."""

    module: torch.nn.Module
    """With the weights of the chosen epoch."""
    rows: list[dict[str, Any]]
    """A row (epoch, loss, score, weights_sha256, batches_sha256) an epoch."""
    result: dict[str, Any]
    """JSON: the chosen epoch, its score and figures, counts of parameters, digests."""
    outcomes: list[Outcome]
    """Of the chosen epoch, on validation."""


def run_trial(
    trial: Trial,
    data: Data,
    params: Parameters,
    *,
    start: Weights | None,
    say: Callable[[int, float], None],
    workers: int = 0,
) -> Trained:
    """Train; the epoch of the highest validation score is chosen, the first of equals.

    Args:
        trial: variant, seed, epochs.
        data: of the trial.
        params: of the stage.
        start: weights that the variant starts from; None at random.
        say: told each epoch and its loss.
        workers: processes that draw patches.
    """
    way, train, volume = trial.variant, params.train, params.volume
    module, head = new_network(params.network, params.task, volume, trial.seed)
    taken = Taken((), (), ())
    if start is not None:
        taken = take(module, start, head, keep=way.head == "kept")
    shape = (1, 1, *volume.patch)
    choose_trained(module, way, head, shape)
    result: dict[str, Any] = {
        "variant": way.name,
        "seed": trial.seed,
        "start": way.start,
        "initial_weights_sha256": weights_sha256(module),
        "new_tensors": list(taken.new),
        "unused_tensors": list(taken.unused),
        "parameters": parameters_count(module),
        "trained_parameters": parameters_count(module, trained_only=True),
        "epochs": trial.epochs,
    }
    course = Course.of(f"variant {way.name}", trial.epochs, trial.seed, train, params.numerics)
    training = Training(
        module, objective_of(way, module, data, params), course, groups(module, way, head, shape)
    )
    others, second = beside(way, data, params)
    best = _Best(data.validation, params)
    rows: list[dict[str, Any]] = []

    def drawn(epoch: int) -> Iterator[Batch]:
        return batches(
            data.labeled,
            epoch,
            volume.patch,
            train,
            trial.seed,
            workers=workers,
            unlabeled=others,
            second=second,
        )

    for epoch in training.run(drawn):
        made, value = training.result, None
        if epoch.number % train.validate_every == 0 or epoch.number == trial.epochs:
            value = best.look(made, epoch.number)
        rows.append(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "score": value,
                "weights_sha256": weights_sha256(made),
                "batches_sha256": epoch.batches_sha256,
            }
        )
        say(epoch.number, epoch.loss)
        if train.patience is not None and best.waited >= train.patience:
            break
    made = training.result.cpu()
    made.load_state_dict(best.weights)
    result |= {
        "selected_epoch": best.epoch,
        "score": best.score,
        **detail(best.outcomes, params.task),
        "weights_sha256": weights_sha256(made),
    }
    return Trained(made, rows, result, best.outcomes)


class _Best:
    """The best epoch so far."""

    def __init__(self, validation: Sequence[Sample], params: Parameters) -> None:
        self._validation, self._params = validation, params
        self.weights: dict[str, torch.Tensor] = {}
        self.outcomes: list[Outcome] = []
        self.epoch, self.score, self.waited = 0, -1.0, 0

    def look(self, module: torch.nn.Module, epoch: int) -> float:
        """Validate, and keep what is better than anything before; the score."""
        outcomes = evaluate(module, self._validation, self._params.task, self._params.volume)
        value = score(outcomes, self._params.task) or 0.0
        self.waited += 1
        if value > self.score:
            self.weights = {
                name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
            }
            self.outcomes, self.epoch, self.score, self.waited = outcomes, epoch, value, 0
        return value
