"""Coverage-guided fuzzing of ingestion: `python tests/fuzz/ingest.py -max_total_time=3600 CORPUS`.

`--target=` chooses what the bytes are; the corpus folder may be empty, its seeds are added:

- `image` (default): an instance of a volume, through all that sees it.
- `objects`: segmentations, structure sets, reports, presentation states, pictures, compressed,
  deflated and big endian images; overlays, the codecs, and blanking as the child of the pixels does
  it (a box at a fixed place stands for the reader of text).
- `media`: a DICOMDIR, a ZIP or a tar archive, as a source.

Held to: nothing but a quarantine (for a medium, a refusal) is raised. What passes is a DICOM file
that scans again and states its de-identification; the source's UIDs, name and patient ID are
nowhere in it but among the samples. An instance that follows another comes out as it does alone.
What a medium hands over lies inside it, is as large as allowed, and reads the same twice.
Needs `atheris`.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import atheris

sys.path[:0] = [
    str(Path(__file__).parents[2] / part) for part in ("", "tests/stages", "tests/stages/ingest")
]

_WATCHED = [
    "stages.ingest",
    "stages.archive",
    "stages.archive_tar",
    "pydicom.filereader",
    "pydicom.values",
    "pydicom.encaps",
    "pydicom.charset",
]
with atheris.instrument_imports(include=_WATCHED):
    import helpers_documents as documents
    import numpy as np
    import pydicom
    import pydicom.encaps
    from helpers_ingest import PATIENT, ROOT, change, ct, encoded, item, seg
    from PIL import Image
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    from audit.errors import WrongUse
    from stages.archive_tar import BLOCK, is_tar
    from stages.ingest import dicomdir, keys, pixels_codec, pixels_frames
    from stages.ingest.header import DICOMDIR, Header, Identifier, quiet
    from stages.ingest.instance import IMAGE, Converter, Item
    from stages.ingest.ocr import Box
    from stages.ingest.params import Limits
    from stages.ingest.pixels_box import Looker, Seen
    from stages.ingest.pixels_codec import Layout
    from stages.ingest.quarantine import Quarantined, Reason
    from stages.ingest.raw import Buffer, scan
    from stages.ingest.raw_file import open_file
    from stages.ingest.rules import Rules
    from stages.ingest.sources import Handle, files, large, read
    from stages.ingest.tables import classes

LIMITS = Limits(
    file_bytes=1 << 20,
    header_bytes=1 << 18,
    elements=5000,
    rows=64,
    frames=8,
    archive_bytes=1 << 20,
    archive_entries=50,
)
RULES = Rules(
    subject="s-aaaaaaaaaa",
    uid_key=b"u" * 32,
    reader_key=b"r" * 32,
    days=-1000,
    readers={},
    labels={},
    codes={},
    depth=LIMITS.depth,
)
IMAGES = [encoded(ct(index, series="5"), implicit=bool(index % 2)) for index in range(4)]


class _Blanker(Looker):
    """What the child of the pixels does, without it: there is text in one place."""

    def look(self, layout: Layout, data: Buffer, *, blank: bool) -> Seen:
        """Decode, show, blank and encode."""
        try:
            frames, photometric = pixels_codec.read(layout, bytes(data))
        except Exception:  # noqa: BLE001 - as the child: whatever fails, it was not looked at
            raise Quarantined(Reason.UNSEEN) from None
        for _ in pixels_frames.views(frames, photometric):
            pass
        if not blank:
            return Seen(0, photometric, "", b"")
        boxes = [Box(1, 1, 3, 3)]
        blanked = pixels_frames.blank(frames, boxes, photometric)
        syntax, value = pixels_codec.write(layout, blanked, photometric)
        return Seen(len(boxes), photometric, syntax, value)


def _converter() -> Converter:
    made = Converter(RULES, LIMITS)
    made._looker = _Blanker()
    return made


_FRAMED, _KEPT = _converter(), _converter()


def image(data: bytes) -> None:
    """Hold an instance of a volume to the rules; what equals an earlier one is looked up."""
    identifiers = Identifier(LIMITS), Identifier(LIMITS)
    with quiet(), suppress(Quarantined):
        for seed in IMAGES[:2]:
            identifiers[1].identify(seed)
        header = identifiers[0].identify(data)
        if identifiers[1].identify(data) != header:
            raise AssertionError("whose instance it is depends on what came before")
        _check(header, IMAGE, data, (_converter(), _FRAMED))


def instance(data: bytes) -> None:
    """Hold an instance of any kind to the rules."""
    with quiet(), suppress(Quarantined):
        header = Identifier(LIMITS).identify(data)
        _check(header, classes()[header.sop_class].kind, data, (_KEPT, _KEPT))


def _check(header: Header, kind: str, data: bytes, by: tuple[Converter, Converter]) -> None:
    new = [keys.replace_uid(RULES.uid_key, uid) for uid in (header.series, header.sop)]
    item = Item(kind, new[0], new[1], "0" * 64, Handle("", None))
    outcomes = []
    for converter in by:
        try:
            made = converter.convert(item, data)
            outcomes.append((b"".join(made.pieces), made.counts))
        except Quarantined as error:
            outcomes.append((error.reason.value.encode(), None))
    if outcomes[0] != outcomes[1]:
        raise AssertionError("an instance depends on those before it")
    if outcomes[0][1] is None:
        return
    whole = outcomes[0][0]
    file = open_file(whole, LIMITS)
    found = scan(whole, file.at, file.syntax, LIMITS)
    tags = {element.tag for element in found.elements}
    if not {0x00120062, 0x00120063, 0x00120064} <= tags:
        raise AssertionError("the output does not state what it is")
    pixels = found.pixels
    told = whole if pixels is None else whole[: pixels.value] + whole[pixels.stop :]
    if any(secret in told for secret in _secrets(header)):
        raise AssertionError("the output holds a source's UID, name or patient ID")


def _secrets(header: Header) -> list[bytes]:
    """What must not be found again; the seeds' own, as long as a mutation left them."""
    uids = [header.sop, header.series, header.study]
    own = [PATIENT.encode()] if header.patient_id == PATIENT else []
    return [ROOT.encode(), *own, *(uid.encode() for uid in uids if len(uid) > len(ROOT) // 2)]


def medium(data: bytes) -> None:
    """Hold a directory or an archive to the rules."""
    if data[128:132] == b"DICM":
        _directory(data)
    else:
        _archive(data)


def _directory(data: bytes) -> None:
    path = _medium() / dicomdir.NAME
    path.write_bytes(data)
    with suppress(WrongUse):
        for found in dicomdir.files_of(path, LIMITS):
            if found.resolve() != found or _medium() not in found.parents:
                raise AssertionError("a directory leads out of its medium")


def _archive(data: bytes) -> None:
    path = _medium() / "archive"
    path.write_bytes(_summed(data) if is_tar(data[:BLOCK]) else data)
    (listed,) = files([path], LIMITS)
    found = list(large(listed, LIMITS))
    if found != list(large(listed, LIMITS)):
        raise AssertionError("an archive does not read the same twice")
    taken = [one for one in found if one.reason is None]
    for one in taken:
        if len(one.data) > LIMITS.file_bytes:
            raise AssertionError("a member is larger than the limit")
        if hashlib.sha256(one.data).hexdigest() != one.sha256:
            raise AssertionError("a member has another digest")
        parts = (one.handle.member or "x").split("/")
        if {"", ".", ".."} & set(parts):
            raise AssertionError("a member's name climbs")
    again = read([(one.handle, one.sha256) for one in taken], LIMITS)
    if list(again) != [one.data for one in taken]:
        raise AssertionError("a member does not read the same twice")


def _summed(data: bytes) -> bytes:
    """A tar archive whose headers' sums are right, which no mutation would hit."""
    whole = bytearray(data)
    for at in range(0, len(whole) - BLOCK + 1, BLOCK):
        if is_tar(block := bytes(whole[at : at + BLOCK])):
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            whole[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(whole)


@cache
def _medium() -> Path:
    """A medium with a file, a folder that is a link, and something outside."""
    folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)).resolve()
    (folder / "outside").mkdir()
    medium = folder / "medium"
    (medium / "IMAGES").mkdir(parents=True)
    (medium / "IMAGES" / "IM1").write_bytes(IMAGES[0])
    (medium / "OUT").symlink_to(folder / "outside")
    return medium


def _objects() -> list[bytes]:
    """An instance of each kind and of each way that its bytes may be laid out."""
    inner = change(documents.report(), SpecificCharacterSet=["", "ISO 2022 IR 87"])
    square = {"Rows": 16, "Columns": 16, "PixelData": bytes(range(256)) * 2}
    picture = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "Modality": "OT",
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "Rows": 16,
        "Columns": 16,
    }
    color = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 1}
    covered = ct(0, series="5", BitsStored=12, HighBit=11)
    covered.add_new(0x60000100, "US", 16)
    covered.add_new(0x60000102, "US", 12)
    plain = [seg(), documents.structure_set(), inner, documents.presentation_state(), covered]
    plain.append(ct(1, series="6", **picture, PixelData=bytes(range(256))))
    plain.append(ct(2, series="6", **picture, **color, PixelData=bytes(range(256)) * 3))
    films = {**picture, "NumberOfFrames": "2", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}
    plain.append(ct(3, series="6", **films, PixelData=bytes(range(256)) * 2))
    made = [encoded(one) for one in plain]
    made += [encoded(one, implicit=True) for one in plain[:4]]
    gray = ct(4, series="6", **picture, PixelData=bytes(range(256)))
    for dataset in (gray, ct(5, series="6", **square)):
        for syntax in ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"):
            made.append(_compressed(encoded(dataset), syntax))
    for number, form in (("90", "JPEG2000"), ("50", "JPEG")):
        made.append(_written(gray, f"1.2.840.10008.1.2.4.{number}", form))
    made += [_turned(encoded(ct(6, series="5"))), _deflated(made[1])]
    return made


