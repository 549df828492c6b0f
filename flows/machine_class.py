"""The class of this machine: what must be alike for a rebuild to be equal to the bit."""

from __future__ import annotations

import platform
import re
from pathlib import Path

from flows.manifest import MachineClass
from stages.lock import environment

_VECTORS = re.compile(r"(sse|ssse|avx|fma|f16c|amx|neon|asimd|sve)\w*")
"""Flags of the processor that numeric libraries choose their code by."""


def machine_class() -> MachineClass:
    """Facts about this machine, none of which names it."""
    facts = environment()
    return MachineClass(
        system=facts["system"],
        machine=facts["machine"],
        libc=facts["libc"],
        python=facts["python"],
        torch=facts["torch"],
        processor=facts["processor"] or platform.machine(),
        isa=vectors(_flags()),
    )


def vectors(flags: str) -> tuple[str, ...]:
    """The vector instruction sets among a processor's flags, sorted."""
    return tuple(sorted({flag for flag in flags.split() if _VECTORS.fullmatch(flag)}))


def _flags() -> str:
    """The flags line of the first processor; empty where the system has no such file."""
    path = Path("/proc/cpuinfo")
    text = path.read_text("utf-8", "replace") if path.is_file() else ""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return found[1] if found else ""
