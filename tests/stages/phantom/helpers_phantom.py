"""Reads a written phantom cohort back as others would."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from pydicom import DataElement, Dataset, dcmread
from pydicom.charset import convert_encodings

from stages.phantom.cohort import Identities, generate
from stages.phantom.subject import Subject

Files = dict[str, bytes]


def read_all(folder: Path) -> Files:
    """Every file below a folder by its relative path; archives are opened like folders."""
    found: Files = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                found |= {name: archive.read(name) for name in archive.namelist()}
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


@cache
def small_cohort() -> tuple[Identities, Files]:
    """Six labeled subjects and one unlabeled, with every defect; made once for all tests."""
    with TemporaryDirectory() as folder:
        known = generate(Path(folder), subjects=6, unlabeled=1)
        return known, read_all(Path(folder))


def of(files: Files, subject: Subject) -> Files:
    """The files of one subject, by path below the subject's folder."""
    head = subject.folder + "/"
    return {name.removeprefix(head): data for name, data in files.items() if name.startswith(head)}


def datasets(files: Files) -> Iterator[tuple[str, Dataset]]:
    """Every file that is a whole DICOM file."""
    for name, data in files.items():
        if not name.endswith((".txt", "scout.dcm")):
            yield name, dcmread(BytesIO(data))


def elements(dataset: Dataset) -> Iterator[DataElement]:
    """Every element, those of nested sequences too."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        else:
            yield element


def encodings(dataset: Dataset) -> list[str]:
    """Python's names of the character sets that a dataset declares."""
    return convert_encodings(dataset.SpecificCharacterSet)