def _compressed(data: bytes, syntax: str) -> bytes:
    whole = pydicom.dcmread(io.BytesIO(data))
    whole.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, whole)
    return buffer.getvalue()


def _written(dataset: Dataset, syntax: str, form: str) -> bytes:
    """A picture in a codestream that Pillow writes."""
    buffer = io.BytesIO()
    gray = Image.frombytes("L", (16, 16), bytes(range(256)))
    gray.save(buffer, form, **({"no_jp2": True} if form == "JPEG2000" else {}))
    whole = pydicom.dcmread(io.BytesIO(encoded(dataset)))
    whole.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    whole["PixelData"].VR, whole["PixelData"].is_undefined_length = "OB", True
    whole.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    pydicom.dcmwrite(file, whole)
    return file.getvalue()


def _turned(data: bytes) -> bytes:
    whole = pydicom.dcmread(io.BytesIO(data))
    whole.PixelData = np.frombuffer(whole.PixelData, "<u2").byteswap().tobytes()
    whole.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, whole, implicit_vr=False, little_endian=False)
    return buffer.getvalue()


def _deflated(data: bytes) -> bytes:
    whole = pydicom.dcmread(io.BytesIO(data))
    whole.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, whole)
    return buffer.getvalue()


def _media() -> list[bytes]:
    """A directory of records, and archives of two files."""
    made = []
    for identifiers in ([["IMAGES", "IM1"]], [["OUT", "X"], "IM1"]):
        records = [
            item(DirectoryRecordType="IMAGE", RecordInUseFlag=0xFFFF, ReferencedFileID=identifier)
            for identifier in identifiers
        ]
        dataset = item(FileSetID="KETTE", DirectoryRecordSequence=Sequence(records))
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = DICOMDIR
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=False)
        raw = buffer.getvalue()
        made.append(raw if raw[128:132] == b"DICM" else bytes(128) + b"DICM" + raw)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("a/IM1", b"one" * 9)
            archive.writestr("IM2", zlib.compress(b"two"))
        made.append(buffer.getvalue())
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form, bufsize=512) as archive:
            for name in ("a/IM1", "ü" * 40):
                info = tarfile.TarInfo(name)
                info.size = 27
                archive.addfile(info, io.BytesIO(b"one" * 9))
        made.append(buffer.getvalue())
    return made


TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "image": (image, lambda: IMAGES),
    "objects": (instance, _objects),
    "media": (medium, _media),
}


def main() -> None:
    """Run the fuzzer over the corpus that the arguments name, the seeds added."""
    name = next((a.partition("=")[2] for a in sys.argv if a.startswith("--target=")), "image")
    arguments = [argument for argument in sys.argv if not argument.startswith("--target=")]
    once, seeds = TARGETS[name]
    folders = [Path(argument) for argument in arguments[1:] if not argument.startswith("-")]
    for folder in [one for one in folders[:1] if not one.is_file()]:
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (folder / f"seed{number}").write_bytes(seed)
    for seed in IMAGES:
        with quiet(), suppress(Quarantined):
            header = Identifier(LIMITS).identify(seed)
            new = [keys.replace_uid(RULES.uid_key, uid) for uid in (header.series, header.sop)]
            _FRAMED.convert(Item(IMAGE, new[0], new[1], "0" * 64, Handle("", None)), seed)
    atheris.Setup(arguments, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
