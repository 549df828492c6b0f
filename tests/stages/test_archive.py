"""ZIP-1 … ZIP-3 of `stages/archive.py`."""

import stat
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit.errors import Unreadable
from stages.archive import ZipReader, ZipWriter, read_zip, write_zip

NAMES = st.text("abcdefghij0123456789._", min_size=1, max_size=12).filter(
    lambda name: name not in {".", ".."}
)


def read(path: Path, **limits: int) -> dict[str, bytes]:
    return dict(
        read_zip(
            path,
            limit_bytes=limits.get("limit_bytes", 1 << 20),
            limit_entries=limits.get("limit_entries", 100),
        )
    )


def hostile(path: Path, name: str, content: bytes = b"x", **fields: object) -> Path:
    entry = zipfile.ZipInfo("placeholder")
    for field, value in fields.items():
        setattr(entry, field, value)
    entry.filename = name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.dcm", b"good")
        archive.writestr(entry, content)
    return path


@pytest.mark.rule("ZIP-1")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(files=st.dictionaries(NAMES, st.binary(max_size=50), max_size=8), data=st.data())
def test_order_of_entries_does_not_change_a_byte(tmp_path: Path, files, data) -> None:
    shuffled = data.draw(st.permutations(list(files.items())))
    write_zip(tmp_path / "a.zip", files.items())
    write_zip(tmp_path / "b.zip", shuffled)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert read(tmp_path / "a.zip") == files


@pytest.mark.rule("ZIP-1")
def test_contents_can_be_made_when_their_turn_comes(tmp_path: Path) -> None:
    turns: list[str] = []

    def make(name: str) -> bytes:
        turns.append(name)
        return name.encode()

    write_zip(tmp_path / "a.zip", [(name, lambda name=name: make(name)) for name in "cab"])
    assert turns == ["a", "b", "c"]
    assert read(tmp_path / "a.zip") == {"a": b"a", "b": b"b", "c": b"c"}


@pytest.mark.rule("ZIP-1")
@pytest.mark.parametrize("names", [("b", "a"), ("a", "a"), ("../a",), ("/a",), ("",)])
def test_the_writer_refuses_names_that_do_not_ascend_or_climb(tmp_path: Path, names) -> None:
    *before, last = names
    with ZipWriter(tmp_path / "a.zip") as archive:
        for name in before:
            archive.add(name, b"")
        with pytest.raises(ValueError, match="ascending"):
            archive.add(last, b"")


@pytest.mark.rule("ZIP-2")
@pytest.mark.parametrize(
    "name",
    [
        "../MÜLLER.dcm",
        "a/../../b.dcm",
        "/etc/passwd",
        "C:/x.dcm",
        "a\\b.dcm",
        "a/./b",
        "a\nb",
        "a//b",
    ],
)
def test_a_path_that_climbs_refuses_the_whole_archive(tmp_path: Path, name: str) -> None:
    path = hostile(tmp_path / "a.zip", name)
    entries = read_zip(path, limit_bytes=1 << 20, limit_entries=9)
    with pytest.raises(Unreadable, match="climbs") as caught:
        next(iter(entries))
    assert name not in caught.value.diagnostics()


@pytest.mark.rule("ZIP-2")
def test_a_link_is_refused(tmp_path: Path) -> None:
    link = {"create_system": 3, "external_attr": (stat.S_IFLNK | 0o777) << 16}
    path = hostile(tmp_path / "a.zip", "link", b"/etc/passwd", **link)
    with pytest.raises(Unreadable, match="link"):
        read(path)


@pytest.mark.rule("ZIP-2")
@pytest.mark.parametrize(("limit", "value"), [("limit_bytes", 4), ("limit_entries", 1)])
def test_limits_hold_before_an_entry_is_read(tmp_path: Path, limit: str, value: int) -> None:
    path = hostile(tmp_path / "a.zip", "other")
    with pytest.raises(Unreadable, match="than the limit"):
        read(path, **{limit: value})


@pytest.mark.rule("ZIP-2")
def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(20 << 20))
    with pytest.raises(Unreadable, match="beyond belief"):
        read(path, limit_bytes=1 << 30)


@pytest.mark.rule("ZIP-2")
def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    path = hostile(tmp_path / "a.zip", "good2.dcm")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(Unreadable, match="encrypted"):
        read(path)


@pytest.mark.rule("ZIP-2")
@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_cut_or_damaged_archive_is_unreadable(tmp_path: Path, cut: int) -> None:
    write_zip(tmp_path / "a.zip", [("a", b"a" * 40)])
    raw = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(raw[:-cut])
    (tmp_path / "flip.zip").write_bytes(raw.replace(b"aaaa", b"aaba", 1))
    for name in ("cut.zip", "flip.zip", "absent.zip"):
        with pytest.raises(Unreadable):
            read(tmp_path / name)


@pytest.mark.rule("ZIP-3")
def test_entries_are_read_by_name_in_any_order(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", [("a", b"1"), ("b", b"2")])
    with ZipReader(tmp_path / "a.zip", limit_bytes=9, limit_entries=9) as archive:
        assert [archive.read(name) for name in ("b", "a", "b")] == [b"2", b"1", b"2"]
        with pytest.raises(Unreadable):
            archive.read("c")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.rule("ZIP-2")
@pytest.mark.parametrize("count", [49, 50, 51, 60])
@pytest.mark.parametrize("kind", ["plain", "comment", "prefix", "lies", "zip64", "mark within"])
def test_entries_are_counted_before_the_library_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, kind: str
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}", b"")
        archive.comment = b"PK" * 99 if kind == "comment" else b""
    path.write_bytes(_changed(path.read_bytes(), kind))
    opened = []
    real = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda *args: opened.append(args) or real(*args))
    if count > 50:
        with pytest.raises(Unreadable, match="more entries"):
            ZipReader(path, limit_bytes=1, limit_entries=50)
        assert not opened
    else:
        with ZipReader(path, limit_bytes=1, limit_entries=50) as reader:
            assert len(reader.names) == count


def _changed(data: bytes, kind: str) -> bytes:
    """An archive whose end is of a kind; read alike by `zipfile`."""
    end = data[-22:]
    if kind == "prefix":
        return b"MZ" * 500 + data
    if kind == "lies":
        return data[:-22] + end[:8] + struct.pack("<HH", 1, 1) + end[12:]
    if kind == "mark within":  # the offset is not needed to find the directory
        return data[:-22] + end[:4] + b"PK\5\6" + end[8:]
    if kind == "zip64":
        size, offset = struct.unpack("<LL", end[12:20])
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, size, offset)
        locator = struct.pack("<4sLQL", b"PK\6\7", 0, offset + size, 1)
        return data[:-22] + record + locator + end[:12] + b"\xff" * 8 + end[20:]
    return data
