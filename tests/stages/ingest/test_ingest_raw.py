"""MEM-1, MEM-2, RAW-1, RAW-3, PIX-1 … PIX-3: the byte-level path gives what pydicom gives."""

import hashlib
import struct
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers_ingest import ROOT, ct, encode, encoded, item, parameters, parse, seg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from stages.ingest import keys
from stages.ingest.codes import codes_of
from stages.ingest.header import quiet
from stages.ingest.instance import ANNOTATION, IMAGE, Converted, Converter, Item
from stages.ingest.params import Limits, PixelParams
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.raw import scan
from stages.ingest.raw_file import open_file
from stages.ingest.rules import Rules
from stages.ingest.sources import Handle

TASK = parameters().task
RULES = Rules(
    subject="s-aaaaaaaaaa",
    uid_key=b"u" * 32,
    reader_key=b"r" * 32,
    days=-1000,
    readers={},
    labels={},
    codes=codes_of(TASK),
    depth=16,
)


def item_of(data: bytes, kind: str = IMAGE) -> Item:
    header = pydicom.dcmread(BytesIO(data), stop_before_pixels=True)
    series, sop = (
        keys.replace_uid(RULES.uid_key, str(header[name].value))
        for name in ("SeriesInstanceUID", "SOPInstanceUID")
    )
    return Item(kind, series, sop, hashlib.sha256(data).hexdigest(), Handle("", None))


def converted(files: list[bytes], kind: str = IMAGE) -> list[Converted]:
    with Converter(RULES, Limits(), PixelParams(sampled=0)) as converter:
        return [converter.convert(item_of(data, kind), data) for data in files]


def reference(data: bytes) -> tuple[bytes, object]:
    """What pydicom gives when it reads, and writes, all of a file."""
    with quiet():
        source = parse(data)
        result, counts = pseudonymize(source, RULES)
        syntax = UID(source.file_meta.TransferSyntaxUID)
        if syntax == ExplicitVRBigEndian:
            result.PixelData = np.frombuffer(result.PixelData, "<u2").byteswap().tobytes()
        if syntax.is_encapsulated:
            result["PixelData"].is_undefined_length = True
        return encode(result, syntax if syntax.is_encapsulated else ExplicitVRLittleEndian), counts


def agree(files: list[bytes]) -> None:
    for data, made in zip(files, converted(files), strict=True):
        expected, counts = reference(data)
        assert b"".join(made.pieces) == expected
        assert made.counts == counts


def with_syntax(dataset: Dataset, syntax: str) -> bytes:
    """The data set as pydicom writes it in a transfer syntax."""
    whole = pydicom.dcmread(BytesIO(encoded(dataset)))
    if UID(syntax).is_encapsulated:
        whole.compress(syntax, generate_instance_uid=False)
    elif syntax == ExplicitVRBigEndian:
        whole.PixelData = np.frombuffer(whole.PixelData, "<u2").byteswap().tobytes()
    whole.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    pydicom.dcmwrite(
        buffer,
        whole,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian,
        enforce_file_format=True,
    )
    return buffer.getvalue()


def slices(number: int = 4) -> Iterator[Dataset]:
    """Slices that differ in everything that stands alone, in private data too."""
    for index in range(number):
        dataset = ct(
            index,
            AcquisitionTime=f"1011{index:02}.5",
            KVP="120",
            Exposure=str(index),
            CTDIvol=index / 3,
            IrradiationEventUID=f"{ROOT}.99.{index}",
            ReferencedImageSequence=Sequence([item(ReferencedSOPInstanceUID=f"{ROOT}.1.1")]),
            Rows=16,
            Columns=16,
            PixelData=np.arange(256, dtype="<u2").tobytes(),
        )
        block = dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True)
        block.add_new(0x0C, "IS", str(100 * index))
        block.add_new(0x0D, "CS", "NONE")
        block.add_new(0x27, "OB", bytes([index]) * 40)
        yield dataset


@pytest.mark.rule("MEM-1")
@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
    ],
)
def test_the_output_is_what_pydicom_gives_in_every_transfer_syntax(syntax: str) -> None:
    agree([with_syntax(dataset, syntax) for dataset in slices()])


@pytest.mark.rule("PIX-3")
@pytest.mark.parametrize("syntax", [ExplicitVRBigEndian, RLELossless, JPEGLSLossless])
def test_the_pixels_are_the_sources(syntax: str) -> None:
    data = with_syntax(next(slices()), syntax)
    (made,) = converted([data])
    out = pydicom.dcmread(BytesIO(b"".join(made.pieces)))
    assert np.array_equal(out.pixel_array, np.arange(256).reshape(16, 16))


@pytest.mark.rule("RAW-3")
def test_the_pixels_of_the_output_are_the_sources_own_bytes_in_memory() -> None:
    data = encoded(next(slices()))
    (made,) = converted([data])
    view = made.pieces[1]
    assert isinstance(view, memoryview)
    assert view.obj is data


