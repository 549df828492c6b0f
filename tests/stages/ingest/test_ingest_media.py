"""TAR-1, TAR-2, DDR-1, DDR-2: tar archives and media give what folders give, or are refused."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from helpers_ingest import ct, encoded, ingest, item, new_vault, save, study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from audit.errors import Unreadable, WrongUse
from stages.archive_tar import TarReader
from stages.ingest.header import Header, quiet
from stages.ingest.params import Limits
from stages.ingest.quarantine import Reason
from stages.ingest.sightings import sightings

LIMITS = Limits(archive_bytes=1 << 20, archive_entries=50)


def entry(name: str, data: bytes = b"x", **facts: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in facts.items():
        setattr(info, key, value)
    return info, data


def pack(
    path: Path, *entries: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=form) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return path


def read(path: Path) -> dict[str, bytes]:
    with TarReader(path, limit_bytes=1 << 20, limit_entries=50) as archive:
        return {name: archive.read(name) for name in archive.names}


@pytest.mark.rule("TAR-1")
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_a_tar_archive_gives_the_same_as_the_folder(tmp_path: Path, form: int) -> None:
    source = save(tmp_path / "in", *study())
    with tarfile.open(tmp_path / "study.tar", "w", format=form) as archive:
        archive.add(source, ".")
    place = new_vault(tmp_path / "vault")
    folder = ingest(tmp_path / "a", source, vault_folder=place)
    packed = ingest(tmp_path / "b", tmp_path / "study.tar", vault_folder=place)
    assert packed.files == folder.files
    assert len(packed.members) == 6


@pytest.mark.rule("TAR-1")
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    names=st.lists(st.from_regex(r"[a-zäß]{1,90}(/[a-z]{1,90}){0,2}", fullmatch=True), max_size=5),
    data=st.binary(max_size=1200),
)
def test_what_tarfile_writes_is_read_as_it_reads_it(
    tmp_path: Path, form: int, names: list[str], data: bytes
) -> None:
    unique = dict.fromkeys(names)
    path = pack(tmp_path / "a.tar", *(entry(name, data) for name in unique), form=form)
    assert not unique or read(path) == dict.fromkeys(unique, data)


@pytest.mark.rule("TAR-1")
@pytest.mark.parametrize(
    "bad",
    [
        entry("../climb"),
        entry("/absolute"),
        entry("a/../../b"),
        entry("a\\b"),
        entry("c:evil"),
        entry("good"),
        entry("link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        entry("hard", b"", type=tarfile.LNKTYPE, linkname="good"),
        entry("device", b"", type=tarfile.CHRTYPE),
        entry("pipe", b"", type=tarfile.FIFOTYPE),
        entry("sparse", b"", type=tarfile.GNUTYPE_SPARSE),
        entry("large", bytes((1 << 20) + 1)),
        entry("x", pax_headers={"path": "../climb"}),
        entry("x", pax_headers={"GNU.sparse.major": "1"}),
    ],
    ids=lambda bad: bad[0].name if isinstance(bad, tuple) else None,
)
def test_an_archive_with_one_bad_entry_is_quarantined_whole(tmp_path: Path, bad) -> None:
    path = pack(tmp_path / "a.tar", entry("good", encoded(ct())), bad)
    assert [sighted.seen for sighted in sightings([path], LIMITS)] in (
        [Reason.ARCHIVE],
        [Reason.TOO_LARGE],
    )


@pytest.mark.rule("TAR-1")
@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:700],
        lambda raw: raw[:512],
        lambda raw: raw[:10] + b"!" + raw[11:],
        lambda raw: raw[:1024] + b"\x01" * 512 + raw[1536:],
    ],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = pack(tmp_path / "a.tar", entry("a", b"a" * 512), entry("b"), form=tarfile.USTAR_FORMAT)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Unreadable):
        read(path)


@pytest.mark.rule("TAR-1")
def test_more_entries_than_the_limit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="limit"):
        read(pack(tmp_path / "a.tar", *(entry(f"{n}") for n in range(51))))


def medium(folder: Path, *identifiers: object, datasets=()) -> Path:
    """A DICOMDIR that names files by their IDs."""
    with quiet():  # an ID that leads elsewhere is no code string
        records = [item(DirectoryRecordType="IMAGE", ReferencedFileID=one) for one in identifiers]
    directory = item(
        FileSetID="",
        DirectoryRecordSequence=Sequence([item(DirectoryRecordType="PATIENT"), *records]),
    )
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        pydicom.dcmwrite(folder / "DICOMDIR", directory, enforce_file_format=True)
    for number, dataset in enumerate(datasets):
        (folder / "IMG").mkdir(exist_ok=True)
        (folder / "IMG" / f"I{number}").write_bytes(encoded(dataset))
    return folder / "DICOMDIR"


@pytest.mark.rule("DDR-1")
def test_a_medium_gives_the_files_that_its_directory_names(tmp_path: Path) -> None:
    names = [["IMG", f"I{n}"] for n in range(6)]
    path = medium(tmp_path / "medium", *names, names[0], datasets=[*study(), ct(0, "9")])
    place = new_vault(tmp_path / "vault")
    folder = ingest(tmp_path / "a", save(tmp_path / "in", *study()), vault_folder=place)
    named = ingest(tmp_path / "b", path, vault_folder=place)
    assert named.files == folder.files


@pytest.mark.rule("DDR-2")
def test_a_file_that_is_named_and_missing_is_told(tmp_path: Path) -> None:
    path = medium(tmp_path / "medium", ["IMG", "I0"], ["IMG", "I1"], datasets=[ct()])
    there, missing = (sighted.seen for sighted in sightings([path], LIMITS))
    assert isinstance(there, Header)
    assert missing is Reason.UNREADABLE


@pytest.mark.rule("DDR-1")
@pytest.mark.parametrize(
    "identifier",
    [["..", "OUT"], "../OUT", "/etc/passwd", ["IMG", "..", "..", "OUT"], ["LINK", "I0"]],
)
def test_a_directory_that_leads_out_of_its_medium_is_refused(tmp_path: Path, identifier) -> None:
    (tmp_path / "OUT").write_bytes(encoded(ct()))
    path = medium(tmp_path / "medium", ["IMG", "I0"], identifier, datasets=[ct()])
    (tmp_path / "medium" / "LINK").symlink_to(tmp_path)
    with pytest.raises(WrongUse, match="outside") as caught:
        list(sightings([path], LIMITS))
    assert "OUT" not in caught.value.diagnostics()


@pytest.mark.rule("DDR-1")
@pytest.mark.parametrize("raw", [b"", b"no DICOM", bytes(128) + b"DICM" + b"\xff" * 99])
def test_a_directory_that_cannot_be_read_is_wrong_use(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "DICOMDIR").write_bytes(raw)
    with pytest.raises(WrongUse, match="read"):
        list(sightings([tmp_path / "DICOMDIR"], LIMITS))


@pytest.mark.rule("DDR-1")
@pytest.mark.parametrize("vr", [b"PN", b"LO", b"US", b"UI"])
def test_a_directory_whose_records_are_no_sequence_is_wrong_use(tmp_path: Path, vr: bytes) -> None:
    path = medium(tmp_path / "medium", ["IMG", "I0"], datasets=[ct()])
    whole = path.read_bytes()
    at = whole.index(b"\x04\x00\x20\x12SQ")
    path.write_bytes(whole[: at + 4] + vr + b"\x08\x00Leonore ")
    with pytest.raises(WrongUse, match="read"):
        list(sightings([path], LIMITS))
