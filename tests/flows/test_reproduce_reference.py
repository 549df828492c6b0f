"""What a reference names, and who signed a tag."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_project import git
from helpers_reproduce import manifest, put
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from audit.errors import Refused, WrongUse
from flows import tag as tags_module
from flows.git import Repository
from flows.reference import newest, resolve, tags
from flows.reproduction import signed_by
from flows.tag_signature import signer_of

SIGNERS = {"ed25519": CryptoSigner.generate_ed25519, "ecdsa": CryptoSigner.generate_ecdsa}
VERSIONS = ("1.9.0", "1.10.0-rc.1", "1.10.0-rc.11", "1.10.0-rc.2", "1.10.0")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "tester@example.org")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "Start")
    return Repository(tmp_path)


def release(repository: Repository, version: str) -> tuple[str, str]:
    """Source commit and tag's commit of a new release."""
    source = repository.head()
    return source, put(repository, SIGNERS["ed25519"](), manifest(version, source))


@pytest.mark.rule("REF-1")
def test_version_tag_and_both_commits_name_the_release(repository: Repository) -> None:
    release(repository, "1.0.0")
    git(repository.project, "commit", "--quiet", "--allow-empty", "-m", "Work")
    source, commit = release(repository, "1.1.0")
    for ref in ("1.1.0", "v1.1.0", "p@v1.1.0", source, commit, commit[:12], "HEAD"):
        found = resolve(repository, "p", ref)
        assert (found.version, found.tag, found.commit) == ("1.1.0", "p@v1.1.0", commit)
    assert resolve(repository, "p", "1.0.0").version == "1.0.0"


@pytest.mark.rule("REF-1")
@pytest.mark.parametrize("ref", ["2.0.0", "q@v1.0.0", "p@v1.0.0!", "HEAD~9", "--help", "", "@v"])
def test_what_names_no_release_is_told_with_those_that_are(
    repository: Repository, ref: str
) -> None:
    release(repository, "1.0.0")
    with pytest.raises(WrongUse) as told:
        resolve(repository, "p", ref)
    assert "1.0.0" in told.value.remedy


@pytest.mark.rule("REF-1")
def test_a_commit_of_two_releases_names_none(repository: Repository) -> None:
    source, _ = release(repository, "1.0.0")
    put(repository, SIGNERS["ed25519"](), manifest("1.0.1", source))
    with pytest.raises(WrongUse, match="more than one release"):
        resolve(repository, "p", source)


@pytest.mark.rule("REF-2")
def test_the_manifest_is_the_tags_own_whatever_the_work_tree_holds(
    repository: Repository,
) -> None:
    release(repository, "1.0.0")
    path = repository.project / "releases" / "1.0.0.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("edited")
    assert resolve(repository, "p", "1.0.0").manifest.version == "1.0.0"


def test_a_tag_without_its_manifest_is_refused(repository: Repository) -> None:
    git(repository.project, "tag", "p@v1.0.0")
    with pytest.raises(Refused, match="names no commit with that release's manifest"):
        resolve(repository, "p", "1.0.0")


def test_a_manifest_of_a_newer_schema_is_refused_by_its_number(repository: Repository) -> None:
    folder = repository.project / "releases"
    folder.mkdir()
    (folder / "1.0.0.yaml").write_text("schema_version: 2\nelse: unknown\n")
    git(repository.project, "add", ".")
    git(repository.project, "commit", "--quiet", "-m", "Later")
    git(repository.project, "tag", "p@v1.0.0")
    with pytest.raises(Refused, match="schema version 2"):
        resolve(repository, "p", "1.0.0")


def test_versions_are_ordered_as_semantic_versioning_says(repository: Repository) -> None:
    for version in VERSIONS:
        git(repository.project, "tag", f"p@v{version}")
    for other in ("p@v1.10.0!", "q@v9.0.0", "p@vnext", "p#deprecated#1"):
        git(repository.project, "tag", other)
    assert [name.partition("@v")[2] for name in tags(repository, "p")] == [
        "1.9.0", "1.10.0-rc.1", "1.10.0-rc.2", "1.10.0-rc.11", "1.10.0",
    ]  # fmt: skip
    assert newest(repository, "p") == "1.10.0"
    assert newest(repository, "p", without={"1.10.0"}) == "1.10.0-rc.11"
    assert newest(repository, "none") is None


@pytest.mark.rule("TSG-1")
@pytest.mark.parametrize("kind", SIGNERS)
def test_the_key_that_signed_a_tag_is_found_in_it(repository: Repository, kind: str) -> None:
    signer = SIGNERS[kind]()
    put(repository, signer, manifest("1.0.0", repository.head()))
    raw = repository.ask("cat-file", "tag", "refs/tags/p@v1.0.0")
    assert raw is not None
    found = signer_of(raw.encode())
    assert found is not None
    assert found.keyid == signer.public_key.keyid


@pytest.mark.rule("TSG-1")
@pytest.mark.peer("ssh-keygen")
def test_a_signature_made_by_openssh_is_read(tmp_path: Path) -> None:
    text = b"object x\n\nmessage\n"
    (tmp_path / "text").write_bytes(text)
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")]
    subprocess.run(make, check=True)
    sign = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(tmp_path / "key")]
    subprocess.run([*sign, str(tmp_path / "text")], check=True, capture_output=True)
    signature = (tmp_path / "text.sig").read_bytes()
    assert signer_of(text + signature) is not None
    with pytest.raises(Refused, match="does not hold"):
        signer_of(text + b"more\n" + signature)


@pytest.mark.rule("RPR-3")
def test_a_tag_must_be_signed_for_its_own_manifest(repository: Repository) -> None:
    signer = SIGNERS["ed25519"]()
    made = manifest("1.0.0", repository.head())
    put(repository, signer, made)
    found = resolve(repository, "p", "1.0.0")
    assert signer.public_key.keyid[:12] in signed_by(repository, found, {signer.public_key.keyid})
    with pytest.raises(Refused, match="by a key that nobody here knows"):
        signed_by(repository, found, set())
    other = replace(found, manifest=manifest("1.0.0", "f" * 40))
    with pytest.raises(Refused, match="signed for another manifest"):
        signed_by(repository, other, set())
    git(repository.project, "tag", "-d", "p@v1.0.0")
    git(repository.project, "tag", "-a", "-m", made.digest, "p@v1.0.0")
    with pytest.raises(Refused, match="not signed"):
        signed_by(repository, found, set())


def test_a_tag_without_a_signature_has_no_signer() -> None:
    assert signer_of(b"object x\ntype commit\ntag t\n\nmessage\n") is None


_SIGNER = CryptoSigner.generate_ed25519()
_TAG = tags_module.sign(
    tags_module.TagText("0" * 40, "p@v1.0.0", "T <t@example.org> 1 +0000", "m"), _SIGNER
)


@pytest.mark.rule("TSG-1")
@given(st.integers(0, 8 * len(_TAG) - 1))
def test_no_flipped_bit_of_a_tag_passes_as_signed_by_the_same_key(bit: int) -> None:
    changed = bytearray(_TAG)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = signer_of(bytes(changed))
    except Refused:
        return
    end = _TAG.index(b"-----END SSH SIGNATURE-----")
    assert (
        found is None
        or found.keyid != _SIGNER.public_key.keyid
        or bit // 8 >= end
        or (chr(_TAG[bit // 8]).isspace() or chr(changed[bit // 8]).isspace())
    )
