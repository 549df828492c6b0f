"""Containers: only whole and plain ones are read, and only what was scanned goes on."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
from helpers_pretrained import gadgets, pickled, saved, text, torch_legacy, torch_zip, zipped

from audit.errors import Refused
from stages.pretrained_archive import open_container
from stages.pretrained_limits import Limits

LIMITS = Limits()
GOOD = pickle.dumps({}, 2)
META = ("b/configs/metadata.json", b"{}")


def with_storage(data: bytes, count: bytes = b"K\x04", key: str = "0") -> bytes:
    """A torch archive of one tensor of four numbers."""
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + count
    view = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"tQK\x00K\x04\x85K\x01\x85"
    made = pickled(b"}" + text("a") + view + b"\x89ccollections\nOrderedDict\n)RtRs")
    return torch_zip(made, (f"m/data/{key}", data))


@pytest.mark.rule("WTS-6")
@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(torch_zip(GOOD, ("m/data.pkl", GOOD)), "names", id="a second data.pkl"),
        pytest.param(torch_zip(GOOD, ("../m/x", b"")), "names", id="a name that climbs"),
        pytest.param(torch_zip(GOOD, ("/m/x", b"")), "names", id="an absolute name"),
        pytest.param(torch_zip(GOOD, ("C:/x", b"")), "names", id="a drive"),
        pytest.param(torch_zip(GOOD, ("m\\x", b"")), "names", id="a backslash"),
        pytest.param(torch_zip(GOOD, ("n/data.pkl", GOOD)), "none of torch", id="two roots"),
        pytest.param(zipped(("m/readme", b"")), "none of torch", id="another archive"),
        pytest.param(torch_zip(GOOD, ("m/constants.pkl", GOOD)), "TorchScript", id="constants"),
        pytest.param(torch_zip(GOOD, ("m/code/a.py", b"")), "TorchScript", id="code"),
        pytest.param(torch_zip(GOOD, ("m/byteorder", b"big")), "big-endian", id="big-endian"),
        pytest.param(torch_zip(GOOD, compressed=True), "compressed", id="compressed"),
        pytest.param(torch_zip(GOOD + b"N."), "after its pickle", id="a second pickle"),
        pytest.param(torch_legacy(GOOD, system=GOOD), "big-endian", id="no byte order"),
        pytest.param(torch_legacy(GOOD, magic=GOOD), "none of torch", id="no magic"),
        pytest.param(torch_legacy(GOOD, keys=pickle.dumps(["0"], 2)), "lists", id="a key more"),
        pytest.param(torch_legacy(GOOD, tail=GOOD), "length", id="a pickle after all"),
        pytest.param(zipped(META), "is a bundle without", id="a bundle without weights"),
        pytest.param(
            zipped(META, ("b/c/models/model.pt", b"")), "is a bundle without", id="a deeper model"
        ),
        pytest.param(
            zipped(META, ("b/models/model.pt", zipped(META))), "none of torch", id="a bundle inside"
        ),
        pytest.param(
            zipped(META, ("b/models/model.pt", bytes(2**20))), "unpacks", id="a bomb in a bundle"
        ),
    ],
)
def test_a_container_that_is_not_plain_is_refused(data: bytes, what: str) -> None:
    with pytest.raises(Refused, match=what):
        open_container(data, LIMITS)


@pytest.mark.rule("WTS-6")
def test_a_storage_has_the_size_and_name_that_the_pickle_tells() -> None:
    good = with_storage(bytes(16))
    assert open_container(good, LIMITS).value["a"].shape == (4,)
    for bad in (
        with_storage(bytes(12)),
        with_storage(bytes(20)),
        with_storage(bytes(16), count=b"K\x05"),
        with_storage(bytes(16), key="../0"),
        with_storage(bytes(16), key="a"),
    ):
        with pytest.raises(Refused):
            open_container(bad, LIMITS)


@pytest.mark.rule("WTS-6")
def test_members_that_overlap_are_refused() -> None:
    """Two entries of the directory that share the bytes of one member."""
    data = bytearray(torch_zip(GOOD, ("m/x", bytes(4000)), ("m/y", b"")))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        start = archive.start_dir
    names = [data.index(b"m/x", start), data.index(b"m/y", start)]
    x, y = (name - 46 for name in names)
    for first, last in ((16, 28), (42, 46)):  # CRC and sizes, offset
        data[y + first : y + last] = data[x + first : x + last]
    with pytest.raises(Refused, match="overlap"):
        open_container(bytes(data), LIMITS)


@pytest.mark.rule("WTS-6")
def test_what_goes_on_is_made_of_what_was_scanned_alone(tmp_path: Path) -> None:
    import torch

    canary = tmp_path / "canary"
    gadget = gadgets(str(canary))["INST"]
    data = saved({"a": torch.ones(3)})
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        root = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{root}/evil.pkl", gadget)
    opened = open_container(file.getvalue(), LIMITS)
    with zipfile.ZipFile(io.BytesIO(opened.data)) as archive:
        assert sorted(archive.namelist()) == [
            *("archive/byteorder", "archive/data.pkl", "archive/data/0", "archive/version")
        ]
    found = torch.load(io.BytesIO(opened.data), weights_only=True)
    assert torch.equal(found["a"], torch.ones(3))
    assert not canary.exists()


@pytest.mark.rule("WTS-6")
def test_a_broken_member_is_refused() -> None:
    data = bytearray(with_storage(struct.pack("<4f", 1, 2, 3, 4)))
    place = data.index(struct.pack("<4f", 1, 2, 3, 4))
    data[place] ^= 1
    with pytest.raises(Refused, match="broken member"):
        open_container(bytes(data), LIMITS)


@pytest.mark.rule("WTS-6")
def test_an_encrypted_member_is_refused() -> None:
    data = bytearray(torch_zip(GOOD))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    with pytest.raises(Refused, match="encrypted"):
        open_container(bytes(data), LIMITS)


@pytest.mark.rule("WTS-6")
def test_sizes_beyond_the_limits_are_refused() -> None:
    for limits, what in ((Limits(members=1), "members"), (Limits(pickle_bytes=3), "pickle")):
        for data in (torch_zip(GOOD), torch_legacy(GOOD)):
            if limits.members > 1 or data[:2] == b"PK":
                with pytest.raises(Refused, match=what):
                    open_container(data, limits)


def test_the_old_tar_of_torch_is_refused() -> None:
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(Refused, match="neither"):
        open_container(file.getvalue(), LIMITS)
