"""NIfTI images among the sources: each, with its sidecar and labels, is read like an archive.

Rules:

- NII-6  `<name>.nii` or `<name>.nii.gz` is an image; `<name>.json` beside it is its sidecar. A
         NIfTI file that a sidecar of the folder names under `Labels` is that image's label map.
- NII-7  Sidecars and label maps lie in the image's own folder and are plain files; no link, no
         path is followed. What cannot be read of the three quarantines them whole, by the digest
         of the image.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from audit.errors import Unreadable
from stages.ingest.params import Limits

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ENDINGS: Final = (".nii", ".nii.gz")
_REMEDY: Final = "Put the image, its sidecar and its label maps into one folder, as plain files."


class Role(StrEnum):
    """What a file of a folder is to ingestion."""

    IMAGE = "image"
    PART = "part"
    """A sidecar, or labels: read with its image."""


def roles(folder: Path, names: Sequence[str]) -> dict[str, Role]:
    """Name → role, of the NIfTI files of a folder and what belongs to them (NII-6).

    Args:
        folder: where they lie.
        names: of all its files.
    """
    found = {name: Role.IMAGE for name in names if name.endswith(_ENDINGS)}
    here = set(names)
    for name in list(found):
        sidecar = _sidecar_of(name)
        if sidecar in here:
            found[sidecar] = Role.PART
            for labels in _labels(folder / sidecar):
                if labels in found and labels != name:
                    found[labels] = Role.PART
    return found


def is_image(path: str | Path) -> bool:
    """Whether a file is a NIfTI image by its name."""
    return str(path).endswith(_ENDINGS)


class NiftiReader:
    """An image as the DICOM instances that it becomes, read like an archive."""

    def __init__(self, path: Path, limits: Limits) -> None:
        """Read and check all of an image.

        Raises:
            Unreadable: NII-1 to NII-3, NII-7.
        """
        from stages.ingest import nifti_sidecar
        from stages.ingest.nifti_box import read_nifti
        from stages.ingest.nifti_dicom import Converted, encoded

        self._encoded = encoded
        sidecar = nifti_sidecar.parse(
            _bytes(path.with_name(_sidecar_of(path.name)), nifti_sidecar.LARGEST)
        )
        with _plain(path, limits.file_bytes) as file:
            self._image = Converted(read_nifti(file, limits), sidecar)
        self._made: dict[str, partial[Dataset]] = {
            f"{index:05d}.dcm": partial(self._image.slice, index)
            for index in range(len(self._image))
        }
        for number, said in enumerate(sidecar.labels):
            with _plain(path.with_name(said.file), limits.file_bytes) as file:
                seg = _labeled(self._image, read_nifti(file, limits), said)
            self._made[f"labels-{number:02d}.dcm"] = partial(_same, seg)
        self.names = list(self._made)
        self.sizes = dict.fromkeys(self.names, self._image.pixel_bytes)
        """Name → bytes of its pixels."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def read(self, name: str) -> bytes:
        """An instance's file.

        Raises:
            Unreadable: there is none of that name.
        """
        if name not in self._made:
            raise Unreadable("A NIfTI image has fewer slices than before.", _REMEDY)
        return self._encoded(self._made[name]())

    def stream(self, name: str) -> Iterator[bytes]:
        """An instance's file, in one piece."""
        yield self.read(name)


def _labeled(image: Any, volume: Any, said: Any) -> Dataset:
    from stages.ingest.header import quiet

    try:
        with quiet():
            seg: Dataset = image.labels(volume, said)
            return seg
    except Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a library raises, the labels are none
        what = f"The labels of a NIfTI image cannot be written ({type(error).__name__})."
        raise Unreadable(what, _REMEDY) from None


def _same(seg: Dataset) -> Dataset:
    return seg


def _sidecar_of(name: str) -> str:
    stem = next(name.removesuffix(ending) for ending in _ENDINGS[::-1] if name.endswith(ending))
    return f"{stem}.json"


def _labels(path: Path) -> list[str]:
    """Names of the label maps that a sidecar tells of; none if it is no sidecar."""
    from stages.ingest import nifti_sidecar

    try:
        sidecar = nifti_sidecar.parse(_bytes(path, nifti_sidecar.LARGEST))
    except Unreadable:
        return []
    return [said.file for said in sidecar.labels]


def _bytes(path: Path, limit: int) -> bytes:
    with _plain(path, limit) as file:
        return file.read(limit)


@contextmanager
def _plain(path: Path, limit: int) -> Iterator[BufferedReader]:
    """Open a plain file of no more bytes than the limit (NII-7)."""
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb")
    except OSError:
        raise _refusal() from None
    with file:
        said = os.fstat(file.fileno())
        if not stat.S_ISREG(said.st_mode) or said.st_size > limit:
            raise _refusal()
        yield file


def _refusal() -> Unreadable:
    what = "A NIfTI image, its sidecar or its labels cannot be opened."
    return Unreadable(what, _REMEDY)
