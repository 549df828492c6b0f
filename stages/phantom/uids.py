"""Original UIDs of phantoms: arcs below `UID_ROOT` for subject, study, purpose and count."""

from __future__ import annotations

from stages.phantom_root import UID_ROOT


def _uid(subject: int, study: int, *arcs: int) -> str:
    return ".".join([UID_ROOT, *map(str, (subject + 1, study + 1, *arcs))])


def study_uid(subject: int, study: int) -> str:
    return _uid(subject, study, 1)


def frame_of_reference_uid(subject: int, study: int) -> str:
    return _uid(subject, study, 2)


def series_uid(subject: int, study: int) -> str:
    return _uid(subject, study, 3, 0)


def instance_uid(subject: int, study: int, index: int) -> str:
    """A slice's UID; index 0 is the lowest slice."""
    return _uid(subject, study, 3, index + 1)


def performed_step_uid(subject: int, study: int) -> str:
    return _uid(subject, study, 5)


def requested_study_uid(subject: int, study: int) -> str:
    """The study as the hospital's information system knows it."""
    return _uid(subject, study, 6)


def irradiation_uid(subject: int, study: int) -> str:
    return _uid(subject, study, 7)


def reader_uids(subject: int, study: int, reader: int) -> tuple[str, str, str]:
    """A reader's series, instance and dimension organization."""
    return (
        _uid(subject, study, 10, reader + 1, 1),
        _uid(subject, study, 10, reader + 1, 2),
        _uid(subject, study, 10, reader + 1, 3),
    )


def scout_uids(subject: int, study: int) -> tuple[str, str]:
    """The scout's series and instance."""
    return _uid(subject, study, 9, 0), _uid(subject, study, 9, 1)


def orphan_uids(subject: int, study: int) -> tuple[str, str]:
    """Series and instance of the annotation that refers to a series that nobody exported."""
    return _uid(subject, study, 11, 1), _uid(subject, study, 11, 2)


def absent_uid(subject: int, study: int, index: int = -1) -> str:
    """A series that nobody exported; with an index, its instances."""
    return _uid(subject, study, 8, index + 1)
