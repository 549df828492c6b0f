"""The one series of a study that a release may be used on, or the pictures of it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage

from audit.errors import Refused, Unreadable, WrongUse
from stages.archive import read_zip
from stages.bundle import BundleConfig
from stages.picture import Picture, picture_of
from stages.series import Series, read_series

LIMIT_BYTES = 16 * 2**30
LIMIT_ENTRIES = 100_000
LIMIT_PICTURES = 2_000
"""Most pictures of a study that are answered."""
_REMEDY = "Export the study again, or give a folder that holds the wanted series alone."


def choose_series(study: Path, config: BundleConfig) -> Series:
    """Read a study's one suitable series (INF-2, INF-3).

    Instances of the task's modality are copied, series by series, into a temporary folder that
    goes when this function ends.

    Args:
        study: a folder (searched to its depth) or a zip of DICOM instances.
        config: of the bundle.

    Raises:
        WrongUse: there is no such study.
        Refused: no series, or more than one, is suitable.
        Unreadable: the archive is hostile or damaged.
    """
    modality, resample = config.task.modality, config.limits.resampled
    with tempfile.TemporaryDirectory(prefix="kette-") as name:
        folders = _sort(study, Path(name), modality)
        suitable, reasons = [], []
        for folder in folders:
            try:
                geometry = read_series(folder, pixels=False, resample=resample).geometry
            except Unreadable as error:
                reasons.append(error.what)
                continue
            if reason := config.limits.outside(geometry.shape, geometry.spacing_mm):
                reasons.append(reason)
            else:
                suitable.append(folder)
        if len(suitable) > 1:
            raise Refused(f"{len(suitable)} {modality} series of the study are suitable.", _REMEDY)
        if not suitable:
            count = f"None of the {len(reasons)} {modality} series of the study is suitable."
            raise Refused(f"{count} {reasons[0]}" if len(reasons) > 1 else reasons[0], _REMEDY)
        return read_series(suitable[0], resample=resample)


def read_pictures(study: Path, config: BundleConfig) -> Iterator[Picture]:
    """Read a study's suitable pictures, one at a time, in the order of their UIDs (INF-2, INF-3).

    Args:
        study: as for `choose_series`.
        config: of the bundle.

    Raises:
        WrongUse: there is no such study.
        Refused: no picture is suitable, or there are too many.
        Unreadable: the archive is hostile or damaged.
    """
    with tempfile.TemporaryDirectory(prefix="kette-") as name:
        folders = _sort(study, Path(name), config.task.modality)
        paths = [path for folder in folders for path in folder.iterdir()]
        if len(paths) > LIMIT_PICTURES:
            raise Refused(
                f"The study holds {len(paths)} pictures; {LIMIT_PICTURES} are answered at most.",
                _REMEDY,
            )
        reasons, suitable, studies = [], 0, set()
        for path in sorted(paths, key=_sop):
            try:
                picture = picture_of(path.read_bytes())
            except Unreadable as error:
                reasons.append(error.what)
                continue
            if reason := config.limits.outside(picture.pixels.shape, picture.spacing_mm):
                reasons.append(reason)
                continue
            suitable += 1
            studies.add(picture.study_uid)
            if len(studies) > 1:
                raise Refused("The pictures are of several studies.", _REMEDY)
            yield picture
        if not suitable:
            count = f"None of the {len(reasons)} pictures of the study is suitable."
            raise Refused(f"{count} {reasons[0]}" if len(reasons) > 1 else reasons[0], _REMEDY)


def _sop(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's warnings quote values
        header = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
    return str(header.get("SOPInstanceUID", ""))


def _sort(study: Path, into: Path, modality: str) -> list[Path]:
    """Copy the instances of a modality, a folder a series; the folders, in order of first sight.

    Raises:
        Refused: a file is DICOM and damaged, or none is of the modality.
    """
    folders: dict[str, Path] = {}
    others = 0
    for index, data in enumerate(_files(study)):
        header = _header(data)
        if header is None:
            continue
        if header.Modality != modality:
            others += 1
            continue
        uid = str(header.SeriesInstanceUID)
        folder = folders.setdefault(uid, into / f"{len(folders)}")
        folder.mkdir(exist_ok=True)
        (folder / f"{index:06d}.dcm").write_bytes(data)
    if not folders:
        found = f"only {others} instances of other modalities" if others else "no DICOM instance"
        raise Refused(f"The study holds no {modality} series: {found}.", _REMEDY)
    return list(folders.values())


def _files(study: Path) -> Iterator[bytes]:
    if study.is_dir():
        yield from (path.read_bytes() for path in sorted(study.rglob("*")) if path.is_file())
    elif study.is_file():
        for _, data in read_zip(study, limit_bytes=LIMIT_BYTES, limit_entries=LIMIT_ENTRIES):
            yield data
    else:
        raise WrongUse("There is no such study.", "Name a folder or a zip of DICOM instances.")


def _header(data: bytes) -> Dataset | None:
    """An instance's attributes without its pixels; None for what is not an instance of a series.

    Raises:
        Refused: it is DICOM and damaged; a series without it could look whole.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's warnings quote values
            header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
            if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
                return None
            if header.Modality and header.SeriesInstanceUID:
                return header
    except InvalidDicomError:
        return None
    except Exception:  # noqa: BLE001, S110 - any fault of the parser is a damaged instance
        pass
    raise Refused("A DICOM instance of the study is damaged.", _REMEDY)
