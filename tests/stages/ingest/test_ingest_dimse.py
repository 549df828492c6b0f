"""DIM-1 … DIM-4, INB-1 … INB-4: the listener, called by a real peer over a socket."""

import gc
import json
import logging
import shutil
import socket
import ssl
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from helpers_ingest import CT, PATIENT, ct, encoded, ingest, new_vault, save, study
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, SegmentationStorage, Verification

from audit.errors import WrongUse
from stages.ingest.dimse import Bounds, Received, Tls, listening
from stages.ingest.inbox import Inbox, open_inbox

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
"""pynetdicom's requestor, here the peer, leaves the socket of an ended association open."""


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()  # before a test that takes such a warning for its own


@contextmanager
def receiver(folder: Path, **options) -> Iterator[Received]:
    with (
        open_inbox(folder, ()) as inbox,
        listening(inbox, ("127.0.0.1", 0), "KETTE", **options) as received,
    ):
        yield received


def associate(port: int, *, title: str = "PACS", called: str = "KETTE", tls=None):
    peer = AE(ae_title=title)
    peer.acse_timeout = peer.dimse_timeout = peer.network_timeout = 10
    for syntax in (CTImageStorage, SegmentationStorage, Verification):
        peer.add_requested_context(syntax, [ExplicitVRLittleEndian])
    return peer.associate(
        "127.0.0.1", port, ae_title=called, tls_args=(tls, "listener") if tls else None
    )


def send(port: int, *datasets, **options) -> list[int | None]:
    """Status of each C-STORE; None where no answer came."""
    association = associate(port, **options)
    assert association.is_established
    statuses = []
    for dataset in datasets:
        whole = pydicom.dcmread(BytesIO(encoded(dataset)))
        try:
            statuses.append(association.send_c_store(whole).get("Status"))
        except RuntimeError:
            statuses.append(None)
    if association.is_established:
        association.release()
    return statuses


@pytest.mark.rule("DIM-1")
def test_what_is_sent_gives_the_same_digests_as_the_folder(tmp_path: Path) -> None:
    source = save(tmp_path / "in", *study())
    with receiver(tmp_path / "received") as received:
        assert associate(received.port).send_c_echo().Status == 0
        assert send(received.port, *study()) == [0] * 6
        assert send(received.port, ct()) == [0]
    assert (received.instances, received.repeated, received.refused) == (6, 1, 0)
    place = new_vault(tmp_path / "vault")
    folder = ingest(tmp_path / "a", source, vault_folder=place)
    sent = ingest(tmp_path / "b", tmp_path / "received", vault_folder=place)
    assert sent.members == folder.members
    digests = [{row["output_sha256"] for row in run.table("instances")} for run in (folder, sent)]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 6


@pytest.mark.rule("DIM-3")
def test_an_instance_is_kept_as_the_sender_encoded_it(tmp_path: Path) -> None:
    data = encoded(ct())
    with receiver(tmp_path / "in") as received:
        send(received.port, ct())
    (path,) = (tmp_path / "in").iterdir()
    kept = path.read_bytes()
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    begin = 144 + struct.unpack_from("<I", kept, 140)[0]
    assert kept[begin:] == data[start:]
    meta = pydicom.dcmread(BytesIO(kept)).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID) == (CT, ExplicitVRLittleEndian)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.rule("DIM-1")
@pytest.mark.parametrize(
    ("title", "called"), [("STRANGER", "KETTE"), ("PACS", "SOMEBODY"), ("pacs", "KETTE")]
)
def test_who_is_not_allowed_or_calls_another_is_turned_away(
    tmp_path: Path, title: str, called: str
) -> None:
    with receiver(tmp_path / "in", allow=["PACS"]) as received:
        assert not associate(received.port, title=title, called=called).is_established
        assert send(received.port, ct()) == [0]
    assert received.instances == 1


@pytest.mark.rule("DIM-2")
def test_an_instance_beyond_its_bound_ends_that_association_alone(tmp_path: Path) -> None:
    bounds = Bounds(instance_bytes=1000)
    large = ct(Rows=1024, Columns=1024, PixelData=bytes(2 * 1024 * 1024))
    with receiver(tmp_path / "in", bounds=bounds) as received:
        assert send(received.port, large) == [None]
        assert send(received.port, ct()) == [0]
    assert (received.instances, received.refused) == (1, 1)
    assert len(list((tmp_path / "in").iterdir())) == 1


