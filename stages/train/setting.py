"""What decides no bit of a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _silent(epoch: int, loss: float) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Setting:
    """Where and how one training runs."""

    say: Callable[[int, float], None] = _silent
    """Told each epoch and its loss."""
    workers: int = 0
    """Processes that draw patches."""
    scratch: Path | None = None
    """Folder that survives a kill: a training that is begun again goes on from what lies there."""
    cache: Path | None = None
    """Folder of what can be made again, by digest."""
    logs: Path | None = None
    """Folder for TensorBoard."""
    leads: bool = True
    """Of several processes at one training, whether this one saves and tells."""

    def saved(self, name: str) -> Path | None:
        """Where the training of that name is saved; None if nothing is."""
        return self.scratch / f"{name}.safetensors" if self.scratch else None
