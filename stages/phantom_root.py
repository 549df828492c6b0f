"""The UID root of all phantoms: what is below it was generated, and shows no person."""

from __future__ import annotations

from typing import Final

UID_ROOT: Final = "2.25.202296166073290312408920939292506560508"
"""Derived from a UUID (DICOM PS3.5 Section B.2); the generator appends short arcs."""


def is_phantom(uid: str) -> bool:
    """Whether a study, series or instance UID was given by the phantom generator."""
    return uid.startswith(UID_ROOT + ".")
