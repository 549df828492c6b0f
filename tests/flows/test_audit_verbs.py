"""`kette audit`: verify against what was kept elsewhere, show, prove, check, export, report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers_authority import new_authority, served
from helpers_home import Home, kette, new_home
from helpers_project import git

from audit.mirror import mirror
from benchmarks.trace import build
from flows.tag import release_message
from stages.elsewhere import leave, mirror_of
from stages.project import Machine

SERIES = "1.2.2.1"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home whose ledger holds a small chain, made once; `home` copies it."""
    folder = tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KETTE_HOME", str(folder / "home"))
        found = new_home(folder)
        build(found.place, subjects=3, each=4)
    return folder


@pytest.fixture
def home(made, tmp_path, monkeypatch) -> Home:
    shutil.copytree(made, tmp_path / "copy")
    folder = tmp_path / "copy"
    monkeypatch.setenv("KETTE_HOME", str(folder / "home"))
    monkeypatch.chdir(tmp_path)
    machine = Machine.here()
    from flows.chain import place_of

    place, _ = place_of(folder / "project", machine)
    return Home(folder / "project", place, machine)


def told(home, capsys, *words, code=0):
    """What a verb says with `--json`."""
    out, _ = kette(home, capsys, "audit", *words, "--json", code=code)
    return json.loads(out)


def older(home, tmp_path) -> Path:
    """A copy of the ledger as it stands; then the ledger grows."""
    shutil.copytree(home.place.ledger, tmp_path / "older")
    home.append(3)
    return tmp_path / "older"


def roll_back(home, older):
    shutil.rmtree(home.place.ledger)
    shutil.copytree(older, home.place.ledger)


def test_a_ledger_that_nothing_contradicts_verifies(home, capsys):
    found = told(home, capsys, "verify")
    assert (found["ok"], found["compared"]) == (True, [])
    assert found["covered"] == found["records"]
    assert told(home, capsys, "verify", "--tree") == found


# --- rollbacks that the ledger alone cannot show --------------------------------------------------


