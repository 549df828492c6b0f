"""A release is made once and whole, wherever it was cut off; what must be so before is held."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime

import pytest
from helpers_release import BUNDLE, SHA256, Killed, World, copy_of, sha, world
from helpers_wheels import INSTALLED, only_these_wheels

from audit.errors import Fault, Refused, WrongUse
from audit.evidence import verify
from audit.key_events import signature
from audit.keys import public_keys
from flows import tag
from flows.ledger import open_ledger, record, signer_for
from flows.manifest import load
from flows.publish import STEPS
from flows.standing import hold, take_back
from stages.artifact import Manifest


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> World:
    with pytest.MonkeyPatch.context() as monkeypatch:
        return world(tmp_path_factory.mktemp("template"), monkeypatch)


@pytest.fixture
def ready(template, tmp_path, monkeypatch) -> World:
    """A project that may be released as it is."""
    return copy_of(template, tmp_path, monkeypatch)


def sign(world: World, meaning: str, role: str, bundle: str = SHA256) -> None:
    """What `kette sign` does."""
    ledger, place, machine = open_ledger(world.project.folder)
    statement = signature(
        [(BUNDLE, bundle)], meaning, role, signer="A. Person", comment="", at=datetime.now(UTC)
    )
    record(ledger, signer_for(place, machine, role), statement)


def is_whole(world: World, released) -> None:
    """Everything that a release consists of says the same."""
    project = world.project.folder
    manifest = released.manifest
    raw = (project / "releases" / "0.1.0.yaml").read_bytes()
    assert load(raw) == manifest
    assert world.git("show", "HEAD:releases/0.1.0.yaml").encode() == raw
    files = Manifest.of(project / "releases" / "0.1.0").files
    assert {f.path: f.sha256 for f in files} == {p: f.sha256 for p, f in manifest.files.items()}
    assert manifest.bundle.sha256 == SHA256
    assert world.git("status", "--porcelain") == ""
    assert world.git("tag").split() == ["kette-phantom@v0.1.0"]
    assert world.git("rev-list", "--count", "HEAD").strip() == "2"
    assert world.git("rev-parse", "kette-phantom@v0.1.0^{commit}").strip() == released.commit
    assert world.kinds().count("released") == 1
    ledger, place, _ = open_ledger(project)
    keys = public_keys(place.keys)
    found = ledger.verify(keys)
    assert (found.ok, found.covered) == (True, len(world.kinds()))
    evidence = project / "releases" / "0.1.0" / "evidence"
    assert verify(evidence, keys, bundle_sha256=SHA256).ok
    assert tag.checkpoint_in(world.git("cat-file", "tag", released.tag)) == (
        ledger.signed_checkpoint()
    )
    assert not list((project / ".git").rglob("*.lock"))
    assert not (project / ".kette" / "git.writing").exists()


@pytest.mark.rule("REL-4")
def test_a_release_is_whole(ready):
    released = ready.release()
    is_whole(ready, released)
    assert ready.git("show", "--format=", "--name-only", "HEAD").split() == [
        ".dvc/.gitignore",
        ".dvc/config",
        "data.dvc",
        "releases/0.1.0.dvc",
        "releases/0.1.0.yaml",
    ]
    assert {"kette.zip", "cited/ingest.json", BUNDLE} <= released.manifest.files.keys()
    assert "evidence/old" not in released.manifest.files


@pytest.mark.rule("REL-1")
@pytest.mark.parametrize("step", STEPS)
def test_a_release_cut_off_before_a_step_is_finished_by_the_same_command(ready, step):
    with pytest.raises(Killed):
        ready.release(kill_at=step)
    manifest = ready.project.folder / "releases" / "0.1.0.yaml"
    before = manifest.read_bytes() if manifest.exists() else None
    recorded = ready.kinds().count("released")
    assert ready.git("tag") == ""
    released = ready.release()
    is_whole(ready, released)
    if before is not None:  # from the manifest on, what it names is what is released
        assert manifest.read_bytes() == before
        assert ready.chains == 1
    assert recorded == (STEPS.index(step) > STEPS.index("record"))


@pytest.mark.rule("REL-1")
def test_a_release_cut_off_again_and_again_is_made_once(ready):
    for step in STEPS:
        with pytest.raises(Killed):
            ready.release(kill_at=step)
    is_whole(ready, ready.release())


@pytest.mark.rule("REL-1")
def test_a_folder_that_was_changed_after_the_kill_is_laid_anew(ready):
    with pytest.raises(Killed):
        ready.release(kill_at="commit")
    changed = ready.project.folder / "releases" / "0.1.0" / "report.html"
    changed.chmod(0o644)
    changed.unlink()
    changed.write_bytes(b"another")
    released = ready.release()
    is_whole(ready, released)
    assert ready.chains == 2
    digest = hashlib.sha256(b"<html></html>").hexdigest()
    assert released.manifest.files["report.html"].sha256 == digest


@pytest.mark.rule("REL-1")
def test_commits_made_after_the_kill_are_built_from(ready):
    with pytest.raises(Killed):
        ready.release(kill_at="commit")
    (ready.project.folder / "notes.txt").write_text("x")
    ready.git("add", "notes.txt")
    ready.git("commit", "-q", "-m", "Note")
    head = ready.git("rev-parse", "HEAD").strip()
    released = ready.release()
    assert released.manifest.source_commit == head
    assert ready.git("rev-parse", f"{released.commit}^").strip() == head


@pytest.mark.rule("REL-1")
def test_a_release_committed_before_later_commits_is_tagged_where_it_was_committed(ready):
    with pytest.raises(Killed):
        ready.release(kill_at="record")
    commit = ready.git("rev-parse", "HEAD").strip()
    ready.git("commit", "-q", "--allow-empty", "-m", "Later")
    released = ready.release()
    assert released.commit == commit
    assert ready.git("rev-parse", "kette-phantom@v0.1.0^{commit}").strip() == commit


def test_a_branch_that_moves_meanwhile_is_left_alone(ready, monkeypatch):
    work = ready.open()
    real = type(work.repository).writing

    def moved(self, *references):
        monkeypatch.setattr(type(work.repository), "writing", real)
        ready.git("commit", "-q", "--allow-empty", "-m", "Meanwhile")
        return real(self, *references)

    monkeypatch.setattr(type(work.repository), "writing", moved)
    with pytest.raises(Fault, match="Git refused"):
        ready.release()
    assert ready.git("log", "-1", "--format=%s").strip() == "Meanwhile"
    assert ready.git("tag") == ""
    assert ready.release().manifest.version == "0.1.0"


@pytest.mark.rule("REL-2")
def test_what_was_released_is_not_released_again(ready):
    released = ready.release()
    with pytest.raises(WrongUse, match="is released"):
        ready.release()
    ready.git("tag", "-d", released.tag)  # by hand: the same release is tagged again, not another
    again = ready.release()
    assert (again.commit, again.record) == (released.commit, released.record)
    assert ready.kinds().count("released") == 1


@pytest.mark.rule("REL-2")
def test_a_version_that_the_ledger_knows_is_not_given_to_another_content(ready):
    released = ready.release()
    ready.git("tag", "-d", released.tag)
    ready.git("reset", "-q", "--hard", "HEAD~1")
    with pytest.raises(Refused, match="released before"):
        ready.release()


@pytest.mark.rule("REL-3")
@pytest.mark.parametrize("path", ["params.yaml", "new.txt", "releases/9.9.9.yaml"])
def test_a_changed_work_tree_is_refused(ready, path):
    target = ready.project.folder / path
    target.write_text(target.read_text() + "# more\n" if target.exists() else "x")
    with pytest.raises(WrongUse, match=path):
        ready.release()
    assert ready.chains == 0


@pytest.mark.rule("REL-3")
def test_another_version_than_the_declared_one_is_refused(ready):
    with pytest.raises(WrongUse, match=r"0\.1\.0, not 0\.2\.0"):
        ready.release("0.2.0")
    with pytest.raises(WrongUse, match="no version"):
        ready.release("v1")
    assert ready.chains == 0


def test_a_detached_head_is_refused(ready):
    ready.git("checkout", "-q", "--detach")
    with pytest.raises(WrongUse, match="branch"):
        ready.release()


def test_a_committer_without_a_name_is_refused(ready, monkeypatch):
    for name in ("GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(ready.project.home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(ready.project.home))
    with pytest.raises(WrongUse, match="who commits"):
        ready.release()


@pytest.mark.rule("REL-6")
def test_signatures_are_asked_for_and_stand_in_manifest_and_evidence(tmp_path, monkeypatch):
    ready = world(tmp_path, monkeypatch, release={"approvals": ["reviewed", "approved"]})
    sign(ready, "reviewed", "reviewer")
    sign(ready, "approved", "approver", bundle=sha(77))  # of another build
    with pytest.raises(Refused, match="`approved`"):
        ready.release()
    assert not (ready.project.folder / "releases" / "0.1.0").exists()
    sign(ready, "approved", "approver")
    released = ready.release()
    is_whole(ready, released)
    assert [(a.meaning, a.signer) for a in released.manifest.approvals] == [
        ("reviewed", "A. Person"),
        ("approved", "A. Person"),
    ]


@pytest.mark.rule("REL-6")
def test_findings_are_refused_where_the_parameters_say_so(tmp_path, monkeypatch):
    ready = world(tmp_path, monkeypatch, release={"findings": "refuse"})
    with pytest.raises(Refused, match="ASS-5"):
        ready.release()
    assert not (ready.project.folder / "releases" / "0.1.0").exists()


@pytest.mark.rule("REL-5")
def test_nothing_is_released_on_a_ledger_that_does_not_hold(ready):
    ledger, _, _ = open_ledger(ready.project.folder)
    batch = next(path for path in ledger.folder.rglob("*.jsonl"))
    raw = bytearray(batch.read_bytes())
    raw[len(raw) // 2] ^= 1
    batch.chmod(0o644)
    batch.write_bytes(bytes(raw))
    with pytest.raises(Refused):
        ready.release()
    assert ready.git("tag") == ""


@pytest.mark.slow
@pytest.mark.rule("ARC-2")
def test_the_environment_is_archived_and_pinned_once_for_a_lock(tmp_path, monkeypatch):
    only_these_wheels(tmp_path / "wheels", monkeypatch)
    ready = world(tmp_path / "w", monkeypatch)
    (ready.project.folder / "constraints.txt").write_text(f"packaging=={INSTALLED}\n")
    ready.git("commit", "-q", "-a", "-m", "A small lock")
    with pytest.raises(Killed):
        ready.release(kill_at="pin", archive=True)
    first = ready.release(archive=True)
    archive = first.manifest.environment
    assert archive is not None
    assert Manifest.of(ready.project.folder / archive.path).digest == archive.tree
    assert ready.git("show", f"HEAD:{archive.path}.dvc").count(archive.md5) == 1
    assert ready.git("status", "--porcelain") == ""
    ready.project.write(package={"version": "0.2.0"})
    ready.git("commit", "-q", "-a", "-m", "Next")
    second = ready.release("0.2.0", archive=True)
    assert second.manifest.environment == archive
    assert f"{archive.path}.dvc" not in ready.git("show", "--format=", "--name-only", "HEAD")


@pytest.mark.peer("ssh-keygen")
def test_git_verifies_the_tag_with_the_file_of_allowed_signers(ready):
    released = ready.release()
    _, place, _ = open_ledger(ready.project.folder)
    allowed = place.keys / "allowed_signers"
    done = subprocess.run(
        ["git", "-c", f"gpg.ssh.allowedSignersFile={allowed}", "tag", "-v", released.tag],
        cwd=ready.project.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 'Good "git" signature for kette-phantom' in done.stderr


@pytest.mark.rule("STD-1")
@pytest.mark.parametrize(
    ("word", "name"),
    [("deprecated", "kette-phantom#deprecated#1"), ("withdrawn", "kette-phantom@v0.1.0!")],
)
def test_taking_back_is_recorded_and_tagged_once(ready, word, name):
    released = ready.release()
    before = ready.git("rev-parse", released.tag)
    folder = ready.project.folder / "releases"
    files = Manifest.of(folder / "0.1.0")
    assert take_back(ready.open(), word, "a reason")["tag"] == name
    with pytest.raises(WrongUse, match="already"):
        take_back(ready.open(), word, "a reason")
    ready.git("tag", "-d", name)  # as if killed before the tag
    take_back(ready.open(), word, "a reason")
    assert ready.kinds().count(word) == 1
    assert ready.git("rev-parse", released.tag) == before
    assert Manifest.of(folder / "0.1.0") == files


@pytest.mark.rule("STD-2")
def test_a_withdrawn_release_is_not_deprecated(ready):
    ready.release()
    take_back(ready.open(), "withdrawn", "a reason")
    with pytest.raises(WrongUse, match="withdrawn"):
        take_back(ready.open(), "deprecated", "a reason")


@pytest.mark.parametrize("reason", ["", " ", "two\nlines"])
def test_taking_back_needs_a_release_and_a_reason(ready, reason):
    with pytest.raises(WrongUse, match="no release"):
        take_back(ready.open(), "withdrawn", "a reason")
    with pytest.raises(WrongUse, match="reason"):
        take_back(ready.open(), "withdrawn", reason)


@pytest.mark.rule("STD-3")
def test_a_hold_is_recorded_and_lifted(ready):
    ready.release()
    with pytest.raises(WrongUse, match="not under"):
        hold(ready.open(), "a reason", on=False)
    hold(ready.open(), "a case", on=True)
    with pytest.raises(WrongUse, match="is under"):
        hold(ready.open(), "a case", on=True)
    hold(ready.open(), "closed", on=False)
    assert ready.kinds().count("legal_hold") == 2