@pytest.mark.rule("DIM-2")
@pytest.mark.parametrize("begin", [b"\x04\0\xff\xff\xff\xff", b"\x01\0", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_peer_that_announces_too_much_or_stalls_is_cut_off(tmp_path: Path, begin: bytes) -> None:
    with receiver(tmp_path / "in", bounds=Bounds(idle_s=1)) as received:
        with socket.create_connection(("127.0.0.1", received.port), timeout=20) as peer:
            peer.sendall(begin)
            answer = b"begin"
            while answer:
                try:
                    answer = peer.recv(4096)
                except ConnectionResetError:
                    answer = b""
        assert send(received.port, ct()) == [0]


@pytest.mark.rule("DIM-2")
def test_an_association_too_many_is_refused_and_has_its_turn_later(tmp_path: Path) -> None:
    with receiver(tmp_path / "in", bounds=Bounds(associations=1)) as received:
        first = associate(received.port)
        assert first.is_established
        assert not associate(received.port).is_established
        first.release()
        end = time.monotonic() + 20
        while not (again := associate(received.port)).is_established:
            assert time.monotonic() < end
        again.release()


@pytest.mark.rule("DIM-2")
def test_an_association_that_lasts_too_long_is_ended(tmp_path: Path) -> None:
    with receiver(tmp_path / "in", bounds=Bounds(association_s=0.5)) as received:
        association = associate(received.port)
        time.sleep(0.8)
        with pytest.raises((RuntimeError, AttributeError)):
            assert association.send_c_echo().Status
    assert received.refused == 1


@pytest.mark.rule("DIM-3")
def test_what_cannot_be_written_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Inbox, "put", full)
    with receiver(tmp_path / "in") as received:
        assert send(received.port, ct()) == [0xA700]
    assert received.refused == 1


@pytest.mark.rule("DIM-4")
def test_nothing_of_an_instance_or_a_peer_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with receiver(tmp_path / "in", allow=["PACS"]) as received:
        caplog.set_level(logging.DEBUG)
        send(received.port, ct())
        associate(received.port, title="STRANGER")
    said = caplog.text + "".join(capfd.readouterr())
    for needle in (PATIENT, "STRANGER", "PACS", "1.2.826"):
        assert needle not in said


def _certificate(folder: Path, name: str) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    words += f"-subj /CN={name} -keyout {key} -out {cert}"
    subprocess.run(words.split(), check=True, capture_output=True)
    return cert, key


@pytest.mark.rule("DIM-1")
@pytest.mark.peer("openssl")
def test_with_an_authority_only_its_peers_may_send(tmp_path: Path) -> None:
    own, friend, stranger = (
        _certificate(tmp_path / "tls", name) for name in ("listener", "friend", "stranger")
    )

    def client(pair: tuple[Path, Path] | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(own[0])
        if pair:
            context.load_cert_chain(*pair)
        return context

    with receiver(tmp_path / "in", tls=Tls(*own, friend[0])) as received:
        assert send(received.port, ct(), tls=client(friend)) == [0]
        for other in (client(stranger), client(None), None):
            assert not associate(received.port, tls=other).is_established
        assert send(received.port, ct(1), tls=client(friend)) == [0]
    assert received.instances == 2


@pytest.mark.rule("DIM-3")
def test_the_verb_receives_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """A process of its own, ended by SIGTERM while a peer is still associated."""
    root = Path(__file__).parents[3]
    (tmp_path / "project").mkdir()
    for name in ("params.yaml", "constraints.txt"):
        shutil.copyfile(root / name, tmp_path / "project" / name)
    words = "receive --port 0 --aet KETTE --allow PACS --json --out"
    command = [sys.executable, "-m", "flows.cli", *words.split()]
    place = ["--project", str(tmp_path / "project")]
    inside = [*command, str(tmp_path / "project" / "in"), *place]
    assert subprocess.run(inside, cwd=root, capture_output=True, check=False).returncode == 2
    with subprocess.Popen(
        [*command, str(tmp_path / "in"), *place],
        cwd=root, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        port = int(process.stderr.readline().split()[-1])
        assert send(port, ct(), ct(1)) == [0, 0]
        waiting = associate(port)
        process.terminate()
        out, err = process.communicate(timeout=60)
        waiting.abort()
    assert process.returncode == 0
    assert err == ""
    assert json.loads(out) == {"instances": 2, "port": port, "refused": 0, "repeated": 0}
    assert len(list((tmp_path / "in").iterdir())) == 2


@pytest.mark.rule("INB-1")
def test_a_folder_within_what_is_passed_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "project")
    for place in ("project", "project/in", "link/in"):
        with (
            pytest.raises(WrongUse, match="project"),
            open_inbox(tmp_path / place, [tmp_path / "project"]),
        ):
            pass
    assert not (tmp_path / "project").exists()


@pytest.mark.rule("INB-2")
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / ".incoming-0123").write_bytes(b"half")
    with open_inbox(tmp_path / "in", ()) as inbox:
        assert inbox.put(b"whole")
        assert not inbox.put(b"whole")
        with pytest.raises(ValueError, match="digests"):
            inbox.put(b"whole", "../climb")
    (path,) = (tmp_path / "in").iterdir()
    assert path.read_bytes() == b"whole"


@pytest.mark.rule("INB-4")
def test_two_do_not_fill_one_folder(tmp_path: Path) -> None:
    with (
        open_inbox(tmp_path / "in", ()),
        pytest.raises(WrongUse, match="Another"),
        open_inbox(tmp_path / "in", ()),
    ):
        pass


@pytest.mark.rule("DIM-1")
@pytest.mark.parametrize(("aet", "port"), [("", 0), ("A" * 17, 0), ("KETTE", 70000)])
def test_a_title_or_port_that_is_none_is_wrong_use(tmp_path: Path, aet: str, port: int) -> None:
    with (
        open_inbox(tmp_path / "in", ()) as inbox,
        pytest.raises(WrongUse),
        listening(inbox, ("127.0.0.1", port), aet),
    ):
        pass
