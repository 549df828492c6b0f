"""Git, called so that a kill leaves nothing that only a person could mend.

Commits and tags are made of git's plumbing: objects first, which nobody sees, then one reference by
compare and swap. No hook, editor or signing program of the user runs.

Rules:

- GIT-1  A reference is moved only from where it was seen; objects and references are synced.
- GIT-2  One writer of ours at a time; a git that outlives its killed caller still counts as one.
- GIT-3  A lock file that stood there before us is another git's: it is told, never removed. One
         that a killed call of ours left is removed by the next, unless a git is at work here.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from audit.errors import Fault, WrongUse
from stages.project import is_repository
from stages.store import write_whole

_OURS = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync",
    "-c", "core.quotePath=false", "-c", "gc.auto=0", "-c", "user.useConfigOnly=true",
)  # fmt: skip
_REGULAR = "100644"


class Repository:
    """The git repository whose work tree is the project.

    Raises:
        WrongUse: the project is not the top of a git work tree.
    """

    def __init__(self, project: Path) -> None:
        if not is_repository(project):
            raise WrongUse(
                "The project is no git repository of its own: a release is a tag of it.",
                "Run `git init` in the project and commit it.",
            )
        self.project = project
        self._work = project / ".kette"

    def ask(self, *words: str) -> str | None:
        """What git says; None where it answers with an error. Takes no lock."""
        done = self._call(words, optional_locks=False)
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def read(self, commit: str, path: str) -> bytes | None:
        """A file's bytes in a commit; None where it has none."""
        done = self._call(("cat-file", "blob", f"{commit}:{path}"), optional_locks=False)
        return done.stdout if done.returncode == 0 else None

    def head(self) -> str:
        """The commit checked out.

        Raises:
            WrongUse: there is none yet.
        """
        found = self.ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if not found:
            raise WrongUse("The repository has no commit yet.", "Commit the project first.")
        return found

    def branch(self) -> str:
        """The branch checked out, in full (`refs/heads/…`).

        Raises:
            WrongUse: HEAD is detached.
        """
        found = self.ask("symbolic-ref", "--quiet", "HEAD")
        if not found:
            raise WrongUse(
                "No branch is checked out: the release's commit would belong to none.",
                "Check out the branch that is to be released.",
            )
        return found

    def identity(self) -> str:
        """Who commits: `Name <mail> seconds zone`.

        Raises:
            WrongUse: git knows no name or mail.
        """
        found = self.ask("var", "GIT_COMMITTER_IDENT")
        if not found:
            raise WrongUse(
                "Git does not know who commits.",
                "Set `git config user.name` and `git config user.email`.",
            )
        return found

    def changed(self) -> list[str]:
        """Paths that differ from the commit or are new and not ignored, sorted."""
        done = self._call(
            ("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"),
            optional_locks=False,
        )
        if done.returncode:
            raise _fault(done)
        return sorted(entry[3:] for entry in done.stdout.decode().split("\0") if entry)

    def tags(self, pattern: str) -> list[str]:
        """Names of the tags that match a glob."""
        found = self.ask("for-each-ref", "--format=%(refname:strip=2)", f"refs/tags/{pattern}")
        return (found or "").split()

    def commit_of(self, tag: str) -> str | None:
        """The commit that a tag names; None where there is no such tag."""
        return self.ask("rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")

    @contextmanager
    def writing(self, *references: str) -> Iterator[Writer]:
        """Change references and index, alone (GIT-2, GIT-3).

        Args:
            references: in full, that may be moved.

        Raises:
            WrongUse: another git holds a lock, or one that was killed left it.
        """
        self._work.mkdir(exist_ok=True)
        with (self._work / "git.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            marker = self._work / "git.writing"
            before = marker.read_text("utf-8").split() if marker.exists() else []
            names = {"index", "HEAD", "packed-refs", *references, *before}
            locks = [Path(self._path(f"{name}.lock")) for name in sorted(names)]
            left = [path for path in locks if path.exists()]
            if left and (not marker.exists() or _at_work(self.project)):
                raise WrongUse(
                    f"Another git is at work in the repository: it holds `{left[0].name}`.",
                    "Wait until it has ended; if it was killed, delete that file below `.git`.",
                )
            for path in left:
                path.unlink()
            write_whole(marker, "\n".join(sorted(names)).encode())
            try:
                yield Writer(self, lock.fileno())
            finally:
                if not any(path.exists() for path in locks):
                    marker.unlink()

    def _path(self, name: str) -> str:
        found = self.ask("rev-parse", "--path-format=absolute", "--git-path", name)
        if found is None:
            raise Fault("Git does not say where it keeps its files.", "Run `git fsck`.")
        return found

    def _call(
        self,
        words: Sequence[str],
        *,
        stdin: bytes = b"",
        optional_locks: bool = True,
        more: Mapping[str, str] | None = None,
        held: tuple[int, ...] = (),
    ) -> subprocess.CompletedProcess[bytes]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("GIT_") or name.startswith(("GIT_COMMITTER_", "GIT_AUTHOR_"))
        }
        extra = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "1" if optional_locks else "0"}
        try:
            return subprocess.run(
                ["git", "-C", str(self.project), *_OURS, *words],
                input=stdin,
                capture_output=True,
                check=False,
                env=clean | extra | dict(more or {}),
                pass_fds=held,
            )
        except FileNotFoundError:
            raise WrongUse("There is no git on this machine.", "Install git.") from None


