"""The mirror: append-only, crash safe, and a witness against the ledger's owner."""

from __future__ import annotations

import shutil
import uuid

import pytest
from helpers_audit import files_of, new_ledger, new_signer, stage_run

from audit import mirror as module
from audit.elsewhere import Elsewhere
from audit.errors import Fault, Refused, WrongUse
from audit.ledger import Ledger
from audit.mirror import checkpoints, mirror


@pytest.fixture
def signer():
    return new_signer()


@pytest.fixture
def ledger(tmp_path, signer):
    return new_ledger(tmp_path / "ledger", signer)


@pytest.fixture(params=["folder", "memory"])
def url(request, tmp_path):
    """A place for a mirror: a folder, and an object store in memory."""
    if request.param == "folder":
        return str(tmp_path / "mirror")
    return f"memory://{uuid.uuid4()}/mirror"


def content(url):
    there = Elsewhere(url)
    return {path: there.read(path, 2**25) for path in there.sizes("")}


def size(ledger):
    return sum(1 for _ in ledger.read())


@pytest.mark.rule("MIR-1")
def test_a_mirror_holds_every_file_of_the_ledger_and_every_checkpoint(ledger, url, signer):
    first = mirror(ledger, url)
    ledger.append([stage_run(10), stage_run(11)], signer)
    ledger.checkpoint(signer)
    second = mirror(ledger, url)
    assert (first.size, second.size) == (size(ledger) - 2, size(ledger))
    theirs = content(url)
    for path in files_of(ledger.folder):
        if path.name != "lock":
            assert theirs[path.relative_to(ledger.folder).as_posix()] == path.read_bytes()
    named = [f"checkpoints/{first.size}", f"checkpoints/{second.size}", "checkpoint"]
    assert list(checkpoints(url)) == named
    assert checkpoints(url)["checkpoint"] == ledger.signed_checkpoint()


@pytest.mark.rule("MIR-1")
def test_a_second_copy_of_the_same_writes_nothing(ledger, url):
    mirror(ledger, url)
    before = content(url)
    assert mirror(ledger, url).files == 0
    assert content(url) == before


@pytest.mark.rule("MIR-3")
def test_a_ledger_that_was_cut_off_is_refused(ledger, url, signer, tmp_path):
    shutil.copytree(ledger.folder, tmp_path / "before")
    ledger.append(stage_run(10), signer)
    ledger.checkpoint(signer)
    mirror(ledger, url)
    held = content(url)
    with pytest.raises(Refused, match="cut off or rolled back"):
        mirror(Ledger(tmp_path / "before", ledger.origin), url)
    assert content(url) == held


@pytest.mark.rule("MIR-3")
@pytest.mark.parametrize("more", [0, 1, 5])
def test_a_forked_ledger_is_refused(ledger, url, signer, tmp_path, more):
    shutil.copytree(ledger.folder, tmp_path / "fork")
    fork = Ledger(tmp_path / "fork", ledger.origin)
    ledger.append(stage_run(10), signer)
    ledger.checkpoint(signer)
    mirror(ledger, url)
    fork.append([stage_run(20 + number) for number in range(more + 1)], signer)
    fork.checkpoint(signer)
    with pytest.raises(Refused, match="forked or rewritten"):
        mirror(fork, url)


@pytest.mark.rule("MIR-3")
def test_another_ledgers_mirror_is_refused(url, signer, tmp_path):
    for name in ("one", "two"):
        other = Ledger(tmp_path / name, f"kette/{name}")
        other.append(stage_run(1), signer)
        other.checkpoint(signer)
        if name == "one":
            mirror(other, url)
    with pytest.raises(Refused, match="another ledger's"):
        mirror(other, url)


@pytest.mark.rule("MIR-2")
def test_a_copy_killed_after_any_write_is_completed_by_the_next(
    ledger, signer, tmp_path, monkeypatch
):
    whole = str(tmp_path / "whole")
    count = mirror(ledger, whole).files
    real = Elsewhere.write
    for last in range(count):
        url = str(tmp_path / f"killed-{last}")
        done = []

        def killed(self, path, data, done=done, last=last):
            if len(done) == last:
                real(self, path, data[: len(data) // 2])  # as a store that does not write at once
                raise KeyboardInterrupt
            done.append(path)
            real(self, path, data)

        monkeypatch.setattr(Elsewhere, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            mirror(ledger, url)
        monkeypatch.setattr(Elsewhere, "write", real)
        mirror(ledger, url)
        assert content(url) == content(whole)


@pytest.mark.rule("MIR-1")
def test_a_covered_batch_of_another_length_is_told_and_left_alone(ledger, url):
    mirror(ledger, url)
    path = "entries/000/000/000.jsonl"
    Elsewhere(url).write(path, b"other")
    with pytest.raises(Refused, match="record 0"):
        mirror(ledger, url)
    assert content(url)[path] == b"other"


def test_a_mirror_that_cannot_be_written_is_a_fault_without_its_url(ledger, tmp_path):
    (tmp_path / "secret").write_bytes(b"a file stands where the folder should be")
    with pytest.raises(Fault) as caught:
        mirror(ledger, str(tmp_path / "secret" / "mirror"))
    assert "secret" not in caught.value.diagnostics()


@pytest.mark.parametrize("url", ["nowhere://secret/x", "s3-but-not-quite://secret"])
def test_a_url_that_fsspec_does_not_know_is_wrong_use(ledger, url):
    with pytest.raises(WrongUse) as caught:
        module.mirror(ledger, url)
    assert "secret" not in caught.value.diagnostics()
