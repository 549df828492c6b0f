"""The Merkle tree over the ledger's records, as in RFC 6962 Section 2.1.

The tree is kept as a compact range: the roots of the perfect subtrees, from the left. It takes
O(log n) memory and one pass.

    tree = Tree()
    for raw in envelopes:
        tree.append(leaf_hash(raw))
    tree.root()
"""

from __future__ import annotations

import hashlib


def leaf_hash(data: bytes) -> bytes:
    """MTH({d}) = SHA-256(0x00 || d)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows leaf by leaf."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        """Roots of the perfect subtrees; one for each bit set in `size`, the largest first."""

    def append(self, leaf: bytes) -> None:
        """Add one leaf, by its hash."""
        # 1. The new leaf is a perfect subtree of one.
        # 2. While the last peak is of the same size (the size's lowest bits are set), the two
        #    are the halves of a larger perfect subtree.
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
        self._peaks.append(node)
        self.size += 1

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
