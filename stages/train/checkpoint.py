"""A training's state on disk, so that a run that was killed goes on where it was.

It lies in the unit's scratch folder, which belongs to the unit's key and goes when the unit is
done. It is tensors and JSON (safetensors); a file is there whole or not at all.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

Json = dict[str, Any]
_SHARE = 20
"""At most one part in so many of the time goes into saving."""


class Checkpoint:
    """Where one training is saved between epochs; without a path nothing is."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._next = 0.0

    def load(self) -> tuple[dict[str, torch.Tensor], Json] | None:
        """What was saved last; None if there is nothing that can be read."""
        if self._path is None or not self._path.is_file():
            return None
        try:
            with safe_open(self._path, framework="pt") as file:
                facts: Json = json.loads(file.metadata()["facts"])
                return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118
        except (SafetensorError, KeyError, ValueError, TypeError, OSError):
            return None

    def save(self, tensors: Mapping[str, torch.Tensor], facts: Json, *, now: bool = False) -> None:
        """Save, unless that would take too much of the time; `now` saves at any price."""
        started = time.monotonic()
        if self._path is None or (started < self._next and not now):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".draft")
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        draft.write_bytes(save(whole, metadata={"facts": json.dumps(facts)}))
        draft.replace(self._path)
        ended = time.monotonic()
        self._next = ended + _SHARE * (ended - started)
