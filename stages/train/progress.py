"""How far a comparison is, by epochs."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str, float], None]


class Progress:
    """Fraction done over all trainings."""

    def __init__(self, total: int, say: Say) -> None:
        """Take the number of epochs of all that is to come."""
        self._before, self._total, self._say = 0, max(1, total), say

    def of(self, part: str, epochs: int) -> Callable[[int, float], None]:
        """What one training tells its epochs and losses to."""
        start = self._before
        self._before += epochs

        def say(epoch: int, loss: float) -> None:
            text = f"{part}: epoch {epoch} of {epochs}, loss {loss:.4f}"
            self._say(text, min(1.0, (start + epoch) / self._total))

        return say
