"""Chance that is the same everywhere: streams of integers, each named by words.

The words are hashed to the key of a Philox generator, whose raw 64-bit output NumPy guarantees.
Everything made of it is integer arithmetic: no logarithm, exponential or sum of floats, whose last
bit differs between instruction sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Integers = NDArray[np.int64]

BELL_SD: Final = 1000
"""Standard deviation of the values of `Chance.bell`."""


class Chance:
    """One stream; equal words give the equal stream.

    Args:
        words: what the stream is for, such as a subject's number and `"noise"`.
    """

    def __init__(self, *words: str | int) -> None:
        digest = hashlib.sha256("/".join(map(str, words)).encode()).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest[:16], "little"))

    def between(self, low: int, high: int) -> int:
        """One integer of [low, high]."""
        return low + int(self._bits.random_raw()) % (high - low + 1)

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[self.between(0, len(choices) - 1)]

    def digits(self, count: int) -> str:
        """A decimal number of `count` digits, the first not zero."""
        return str(self.between(10 ** (count - 1), 10**count - 1))

    def bell(self, shape: tuple[int, ...]) -> Integers:
        """Integers, bell-shaped around 0 (the sum of four uniform ones), SD `BELL_SD`."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), dtype=np.uint64)
        parts = [(raw >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (0, 16, 32, 48)]
        total = sum(part.astype(np.int64) for part in parts) - 2 * 0xFFFF
        # Four uniform integers below 2**16 have together an SD of 2**16 / sqrt(3) = 37837.
        return np.asarray((total * BELL_SD) // 37837, dtype=np.int64).reshape(shape)
