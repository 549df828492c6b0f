"""What may have caused a difference between two ladders, in words. Pure readings of two tables.

Rules:

- CAU-1  Subjects are named by pseudonym, series by their new UID: nothing else is known here.
- CAU-2  A table that is made of series and annotations is named only if none of those differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

ABSENT = "absent"


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Labels whose values differ, sorted."""
    return sorted(
        label
        for label in before.keys() | after.keys()
        if label not in before or label not in after or before[label] != after[label]
    )


def of_values(what: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`<what> <label>: <old> → <new>` for each that differs."""
    return [
        f"{what} {label}: {_shown(before, label)} → {_shown(after, label)}".lstrip()
        for label in differing(before, after)
    ]


def _shown(values: Mapping[str, Any], label: str) -> str:
    return str(values[label]) if label in values else ABSENT


def of_code(
    before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Each file that differs, with the stages that use it."""
    users: dict[str, list[str]] = {}
    for stage in sorted(before.keys() | after.keys()):
        for file in differing(before.get(stage, {}), after.get(stage, {})):
            users.setdefault(file, []).append(stage)
    return [f"code {file} (of {', '.join(stages)})" for file, stages in sorted(users.items())]


def of_inputs(
    before: Mapping[str, str], after: Mapping[str, str], *, annotations: Collection[str] = ()
) -> list[str]:
    """What differs in `data/`: whole subjects, series, labels, tables (CAU-1, CAU-2).

    Args:
        before: path below `data/` → SHA-256.
        after: the same, of the other.
        annotations: paths that are readers' annotations and no images.
    """
    whole = dict(_subjects(before, after))
    files, tables = [], []
    for path in differing(before, after):
        subject, _, name = path.partition("/")
        told = _became(path, _what(path, path in annotations), before, after)
        if not name:
            tables.append(told)
        elif subject not in whole:
            files.append(told)
    return [*whole.values(), *files] or tables


def _subjects(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Subjects that only one of the two has."""
    counts = [
        Counter(path.partition("/")[0] for path in paths if "/" in path)
        for paths in (before, after)
    ]
    for subject in sorted(counts[0].keys() ^ counts[1].keys()):
        gone, new = counts[0][subject], counts[1][subject]
        word = "is missing" if gone else "was added"
        yield subject, f"subject {subject} {word} ({gone or new} files)"


def _what(path: str, is_annotation: bool) -> str:  # noqa: FBT001 - one of two words
    """What a file of `data/` is."""
    place = PurePosixPath(path)
    if len(place.parts) == 1:
        return f"table {path}"
    subject = place.parts[0]
    if len(place.parts) > 2:
        return f"consensus label of series {place.stem} of {subject}"
    if is_annotation:
        return f"label {place.stem} of {subject} (a reader's annotation)"
    return f"pixels or header of series {place.stem} of {subject}"


def _became(path: str, what: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    word = "missing: " if path not in after else "added: " if path not in before else ""
    return f"{word}{what} ({path})" if "/" in path else f"{word}{what}"
