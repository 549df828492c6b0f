"""Hash tiles: the tree's hashes in files of 256, as C2SP tlog-tiles lays them out.

    tile/0/000          hashes of leaves 0 to 255
    tile/0/x001/234     hashes of leaves 315904 to 316159
    tile/1/000.p/7      roots of the first seven full tiles of level 0: a partial tile

A hash at level L is the root of the perfect subtree over 256^L leaves.

Rules:

- TIL-1  A full tile is 8,192 bytes and never changes. A partial tile of width W is 32·W bytes, the
         beginning of the full one.
- TIL-2  A checkpoint over n records has, at each level, all full tiles and the one partial tile
         that n gives. Partial tiles of other sizes may lie there; each byte of them counts too.

Source: C2SP tlog-tiles, section Merkle Tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audit.errors import Refused
from audit.merkle import HASH_BYTES, Tree, node_hash, peaks_of

FOLDER = "tile"
WIDTH = 256
"""Hashes in a full tile."""
HEIGHT = 8
"""Levels of the tree in a tile."""

_NAME = re.compile(
    rf"{FOLDER}/(?P<level>[0-9])/(?P<number>(x[0-9]{{3}}/)*[0-9]{{3}})"
    r"(\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
_PLACE = re.compile(rf"{FOLDER}(/[0-9](/x[0-9]{{3}})*(/[0-9]{{3}}\.p)?)?")
_REMEDY = "Run `kette audit verify`, then restore the ledger from its mirror or a backup."


@dataclass(frozen=True, order=True)
class Tile:
    """One tile's name."""

    level: int
    number: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Relative to the ledger."""
        digits = f"{self.number:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
        name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return f"{FOLDER}/{self.level}/{name}" + ("" if self.width == WIDTH else f".p/{self.width}")

    @property
    def leaves(self) -> int:
        """How many of the ledger's first records decide its bytes."""
        return (self.number * WIDTH + self.width) << HEIGHT * self.level


def tile_of(path: str) -> Tile | None:
    """The tile of a relative path; `tile_of(tile.path) == tile`, and None for any other path."""
    match = _NAME.fullmatch(path)
    if match is None:
        return None
    number = int(match["number"].replace("/", "").replace("x", ""))
    tile = Tile(int(match["level"]), number, int(match["width"] or WIDTH))
    return tile if tile.path == path else None


def is_tile_folder(path: str) -> bool:
    """Whether a relative path may be a folder of tiles."""
    return _PLACE.fullmatch(path) is not None


def tiles_at(size: int) -> Iterator[Tile]:
    """The partial tiles that a checkpoint over `size` records has, one a level at most."""
    for level in range(_levels(size)):
        number, width = divmod(size >> HEIGHT * level, WIDTH)
        if width:
            yield Tile(level, number, width)


def required(size: int) -> Iterator[Tile]:
    """All tiles of a checkpoint over `size` records (TIL-2)."""
    for level in range(_levels(size)):
        yield from (Tile(level, number) for number in range(size >> HEIGHT * (level + 1)))
    yield from tiles_at(size)


class Tiles:
    """The tiles in a folder, up to one checkpoint's size.

    Args:
        folder: the ledger, or a copy of its tiles.
        size: records that the tiles cover.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size
        self._read: dict[tuple[int, int], bytes] = {}
        self._nodes: dict[tuple[int, int], bytes] = {}
        """Height and number → root, of those between the tiles' levels: many proofs share them."""

    def tile(self, level: int, number: int) -> bytes:
        """A tile's hashes, as many as the size gives.

        Raises:
            Refused: if it is missing or not as long as it must be.
        """
        found = self._read.get((level, number))
        if found is None:
            width = min(WIDTH, (self._size >> HEIGHT * level) - number * WIDTH)
            tile = Tile(level, number, width)
            try:
                with (self._folder / tile.path).open("rb") as file:
                    found = file.read(WIDTH * HASH_BYTES + 1)
            except OSError:
                found = b""
            if len(found) != width * HASH_BYTES:
                raise Refused(f"The ledger's {tile.path} is missing or cut off.", _REMEDY)
            self._read[level, number] = found
        return found

    def node(self, height: int, number: int) -> bytes:
        """The root of a perfect subtree below the size (`audit.merkle.Node`)."""
        level, above = divmod(height, HEIGHT)
        if above == 0:
            at = number % WIDTH * HASH_BYTES
            return self.tile(level, number // WIDTH)[at : at + HASH_BYTES]
        found = self._nodes.get((height, number))
        if found is None:
            below = (self.node(height - 1, 2 * number), self.node(height - 1, 2 * number + 1))
            found = self._nodes[height, number] = node_hash(*below)
        return found

    def tree(self) -> Tree:
        """The tree at the size, ready to grow."""
        return Tree(self._size, peaks_of(self._size, self.node))

    def growth(self) -> Growth:
        """The tree with its unfinished tiles, ready to grow."""
        rows = {
            tile.level: bytearray(self.tile(tile.level, tile.number))
            for tile in tiles_at(self._size)
        }
        return Growth(self.tree(), rows)


class Growth:
    """A tree that gives its tiles as it grows; it holds one unfinished tile a level."""

    def __init__(self, tree: Tree | None = None, rows: dict[int, bytearray] | None = None) -> None:
        self.tree = tree or Tree()
        self._rows = rows or {}

    def append(self, leaf: bytes) -> Iterator[tuple[Tile, bytes]]:
        """Add a leaf; give the full tiles that it completes, the lowest first."""
        for level, node in enumerate(self.tree.append(leaf)[::HEIGHT]):
            row = self._rows.setdefault(level, bytearray())
            row += node
            if len(row) == WIDTH * HASH_BYTES:
                number = (self.tree.size >> HEIGHT * (level + 1)) - 1
                yield Tile(level, number), bytes(row)
                row.clear()

    def partial(self) -> Iterator[tuple[Tile, bytes]]:
        """The unfinished tiles as they stand."""
        for tile in tiles_at(self.tree.size):
            yield tile, bytes(self._rows[tile.level])


def _levels(size: int) -> int:
    """How many levels have a hash."""
    return -(-size.bit_length() // HEIGHT)
