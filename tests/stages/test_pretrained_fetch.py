"""Where bytes come from: the project, this machine, or a real TLS server on this machine."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import requests
from helpers_pretrained import source_of

from audit.errors import Fault, KetteError, Refused, Transient, WrongUse
from stages import pretrained_fetch
from stages.pretrained_download import download
from stages.pretrained_fetch import at_hand, fetch
from stages.pretrained_limits import Limits
from stages.pretrained_params import Weights

BYTES = b"tensors" * 1000
SECRET = "token=very-secret"


def registry(data: bytes = BYTES, **changes: Any) -> Weights:
    return Weights(sources={"net": source_of(data, **changes)})


class _Server(BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, dict[str, str], bytes]]
    asked: list[dict[str, str]]

    def do_GET(self) -> None:
        self.asked.append(dict(self.headers))
        status, headers, body = self.answers[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, secret


class Site:
    """A TLS server: what it answers, what it was asked, and a session that trusts it."""

    def __init__(self, folder: Path) -> None:
        self.certificate, key = _certificate(folder)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[dict[str, str]] = []
        handler = type("Handler", (_Server,), {"answers": self.answers, "asked": self.asked})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def session(self) -> requests.Session:
        made = requests.Session()
        made.trust_env = False
        made.verify = str(self.certificate)
        return made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """A project and a home."""
    made = {"project": tmp_path / "project", "home": tmp_path / "home"}
    for folder in made.values():
        folder.mkdir()
    return made


def put(path: Path, data: bytes = BYTES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.rule("WTS-14")
def test_a_file_of_the_project_is_found(places: dict[str, Path]) -> None:
    with pytest.raises(WrongUse, match="no file"):
        fetch("net", registry(), **places)
    path = put(places["project"] / "weights" / "given.pt")
    assert fetch("net", registry(), **places) == path
    with pytest.raises(WrongUse, match="no pre-trained weights"):
        fetch("other", registry(), **places)


@pytest.mark.rule("WTS-14")
def test_a_file_of_this_machine_stands_in(places: dict[str, Path]) -> None:
    weights = registry(uri="https://127.0.0.1:9/x")
    assert at_hand("net", weights, **places) is None
    path = put(places["home"] / "weights" / weights.sources["net"].sha256)
    assert at_hand("net", weights, **places) == fetch("net", weights, **places) == path
    put(path, b"other")
    with pytest.raises(Refused, match="SHA-256 differs"):
        fetch("net", weights, **places)


@pytest.mark.rule("WTS-14")
def test_another_file_is_refused(places: dict[str, Path]) -> None:
    put(places["project"] / "weights" / "given.pt", BYTES + b"x")
    with pytest.raises(Refused, match="SHA-256 differs"):
        fetch("net", registry(), **places)
    with pytest.raises(Refused, match="more than 10 bytes"):
        fetch("net", registry(), limits=Limits(file_bytes=10), **places)


@pytest.mark.rule("WTS-14")
def test_no_link_leads_out_of_the_project(places: dict[str, Path], tmp_path: Path) -> None:
    inside = places["project"] / "weights" / "given.pt"
    inside.parent.mkdir()
    inside.symlink_to(put(tmp_path / "outside"))
    with pytest.raises(Refused, match="outside the project"):
        fetch("net", registry(), **places)
    inside.unlink()
    inside.symlink_to(put(places["project"] / "cache" / "ab"))
    assert fetch("net", registry(), **places).read_bytes() == BYTES
    inside.unlink()
    inside.symlink_to(inside)
    with pytest.raises(Refused, match="outside the project"):
        fetch("net", registry(), **places)
    inside.unlink()
    inside.parent.rmdir()
    inside.parent.symlink_to(put(tmp_path / "elsewhere" / "given.pt").parent)
    with pytest.raises(Refused, match="outside the project"):
        fetch("net", registry(), **places)


@pytest.mark.rule("WTS-14")
def test_what_is_no_plain_file_is_refused(places: dict[str, Path]) -> None:
    (places["project"] / "weights" / "given.pt").mkdir(parents=True)
    with pytest.raises(Refused, match="no plain file"):
        fetch("net", registry(), **places)


@pytest.mark.rule("WTS-3")
@pytest.mark.parametrize("license_", ["CC-BY-NC-4.0", "GPL-3.0-only", "LicenseRef-Unknown"])
def test_without_a_license_nothing_is_read(
    license_: str, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("a byte was read")

    monkeypatch.setattr(pretrained_fetch, "digest_file", read)
    put(places["project"] / "weights" / "given.pt")
    with pytest.raises(Refused, match=license_):
        fetch("net", registry(license=license_), **places)
    monkeypatch.undo()
    reason = "Contract 12 of 2026 with the makers permits it."
    given = registry(license=license_, license_justification=reason)
    assert fetch("net", given, **places).is_file()


@pytest.mark.rule("WTS-14")
def test_a_download_is_kept_under_its_digest(site: Site, places: dict[str, Path]) -> None:
    site.answers["/a"] = (302, {"Location": f"/b?{SECRET}"}, b"")
    site.answers[f"/b?{SECRET}"] = (200, {}, BYTES)
    weights = registry(uri=f"{site.url}/a")
    path = fetch("net", weights, session=site.session(), **places)
    assert path == places["home"] / "weights" / weights.sources["net"].sha256
    assert path.read_bytes() == BYTES
    count = len(site.asked)
    assert fetch("net", weights, session=site.session(), **places) == path
    assert len(site.asked) == count == 2


@pytest.mark.rule("WTS-14")
def test_of_another_download_nothing_is_kept(site: Site, places: dict[str, Path]) -> None:
    site.answers["/a"] = (200, {}, BYTES[:-1])
    with pytest.raises(Refused, match="SHA-256 differs"):
        fetch("net", registry(uri=f"{site.url}/a"), session=site.session(), **places)
    assert list((places["home"] / "weights").iterdir()) == []


@pytest.mark.rule("WTS-15")
@pytest.mark.rule("WTS-16")
@pytest.mark.parametrize(
    ("answer", "ends"),
    [
        ((302, {"Location": "http://127.0.0.1/x"}, b""), (Refused, "without https")),
        ((302, {"Location": "https://u:p@127.0.0.1/x"}, b""), (Refused, "without https")),
        ((302, {"Location": "file:///etc/passwd"}, b""), (Refused, "without https")),
        ((302, {"Location": f"/a?{SECRET}"}, b""), (Refused, "leads on more than 5")),
        ((404, {}, SECRET.encode()), (Fault, "status 404")),
        ((200, {}, BYTES + b"x"), (Refused, "more than 7000 bytes")),
        ((200, {"Content-Encoding": "gzip"}, b"no gzip"), (Fault, "sends no file")),
        ((200, {"Content-Length": "9000"}, BYTES), (Transient, "does not answer")),
    ],
)
def test_a_server_that_does_otherwise_is_told(
    answer: tuple[int, dict[str, str], bytes],
    ends: tuple[type[KetteError], str],
    site: Site,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    site.answers[f"/a?{SECRET}"] = answer
    with (tmp_path / "out").open("wb") as out, pytest.raises(ends[0], match=ends[1]) as told:
        download(f"{site.url}/a?{SECRET}", out, most=len(BYTES), session=site.session())
    assert "secret" not in told.value.diagnostics() + caplog.text


@pytest.mark.rule("WTS-15")
def test_only_https_of_a_proven_server_is_asked(site: Site, tmp_path: Path) -> None:
    stranger = site.session()
    stranger.verify = True
    with (tmp_path / "out").open("wb") as out:
        with pytest.raises(Fault, match="prove who it is"):
            download(f"{site.url}/a", out, most=1, session=stranger)
        with pytest.raises(Refused, match="without https"):
            download(f"http{site.url[5:]}/a", out, most=1, session=site.session())
    assert site.asked == []


@pytest.mark.rule("WTS-15")
def test_no_credentials_and_cookies_are_sent(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = put(tmp_path / "netrc", b"machine 127.0.0.1 login me password very-secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(site.certificate))
    session = site.session()
    session.trust_env = True
    site.answers["/a"] = (302, {"Location": "/b", "Set-Cookie": "a=1"}, b"")
    site.answers["/b"] = (200, {}, BYTES)
    with (tmp_path / "out").open("wb") as out:
        download(f"{site.url}/a", out, most=len(BYTES), session=session)
    assert len(site.asked) == 2
    assert all(not {"Authorization", "Cookie"} & asked.keys() for asked in site.asked)


@pytest.mark.rule("WTS-16")
def test_a_server_that_takes_too_long_is_left(site: Site, tmp_path: Path) -> None:
    site.answers["/a"] = (200, {}, BYTES)
    with (tmp_path / "out").open("wb") as out, pytest.raises(Transient, match="too long"):
        download(f"{site.url}/a", out, most=len(BYTES), seconds=-1, session=site.session())