@pytest.mark.rule("MEM-2")
def test_slices_of_a_series_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.ingest import instance

    scans: list[int] = []
    whole = instance.scan
    monkeypatch.setattr(instance, "scan", lambda *a: scans.append(1) or whole(*a))
    files = [encoded(dataset) for dataset in slices(9)]
    made = converted(files)
    assert len(scans) == 1
    assert [b"".join(one.pieces) for one in made] == [reference(data)[0] for data in files]


def plant(data: bytes, values: dict[str, bytes]) -> bytes:
    """The file with elements of any value, whether their VR allows it or not."""
    file = open_file(data, Limits())
    found = scan(data, file.at, file.syntax, Limits())
    assert found.pixels is not None
    elements = {e.tag: data[e.start : e.stop] for e in found.elements}
    for keyword, value in values.items():
        tag = pydicom.datadict.tag_for_keyword(keyword) or 0
        vr = pydicom.datadict.dictionary_VR(tag).encode()
        padded = value + b" " * (len(value) % 2)
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        size = struct.pack("<2sH", vr, len(padded)) if file.syntax.explicit else b""
        elements[tag] = head + (size or struct.pack("<I", len(padded))) + padded
    header = b"".join(elements[tag] for tag in sorted(elements))
    return data[: file.at] + header + data[found.pixels.start :]


DATES = st.sampled_from([b"20200101", b"19431207", b"2020.01.01", b"XX", b"20200101\\2021", b""])
TIMES = st.sampled_from([b"101112", b"10:11:12", b"KH-4711", b"20240229101112+0100", b"2024", b""])
TEXTS = st.sampled_from([b"Kr\xe4hwinkler", b"20240229", b"thorax", b"CT 12345", b"A^B", b""])
NUMBERS = st.sampled_from([b"1", b"-2.5", b"KH-4711", b"4711081", b"1e5", b" 7 ", b"1\\2", b""])
UIDS = st.sampled_from([ROOT.encode() + b".1", b"1.2.840.10008.1.2", b"x", b"1.2\\1.3", b""])
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "StudyDate": DATES,
        "AcquisitionDateTime": TIMES,
        "AcquisitionTime": TIMES,
        "SliceLocation": NUMBERS,
        "InstanceNumber": NUMBERS,
        "WindowCenter": NUMBERS,
        "PatientWeight": NUMBERS,
        "SeriesDescription": TEXTS,
        "PatientName": TEXTS,
        "OperatorsName": TEXTS,
        "FrameOfReferenceUID": UIDS,
        "IrradiationEventUID": UIDS,
    },
)


@pytest.mark.rule("MEM-1")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CHANGES, min_size=2, max_size=4), st.booleans())
def test_no_instance_takes_anything_from_another(
    changes: list[dict[str, bytes]], implicit: bool
) -> None:
    agree(
        [
            plant(encoded(dataset, implicit=implicit), values)
            for dataset, values in zip(slices(len(changes)), changes, strict=True)
        ]
    )


@pytest.mark.rule("MEM-1")
def test_an_annotation_is_what_pydicom_gives() -> None:
    data = encoded(seg())
    (made,) = converted([data], ANNOTATION)
    out = pydicom.dcmread(BytesIO(b"".join(made.pieces)))
    assert out.ContentCreatorName == made.reader
    assert made.references == {out.ReferencedSeriesSequence[0].SeriesInstanceUID}


def members(path: Path, number: int) -> list[bytes]:
    if not path.is_file():
        pytest.skip(f"the shared data ({path.name}) are not here")
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if n.endswith(".dcm") and "SEG" not in n]
        return [archive.read(name) for name in names[:: max(1, len(names) // number)]]


@pytest.mark.rule("MEM-1")
@pytest.mark.parametrize(
    "path", ["hippocampus/hippocampus_303.zip", "busi/busi.zip", "brain-mr-study3.zip"]
)
def test_shared_files_come_out_as_pydicom_gives_them(shared_data: Path, path: str) -> None:
    files = members(shared_data / path, 24)
    passed = []
    for data in files:
        try:
            with quiet():
                parse(data)
            passed.append(data)
        except Quarantined:
            continue
    assert len(passed) > 3
    agree(passed)


@pytest.mark.rule("RAW-1")
@pytest.mark.parametrize(
    ("reason", "limits"),
    [
        (Reason.TOO_MANY, Limits(elements=30)),
        (Reason.TOO_MANY, Limits(header_bytes=500)),
        (Reason.SIZE, Limits(rows=8)),
    ],
)
def test_what_exceeds_a_limit_is_quarantined(reason: Reason, limits: Limits) -> None:
    data = encoded(next(slices()))
    with Converter(RULES, limits) as converter, pytest.raises(Quarantined) as caught:
        converter.convert(item_of(data), data)
    assert caught.value.reason is reason


@pytest.mark.rule("BOX-2")
def test_a_codestream_that_cannot_be_decoded_costs_its_instance_alone() -> None:
    good, other = (with_syntax(dataset, JPEGLSLossless) for dataset in slices(2))
    cut = good[:-60] + bytes(52) + good[-8:]
    with Converter(RULES, Limits()) as converter:
        assert converter.convert(item_of(good), good).pieces
        with pytest.raises(Quarantined) as caught:
            converter.convert(item_of(good), cut)
        assert caught.value.reason is Reason.DECODE
        assert converter.convert(item_of(other), other).pieces
