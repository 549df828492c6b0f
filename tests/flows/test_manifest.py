"""A release's manifest has one form; any other is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import Refused
from flows.machine_class import machine_class, vectors
from flows.manifest import Approval, File, ReleaseManifest, load, retention
from flows.parameters import Parameters
from flows.release_params import ReleaseParams, Tolerances

SHA = "0123456789" * 6 + "abcd"
NOTE = "kette/p\n40\nCsU=\n\n— kette/p abc=\n"


def made(**changes) -> ReleaseManifest:
    values = {
        "project": "p",
        "version": "1.2.0",
        "tag": "p@v1.2.0",
        "source_commit": "1" * 40,
        "released_at": datetime(2026, 11, 21, 1, 2, 3, 4, tzinfo=UTC),
        "bundle": {"name": "p-1.2.0.zip", "sha256": SHA, "size": 3},
        "files": {"p-1.2.0.zip": {"sha256": SHA, "size": 3}, "a/b": {"sha256": SHA, "size": 0}},
        "pin": "1" * 32 + ".dir",
        "data": {"md5": "0" * 31 + "1.dir", "tree": SHA},
        "lock": SHA,
        "stages": {"ingest": {"key": SHA, "artifact": SHA}},
        "gates": {"ingest": {"checks": []}},
        "checkpoint": NOTE,
        "approvals": (),
        "machine_class": machine_class(),
        "tolerances": Tolerances(),
        "retention": retention(15, datetime(2026, 11, 21, tzinfo=UTC)),
        "environment": None,
    }
    return ReleaseManifest.model_validate(values | changes)


@pytest.mark.rule("MAN-1")
@given(
    names=st.lists(st.text("abc/.-_ äÖ", min_size=1, max_size=12).filter(lambda t: t.strip(" ./"))),
    signer=st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20),
    digest=st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_what_is_written_is_read_back(names, signer, digest):
    plain = [n for n in names if not n.startswith("/") and "//" not in n and "." not in n]
    files = {name.strip("/"): File(sha256=digest, size=1) for name in plain if name.strip("/")}
    signed = Approval(
        meaning="reviewed", role="reviewer", signer=signer, keyid=digest, index=1,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    manifest = made(files=files, approvals=(signed,), lock=digest)
    assert load(manifest.dump()) == manifest
    assert list(manifest.files) == sorted(files)


@pytest.mark.rule("MAN-1")
def test_every_other_form_of_the_same_values_is_refused():
    raw = made().dump()
    for other in (
        raw + b"\n",
        b"# a note\n" + raw,
        raw.replace(b"size: 3", b"size: 0x3"),
        raw.replace(b"project: p", b"project: 'p'"),
        raw.replace(b"\n", b"\r\n"),
    ):
        assert other != raw
        with pytest.raises(Refused):
            load(other)


@pytest.mark.rule("MAN-1")
def test_any_changed_character_is_refused_or_another_manifest():
    raw = made().dump()
    for place in range(0, len(raw), 29):
        changed = bytearray(raw)
        changed[place] ^= 1
        try:
            found = load(bytes(changed))
        except Refused:
            continue
        assert found != made()
        assert found.digest != made().digest


@pytest.mark.rule("MAN-3")
def test_another_schema_version_is_refused_by_its_number():
    with pytest.raises(Refused, match="version 2"):
        load(made().dump().replace(b"schema_version: 1", b"schema_version: 2"))


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", "."])
def test_a_path_that_climbs_is_refused(path):
    raw = made().dump().replace(b"a/b:", f"{path}:".encode())
    with pytest.raises(Refused):
        load(raw)


@pytest.mark.parametrize("raw", [b"", b"[]", b"a: [", b"\xff", b"!!python/object:x.Y {}"])
def test_bytes_that_are_no_manifest_are_refused(raw):
    with pytest.raises(Refused):
        load(raw)


def test_what_is_kept_ends_on_the_same_day_years_later():
    assert retention(15, datetime(2026, 11, 21, tzinfo=UTC)).until == date(2041, 11, 21)
    assert retention(1, datetime(2028, 2, 29, tzinfo=UTC)).until == date(2029, 2, 28)


def test_the_class_of_a_machine_does_not_name_it():
    assert vectors("fpu AVX2 avx2 sse4_2 fma hypervisor avx512f md_clear") == (
        "avx2", "avx512f", "fma", "sse4_2",
    )  # fmt: skip
    assert set(machine_class().model_dump()) == {
        "system", "machine", "libc", "python", "torch", "processor", "isa",
    }  # fmt: skip


@pytest.mark.rule("PAR-3")
def test_the_section_of_releases_reaches_no_stage():
    assert "release" in Parameters.model_fields
    fields = dict.fromkeys(Parameters.model_fields)
    parameters = Parameters.model_construct(**fields | {"release": ReleaseParams()})
    assert "release" not in parameters.sections()
