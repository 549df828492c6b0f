"""A project whose chain never ran, with a ledger, keys and a vault in a home of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from helpers_project import ROOT
from securesystemslib.signer import CryptoSigner

from audit.keys import load_or_create_signer
from audit.ledger import Ledger
from audit.statement import event
from flows import cli
from flows.ledger import open_ledger
from stages.ingest import vault
from stages.project import Machine, Place

PATIENTS = ("P-1", "P-2", "P-3")


@dataclass(frozen=True)
class Home:
    """One project on one machine."""

    project: Path
    place: Place
    machine: Machine

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.place.ledger, f"kette/{self.place.name}")

    def append(self, count: int = 1) -> None:
        """Records of the machine's key, below a checkpoint."""
        signer = load_or_create_signer(self.place.keys, self.machine.signer)
        looks = [event("look", at=datetime.now(UTC), details={"number": n}) for n in range(count)]
        self.ledger.append(looks, signer)
        self.ledger.checkpoint(signer)

    def patients(self, *names: str) -> dict[str, str]:
        """Patient ID → pseudonym, each entered if it is new."""
        with vault.open_vault(self.place.vault) as opened:
            return {name: opened.subject(name, "hospital").pseudonym for name in names}


def new_home(folder: Path) -> Home:
    """A project in `folder/project`, with nothing in its home (`KETTE_HOME`)."""
    project = folder / "project"
    project.mkdir()
    for name in ("params.yaml", "constraints.txt"):
        shutil.copyfile(ROOT / name, project / name)
    _, place, machine = open_ledger(project)
    return Home(project, place, machine)


def key_file(path: Path) -> str:
    """A new Ed25519 key in a file of its owner; gives its URI."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(CryptoSigner.generate_ed25519().private_bytes)
    return f"file2:{path}"


def files_of(folder: Path) -> dict[str, bytes]:
    """Relative path → content of every file but locks."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in {"lock", ".lock"}
    }


def kette(
    home: Home, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0
) -> tuple[str, str]:
    """Run a verb in this process; gives what it wrote on stdout and stderr."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["kette", *words, "--project", str(home.project)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    told = capsys.readouterr()
    assert (ended.value.code or 0) == code, told.err + told.out
    return told.out, told.err
