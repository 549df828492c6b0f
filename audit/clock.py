"""The appending clock: what it says, and that it went back.

Order is by index, never by time. But a time that a reader can trust must not jump unseen: where a
writer's clock is behind the last record, that is a record of its own.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from audit.statement import event, utc_text

CLOCK_BACK: Final = "clock.back"


def now() -> datetime:
    """This machine's time, aware."""
    return datetime.now(UTC)


def went_back(was: str, at: datetime) -> dict[str, Any]:
    """The event of a clock that is behind the last record's time `was`."""
    return event(CLOCK_BACK, at=at, details={"was": was, "now": utc_text(at)})
