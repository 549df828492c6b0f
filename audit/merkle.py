"""The Merkle tree over the ledger's records, as in RFC 6962 Section 2.1, and proofs from it.

The tree is kept as a compact range: the roots of the perfect subtrees, from the left. It takes
O(log n) memory and one pass. Proofs are made from a function that gives perfect subtrees
(`audit.tiles` keeps them), and checked from hashes alone.

    tree = Tree()
    for raw in envelopes:
        tree.append(leaf_hash(raw))
    tree.root()
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

HASH_BYTES = 32

Node = Callable[[int, int], bytes]
"""(height h, number i) → root of the perfect subtree over leaves i·2^h up to (i + 1)·2^h."""


def leaf_hash(data: bytes) -> bytes:
    """MTH({d}) = SHA-256(0x00 || d)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows leaf by leaf.

    Args:
        size: leaves that it has from the beginning.
        peaks: roots of its perfect subtrees then, the largest first (`peaks_of`).
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)
        """One for each bit set in `size`, the largest first."""

    def append(self, leaf: bytes) -> list[bytes]:
        """Add one leaf, by its hash.

        Returns:
            Roots of the perfect subtrees that it completes: the leaf, then those of 2, 4, 8, …
        """
        # 1. The new leaf is a perfect subtree of one.
        # 2. While the last peak is of the same size (the size's lowest bits are set), the two
        #    are the halves of a larger perfect subtree.
        completed, size = [leaf], self.size
        while size & 1:
            completed.append(node_hash(self._peaks.pop(), completed[-1]))
            size >>= 1
        self._peaks.append(completed[-1])
        self.size += 1
        return completed

    def root(self) -> bytes:
        """MTH of all leaves."""
        # 1. MTH({}) = SHA-256().
        if not self._peaks:
            return hashlib.sha256().digest()
        # 2. For n > 1, with k the largest power of two smaller than n,
        #    MTH(D[n]) = SHA-256(0x01 || MTH(D[0:k]) || MTH(D[k:n])): fold the peaks from the right.
        node = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            node = node_hash(peak, node)
        return node


def peaks_of(size: int, node: Node) -> list[bytes]:
    """Roots of the perfect subtrees of a tree, the largest first."""
    heights = [height for height in reversed(range(size.bit_length())) if size >> height & 1]
    return [node(height, (size >> height) - 1) for height in heights]


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962 Section 2.1.1: from the leaf's sibling up to the root.

    Args:
        index: of the leaf; 0 <= index < size.
        size: leaves in the tree.
        node: gives its perfect subtrees.
    """
    path = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """PROOF(m, D[n]) of RFC 6962 Section 2.1.2: that the tree over `new` leaves extends the other.

    Args:
        old: leaves in the earlier tree; 0 <= old <= new.
        new: leaves in the later one.
        node: gives its perfect subtrees.
    """
    if old in {0, new}:
        return []
    path = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_subtree(middle, end, node))
            end = middle
        else:
            path.append(_subtree(start, middle, node))
            start, whole = middle, False
    if not whole:
        path.append(_subtree(start, end, node))
    return path[::-1]


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that an inclusion proof leads to (RFC 9162 Section 2.1.3.2); None for no proof.

    Args:
        leaf: the leaf's hash.
        index: of the leaf.
        size: leaves in the tree.
        path: as `inclusion_proof` gives it.
    """
    if not 0 <= index < size:
        return None
    first, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if first & 1 or first == last:
            node = node_hash(sibling, node)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        first, last = first >> 1, last >> 1
    return node if last == 0 else None


def is_consistent(
    old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]
) -> bool:
    """Whether a consistency proof holds (RFC 9162 Section 2.1.4.2).

    Args:
        old: leaves in the earlier tree.
        old_root: its root.
        new: leaves in the later tree.
        new_root: its root.
        path: as `consistency_proof` gives it.
    """
    if old in {0, new}:
        empty = old == 0 and old_root == Tree().root()
        return not path and old <= new and (empty or (old == new and old_root == new_root))
    if not 0 < old < new or not path:
        return False
    first, last, rest = old - 1, new - 1, list(path)
    while first & 1:
        first, last = first >> 1, last >> 1
    # Where the earlier tree is perfect, its root is no part of the proof.
    one = two = old_root if first == 0 and old & (old - 1) == 0 else rest.pop(0)
    for sibling in rest:
        if last == 0:
            return False
        if first & 1 or first == last:
            one, two = node_hash(sibling, one), node_hash(sibling, two)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            two = node_hash(two, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and one == old_root and two == new_root


def _subtree(start: int, end: int, node: Node) -> bytes:
    """MTH(D[start:end]), where `start` is a multiple of a power of two not below the length."""
    length = end - start
    if length & (length - 1) == 0:
        height = length.bit_length() - 1
        return node(height, start >> height)
    middle = start + _split(length)
    return node_hash(_subtree(start, middle, node), _subtree(middle, end, node))


def _split(length: int) -> int:
    """The largest power of two smaller than `length` (> 1)."""
    return 1 << (length - 1).bit_length() - 1
