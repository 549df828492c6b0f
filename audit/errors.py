"""The errors of the pipeline: what failed, on which record, what to do next.

A record is named by pseudonym or file digest, never by name or path of a source.
"""

from __future__ import annotations

from typing import ClassVar


class KetteError(Exception):
    """Base of all errors that the program raises on purpose.

    Args:
        what: one sentence, without identifiers: what failed and on which record.
        remedy: one sentence: what to do next.
    """

    exit_code: ClassVar[int] = 3

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return self.what

    def diagnostics(self) -> str:
        """The two sentences that a user reads."""
        return f"{self.what} {self.remedy}"


class WrongUse(KetteError):
    """The call, the parameters or the project's state do not allow it (exit code 2)."""

    exit_code = 2


class Refused(KetteError):
    """A gate refused, or a verification failed (exit code 1)."""

    exit_code = 1


class Fault(KetteError):
    """Something outside failed: the disk, a library, another process (exit code 3)."""


class Transient(Fault):
    """A fault that may be gone at the next try: a disk's refusal, a worker that died."""


class Unreadable(KetteError):
    """An input file cannot be read or trusted; it is quarantined with this reason."""
