"""The registry's entries: what is valid, what its license permits, what the bill says of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from helpers_pretrained import source_of
from pydantic import ValidationError

from audit.errors import Refused
from stages.package import sbom
from stages.params import Volume
from stages.pretrained_findings import license_findings, preprocessing_findings
from stages.pretrained_license import permits, require_license
from stages.pretrained_params import PERMISSIVE, PretrainedSource, Weights
from stages.pretrained_place import place_of
from stages.pretrained_soup import SOUP_HEADS, soup_row
from stages.stage import Verdict

EPOCH = datetime(2026, 11, 1, tzinfo=UTC)
NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/monaihosting"


@pytest.mark.rule("WTS-2")
@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("a/b.pt", "a/b.pt"),
        ("file:a/b.pt", "a/b.pt"),
        ("https://h/x?y=1", "https://h/x?y=1"),
        ("monai:Spleen_ct@0.5.3", f"{NGC}/spleen_ct/versions/0.5.3/files/Spleen_ct_v0.5.3.zip"),
        ("hf:o/r@v1.0/a/b.pt", "https://huggingface.co/o/r/resolve/v1.0/a/b.pt"),
        ("hf:o/r@v1/a?b#c", "https://huggingface.co/o/r/resolve/v1/a%3Fb%23c"),
    ],
)
def test_a_place_is_understood(uri: str, place: str) -> None:
    found = place_of(uri)
    assert str(getattr(found, "path", getattr(found, "url", ""))) == place


@pytest.mark.rule("WTS-2")
@pytest.mark.parametrize(
    "uri",
    [
        *("/etc/passwd", "file:/etc/passwd", "../x", "a/../../x", "file:", ".", "a\\b", "a b"),
        *("http://h/x", "ftp://h/x", "https:///x", "https://u:p@h/x", "https://h/x#y", "s3://b/k"),
        *("monai:x", "monai:x@", "monai:@1", "monai:../x@1", "monai:x@../1", "monai:x@1/2"),
        *("hf:o/r/x", "hf:o/r@main", "hf:o/..@m/x", "hf:o/r@../x", "hf:o/r@m/../x", "hf:r@m/x"),
        "https://h/\nx",
    ],
)
def test_a_place_that_climbs_or_names_no_version_is_wrong(uri: str) -> None:
    with pytest.raises(ValidationError):
        source_of(b"", uri=uri)


@pytest.mark.rule("WTS-3")
@pytest.mark.parametrize("field", ["license", "sha256", "supplier", "version", "requirements"])
def test_an_entry_that_lacks_something_is_none(field: str) -> None:
    said = source_of(b"").model_dump()
    del said[field]
    with pytest.raises(ValidationError, match=field):
        PretrainedSource.model_validate(said)


@pytest.mark.parametrize(
    "changes",
    [
        {"preprocessing": {"dims": 3, "channels": 1, "normalization": "window"}},
        {"preprocessing": {"dims": 3, "channels": 1, "normalization": "none", "window": (0, 1)}},
        {
            "preprocessing": {
                "dims": 3,
                "channels": 1,
                "normalization": "window",
                "window": (1, 0),
            }
        },
        {
            "preprocessing": {
                "dims": 2,
                "channels": 3,
                "normalization": "standardize",
                "mean": (0.5,),
                "std": (0.2,),
            }
        },
        {
            "preprocessing": {
                "dims": 3,
                "channels": 1,
                "normalization": "none",
                "spacing_mm": (1.0,),
            }
        },
        {"license": "Free"},
        {"license": "MIT AND"},
        {"license": "LicenseRef-MIT-TC"},
        {"license_justification": "yes"},
        {"mapping": {"a*": "b"}},
        {"mapping": {"a**": "b*"}},
        {"title": "two\nlines"},
    ],
)
def test_a_contradictory_entry_is_wrong(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source_of(b"", **changes)


@pytest.mark.rule("WTS-3")
@pytest.mark.parametrize(
    ("license_", "permitted"),
    [
        ("MIT", True),
        ("mit", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-only OR MIT", True),
        ("(GPL-3.0-only OR MIT) AND BSD-3-Clause", True),
        ("GPL-3.0-only AND MIT", False),
        ("CC-BY-NC-4.0", False),
        ("CC-BY-NC-SA-4.0", False),
        ("CC-BY-SA-4.0", False),
        ("AGPL-3.0-or-later", False),
        ("LicenseRef-Research", False),
        ("LicenseRef-Research OR MIT", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
    ],
)
def test_a_license_permits_or_not(license_: str, permitted: bool) -> None:
    assert permits(license_, PERMISSIVE) is permitted
    if not permitted:
        with pytest.raises(Refused, match=r"weights\.sources\.net") as told:
            require_license("net", license_, None, PERMISSIVE)
        assert "license_justification" in told.value.remedy
    reason = "The makers permit it in writing."
    require_license("net", license_, reason, PERMISSIVE)
    source = source_of(b"", license=license_, license_justification=reason)
    found = license_findings("net", source, PERMISSIVE)
    assert [check.verdict for check in found] == ([] if permitted else [Verdict.FINDINGS])
    assert all(reason in check.figure for check in found)


@pytest.mark.rule("WTS-9")
@pytest.mark.parametrize(
    ("was", "volume", "what"),
    [
        ({"dims": 3, "channels": 1, "normalization": "zscore"}, {}, []),
        ({"dims": 2, "channels": 1, "normalization": "zscore"}, {}, ["dimensions"]),
        ({"dims": 3, "channels": 3, "normalization": "zscore"}, {}, ["channels"]),
        ({"dims": 3, "channels": 1, "normalization": "none"}, {}, ["normalization"]),
        (
            {"dims": 3, "channels": 1, "normalization": "window", "window": (-160, 240)},
            {"window": (-160, 240)},
            [],
        ),
        (
            {"dims": 3, "channels": 1, "normalization": "window", "window": (-160, 240)},
            {"window": (-1000, 400)},
            ["normalization"],
        ),
        (
            {"dims": 3, "channels": 1, "normalization": "zscore", "spacing_mm": (1, 1, 1)},
            {"spacing_mm": (1.05, 1, 1)},
            [],
        ),
        (
            {"dims": 3, "channels": 1, "normalization": "zscore", "spacing_mm": (1, 1, 1)},
            {"spacing_mm": (3, 1, 1)},
            ["spacing"],
        ),
        (
            {"dims": 3, "channels": 1, "normalization": "zscore", "spacing_mm": (1, 1, 1)},
            {},
            ["spacing"],
        ),
    ],
)
def test_what_the_source_saw_otherwise_is_a_finding(
    was: dict[str, Any], volume: dict[str, Any], what: list[str]
) -> None:
    source = source_of(b"", preprocessing=was)
    found = preprocessing_findings("net", source, Volume(patch=(8, 8, 8), **volume))
    assert [check.limit.split()[0] for check in found] == what
    assert all(check.verdict is Verdict.FINDINGS and check.remedy for check in found)
    assert all(check.figure.startswith("net: ") for check in found)


@pytest.mark.rule("SBM-4")
def test_pretrained_weights_stand_in_the_bill() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    reason = "Contract 12 permits the use."
    sources = {
        "net": source_of(b"a", uri="https://h/w.pt", license="MIT OR Apache-2.0"),
        "odd": source_of(
            b"b", license="LicenseRef-Own", license_justification=reason, origin="A thesis"
        ),
    }
    parts = {"kette": sbom.closure()["kette"]}
    parts = {"kette": (parts["kette"][0], ())}
    made = sbom.bill("p", "1.0.0", EPOCH, {}, parts, weights=sources)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made.decode()) is None
    told = json.loads(made)
    found = {c["bom-ref"]: c for c in told["components"] if c["bom-ref"].startswith("weights/")}
    net, odd = found["weights/net"], found["weights/odd"]
    assert net["type"] == "machine-learning-model"
    assert net["supplier"] == {"name": "The makers"}
    assert net["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert net["hashes"] == [{"alg": "SHA-256", "content": sources["net"].sha256}]
    kinds = {reference["type"]: reference["url"] for reference in net["externalReferences"]}
    assert kinds == {"website": "https://example.org/weights", "distribution": "https://h/w.pt"}
    assert "externalReferences" not in odd
    said = {row["name"]: row["value"] for row in odd["properties"]}
    assert said["kette:licenseJustification"] == reason
    assert said["kette:requirement:1"] == "Features that help on small sets of images."
    needs = {row["ref"]: row.get("dependsOn") for row in told["dependencies"]}
    assert needs["model"] == ["weights/net", "weights/odd"]
    plain = sbom.bill("p", "1.0.0", EPOCH, {}, parts)
    assert plain == sbom.bill("p", "1.0.0", EPOCH, {}, parts, weights={})
    assert json.loads(plain)["serialNumber"] != told["serialNumber"]


def test_a_row_of_the_soup_table_has_every_column() -> None:
    assert soup_row("net", source_of(b"")).keys() == SOUP_HEADS.keys()
    assert all(soup_row("net", source_of(b"")).values())


def test_a_registry_is_empty_at_first() -> None:
    assert Weights().sources == {}
    assert all(permits(name, PERMISSIVE) for name in PERMISSIVE)
