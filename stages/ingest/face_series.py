"""Faces in a subject's series: said to be there, or taken away.

It works on the archives that were written, once all of a subject's are: what a reader segmented
may come in a later series than the image.

Rules:

- FCS-1  `face: keep`: every instance of a series of which a face may be recognized says so.
- FCS-2  `face: remove`: the voxels of `face_mask.py` get the padding value, or their frame's lowest
         one; every other voxel keeps its bits. An instance without such voxels keeps its pixel
         data's bytes. A series without any says what FCS-1 says.
- FCS-3  What any segmentation of a series holds in any segment is kept, with a margin.
- FCS-4  A series whose voxels cannot be decoded, that is no even volume of single-frame instances,
         or with a segmentation that cannot be placed, is quarantined with what annotates it.
- FCS-5  What passes as this project's own output is not touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stages.archive import ZipReader, ZipWriter
from stages.artifact import Digest
from stages.ingest import face_write
from stages.ingest.face import Risk
from stages.ingest.face_labels import segmented
from stages.ingest.face_mask import Grid, Mask, face
from stages.ingest.face_pixels import Codec
from stages.ingest.header import quiet
from stages.ingest.params import Limits
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.sources import digest
from stages.ingest.stated import LARGEST
from stages.stack import Fit

Row = dict[str, Any]
NOTHING: Final = {"face_voxels": 0, "face_mask_sha256": ""}
"""Columns of a series from which no face was taken."""
_OWN: Final = "own"


@dataclass
class _Volume:
    """A series in the order of its slices."""

    names: list[str]
    stored: NDArray[Any]
    values: NDArray[Any]
    """Rescaled."""
    grid: Grid


def treat_faces(
    out: Path, series: list[Row], instances: list[Row], *, remove: bool, limits: Limits
) -> list[tuple[Digest, Reason]]:
    """Say or take away the faces of a subject.

    Args:
        out: its archives; changed in place.
        series: rows of the table; changed in place.
        instances: rows of the table; changed in place.
        remove: whether faces are taken away.
        limits: of a header.

    Returns:
        What was quarantined.
    """
    own = {row["series"] for row in instances if row["pixels"] == _OWN}
    gone: dict[str, Reason] = {}
    with Codec() as codec, quiet():
        for row in series:
            if row["face_risk"] == Risk.NONE or row["series"] in own:
                continue
            path = out / f"{row['series']}.zip"
            labels = [one["series"] for one in series if one["annotates"] == row["series"]]
            try:
                if remove:
                    archives = [out / f"{uid}.zip" for uid in labels]
                    row.update(_remove(path, archives, codec, limits, row))
                if not row["face_voxels"]:
                    _rewrite(path, lambda _, data: face_write.recognizable(data, limits))
            except OSError:
                raise
            except Exception:  # noqa: BLE001 - a fault of the file, whose text may quote values
                gone |= {row["series"]: Reason.FACE, **dict.fromkeys(labels, Reason.NO_REFERENCE)}
                continue
            written = {name.removesuffix(".dcm"): digest(data) for name, data in _members(path)}
            for one in instances:
                if one["series"] == row["series"]:
                    one["output_sha256"] = written[one["sop"]]
    lost = [
        (row["input_sha256"], gone[row["series"]]) for row in instances if row["series"] in gone
    ]
    for uid in gone:
        (out / f"{uid}.zip").unlink()
    series[:] = [row for row in series if row["series"] not in gone]
    instances[:] = [row for row in instances if row["series"] not in gone]
    return lost


def _remove(path: Path, labels: list[Path], codec: Codec, limits: Limits, row: Row) -> Row:
    """Take a series' face away; what stands of it in the series' row."""
    if row["geometry"] != Fit.VOLUME or row["multi_frame"]:
        raise Quarantined(Reason.FACE)
    volume = _volume(path, codec)
    kept = np.zeros(volume.stored.shape, np.bool_)
    for archive in labels:
        for _, data in _members(archive):
            kept |= segmented(data, volume.grid, kept.shape)
    mask = face(volume.values, volume.grid, ct=row["modality"] == "CT", kept=kept)
    if not mask.any():
        return dict(NOTHING)
    planes = {name: mask[index] for index, name in enumerate(volume.names)}
    order = {name: index for index, name in enumerate(volume.names)}

    def cleared(name: str, data: bytes) -> bytes:
        plane = planes[name]
        if not plane.any():
            return face_write.removed(data, limits, None)
        frame = _filled(volume.stored[order[name]], plane, face_write.header_of(data))
        return face_write.removed(data, limits, codec.write(data, frame))

    _rewrite(path, cleared)
    packed = np.packbits(mask).tobytes()
    return {
        "face_voxels": int(mask.sum()),
        "face_mask_sha256": hashlib.sha256(packed).hexdigest(),
    }


def _filled(frame: NDArray[Any], plane: Mask, header: Any) -> NDArray[Any]:
    """The frame with its padding value, or its lowest one (the highest of MONOCHROME1)."""
    inverse = header.PhotometricInterpretation == "MONOCHROME1"
    value = int(frame.max() if inverse else frame.min())
    padding = header.get("PixelPaddingValue")
    bounds = np.iinfo(frame.dtype)
    if isinstance(padding, int) and bounds.min <= padding <= bounds.max:
        value = padding
    result = frame.copy()
    result[plane] = value
    return result


def _volume(path: Path, codec: Codec) -> _Volume:
    """Raises Quarantined where a frame cannot be decoded."""
    slices = []
    for name, data in _members(path):
        header = face_write.header_of(data)
        position = np.array(header.ImagePositionPatient, np.float64)
        slope = float(header.get("RescaleSlope", 1) or 1)
        intercept = float(header.get("RescaleIntercept", 0) or 0)
        slices.append((position, name, codec.read(data, header), slope, intercept))
    row, column = np.array(header.ImageOrientationPatient, np.float64).reshape(2, 3)
    down, across = (float(size) for size in header.PixelSpacing)
    normal = np.cross(row, column)
    slices.sort(key=lambda one: float(one[0] @ normal))
    first, last = slices[0][0], slices[-1][0]
    step = (last - first) / (len(slices) - 1)
    stored = np.stack([one[2] for one in slices])
    values = np.stack([(one[2] * one[3] + one[4]).astype(np.float32) for one in slices])
    grid = Grid(first, np.stack([step, column * down, row * across]))
    return _Volume([one[1] for one in slices], stored, values, grid)


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with ZipReader(path, limit_bytes=LARGEST, limit_entries=LARGEST) as archive:
        for name in archive.names:
            yield name, archive.read(name)


def _rewrite(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """Write an archive anew, instance by instance."""
    new = path.with_suffix(".new")
    try:
        with ZipWriter(new) as archive:
            for name, data in _members(path):
                archive.add(name, change(name, data))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
