"""A past commit as a folder of its own: laid, taken away, also after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers_project import ROOT, git

from audit.errors import Fault
from flows.worktree import lay, prune, workplace
from stages.project import commit_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".gitignore").write_text("/.kette/\n")
    (folder / "params.yaml").write_text("then")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "Then")
    return folder


@pytest.fixture
def then(project: Path) -> str:
    commit = commit_of(project)
    assert commit is not None
    (project / "params.yaml").write_text("now")
    git(project, "commit", "--quiet", "-a", "-m", "Now")
    return commit


def places(project: Path) -> list[str]:
    return sorted(path.name for path in (project / ".kette" / "reproduce").iterdir())


def trees(project: Path) -> int:
    return git(project, "worktree", "list").count("\n")


@pytest.mark.rule("WTR-1")
@pytest.mark.rule("WTR-2")
def test_the_commit_is_laid_beside_the_work_and_gone_after(project: Path, then: str) -> None:
    (project / "params.yaml").write_text("unsaved")
    head = git(project, "rev-parse", "HEAD")
    with workplace(project, "1.0.0") as place:
        lay(project, then, place / "project")
        assert (place / "project" / "params.yaml").read_text() == "then"
        assert trees(project) == 2
        (place / "project" / "store").mkdir()
        (place / "project" / "store").chmod(0o500)
    assert (project / "params.yaml").read_text() == "unsaved"
    assert git(project, "rev-parse", "HEAD") == head
    assert places(project) == []
    assert trees(project) == 1


@pytest.mark.rule("WTR-2")
def test_what_a_kill_left_is_taken_away_by_the_next(project: Path, then: str) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom flows.worktree import lay, workplace\n"
        "with workplace(Path(sys.argv[1]), 'x') as place:\n"
        "    lay(Path(sys.argv[1]), sys.argv[2], place / 'project')\n"
        "    print('laid', flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(project), then]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"laid\n"
        prune(project)
        assert trees(project) == 2  # it is at work
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(places(project)) == 2
    with workplace(project, "y"):
        assert trees(project) == 1
    assert places(project) == []


@pytest.mark.rule("WTR-2")
def test_a_rebuild_that_outlives_its_killed_caller_keeps_its_folder(project: Path) -> None:
    code = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom flows.worktree import workplace\n"
        "with workplace(Path(sys.argv[1]), 'x') as place:\n"
        "    left = subprocess.Popen(['sleep', '60'], close_fds=False, stdout=subprocess.DEVNULL)\n"
        "    print(left.pid, flush=True)\n    left.wait()\n"
    )
    command = [sys.executable, "-c", code, str(project)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        left = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        child.wait()
    prune(project)
    assert len(places(project)) == 2
    os.kill(left, signal.SIGKILL)
    for _ in range(1000):  # until the system has closed what it held
        prune(project)
        if not places(project):
            break
        time.sleep(0.01)
    assert places(project) == []


@pytest.mark.rule("WTR-3")
def test_what_was_asked_to_be_kept_stays(project: Path, then: str) -> None:
    with workplace(project, "1.0.0", keep=True) as place:
        lay(project, then, place / "project")
    with workplace(project, "1.0.0") as other:
        assert other != place
    assert (place / "project" / "params.yaml").read_text() == "then"


@pytest.mark.rule("WTR-4")
def test_no_hook_runs(project: Path, then: str) -> None:
    hook = project / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {project}/.kette/hook-ran\n")
    hook.chmod(0o755)
    with workplace(project, "1.0.0") as place:
        lay(project, then, place / "project")
    assert not (project / ".kette" / "hook-ran").exists()


def test_where_git_makes_no_work_tree_a_clone_serves(project: Path, then: str) -> None:
    (project / ".git" / "worktrees").write_text("no folder can be made here")
    with workplace(project, "1.0.0") as place:
        lay(project, then, place / "project")
        assert (place / "project" / "params.yaml").read_text() == "then"
        assert commit_of(place / "project") == then
    assert places(project) == []


def test_a_commit_that_is_not_here_is_told(project: Path, then: str) -> None:
    with workplace(project, "1.0.0") as place, pytest.raises(Fault, match="could not lay commit"):
        lay(project, "0" * 40, place / "project")
