"""DWB-1 … DWB-4: studies fetched from a real Orthanc, with its DICOMweb plug-in."""

import json
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from helpers_ingest import PATIENT, ROOT, ct, encoded, ingest, new_vault, save, study

from audit.errors import Fault, Transient, WrongUse
from flows import cli
from stages.ingest.dicomweb import PASSWORD, TOKEN, USER, Bounds, fetch
from stages.ingest.inbox import open_inbox

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
STUDY = f"{ROOT}.77"
SECRET = "a secret of the test"


@dataclass(frozen=True)
class Server:
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def upload(self, *datasets) -> None:
        for dataset in datasets:
            answer = requests.post(
                f"http://127.0.0.1:{self.port}/instances",
                data=encoded(dataset),
                auth=("kette", SECRET),
                timeout=30,
            )
            answer.raise_for_status()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("Orthanc") is None or not PLUGIN.exists():
        pytest.skip("the peer program Orthanc, or its DICOMweb plug-in, is not installed")
    folder = tmp_path_factory.mktemp("orthanc")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "StorageDirectory": str(folder / "store"),
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True},
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"kette": SECRET},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            ["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log
        ) as process,
    ):
        server = Server(port)
        try:
            _await(server, process)
            server.upload(*study(), ct(0, "5", StudyInstanceUID=f"{ROOT}.78", PatientID="KH-9"))
            yield server
        finally:
            process.terminate()
            process.wait(60)


def _await(server: Server, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            requests.get(f"{server.url}/studies", auth=("kette", SECRET), timeout=5)
        except requests.ConnectionError:
            time.sleep(0.2)
        else:
            return
    pytest.fail("Orthanc does not answer")


@pytest.fixture
def _user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(USER, "kette")
    monkeypatch.setenv(PASSWORD, SECRET)


def run(server: Server, folder: Path, **options):
    with open_inbox(folder, ()) as inbox:
        return fetch(server.url, inbox, **options)


@pytest.mark.rule("DWB-3")
@pytest.mark.peer("Orthanc")
@pytest.mark.usefixtures("_user")
@pytest.mark.parametrize("how", [{"studies": [STUDY]}, {"query": {"PatientID": PATIENT}}])
def test_what_is_fetched_gives_the_same_digests_as_the_folder(
    tmp_path: Path, orthanc: Server, how: dict[str, object]
) -> None:
    assert run(orthanc, tmp_path / "fetched", **how).instances == 6
    place = new_vault(tmp_path / "vault")
    folder = ingest(tmp_path / "a", save(tmp_path / "in", *study()), vault_folder=place)
    fetched = ingest(tmp_path / "b", tmp_path / "fetched", vault_folder=place)
    assert fetched.members == folder.members
    digests = [
        {row["output_sha256"] for row in done.table("instances")} for done in (folder, fetched)
    ]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 6


@pytest.mark.rule("DWB-4")
@pytest.mark.peer("Orthanc")
@pytest.mark.usefixtures("_user")
def test_called_again_it_fetches_what_is_missing(tmp_path: Path, orthanc: Server) -> None:
    with pytest.raises(Fault, match="limit"):
        run(orthanc, tmp_path / "in", studies=[STUDY], bounds=Bounds(instances=6, total_bytes=1))
    assert len(list((tmp_path / "in").iterdir())) == 1
    done = run(orthanc, tmp_path / "in", studies=[STUDY, STUDY])
    assert (done.instances, done.present) == (5, 1)
    done = run(orthanc, tmp_path / "in", query={"StudyDate": "20240101-20241231"})
    assert (done.instances, done.present) == (1, 6)


@pytest.mark.rule("DWB-1")
@pytest.mark.peer("Orthanc")
@pytest.mark.usefixtures("_user")
@pytest.mark.parametrize("bounds", [Bounds(answer_bytes=500), Bounds(instances=2)])
def test_more_than_a_bound_is_not_taken(tmp_path: Path, orthanc: Server, bounds: Bounds) -> None:
    with pytest.raises(Fault, match="limit"):
        run(orthanc, tmp_path / "in", studies=[STUDY], bounds=bounds)
    assert len(list((tmp_path / "in").iterdir())) <= 2


@pytest.mark.rule("DWB-2")
@pytest.mark.peer("Orthanc")
def test_without_the_right_password_the_status_is_told_and_nothing_else(
    tmp_path: Path, orthanc: Server, monkeypatch: pytest.MonkeyPatch, caplog, capfd
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, value in ((USER, "kette"), (PASSWORD, "wrong secret"), (TOKEN, "wrong token")):
        monkeypatch.setenv(name, value)
        with pytest.raises(Fault, match="status 40") as caught:
            run(orthanc, tmp_path / "in", query={"PatientID": PATIENT})
        said = f"{caught.value.diagnostics()} {caplog.text} {capfd.readouterr()}"
        for needle in ("wrong", PATIENT, STUDY, str(orthanc.port), "a2V0dGU"):
            assert needle not in said


@pytest.mark.rule("DWB-2")
@pytest.mark.peer("Orthanc")
@pytest.mark.usefixtures("_user")
def test_the_verb_fetches_and_says_no_identifier(
    tmp_path: Path, orthanc: Server, monkeypatch: pytest.MonkeyPatch, capsys, caplog
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "project").mkdir()
    for name in ("params.yaml", "constraints.txt"):
        shutil.copyfile(Path(__file__).parents[3] / name, tmp_path / "project" / name)
    words = ["fetch", orthanc.url, "--query", f"PatientID={PATIENT}", "--json"]
    place = ["--out", str(tmp_path / "in"), "--project", str(tmp_path / "project")]
    monkeypatch.setattr("sys.argv", ["kette", *words, *place])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    assert json.loads(out)["instances"] == 6
    for needle in (PATIENT, ROOT, SECRET):
        assert needle not in out + err + caplog.text


@pytest.mark.rule("DWB-2")
@pytest.mark.parametrize(
    "url",
    [
        "http://pacs.example/dicom-web",
        "https://user:word@pacs.example/dicom-web",
        "ftp://pacs.example",
        "pacs",
        "https://pacs.example/dicom-web?token=1",
    ],
)
@pytest.mark.usefixtures("_user")
def test_an_address_that_would_show_a_password_is_wrong_use(tmp_path: Path, url: str) -> None:
    with open_inbox(tmp_path / "in", ()) as inbox, pytest.raises(WrongUse) as caught:
        fetch(url, inbox, studies=[STUDY])
    assert "word@" not in caught.value.diagnostics()


def test_asking_for_nothing_is_wrong_use(tmp_path: Path) -> None:
    with open_inbox(tmp_path / "in", ()) as inbox, pytest.raises(WrongUse, match="Nothing"):
        fetch("https://pacs.example", inbox)


@pytest.mark.rule("DWB-2")
def test_a_server_that_does_not_answer_is_told_without_its_words(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with open_inbox(tmp_path / "in", ()) as inbox, pytest.raises(Transient) as caught:
        fetch(f"http://127.0.0.1:{port}", inbox, studies=[STUDY])
    assert str(port) not in str(caught.value.diagnostics())
