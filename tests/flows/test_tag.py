"""Tags: real git and OpenSSH verify what our signers signed, and GTO reads the names."""

from __future__ import annotations

import subprocess
from datetime import datetime

import pytest
from gto.api import show
from gto.tag import parse_name
from helpers_project import git
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from audit.errors import Refused, WrongUse
from flows import tag
from flows.git import Repository
from stages.project import commit_of

SIGNERS = {"ed25519": CryptoSigner.generate_ed25519, "ecdsa": CryptoSigner.generate_ecdsa}
NOTE = b"kette/p\n40\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\xe2\x80\x94 kette/p abc=\n"


@pytest.fixture
def repository(tmp_path):
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "Start")
    return Repository(tmp_path)


def put(repository, signer, name, message="m"):
    text = tag.TagText(repository.head(), name, "T <t@example.org> 1790000000 +0000", message)
    with repository.writing(f"refs/tags/{name}") as writer:
        made = writer.tag_object(tag.sign(text, signer))
        writer.move(f"refs/tags/{name}", made, None, "test")


def verified(repository, signer, name, tmp_path, end=None):
    """What real `git tag -v` says, with the file of allowed signers."""
    allowed = tmp_path / ".kette" / "allowed_signers"
    allowed.write_text(tag.allowed_signers({signer.public_key: end}, "p"), "utf-8")
    return subprocess.run(
        ["git", "-c", f"gpg.ssh.allowedSignersFile={allowed}", "tag", "-v", name],
        cwd=repository.project, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.peer("ssh-keygen")
@pytest.mark.rule("TAG-1")
@pytest.mark.parametrize("kind", SIGNERS)
def test_git_verifies_a_signed_tag(repository, tmp_path, kind):
    signer = SIGNERS[kind]()
    put(repository, signer, "p@v1.0.0", tag.release_message("p 1.0.0", {"b.zip": "0" * 64}, NOTE))
    done = verified(repository, signer, "p@v1.0.0", tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'Good "git" signature for p with' in done.stderr
    assert signer.public_key.keyid not in done.stderr


@pytest.mark.peer("ssh-keygen")
@pytest.mark.rule("TAG-1")
@pytest.mark.parametrize("kind", SIGNERS)
def test_git_refuses_a_tag_of_another_key_or_a_changed_one(repository, tmp_path, kind):
    signer, other = SIGNERS[kind](), SIGNERS[kind]()
    put(repository, signer, "p@v1.0.0", "sound")
    assert verified(repository, other, "p@v1.0.0", tmp_path).returncode != 0
    raw = subprocess.run(
        ["git", "cat-file", "tag", "p@v1.0.0"], cwd=tmp_path, capture_output=True, check=True
    ).stdout
    with repository.writing("refs/tags/q") as writer:
        changed = writer.tag_object(raw.replace(b"sound", b"sOund"))
        writer.move("refs/tags/q", changed, None, "test")
    done = verified(repository, signer, "q", tmp_path)
    assert done.returncode != 0
    assert "Could not verify signature" in done.stderr + done.stdout or "incorrect" in done.stderr


@pytest.mark.peer("ssh-keygen")
def test_a_key_that_was_ended_signed_the_tags_before_its_end_alone(repository, tmp_path):
    signer = CryptoSigner.generate_ed25519()
    put(repository, signer, "p@v1.0.0")  # 2026-09-21T14:13:20Z
    for end, good in (("2026-09-21T14:13:19Z", False), ("2026-09-21T14:13:22.000001Z", True)):
        done = verified(repository, signer, "p@v1.0.0", tmp_path, end)
        assert (done.returncode == 0) is good, done.stderr


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("kind", SIGNERS)
def test_the_signature_is_bound_to_git(tmp_path, kind):
    signer = SIGNERS[kind]()
    allowed, signature = tmp_path / "allowed", tmp_path / "signature"
    allowed.write_text(
        tag.allowed_signers({signer.public_key: None}, "p").replace('"git"', '"file,git"')
    )
    signature.write_bytes(tag.armored(b"text", signer))
    answers = [
        subprocess.run(
            ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "p", "-n", namespace, "-s",
             signature], input=b"text", capture_output=True, check=False,
        ).returncode == 0
        for namespace in ("git", "file")
    ]  # fmt: skip
    assert answers == [True, False]


def test_an_rsa_key_is_refused():
    signer = CryptoSigner.generate_rsa()
    with pytest.raises(WrongUse):
        tag.armored(b"text", signer)


@pytest.mark.rule("TAG-2")
def test_the_message_gives_its_checkpoint_back(repository):
    signer = CryptoSigner.generate_ed25519()
    put(repository, signer, "p@v1.0.0", tag.release_message("p 1.0.0", {"b.zip": "0" * 64}, NOTE))
    raw = git(repository.project, "cat-file", "tag", "p@v1.0.0")
    assert tag.checkpoint_in(raw) == NOTE
    with pytest.raises(Refused):
        tag.checkpoint_in(raw.replace(tag.END, ""))


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}[a-z0-9]", fullmatch=True), st.integers(0, 99))
def test_gto_parses_every_name(project, number):
    version = f"1.{number}.0-rc.1+build.{number}"
    assert parse_name(tag.registered(project, version)) == {
        "name": project, "version": f"v{version}", "action": parse_name("a@v1.0.0")["action"],
    }  # fmt: skip
    taken = [tag.deprecated(project, [f"{project}#deprecated#{number}"])]
    assert parse_name(taken[0])["counter"] == number + 1
    assert parse_name(taken[0])["stage"] == "deprecated"


def test_a_project_whose_name_ends_with_a_sign_has_no_tags():
    with pytest.raises(WrongUse):
        tag.registered("lungs-", "1.0.0")


def test_gto_shows_releases_deprecations_and_withdrawals(repository):
    signer = CryptoSigner.generate_ed25519()
    for version in ("1.0.0", "1.1.0"):
        git(repository.project, "commit", "--quiet", "--allow-empty", "-m", version)
        put(repository, signer, tag.registered("lungs", version))
    assert [row["version"] for row in show(str(repository.project), "lungs")] == [
        "v1.1.0",
        "v1.0.0",
    ]
    put(repository, signer, tag.deprecated("lungs", []))
    shown = show(str(repository.project), "lungs")[0]["stages"]
    assert [stage["stage"] for stage in shown] == ["deprecated"]
    put(repository, signer, tag.withdrawn("lungs", "1.1.0"))
    assert [row["version"] for row in show(str(repository.project), "lungs")] == ["v1.0.0"]


def test_a_tag_that_stands_is_not_moved(repository):
    signer = CryptoSigner.generate_ed25519()
    put(repository, signer, "p@v1.0.0")
    before = git(repository.project, "rev-parse", "p@v1.0.0")
    with pytest.raises(Exception, match="Git refused"):
        put(repository, signer, "p@v1.0.0", "another")
    assert git(repository.project, "rev-parse", "p@v1.0.0") == before
    assert commit_of(repository.project) == repository.head()


def test_a_time_of_git_is_that_of_the_tagger(repository):
    put(repository, CryptoSigner.generate_ed25519(), "p@v1.0.0")
    shown = git(repository.project, "for-each-ref", "--format=%(taggerdate:unix)", "refs/tags")
    assert datetime.fromtimestamp(int(shown)).year == 2026  # noqa: DTZ006 - the year alone
