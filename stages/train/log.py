"""Curves for TensorBoard: beside the store, for who watches; no artifact holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Log:
    """The curves of one training; without a folder nothing is written."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self._folder = folder / name if folder else None

    def epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch's numbers."""
        if self._folder is None:
            return
        from tensorboardX import SummaryWriter

        with SummaryWriter(str(self._folder)) as writer:
            for name in ("loss", "score"):
                if row.get(name) is not None:
                    writer.add_scalar(name, row[name], row["epoch"])
