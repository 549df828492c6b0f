"""The training loop: one for pre-training and every variant.

AdamW, a learning rate that falls by epoch to zero (polynomial of degree 0.9, as in nnU-Net,
Isensee et al., Nature Methods 2021, or a cosine's half wave, Loshchilov and Hutter 2017; before it
a warm-up, if asked for), gradients clipped to a norm, and, if asked for, a moving average of the
weights. Between two epochs a training is its state: what is saved there goes on to
the same bits, since all chance of an epoch is seeded by its number.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from audit.errors import Fault
from stages.params import Numerics
from stages.train import parallel
from stages.train.batches import Batch
from stages.train.objective import Objective
from stages.train.params import TrainParams
from stages.train.privacy import Noise, without_cases, wrap
from stages.train.rates import Group, everything

CLIP_NORM = 12.0


@dataclass(frozen=True)
class Epoch:
    """One pass over the data."""

    number: int
    """From 1."""
    loss: float
    """Mean over batches."""
    batches_sha256: str
    """Of the bytes of every batch that the network saw, in their order."""


@dataclass(frozen=True)
class Course:
    """How a training goes, whatever is trained."""

    name: str
    """Of what is trained, for messages."""
    epochs: int
    seed: int
    learning_rate: float
    weight_decay: float
    average: float | None
    numerics: Numerics
    warmup: float = 0.0
    decay: str = "polynomial"
    balance_until: float | None = None

    @classmethod
    def of(
        cls, name: str, epochs: int, seed: int, train: TrainParams, numerics: Numerics
    ) -> Course:
        """The declared course of one training."""
        return cls(
            name,
            epochs,
            seed,
            train.learning_rate,
            train.weight_decay,
            train.average,
            numerics,
            train.warmup,
            train.decay,
            train.balance_until,
        )

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, from 1."""
        done = (epoch - 1) / self.epochs
        if done < self.warmup:
            return self.learning_rate * min(1.0, epoch / (self.epochs * self.warmup))
        left = (1 - done) / (1 - self.warmup)
        if self.decay == "cosine":
            return self.learning_rate * (1 - math.cos(math.pi * left)) / 2
        return self.learning_rate * math.pow(left, 0.9)

    def balance(self, epoch: int) -> float:
        """How far weights that balance are in force in an epoch, from 1 to 0."""
        if self.balance_until is None:
            return 1.0
        return max(0.0, 1 - (epoch - 1) / self.epochs / self.balance_until)


State = dict[str, torch.Tensor]


