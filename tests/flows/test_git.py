"""Git is called so that another's work is safe and a kill leaves nothing that needs a person."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from helpers_project import ROOT, git

from audit.errors import Fault, WrongUse
from flows.git import Repository

MAIN = "refs/heads/main"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "tester@example.org")
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / ".gitignore").write_text("/.kette/\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "Start")
    return Repository(tmp_path)


def test_a_commit_takes_given_bytes_and_leaves_the_rest(repository):
    head = repository.head()
    (repository.project / "mine").write_text("untouched")
    with repository.writing(MAIN) as writer:
        made = writer.commit(head, {"a/b.yaml": b"x\r\n"}, "Add")
        assert repository.head() == head  # nobody sees it yet
        writer.move("HEAD", made, head, "test")
    assert repository.head() == made
    assert repository.read("HEAD", "a/b.yaml") == b"x\r\n"
    assert repository.read("HEAD", ".gitignore") == b"/.kette/\n"
    assert repository.read("HEAD", "none") is None
    assert "mine" in repository.changed()


@pytest.mark.rule("GIT-1")
def test_a_reference_is_moved_only_from_where_it_was_seen(repository):
    first = repository.head()
    git(repository.project, "commit", "--quiet", "--allow-empty", "-m", "Meanwhile")
    second = repository.head()
    with repository.writing(MAIN) as writer, pytest.raises(Fault, match="Git refused"):
        writer.move("HEAD", first, first, "test")
    assert repository.head() == second


@pytest.mark.rule("GIT-3")
@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
def test_a_lock_of_another_git_is_told_and_kept(repository, name):
    lock = repository.project / ".git" / name
    lock.touch()
    with pytest.raises(WrongUse, match=lock.name), repository.writing(MAIN):
        pass
    assert lock.exists()


@pytest.mark.rule("GIT-3")
@pytest.mark.parametrize("name", ["index.lock", "HEAD.lock", "refs/heads/main.lock"])
def test_a_lock_that_a_killed_call_left_is_removed_by_the_next(repository, name):
    code = f"""
        import os, signal
        from pathlib import Path
        from flows.git import Repository
        with Repository(Path({str(repository.project)!r})).writing({MAIN!r}):
            Path({str(repository.project / ".git" / name)!r}).touch()  # as git does, then is killed
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, env=os.environ | _path()
    )
    assert done.returncode == -signal.SIGKILL
    head = repository.head()
    with repository.writing(MAIN) as writer:
        writer.move("HEAD", writer.commit(head, {"a": b"x"}, "Go on"), head, "test")
        writer.take([".gitignore"])
    assert repository.head() != head
    assert not (repository.project / ".kette" / "git.writing").exists()


@pytest.mark.rule("GIT-3")
def test_a_lock_of_a_reference_is_known_to_be_ours_after_other_writers(repository):
    lock = repository.project / ".git" / "refs" / "heads" / "main.lock"
    with repository.writing(MAIN):
        lock.touch()  # its git was killed, the program went on to tell it
    with repository.writing():
        assert not lock.exists()
    with repository.writing(MAIN):
        pass
    assert not (repository.project / ".kette" / "git.writing").exists()


@pytest.mark.rule("GIT-3")
def test_a_lock_is_kept_while_a_git_is_at_work_here(repository):
    (repository.project / ".kette").mkdir()
    (repository.project / ".kette" / "git.writing").touch()
    lock = repository.project / ".git" / "index.lock"
    lock.touch()
    with subprocess.Popen(
        ["git", "cat-file", "--batch"], cwd=repository.project, stdin=subprocess.PIPE
    ) as other:
        time.sleep(0.1)  # until it is git and no longer the child of this process
        with pytest.raises(WrongUse, match="at work"), repository.writing(MAIN):
            pass
        assert other.stdin is not None
        other.stdin.close()
    assert lock.exists()
    with repository.writing(MAIN):
        assert not lock.exists()


@pytest.mark.rule("GIT-2")
def test_a_git_that_outlives_its_killed_caller_is_waited_for(repository):
    hook = repository.project / "slow"
    hook.write_text("#!/bin/sh\nsleep 1\necho late > done\n")
    hook.chmod(0o755)
    code = f"""
        import os, signal, threading
        from pathlib import Path
        from flows.git import Repository
        with Repository(Path({str(repository.project)!r})).writing({MAIN!r}) as writer:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
            writer._do("-c", "alias.slow=!./slow", "slow")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, env=os.environ | _path()
    )
    assert done.returncode == -signal.SIGKILL
    with repository.writing(MAIN):
        assert (repository.project / "done").read_text() == "late\n"


def test_no_hook_runs_and_no_variable_of_git_leads_elsewhere(repository, monkeypatch, tmp_path):
    hook = repository.project / ".git" / "hooks" / "reference-transaction"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere"))
    head = repository.head()
    with repository.writing(MAIN) as writer:
        writer.move("HEAD", writer.commit(head, {"a": b"x"}, "Go on"), head, "test")
    assert repository.head() != head


def test_a_folder_that_is_no_repository_of_its_own_is_refused(tmp_path, repository):
    inner = repository.project / "inner"
    inner.mkdir()
    with pytest.raises(WrongUse, match="no git repository"):
        Repository(inner)


def _path() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
