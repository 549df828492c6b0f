"""What a run leaves with others, and that it never loses the run."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from helpers_authority import new_authority, served
from securesystemslib.signer import CryptoSigner

from audit.ledger import Ledger
from audit.mirror import checkpoints
from audit.reading import Selection
from audit.show import rows
from audit.statement import event
from audit.timestamp import read_roots, verify
from stages.elsewhere import leave, mirror_of
from stages.project import Machine, Place

SIGNER = CryptoSigner.generate_ed25519()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "project", "phantom", tmp_path / "home")


@pytest.fixture
def ledger(place):
    ledger = Ledger(place.ledger, "kette/phantom")
    happen(ledger)
    return ledger


def happen(ledger):
    ledger.append(event("look", at=datetime.now(UTC), details={"number": 1}), SIGNER)
    ledger.checkpoint(SIGNER)


def findings(ledger):
    return [row["text"] for row in rows(ledger, Selection(event="finding"))]


def test_a_machine_without_settings_leaves_nothing(ledger, place, capsys):
    assert leave(ledger, SIGNER, place, Machine(home=place.home)) == []
    assert capsys.readouterr().err == ""
    assert not place.checkpoints.exists()


def test_a_run_that_recorded_nothing_leaves_nothing(place, tmp_path):
    machine = Machine(home=place.home, mirror=str(tmp_path / "mirror"))
    assert leave(Ledger(place.ledger, "kette/phantom"), SIGNER, place, machine) == []
    assert not place.ledger.exists()


def test_each_project_has_its_own_mirror_below_the_machines(ledger, place, tmp_path):
    machine = Machine(home=place.home, mirror=str(tmp_path / "mirror") + "/")
    assert leave(ledger, SIGNER, place, machine) == []
    url = mirror_of(place, machine)
    assert url == str(tmp_path / "mirror" / "phantom")
    assert checkpoints(url)["checkpoint"] == ledger.signed_checkpoint()


@pytest.mark.rule("OTH-1")
def test_a_mirror_that_cannot_be_reached_is_a_warning_and_a_signed_finding(
    ledger, place, tmp_path, capsys
):
    (tmp_path / "mirror").write_bytes(b"no folder")
    machine = Machine(home=place.home, mirror=str(tmp_path / "mirror"))
    (failed,) = leave(ledger, SIGNER, place, machine)
    assert failed in capsys.readouterr().err
    assert findings(ledger) == [f"MIR-3: {failed}"]
    assert str(tmp_path) not in failed
    # The next run, with the mirror back, leaves all of it.
    (tmp_path / "mirror").unlink()
    assert leave(ledger, SIGNER, place, machine) == []
    assert checkpoints(mirror_of(place, machine))["checkpoint"] == ledger.signed_checkpoint()


@pytest.mark.rule("OTH-2")
def test_a_ledger_that_forked_from_its_mirror_is_a_finding(ledger, place, tmp_path, capsys):
    other = Ledger(tmp_path / "other", "kette/phantom")
    happen(other)
    machine = Machine(home=place.home, mirror=str(tmp_path / "mirror"))
    leave(ledger, SIGNER, place, machine)
    (failed,) = leave(other, SIGNER, place, machine)
    assert "forked" in failed
    assert "never make a new mirror" in capsys.readouterr().err


@pytest.mark.peer("openssl")
def test_a_time_stamp_stands_beside_its_checkpoint_and_in_the_mirror(ledger, place, tmp_path):
    root = new_authority(tmp_path / "tsa")
    with served(tmp_path / "tsa") as url:
        machine = Machine(home=place.home, mirror=str(tmp_path / "mirror"), tsa=url)
        assert leave(ledger, SIGNER, place, machine) == []
        assert leave(ledger, SIGNER, place, machine) == []
    (token,) = place.checkpoints.glob("*.tsr")
    note = token.with_suffix("").read_bytes()
    assert note == ledger.signed_checkpoint()
    assert verify(token.read_bytes(), note, read_roots(root)) <= datetime.now(UTC)
    kept = tmp_path / "mirror" / "phantom" / "checkpoints" / token.name
    assert kept.read_bytes() == token.read_bytes()


@pytest.mark.rule("OTH-1")
def test_an_authority_that_is_down_keeps_nothing_from_the_mirror(ledger, place, tmp_path, capsys):
    machine = Machine(home=place.home, mirror=str(tmp_path / "mirror"), tsa="http://127.0.0.1:9/")
    (failed,) = leave(ledger, SIGNER, place, machine)
    assert "authority" in failed
    assert findings(ledger) == [f"TST-1: {failed}"]
    assert list(checkpoints(mirror_of(place, machine))) != []


def test_a_mirrors_folder_means_the_same_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KETTE_MIRROR", "mirror")
    assert Machine.here().mirror == str(tmp_path / "mirror")
    monkeypatch.setenv("KETTE_MIRROR", "s3://bucket/mirror")
    assert Machine.here().mirror == "s3://bucket/mirror"
