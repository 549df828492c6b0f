"""The phantom cohort with needles in every slice and text burned into a picture of each subject,
through the whole stage, and its pairs.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pydicom
from helpers_canary import MALFORMED, PLANTS, plant, wrap
from helpers_ingest import NAME, ROOT, encoded, ingest, new_vault, parameters
from helpers_midi import Box, Pair
from helpers_text import draw, picture, speckle
from pydicom.dataset import Dataset

from stages.phantom.cohort import generate

_IDENTITY = ("PatientID", "IssuerOfPatientID", "a UID", "IS: AcquisitionNumber")
"""Places that would make another patient, study or volume of a slice."""
PLANTED = tuple(one for one in PLANTS if one not in MALFORMED and one.place not in _IDENTITY)
CT = "1.2.840.10008.5.1.4.1.1.2"


def cohort(folder: Path, subjects: int) -> tuple[dict[bytes, tuple[Box, ...]], set[str]]:
    """Files of phantom subjects, planted: where text is in their pixels, and all that was planted.

    Args:
        folder: where the phantom is made.
        subjects: how many.
    """
    known = generate(folder, subjects=subjects, unlabeled=0, defects=False)
    files: dict[bytes, tuple[Box, ...]] = {}
    firsts: dict[str, Dataset] = {}
    for data in _files(folder):
        try:
            dataset = pydicom.dcmread(BytesIO(data))
        except pydicom.errors.InvalidDicomError:
            continue
        slices = dataset.SOPClassUID == CT
        files[wrap(plant(dataset, PLANTED, {})) if slices else data] = ()
        if slices:
            firsts.setdefault(str(dataset.PatientID), dataset)
    for number, first in enumerate(firsts.values()):
        data, box = _burned(first, number)
        files[data] = (box,)
    return files, {one.needle for one in PLANTED} | {*known.planted, *NAME.split("^")}


def _files(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                yield from (archive.read(name) for name in sorted(archive.namelist()))
        elif path.is_file():
            yield path.read_bytes()


def _burned(first: Dataset, number: int) -> tuple[bytes, Box]:
    """An ultrasound image of a subject with a name and a year in its pixels."""
    drawn, box = draw(speckle(seed=number), at=(20 + 10 * (number % 5), 10))
    same = ("PatientID", "PatientName", "PatientBirthDate", "StudyDate", "StudyInstanceUID")
    dataset = picture(
        drawn,
        number,
        SeriesInstanceUID=f"{ROOT}.6.{number}.0",
        FrameOfReferenceUID=f"{ROOT}.6.{number}.9",
        SpecificCharacterSet="ISO_IR 192",
        **{keyword: first[keyword].value for keyword in same},
    )
    return encoded(dataset), (slice(box.top, box.bottom), slice(box.left, box.right))


def pairs(tmp_path: Path, subjects: int) -> tuple[list[Pair], set[str]]:
    """The cohort's source instances with what the stage made of them."""
    files, planted = cohort(tmp_path / "phantom", subjects)
    (tmp_path / "in").mkdir()
    for number, data in enumerate(files):
        (tmp_path / "in" / f"{number}.dcm").write_bytes(data)
    result = ingest(
        tmp_path / "out",
        tmp_path / "in",
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(max_quarantined_fraction=1),
    )
    made = {
        row["input_sha256"]: f"{row['subject']}/{row['series']}/{row['sop']}.dcm"
        for row in result.table("instances")
    }
    members = result.members
    found = []
    for data, boxes in files.items():
        name = made.get(sha256(data).hexdigest())
        output = members[name] if name else b""
        found.append(
            Pair(
                pydicom.dcmread(BytesIO(data)),
                pydicom.dcmread(BytesIO(output)) if output else None,
                output,
                boxes,
                margin=12,
            )
        )
    return found, planted
