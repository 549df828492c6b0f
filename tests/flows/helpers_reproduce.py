"""Hand-made releases: manifests, tags and folders without a chain."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from typing import Any

from securesystemslib.signer import Signer

from flows import tag
from flows.git import Repository
from flows.manifest import (
    Bundle,
    Data,
    File,
    MachineClass,
    ReleaseManifest,
    Retention,
)
from flows.release_params import Tolerances

NOTE = b"kette/p\n40\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\xe2\x80\x94 kette/p abc=\n"
HERE = MachineClass(
    system="Linux", machine="x86_64", libc="glibc 2.36", python="3.11.7", torch="2.13.0+cpu",
    processor="A processor", isa=("AVX", "AVX2"),
)  # fmt: skip


def file(data: bytes) -> File:
    return File(sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def manifest(version: str, source: str, **changes: Any) -> ReleaseManifest:
    """A manifest of a release whose archive is the bytes `bundle`."""
    bundle = file(b"bundle")
    made = ReleaseManifest(
        project="p",
        version=version,
        tag=f"p@v{version}",
        source_commit=source,
        released_at=datetime(2026, 11, 21, tzinfo=UTC),
        bundle=Bundle(name="p.zip", sha256=bundle.sha256, size=bundle.size),
        files={"p.zip": bundle},
        pin="0" * 32 + ".dir",
        data=Data(md5="1" * 32 + ".dir", tree="2" * 64),
        lock="3" * 64,
        stages={},
        gates={},
        checkpoint=NOTE.decode(),
        approvals=(),
        machine_class=HERE,
        tolerances=Tolerances(),
        retention=Retention(years=15, until=date(2041, 11, 21), legal_hold=False),
        environment=None,
    )
    return made.model_copy(update=changes)


def put(repository: Repository, signer: Signer, made: ReleaseManifest) -> str:
    """Commit a manifest on top of HEAD and tag it; gives the tag's commit."""
    head = repository.head()
    text = tag.release_message(f"p {made.version}", {"manifest": made.digest}, NOTE)
    with repository.writing(repository.branch(), f"refs/tags/{made.tag}") as writer:
        path = f"releases/{made.version}.yaml"
        commit = writer.commit(head, {path: made.dump()}, f"Release {made.version}")
        writer.move(repository.branch(), commit, head, "release")
        who = "T <t@example.org> 1790000000 +0000"
        signed = tag.sign(tag.TagText(commit, made.tag, who, text), signer)
        writer.move(f"refs/tags/{made.tag}", writer.tag_object(signed), None, "release")
    return commit
