"""The tiles of a ledger against its records, as the tree grows over them.

A difference is only kept here: whether a record or its tile was changed, the checkpoint tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from audit.bad import Bad
from audit.merkle import HASH_BYTES
from audit.tiles import WIDTH, Growth, Tile, required


class TileCheck:
    """Holds each tile in a folder against the same tile made from the records.

    Args:
        folder: the ledger.
        tiles: those that lie there.
    """

    def __init__(self, folder: Path, tiles: Iterable[Tile]) -> None:
        self.growth = Growth()
        self.suspect: tuple[Tile, int] | None = None
        """The first tile that differs, and the number of its first hash that does."""
        self._folder = folder
        self._there = frozenset(tiles)
        self._unseen = set(self._there)
        self._widths: dict[tuple[int, int], list[Tile]] = defaultdict(list)
        for tile in sorted(self._there):
            self._widths[tile.level, tile.number].append(tile)

    def append(self, leaf: bytes) -> None:
        """Grow the tree by a leaf, and compare the tiles that it completes."""
        for tile, data in self.growth.append(leaf):
            self._compare(tile, data)

    def compare_partial(self) -> None:
        """Compare the unfinished tiles as they stand."""
        for tile, data in self.growth.partial():
            self._compare(tile, data)

    def finish(self, size: int) -> None:
        """Compare the unfinished tiles; every tile must be there and belong there.

        Args:
            size: records that the checkpoint covers.

        Raises:
            Bad: for a tile that covers records that are not there, or that is missing.
        """
        self.compare_partial()
        for tile in sorted(self._unseen):
            raise Bad(f"file {tile.path}", "It covers records that are not there.")
        for tile in required(size):
            if tile not in self._there:
                raise Bad(f"file {tile.path}", "It is missing.")

    def _compare(self, made: Tile, data: bytes) -> None:
        for tile in self._widths.get((made.level, made.number), ()):
            with (self._folder / tile.path).open("rb") as file:
                found = file.read(WIDTH * HASH_BYTES + 1)
            if tile.width <= made.width:
                self._unseen.discard(tile)
            else:
                found = found[: len(data)]
            expected = data[: tile.width * HASH_BYTES]
            if found != expected and self.suspect is None:
                pairs = zip(found, expected, strict=False)
                same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(expected) - 1)
                self.suspect = tile, same // HASH_BYTES
