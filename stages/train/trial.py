"""One trial: a variant with one seed on one set of labels, started, trained and validated."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from audit.errors import Refused, WrongUse
from stages.network import parameters_count, weights_sha256
from stages.train import adapters, privacy
from stages.train.batches import Batch, batches
from stages.train.checkpoint import Checkpoint
from stages.train.data import Data
from stages.train.log import Log
from stages.train.loop import Course, Epoch, Training
from stages.train.params import Parameters
from stages.train.rates import choose_trained, groups
from stages.train.regime import beside, data_of, finished, objective_of
from stages.train.scores import Outcome, detail, evaluate, score
from stages.train.setting import Setting
from stages.train.start import Taken, Weights, new_network, take
from stages.train.ways import Variant

Json = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """What is tried."""

    variant: Variant
    seed: int
    epochs: int
    name: str
    """Of its folders, and in messages."""


@dataclass(frozen=True)
class Trained:
    """What became of a trial."""

    module: torch.nn.Module
    """With the weights of the chosen epoch."""
    rows: list[Json]
    """A row (epoch, loss, score, weights_sha256, batches_sha256) an epoch."""
    result: Json
    """The chosen epoch, its score and figures, counts of parameters, digests."""
    outcomes: list[Outcome]
    """Of the chosen epoch, on validation."""


def run_trial(
    trial: Trial,
    data: Data,
    params: Parameters,
    *,
    start: Weights | None,
    setting: Setting | None = None,
) -> Trained:
    """Train; the epoch of the highest validation score is chosen, the first of equals.

    Args:
        trial: variant, seed, epochs.
        data: of the trial.
        params: of the stage.
        start: weights that the variant starts from; None at random.
        setting: what decides no bit.

    Raises:
        Fault: a number is not finite.
        WrongUse: the network cannot be trained in this way, or memory does not suffice.
    """
    try:
        return _Run(trial, data, params, start).run(setting or Setting())
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(trial) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):  # how torch says it on a CPU
            raise _too_large(trial) from error
        raise


class _Run:
    """A trial under way."""

    def __init__(self, trial: Trial, data: Data, params: Parameters, start: Weights | None) -> None:
        way, train, shape = trial.variant, params.train, (1, 1, *params.volume.patch)
        data = data_of(way, data)
        module, head = new_network(params.network, params.task, params.volume, trial.seed)
        taken = Taken((), (), ())
        if start is not None:
            taken = take(module, start, head, keep=way.head == "kept")
            _check_kept(way, taken)
        choose_trained(module, way, head, shape)
        if way.trains == "adapters":
            adapters.insert(module, head, way.rank, trial.seed)
        self.trial, self.data, self.params = trial, data, params
        self.epochs = 0 if way.trains == "nothing" else trial.epochs
        self.plain, _ = new_network(params.network, params.task, params.volume, trial.seed)
        self.facts: Json = {
            "variant": way.name,
            "seed": trial.seed,
            "start": way.start,
            "initial_weights_sha256": weights_sha256(adapters.merge(module, self.plain)),
            "new_tensors": list(taken.new),
            "unused_tensors": list(taken.unused),
            "parameters": parameters_count(self.plain),
            "trained_parameters": parameters_count(module, trained_only=True),
            "epochs": self.epochs,
            "labeled": len(data.labeled),
        }
        noise = None
        if way.privacy is not None:
            cases = len(data.labeled)
            steps = privacy.steps_of(cases, train.batch, train.patches, trial.epochs)
            noise = privacy.noise(way.privacy, cases, train.batch, steps)
            self.facts["privacy"] = noise.facts(steps)
        self.training = Training(
            module,
            objective_of(way, module, data, params),
            Course.of(f"variant {trial.name}", trial.epochs, trial.seed, train, params.numerics),
            groups(module, way, head, shape),
            noise,
        )
        if noise is not None:
            privacy.check_apart(module, params.volume.patch)

    def run(self, setting: Setting) -> Trained:
        """Take up what was saved, and go on to the end."""
        place = setting.scratch / f"{self.trial.name}.safetensors" if setting.scratch else None
        checkpoint = Checkpoint(place)
        best, rows = _Best(), list[Json]()
        if (saved := checkpoint.load()) is not None:
            tensors, facts = saved
            rows = facts["rows"]
            best.restore(tensors, facts["best"])
            self.training.restore(
                {name: t for name, t in tensors.items() if not name.startswith("best.")}
            )
        logs = setting.logs if setting.leads else None
        patience, log = self.params.train.patience, Log(logs, self.trial.name)
        if not self.epochs and not best.weights:
            best.look(self._finished(self._made()), 0, self.data, self.params)

        def drawn(epoch: int) -> Iterator[Batch]:
            return self._drawn(epoch, setting.workers)

        with warnings.catch_warnings():
            if self.trial.variant.privacy is not None:
                warnings.simplefilter("ignore")  # of hooks that Opacus sets as it must
            done = len(rows) >= self.epochs or (patience and best.waited >= patience)
            for epoch in () if done else self.training.run(drawn, after=len(rows)):
                rows.append(self._row(epoch, best))
                log.epoch(rows[-1])
                setting.say(epoch.number, epoch.loss)
                last = epoch.number == self.epochs or bool(patience and best.waited >= patience)
                if place is not None and setting.leads:
                    tensors = self.training.state() | best.tensors()
                    checkpoint.save(tensors, {"rows": rows, "best": best.facts()}, now=last)
                if last:
                    break
        self.plain.load_state_dict(best.weights)
        self.facts |= {
            "selected_epoch": best.epoch,
            "score": best.score,
            **detail(best.outcomes, self.params.task),
            "weights_sha256": weights_sha256(self.plain),
        }
        if self.data.aside:
            aside = evaluate(self.plain, self.data.aside, self.params.task, self.params.volume)
            self.facts["aside"] = {
                "score": score(aside, self.params.task),
                **detail(aside, self.params.task),
            }
        return Trained(self.plain, rows, self.facts, best.outcomes)

    def _drawn(self, epoch: int, workers: int) -> Iterator[Batch]:
        params, way = self.params, self.trial.variant
        others, second = beside(way, self.data, params)
        return batches(
            self.data.labeled,
            epoch,
            params.volume.patch,
            params.train,
            self.trial.seed,
            workers=workers,
            unlabeled=others,
            second=second,
            by_chance=way.privacy is not None,
        )

    def _made(self) -> torch.nn.Module:
        """The network as it would be kept now."""
        return adapters.merge(self.training.result, self.plain)

    def _finished(self, module: torch.nn.Module) -> torch.nn.Module:
        """The network with what its way does to it before it is looked at."""
        return finished(self.trial.variant, module, self.data, self.params, self.trial.seed)

    def _row(self, epoch: Epoch, best: _Best) -> Json:
        train, made, value = self.params.train, self._made(), None
        if epoch.number % train.validate_every == 0 or epoch.number == self.epochs:
            made = self._finished(made)  # at other epochs it would cost, and nobody looks
            value = best.look(made, epoch.number, self.data, self.params)
        return {
            "epoch": epoch.number,
            "loss": epoch.loss,
            "score": value,
            "weights_sha256": weights_sha256(made),
            "batches_sha256": epoch.batches_sha256,
        }


class _Best:
    """The best epoch so far."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}
        self.outcomes: list[Outcome] = []
        self.epoch, self.score, self.waited = 0, -1.0, 0

    def look(self, module: torch.nn.Module, epoch: int, data: Data, params: Parameters) -> float:
        """Validate, and keep what is better than anything before; the score."""
        outcomes = evaluate(module, data.validation, params.task, params.volume)
        value = score(outcomes, params.task) or 0.0
        self.waited += 1
        if value > self.score:
            self.weights = {
                name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()
            }
            self.outcomes, self.epoch, self.score, self.waited = outcomes, epoch, value, 0
        return value

    def tensors(self) -> dict[str, torch.Tensor]:
        return {f"best.{name}": tensor for name, tensor in self.weights.items()}

    def facts(self) -> Json:
        return {
            "epoch": self.epoch,
            "score": self.score,
            "waited": self.waited,
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
        }

    def restore(self, tensors: dict[str, torch.Tensor], facts: Json) -> None:
        self.weights = {
            name.removeprefix("best."): tensor
            for name, tensor in tensors.items()
            if name.startswith("best.")
        }
        self.outcomes = [Outcome(**outcome) for outcome in facts["outcomes"]]
        self.epoch, self.score, self.waited = facts["epoch"], facts["score"], facts["waited"]


def _check_kept(way: Variant, taken: Taken) -> None:
    """Refuse to answer with a head that nobody trained."""
    if way.head == "kept" and taken.new:
        raise Refused(
            f"Variant {way.name} keeps the head of its start, which lacks {len(taken.new)} tensors "
            f"of the network, first {taken.new[0]}.",
            "Take a source that answers this task, or let the head be new.",
        )


def _too_large(trial: Trial) -> WrongUse:
    return WrongUse(
        f"Memory does not suffice to train {trial.name}.",
        "Make `volume.patch` or `train.batch` smaller, or take a smaller network.",
    )
