"""What level of reproduction is expected of a machine. Pure.

Rules:

- EXP-1  R1 is expected on a machine of the release's class, R2 elsewhere; what was asked for goes
         before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from flows.manifest import MachineClass

Level = Literal["R0", "R1", "R2"]
LEVELS: Final = ("R0", "R2", "R1")
"""In rising order: retrieved, equivalent, equal to the bit."""


def class_differences(released: MachineClass, here: MachineClass) -> tuple[str, ...]:
    """In what a machine is of another class.

    Interpreter and libraries are the environment's, which is rebuilt; another processor of the same
    instruction sets is of the same class.
    """
    found = [
        f"{name}: {was} → {now}"
        for name in ("system", "machine", "libc")
        if (was := getattr(released, name)) != (now := getattr(here, name))
    ]
    gone = sorted(set(released.isa) - set(here.isa))
    new = sorted(set(here.isa) - set(released.isa))
    if gone or new:
        changes = [*(f"−{name}" for name in gone), *(f"+{name}" for name in new)]
        found.append(f"instruction sets: {' '.join(changes)}")
    return tuple(found)


def expected(asked: Level | None, machine: Sequence[str]) -> Level:
    """The level to hold the reproduction against (EXP-1)."""
    return asked or ("R2" if machine else "R1")