def test_a_rolled_back_ledger_is_found_by_its_mirror(home, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("KETTE_MIRROR", str(tmp_path / "mirror"))
    before = older(home, tmp_path)
    mirror(home.ledger, mirror_of(home.place, Machine.here()))
    assert told(home, capsys, "verify")["ok"]
    roll_back(home, before)
    found = told(home, capsys, "verify", code=1)
    assert found["first_bad"].startswith("checkpoint the mirror (checkpoint")
    assert "cut off or rolled back" in found["reason"]


def test_a_rolled_back_ledger_is_found_by_a_tag(home, capsys, tmp_path):
    before = older(home, tmp_path)
    note = home.ledger.signed_checkpoint()
    message = release_message("phantom 1.0.0", {"x.zip": "0" * 64}, note)
    git(home.project, "init", "--quiet")
    git(home.project, "add", "params.yaml")
    git(home.project, "commit", "--quiet", "-m", "Start")
    git(home.project, "tag", "-a", "-m", message, f"{home.place.name}@v1.0.0")
    git(home.project, "tag", "-a", "-m", "by hand", f"{home.place.name}@v0.9.0")
    git(home.project, "tag", "-a", "-m", message, "another@v1.0.0")
    assert told(home, capsys, "verify")["compared"] == [f"tag {home.place.name}@v1.0.0"]
    roll_back(home, before)
    found = told(home, capsys, "verify", code=1)
    assert found["first_bad"] == f"checkpoint tag {home.place.name}@v1.0.0"


@pytest.mark.parametrize("kind", ["manifest", "proof"])
def test_a_rolled_back_ledger_is_found_by_a_release(home, capsys, tmp_path, kind):
    before = older(home, tmp_path)
    note = home.ledger.signed_checkpoint().decode()
    evidence = home.project / "releases" / "1.0.0" / "evidence"
    evidence.mkdir(parents=True)
    if kind == "proof":
        proof = tmp_path / "proof"
        told(home, capsys, "prove", str(home.project / "prediction.dcm"), "--out", str(proof))
        shutil.copyfile(proof, evidence / "proof.json")
    else:
        manifest = json.dumps({"version": "1.0.0", "checkpoint": note})
        (home.project / "releases" / "1.0.0.yaml").write_text(manifest)
    assert told(home, capsys, "verify")["ok"]
    roll_back(home, before)
    found = told(home, capsys, "verify", code=1)
    assert found["first_bad"] in {"checkpoint evidence of 1.0.0", "checkpoint release 1.0.0"}


@pytest.mark.parametrize("kind", ["file", "tag", "folder", "memory", "release"])
def test_a_rolled_back_ledger_is_found_against_what_the_user_names(home, capsys, tmp_path, kind):
    before = older(home, tmp_path)
    note = home.ledger.signed_checkpoint()
    where = str(tmp_path / "there")
    if kind == "file":
        Path(where).write_bytes(note)
    elif kind == "tag":
        Path(where).write_text(release_message("x", {}, note))
    elif kind == "release":
        (tmp_path / "there" / "evidence").mkdir(parents=True)
        proof = str(tmp_path / "there" / "evidence" / "proof.json")
        told(home, capsys, "prove", str(home.project / "prediction.dcm"), "--out", proof)
    else:
        where = "memory://against" if kind == "memory" else where
        mirror(home.ledger, where)
    assert told(home, capsys, "verify", "--against", where)["ok"]
    roll_back(home, before)
    found = told(home, capsys, "verify", "--against", where, code=1)
    assert found["first_bad"].startswith(f"checkpoint {where}")
    assert told(home, capsys, "verify")["ok"]


def test_a_fork_is_found(home, capsys, tmp_path):
    before = older(home, tmp_path)
    (tmp_path / "note").write_bytes(home.ledger.signed_checkpoint())
    roll_back(home, before)
    home.append(3)
    found = told(home, capsys, "verify", "--against", str(tmp_path / "note"), code=1)
    assert "forked or rewritten" in found["reason"]


def test_a_place_without_a_checkpoint_is_wrong_use(home, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    _, error = kette(home, capsys, "audit", "verify", "--against", str(tmp_path / "empty"), code=2)
    assert "no checkpoint" in error


def test_a_mirror_that_is_lost_or_not_mounted_is_no_pass(home, capsys, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("KETTE_MIRROR", str(tmp_path / "mirror"))
    found = told(home, capsys, "verify", code=1)
    assert found["first_bad"] == "checkpoint the mirror"
    monkeypatch.setenv("KETTE_MIRROR", "")
    assert told(home, capsys, "verify")["ok"]


def test_a_mirrors_broken_checkpoint_is_found(home, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("KETTE_MIRROR", str(tmp_path / "mirror"))
    mirror(home.ledger, mirror_of(home.place, Machine.here()))
    path = next((tmp_path / "mirror").rglob("checkpoints/*"))
    path.write_bytes(path.read_bytes()[:-9])
    found = told(home, capsys, "verify", code=1)
    assert found["first_bad"] == f"checkpoint the mirror (checkpoints/{path.name})"


def test_a_mirror_whose_driver_is_not_here_is_no_pass(home, capsys, monkeypatch):
    monkeypatch.setenv("KETTE_MIRROR", "nowhere://secret/mirror")
    _, error = kette(home, capsys, "audit", "verify", code=2)
    assert "secret" not in error


@pytest.mark.peer("openssl")
def test_time_stamps_are_checked_against_given_roots(home, capsys, tmp_path):
    root = new_authority(tmp_path / "tsa")
    other = new_authority(tmp_path / "other")
    from audit.keys import load_or_create_signer

    signer = load_or_create_signer(home.place.keys)
    with served(tmp_path / "tsa") as url:
        machine = home.machine.model_copy(update={"tsa": url})
        assert leave(home.ledger, signer, home.place, machine) == []
    found = told(home, capsys, "verify", "--tsa-root", str(root))
    assert [stamp["records"] for stamp in found["time_stamps"]] == [found["records"]]
    assert found["compared"] == [f"time stamp {found['records']}"]
    bad = told(home, capsys, "verify", "--tsa-root", str(other), code=1)
    assert bad["first_bad"] == f"time stamp {found['records']}"


# --- from a file to its evidence ------------------------------------------------------------------


@pytest.mark.rule("TRC-4")
def test_a_prediction_is_proven_down_to_its_instances(home, capsys, tmp_path):
    prediction = home.project / "prediction.dcm"
    found = told(home, capsys, "prove", str(prediction))
    assert found["names"] == [f"assess/test/predictions/S00002/{SERIES}.dcm"]
    down = [f"{row['stage']}/{row['unit']}" for row in found["made_by"]]
    assert down == ["assess/test", "dataset/cohort", "ingest/S00002"]
    assert [row["sop"] for row in found["instances"]] == [f"{SERIES}.{n}" for n in range(4)]
    told_of_each = {name for row in found["instances"] for name in row}
    assert told_of_each == {"sop", "input_sha256", "output_sha256"}
    assert found["missing"] == []
    text, _ = kette(home, capsys, "audit", "prove", str(prediction))
    for row in found["instances"]:
        assert f"{row['sop']} {row['input_sha256']} {row['output_sha256']}" in text
    key = str(home.place.keys / "signer.pub")
    words = ("check", found["proof"], "--key", key, "--file", str(prediction))
    checked = _check(capsys, *words)
    assert (checked["ok"], checked["names"]) == (True, found["names"])


def _check(capsys, *words, code=0):
    """`kette audit check`, which needs no project."""
    from flows import cli

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["kette", "audit", *words, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    out = capsys.readouterr()
    assert (ended.value.code or 0) == code, out.err + out.out
    return json.loads(out.out) if code < 2 else out.err


def test_a_proof_needs_nothing_but_a_key(home, capsys, tmp_path):
    proof = tmp_path / "p"
    key = tmp_path / "key.pub"
    shutil.copyfile(home.place.keys / "signer.pub", key)
    told(home, capsys, "prove", str(home.project / "prediction.dcm"), "--out", str(proof))
    shutil.rmtree(home.project)
    shutil.rmtree(home.place.home)
    assert _check(capsys, "check", str(proof), "--key", str(key))["ok"]


def test_a_changed_proof_and_another_key_or_file_do_not_hold(home, capsys, tmp_path):
    proof, key = tmp_path / "p", str(home.place.keys / "signer.pub")
    prediction = home.project / "prediction.dcm"
    told(home, capsys, "prove", str(prediction), "--out", str(proof))
    other = new_home_key(tmp_path)
    assert not _check(capsys, "check", str(proof), "--key", other, code=1)["ok"]
    prediction.write_bytes(b"another prediction")
    found = _check(capsys, "check", str(proof), "--key", key, "--file", str(prediction), code=1)
    assert found["first_bad"] == "file"
    raw = bytearray(proof.read_bytes())
    raw[len(raw) // 2] ^= 1
    proof.write_bytes(raw)
    assert not _check(capsys, "check", str(proof), "--key", key, code=1)["ok"]


def new_home_key(folder):
    from audit.keys import load_or_create_signer

    load_or_create_signer(folder / "other-keys")
    return str(folder / "other-keys" / "signer.pub")


def test_a_tree_is_proven_by_its_digest(home, capsys):
    rows = told(home, capsys, "show", "--stage", "dataset")["records"]
    (index,) = [row["index"] for row in rows]
    statement = dict(home.ledger.records())[index]
    digest = statement["subject"][0]["digest"]["sha256"]
    found = told(home, capsys, "prove", f"sha256:{digest}")
    assert (found["names"], found["instances"]) == (["dataset/cohort"], None)
    assert Path(found["proof"]).name == f"{digest[:16]}.proof"


@pytest.mark.rule("TRC-5")
def test_instances_of_another_dataset_are_not_told(home, capsys):
    (home.place.data / "ingest.parquet").write_bytes(b"another")
    found = told(home, capsys, "prove", str(home.project / "prediction.dcm"))
    assert found["instances"] is None
    assert "dvc checkout" in found["note"]


def test_a_file_that_no_record_names_is_refused(home, capsys):
    _, error = kette(home, capsys, "audit", "prove", str(home.place.params), code=1)
    assert "No record" in error
    assert not list(Path().glob("*.proof"))


@pytest.mark.parametrize("what", ["nowhere.dcm", "sha256:12"])
def test_what_is_no_file_is_wrong_use(home, capsys, what):
    _, error = kette(home, capsys, "audit", "prove", what, code=2)
    assert "no such file" in error


@pytest.mark.rule("TRC-4")
def test_a_damaged_ledger_proves_nothing(home, capsys):
    batch = max(home.place.ledger.rglob("*.jsonl"), key=lambda path: path.stat().st_size)
    raw = batch.read_bytes()
    batch.write_bytes(raw.replace(b'"sig":"', b'"sig":"00', 1))
    _, error = kette(home, capsys, "audit", "prove", str(home.project / "prediction.dcm"), code=1)
    assert "refused" in error
    assert not list(Path().glob("*.proof"))


# --- show, export, report -------------------------------------------------------------------------


def test_filters_reach_the_records(home, capsys):
    shown = told(home, capsys, "show", "--subject", "S00001", "--stage", "ingest")["records"]
    assert [row["unit"] for row in shown] == ["S00001", ""]
    shown = told(home, capsys, "show", "--event", "key", "--until", "0")["records"]
    assert [(row["index"], row["event"]) for row in shown] == [(0, "key.enrolled")]
    out, _ = kette(home, capsys, "audit", "show", "--stage", "assess", "--unit", "test")
    assert "assess" in out
    _, error = kette(home, capsys, "audit", "show", "--since", "yesterday", code=2)
    assert "neither an index nor a time" in error


@pytest.mark.parametrize("form", ["fhir", "dicom", "openlineage", "prov", "csv"])
def test_every_export_is_the_same_twice_and_never_of_a_damaged_ledger(home, capsys, tmp_path, form):
    for name in ("one", "two"):
        found = told(home, capsys, "export", "--format", form, "--out", str(tmp_path / name))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() != b""
    assert found["records"] == told(home, capsys, "verify")["records"]
    (home.place.ledger / "stray").write_bytes(b"")
    words = ("export", "--format", form, "--out", str(tmp_path / "three"))
    kette(home, capsys, "audit", *words, code=1)
    assert not (tmp_path / "three").exists()


def test_an_export_holds_the_selected_records_alone(home, capsys, tmp_path):
    words = ("--stage", "ingest", "--unit", "S00001")
    found = told(home, capsys, "export", "--format", "csv", "--out", str(tmp_path / "x"), *words)
    assert found["records"] == 1


def test_the_page_stands_alone_and_says_whether_the_ledger_holds(home, capsys, tmp_path):
    page = tmp_path / "audit.html"
    assert told(home, capsys, "report", "--out", str(page))["ok"]
    text = page.read_text("utf-8")
    assert "The ledger holds." in text
    for forbidden in ("<script", "http://", "https://", "src="):
        assert forbidden not in text
    for said in ("Chain of stages", "Gates", "Signatures", "Keys", "legal hold", "Checkpoint"):
        assert said in text
    first = page.read_bytes()
    told(home, capsys, "report", "--out", str(page))
    assert page.read_bytes() == first
    (home.place.ledger / "stray").write_bytes(b"")
    assert not told(home, capsys, "report", "--out", str(page), code=1)["ok"]
    assert "The ledger does not hold: file stray" in page.read_text("utf-8")


@pytest.mark.slow
@pytest.mark.rule("OTH-1")
def test_a_run_ends_with_its_mirror_and_is_not_lost_with_it(project, tmp_path):
    (tmp_path / "mirror").write_bytes(b"no folder")
    setting = {"KETTE_MIRROR": str(tmp_path / "mirror")}
    done = project.call("run", "--until", "ingest", "--json", **setting)
    assert "kette: warning: The copy elsewhere could not be reached" in done.stderr
    shown = json.loads(project.call("audit", "show", "--event", "finding", "--json").stdout)
    assert [row["text"].split(":")[0] for row in shown["records"]] == ["MIR-3"]
    (tmp_path / "mirror").unlink()
    project.call("run", "--until", "ingest", "--json", **setting)
    found = json.loads(project.call("audit", "verify", "--json", **setting).stdout)
    assert found["ok"]
    assert f"the mirror (checkpoints/{found['records']})" in found["compared"]
