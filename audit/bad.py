"""How a verifier's steps say what does not hold; its public function makes it a result."""

from __future__ import annotations

from audit.errors import Refused


class Bad(Refused):
    """The first thing that does not hold.

    Args:
        where: `record <index>`, `checkpoint`, `bundle` or `file <relative path>`.
        reason: one sentence.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"{where[0].upper()}{where[1:]} does not hold: {reason}",
            "Compare with a copy from elsewhere: the mirror, a backup or the release's source.",
        )
        self.where = where
        self.reason = reason
