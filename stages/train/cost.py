"""What each part of a comparison costs: measured, never written below the unit's folder."""

from __future__ import annotations

import resource
from time import perf_counter, process_time
from typing import Any

_KIB = 1024


class Cost:
    """Seconds, seconds of processors, and memory, part by part."""

    def __init__(self) -> None:
        self._last = self._now()
        self._seconds: dict[str, float] = {}
        self._processor: dict[str, float] = {}

    @staticmethod
    def _now() -> tuple[float, float]:
        return perf_counter(), process_time()

    def lap(self, part: str) -> None:
        """Say that a part ends here."""
        wall, processor = self._now()
        self._seconds[part] = round(wall - self._last[0], 3)
        self._processor[part] = round(processor - self._last[1], 3)
        self._last = wall, processor

    def measured(self) -> dict[str, Any]:
        """For the record: by part, and the process's peak of resident memory (MiB)."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "seconds": self._seconds,
            "cpu_seconds": self._processor,
            "peak_memory_mib": round(peak / _KIB),
        }
