"""The phantom cohort: an incoming folder of DICOM, as three hospitals would have exported it.

Rules:

- PHA-1  The same bytes on every machine and instruction set: integers alone become bytes.
- PHA-2  A subject's files depend on the subject's number (and on whether defects are asked for),
         never on the rest of the cohort.
- PHA-3  Every instance lies below `UID_ROOT`, and obeys the standard but where a defect is planted.
- PHA-4  `Identities` names every planted identifier, original UID and date, as written.
- PHA-5  No planted identifier stands whole in this package's source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from stages.archive import write_zip
from stages.phantom import defects as planted_defects
from stages.phantom import subject as plan
from stages.phantom import uids
from stages.phantom.anatomy import build
from stages.phantom.chance import Chance
from stages.phantom.headers import slice_file
from stages.phantom.readers import draw, judge
from stages.phantom.scanner import scan
from stages.phantom.segmentation import annotation_file
from stages.phantom.site import READERS
from stages.phantom.study import UNLABELED, Defect, Study
from stages.phantom.subject import Subject

_ZIPPED_EVERY = 5


@dataclass(frozen=True)
class Identities:
    """Everything that was planted in order to be removed."""

    subjects: tuple[Subject, ...]
    planted: tuple[str, ...]
    """Names, ids, addresses, phone numbers, staff, free texts, folder names: as written."""
    uids: tuple[str, ...]
    """Original UIDs of studies, series, instances, frames of reference and what they refer to."""
    dates: Mapping[str, tuple[str, ...]]
    """PatientID → that subject's own original dates (DICOM DA)."""


def generate(
    out: Path, *, subjects: int = 24, unlabeled: int = 8, defects: bool = True, first: int = 0
) -> Identities:
    """Write a cohort below a folder: a folder or a zip archive for each subject.

    Args:
        out: the incoming folder; made if absent.
        subjects: how many labeled subjects.
        unlabeled: how many subjects without annotations.
        defects: whether to plant the defects (and one more subject, with a single slice).
        first: number of the first labeled subject.
    """
    out.mkdir(parents=True, exist_ok=True)
    known = identities(subjects=subjects, unlabeled=unlabeled, defects=defects, first=first)
    for subject in known.subjects:
        entries = [(f"{subject.folder}/{name}", data) for name, data in _files(subject)]
        if subject.number % _ZIPPED_EVERY == 0:
            write_zip(out / f"{subject.folder}.zip", entries)
            continue
        for name, data in entries:
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return known


def identities(
    *, subjects: int = 24, unlabeled: int = 8, defects: bool = True, first: int = 0
) -> Identities:
    """What `generate` with the same arguments plants, without making any voxel."""
    numbers = [*range(first, first + subjects)]
    numbers += range(UNLABELED, UNLABELED + unlabeled)
    numbers += [Defect.SINGLE_SLICE.value] if defects else []
    people = tuple(plan.subject(number, defects=defects) for number in numbers)
    return Identities(
        subjects=people,
        planted=tuple(sorted({text for one in people for text in one.planted})),
        uids=tuple(sorted({uid for one in people for uid in one.uids})),
        dates=MappingProxyType({one.patient_id: one.dates for one in people}),
    )


def _files(subject: Subject) -> Iterator[tuple[str, bytes]]:
    for study in subject.studies:
        yield from _study_files(subject, study)


def _study_files(subject: Subject, study: Study) -> Iterator[tuple[str, bytes]]:
    """One study's files: path below the subject's folder, and bytes."""
    vendor, key = subject.site.vendor, (subject.number, study.index)
    anatomy = build(vendor.space, subject.number, study.radii_um, malignant=subject.malignant)
    stored = scan(anatomy.density, vendor, Chance("noise", *key))
    if study.burned_in:
        stored = planted_defects.burn_in(stored, subject.person.spoken, vendor)
    for index in range(study.slices):
        if index != study.missing:
            name = _slice_name(subject, study, index)
            yield name, slice_file(subject, study, index, stored[index])
    readings = [
        (READERS[number], draw(anatomy, vendor.space, READERS[number], key))
        for number in study.readers
    ]
    for reader, labels in readings:
        verdict = judge(reader, key, malignant=subject.malignant)
        name = f"{_folder(subject, study)}/SEG_{reader.person.filed}.dcm"
        yield name, annotation_file(subject, study, reader, labels, verdict)
    if study.index:
        return
    if subject.defect is Defect.TRUNCATED:
        scout = planted_defects.truncated_scout(subject, study, stored[0])
        yield f"{_folder(subject, study)}/scout.dcm", scout
    if subject.defect is Defect.TEXT_FILE:
        yield f"Info {subject.person.filed}.txt", planted_defects.note(subject, study)
    if subject.defect is Defect.ORPHAN_ANNOTATION:
        reader, labels = readings[0]
        orphan = annotation_file(subject, study, reader, labels, "benign", orphan=True)
        yield f"{_folder(subject, study)}/SEG_alt.dcm", orphan


def _folder(subject: Subject, study: Study) -> str:
    """Each hospital's way to name a study's folder."""
    return (
        f"{study.da}_{study.accession}",
        study.accession,
        uids.study_uid(subject.number, study.index),
    )[subject.site.index]


def _slice_name(subject: Subject, study: Study, index: int) -> str:
    """Each hospital's way to name a slice's file."""
    name = (
        f"IM_{index + 1:04d}.dcm",
        f"{index + 1:08d}",
        f"CT.{uids.instance_uid(subject.number, study.index, index)}.dcm",
    )[subject.site.index]
    return f"{_folder(subject, study)}/{name}"
