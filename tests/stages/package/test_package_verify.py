"""A changed release is found; what changed is named."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from audit import evidence
from audit.canonical import canonical_json
from audit.errors import WrongUse
from audit.keys import PUBLIC, load_or_create_signer
from audit.ledger import Ledger
from audit.statement import statement
from stages.archive import write_zip
from stages.artifact import digest_file
from stages.package.contents import manifest
from stages.package.verify import verify_bundle

NOW = datetime(2026, 11, 1, tzinfo=UTC)
MEMBERS = {
    "LICENSE": b"free",
    "configs/kette.json": b"{}",
    "models/model.onnx": bytes(range(256)) * 2,
    "models/model.safetensors": b"weights",
}
Release = tuple[Path, Path, Path]


def write_release(folder: Path, members: dict[str, bytes], *, signed: str = "") -> Release:
    """An archive, the evidence that names it (or `signed`), and the public key."""
    bundle = folder / "phantom-1.2.3.zip"
    write_zip(bundle, members.items())
    signer = load_or_create_signer(folder / "keys")
    ledger = Ledger(folder / "ledger", origin="kette/phantom")
    for stage, digest in (("train", "1" * 64), ("package", signed or digest_file(bundle))):
        record = statement(
            subjects=[(f"{stage}/file", digest)],
            stage=stage,
            unit="one",
            key="2" * 64,
            parameters={},
            inputs={},
            commit=None,
            lock="3" * 64,
            environment={},
            findings={},
            measured={},
            gate={"checks": []} if stage == "package" else None,
            status="ran",
            started=NOW,
            finished=NOW,
        )
        list(ledger.append(record, signer))
    ledger.checkpoint(signer)
    evidence.export(ledger, [1, 2], folder / "evidence", folder / "keys" / PUBLIC)
    return bundle, folder / "evidence", folder / "keys" / PUBLIC


def with_manifest(members: dict[str, bytes]) -> dict[str, bytes]:
    return members | {"manifest.json": canonical_json(manifest(members).model_dump(mode="json"))}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return write_release(tmp_path_factory.mktemp("release"), with_manifest(MEMBERS))


@pytest.mark.rule("VER-4")
def test_a_release_as_it_was_made_holds(release: Release) -> None:
    assert verify_bundle(*release) == {
        "ok": True,
        "records": 3,  # the key's enrolment is the first
        "first_bad": None,
        "reason": None,
    }


@pytest.mark.rule("VER-3")
def test_any_changed_bit_of_the_archive_is_found(release: Release, tmp_path: Path) -> None:
    """Every byte of headers and directory, and a sample of the members' own, one bit each."""
    bundle, proof, key = release
    data = bundle.read_bytes()
    rng = random.Random(7)
    places = {*range(0, len(data), 5), *range(len(data) - 120, len(data)), *range(60)}
    changed = tmp_path / bundle.name
    for place in sorted(places):
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        changed.write_bytes(flipped)
        found = verify_bundle(changed, proof, key)
        assert not found["ok"], place
        assert found["first_bad"] not in (None, "bundle"), "found by the archive alone"
        assert found["reason"]


@pytest.mark.rule("VER-3")
@pytest.mark.parametrize(
    "change", [lambda data: data + b"\0", lambda data: b"MZ" + data, lambda data: data[:-1]]
)
def test_bytes_around_the_archive_are_found(
    release: Release, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    changed = tmp_path / release[0].name
    changed.write_bytes(change(release[0].read_bytes()))
    assert not verify_bundle(changed, *release[1:])["ok"]


@pytest.mark.rule("VER-2")
@pytest.mark.parametrize(
    ("members", "first_bad"),
    [
        (with_manifest(MEMBERS) | {"models/model.onnx": b"another"}, "models/model.onnx"),
        (with_manifest(MEMBERS) | {"models/extra.bin": b""}, "models/extra.bin"),
        (
            {name: data for name, data in with_manifest(MEMBERS).items() if name != "LICENSE"},
            "LICENSE",
        ),
        (MEMBERS, "manifest.json"),
        (MEMBERS | {"manifest.json": b"{"}, "manifest.json"),
    ],
    ids=["changed", "extra", "missing", "no manifest", "damaged manifest"],
)
def test_a_member_that_is_not_the_manifests_is_named(
    tmp_path: Path, members: dict[str, bytes], first_bad: str
) -> None:
    """Also if the evidence names the archive: a manufacturer's own slip is found."""
    found = verify_bundle(*write_release(tmp_path, members))
    assert (found["ok"], found["first_bad"]) == (False, first_bad)


@pytest.mark.rule("VER-1")
@pytest.mark.parametrize("name", ["../climbs", "/absolute", "C:/drive", "a\\b"])
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    import zipfile

    bundle, proof, key = write_release(tmp_path, with_manifest(MEMBERS))
    with zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr(name, b"x")
    found = verify_bundle(bundle, proof, key)
    assert not found["ok"]
    assert list(tmp_path.rglob("climbs")) == []


@pytest.mark.rule("VER-4")
def test_an_archive_that_no_record_names_is_refused(tmp_path: Path) -> None:
    found = verify_bundle(*write_release(tmp_path, with_manifest(MEMBERS), signed="4" * 64))
    assert (found["ok"], found["first_bad"]) == (False, "bundle")


@pytest.mark.rule("VER-4")
def test_evidence_signed_by_another_key_is_refused(release: Release, tmp_path: Path) -> None:
    load_or_create_signer(tmp_path)
    assert not verify_bundle(release[0], release[1], tmp_path / PUBLIC)["ok"]


def test_verification_needs_nothing_that_only_posix_has(release: Release) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(['fcntl', 'grp', 'pwd', 'resource', 'termios'])\n"
        "from pathlib import Path; from stages.package.verify import verify_bundle\n"
        "assert verify_bundle(*map(Path, sys.argv[1:]))['ok']\n"
        "heavy = {'torch', 'matplotlib', 'pyarrow', 'pydicom', 'numpy'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    paths = [str(path) for path in release]
    done = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_is_no_archive_is_told(release: Release, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("not an archive")
    for path in (tmp_path / "text.zip", tmp_path / "absent.zip", tmp_path):
        found = verify_bundle(path, *release[1:])
        assert (found["ok"], found["first_bad"]) == (False, path.name)


def test_what_is_no_key_is_wrong_use(release: Release, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    with pytest.raises(WrongUse):
        verify_bundle(release[0], release[1], tmp_path / "key")