class Training:
    """One training of a network in place."""

    def __init__(
        self,
        module: torch.nn.Module,
        objective: Objective,
        course: Course,
        groups: Sequence[Group] | None = None,
        noise: Noise | None = None,
    ) -> None:
        """Prepare it.

        Args:
            module: parameters that require no gradient stay as they are, and so do the running
                statistics of their layers.
            objective: of the batches.
            course: epochs, rates, seed.
            groups: which of the module's parameters learn how fast, and when; all alike if None.
            noise: keeps the training private.
        """
        parallel.check_shares(module)
        self.device = course.numerics.device
        self.module = module.to(self.device)
        self.objective = objective.to(self.device)
        self.course = course
        self._groups = list(groups if groups is not None else everything(module))
        own = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        named = dict(module.named_parameters())
        parts = [[named[name] for name in group.names] for group in self._groups]
        self._trained = [parameter for part in [*parts, own] for parameter in part]
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            [{"params": part} for part in [*parts, own] if part] or [{"params": []}],
            lr=course.learning_rate,
            weight_decay=course.weight_decay,
            fused=True,
        )
        self._optimizer = optimizer if noise is None else wrap(module, optimizer, noise)
        self._private = noise is not None
        self._factors = [
            group.factor for group, part in zip(self._groups, parts, strict=True) if part
        ]
        self._parts = [part for part in parts if part]
        self._average = (
            AveragedModel(
                module,
                multi_avg_fn=_warmed(course.average),
                use_buffers=True,
            )
            if course.average
            else None
        )
        self._scaler = torch.amp.GradScaler(enabled=course.numerics.precision == "f16")

    @property
    def result(self) -> torch.nn.Module:
        """The network that is validated and kept: the objective's, or the average if there is."""
        own: torch.nn.Module = self.objective.result(self.module)
        if self._average is None or own is not self.module:
            return own
        averaged: torch.nn.Module = self._average.module
        return averaged

    def run(self, batches: Callable[[int], Iterable[Batch]], *, after: int = 0) -> Iterator[Epoch]:
        """Train; between two epochs the caller may look at the network, or save the state.

        Args:
            batches: epoch (from 1) → the epoch's batches.
            after: the last epoch that is done already.

        Yields:
            what each epoch was.

        Raises:
            Fault: a loss, a gradient or a weight is not finite.
        """
        for number in range(after + 1, self.course.epochs + 1):
            yield self._epoch(number, batches(number))

    def _epoch(self, number: int, batches: Iterable[Batch]) -> Epoch:
        course = self.course
        torch.manual_seed(course.seed * 100_003 + number)
        done = (number - 1) / course.epochs
        self._set_rates(number)
        _set_modes(self.module)
        self.objective.train()
        self.objective.before_epoch(course.balance(number))
        losses, seen = [], hashlib.sha256()
        for batch in batches:
            batch.update(seen)
            losses.append(self._step(batch, number))
            self.objective.after_step(self.module, done)
            if self._average is not None:
                self._average.update_parameters(self.module)
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self._trained):
            raise _diverged(course.name, number, "weights")
        return Epoch(number, math.fsum(losses) / len(losses), seen.hexdigest())

    def _step(self, batch: Batch, number: int) -> float:
        own = parallel.share(batch)
        self._optimizer.zero_grad()
        loss = 0.0
        if own is not None and len(own.images):
            with self._mixed():
                value: torch.Tensor = self.objective(self.module, own.to(self.device))
            loss = value.item()
            self._scaler.scale(value).backward()  # type: ignore[no-untyped-call]
        elif self._private:
            without_cases(self._trained)
        weight = 0.0 if own is None else len(own.images) / max(1, len(batch.images))
        loss = parallel.average(self._trained, loss, weight)
        if not math.isfinite(loss):
            raise _diverged(self.course.name, number, "loss")
        if self._private:  # clips each case for itself
            self._optimizer.step()
            return loss
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._trained, CLIP_NORM)
        if not self._scaler.is_enabled() and not torch.isfinite(norm):
            raise _diverged(self.course.name, number, "gradient")
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss

    def _mixed(self) -> AbstractContextManager[Any]:
        if self.course.numerics.precision == "f32":
            return nullcontext()
        kind = {"bf16": torch.bfloat16, "f16": torch.float16}[self.course.numerics.precision]
        return torch.autocast(self.device, dtype=kind)

    def _set_rates(self, number: int) -> None:
        """The learning rate of every group; what learns nothing for now is frozen for now."""
        done, rate = (number - 1) / self.course.epochs, self.course.rate(number)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for group, part, factor in zip(
            self._optimizer.param_groups, self._parts, self._factors, strict=False
        ):
            group["lr"] = rate * factor(done)
            for parameter in part:
                parameter.requires_grad_(factor(done) > 0)

    def state(self) -> State:
        """All that the next epochs stand on, as tensors by name."""
        found = {f"module.{name}": value for name, value in self.module.state_dict().items()}
        found |= {f"objective.{n}": value for n, value in self.objective.state_dict().items()}
        if self._average is not None:
            found |= {f"average.{n}": value for n, value in self._average.state_dict().items()}
        for index, values in self._optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        return {name: value.detach().cpu().clone() for name, value in found.items()}

    def restore(self, state: State) -> None:
        """Take up a state that `state` gave for the same training."""
        parts: dict[str, State] = {}
        for name, value in state.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
        self.module.load_state_dict(parts["module"])
        self.objective.load_state_dict(parts.get("objective", {}))
        if self._average is not None:
            self._average.load_state_dict(parts["average"])
        kept: dict[int, State] = {}
        learning = [p for group in self._optimizer.param_groups for p in group["params"]]
        for name, value in parts.get("optimizer", {}).items():
            index, _, rest = name.partition(".")
            like = learning[int(index)]
            # Fused steps need a parameter and its moments in one memory format.
            moment = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
            kept.setdefault(int(index), {})[rest] = moment
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": kept, "param_groups": groups})


def _warmed(decay: float) -> Callable[[Any, Any, Any], None]:
    """A moving average that forgets its random start: early on its decay is lower.

    Source: the schedule of TensorFlow's `ExponentialMovingAverage`, min(decay, (1 + n) / (10 + n)).
    """

    def average(kept: Any, new: Any, count: Any) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(now)(kept, new, count)  # type: ignore[no-untyped-call]

    return average


def _set_modes(module: torch.nn.Module) -> None:
    """Training mode, but for layers whose own parameters are all frozen."""
    module.train()
    for layer in module.modules():
        own = list(layer.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            layer.eval()


def _diverged(name: str, epoch: int, what: str) -> Fault:
    return Fault(
        f"The {what} of {name} became infinite or not a number in epoch {epoch}.",
        "Lower `train.learning_rate`, or bound the intensities with `volume.window`.",
    )
