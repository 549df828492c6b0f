"""The phantom cohort with needles in every slice, through the whole stage, and its pairs."""

from __future__ import annotations

import zipfile
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pydicom
from helpers_canary import MALFORMED, PLANTS, plant, wrap
from helpers_ingest import ingest, new_vault, parameters
from helpers_midi import Pair

from stages.phantom.cohort import generate

_IDENTITY = ("PatientID", "IssuerOfPatientID", "a UID", "IS: AcquisitionNumber")
"""Places that would make another patient, study or volume of a slice."""
PLANTED = tuple(one for one in PLANTS if one not in MALFORMED and one.place not in _IDENTITY)
CT = "1.2.840.10008.5.1.4.1.1.2"


def cohort(folder: Path, subjects: int) -> tuple[list[bytes], set[str]]:
    """Files of phantom subjects, planted, and every text that was planted in them."""
    known = generate(folder, subjects=subjects, unlabeled=0, defects=False)
    files = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                files += [archive.read(name) for name in sorted(archive.namelist())]
        elif path.is_file():
            files.append(path.read_bytes())
    planted = []
    for data in files:
        try:
            dataset = pydicom.dcmread(BytesIO(data))
        except pydicom.errors.InvalidDicomError:
            continue
        slices = dataset.SOPClassUID == CT
        planted.append(wrap(plant(dataset, PLANTED, {})) if slices else data)
    return planted, {one.needle for one in PLANTED} | set(known.planted)


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
    for data in files:
        name = made.get(sha256(data).hexdigest())
        output = members[name] if name else b""
        found.append(
            Pair(
                pydicom.dcmread(BytesIO(data)),
                pydicom.dcmread(BytesIO(output)) if output else None,
                output,
            )
        )
    return found, planted