class Writer:
    """What may be written while `Repository.writing` holds."""

    def __init__(self, repository: Repository, held: int) -> None:
        self._repository = repository
        self._held = held

    def commit(self, parent: str, files: Mapping[str, bytes], message: str) -> str:
        """Make a commit of the parent's tree with files added or replaced; no reference moves."""
        index = self._repository.project / ".kette" / "git.index"
        index.unlink(missing_ok=True)
        index.with_name(f"{index.name}.lock").unlink(missing_ok=True)
        own = {"GIT_INDEX_FILE": str(index)}
        try:
            self._do("read-tree", parent, more=own)
            for path, data in files.items():
                blob = self._do("hash-object", "-w", "--no-filters", "--stdin", stdin=data)
                entry = f"{_REGULAR},{blob},{path}"
                self._do("update-index", "--add", "--cacheinfo", entry, more=own)
            tree = self._do("write-tree", more=own)
        finally:
            index.unlink(missing_ok=True)
        return self._do("commit-tree", tree, "-p", parent, "-F", "-", stdin=message.encode())

    def tag_object(self, raw: bytes) -> str:
        """Write a tag object, checked by git; no reference moves."""
        return self._do("mktag", stdin=raw)

    def move(self, reference: str, new: str, old: str | None, why: str) -> None:
        """Move a reference, if it still is where it was seen; null: it must not be there (GIT-1).

        Raises:
            Fault: it has moved meanwhile, or the disk refused.
        """
        self._do("update-ref", "-m", why, reference, new, old or "0" * len(new))

    def take(self, paths: Sequence[str]) -> None:
        """Let the index hold these files as they stand in the work tree."""
        self._do("update-index", "--add", "--", *paths)

    def _do(self, *words: str, stdin: bytes = b"", more: Mapping[str, str] | None = None) -> str:
        done = self._repository._call(words, stdin=stdin, more=more, held=(self._held,))  # noqa: SLF001 - its own half
        if done.returncode:
            raise _fault(done)
        return done.stdout.decode().strip()


def _fault(done: subprocess.CompletedProcess[bytes]) -> Fault:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason given"]
    return Fault(
        f"Git refused: {lines[-1].rstrip('.')}.",
        "Mend what it says, then run the same command again.",
    )


def _at_work(project: Path) -> bool:
    """Whether a git works in the project: one whose current folder lies in it."""
    top = project.resolve()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            name = (process / "comm").read_text().strip()
            if name.startswith("git") and (process / "cwd").resolve().is_relative_to(top):
                return True
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return False
