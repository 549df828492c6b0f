"""How a verifier's steps say what does not hold; its public function makes it a result."""

from __future__ import annotations


class Bad(Exception):
    """The first thing that does not hold.

    Args:
        where: `record <index>`, `checkpoint`, `bundle` or `file <relative path>`.
        reason: one sentence.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(reason)
        self.where = where
        self.reason = reason
