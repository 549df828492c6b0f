"""A real time stamp authority: `openssl ts`, served over HTTP in a thread."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIG = """
[req]
distinguished_name = name
prompt = no
[name]
CN = {name}
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[stamp]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/stamp.pem
signer_key = {folder}/stamp.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
"""


def openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def new_authority(folder: Path) -> Path:
    """Root and stamping certificate of a new authority; gives the root's PEM file."""
    folder.mkdir(parents=True)
    config = folder / "openssl.cnf"
    config.write_text(CONFIG.format(folder=folder, name="Authority"))
    (folder / "serial").write_text("01\n")
    common = ["-config", str(config), "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    root, key = folder / "root.pem", folder / "root.key"
    openssl(
        "req", "-x509", *common, "-nodes", "-keyout", str(key), "-out", str(root),
        "-extensions", "root", "-days", "30", "-subj", "/CN=Root",
    )  # fmt: skip
    openssl(
        "req", *common, "-nodes", "-keyout", str(folder / "stamp.key"),
        "-out", str(folder / "stamp.csr"), "-subj", "/CN=Stamp",
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", str(folder / "stamp.csr"), "-CA", str(root), "-CAkey", str(key),
        "-CAcreateserial", "-out", str(folder / "stamp.pem"), "-days", "30",
        "-extfile", str(config), "-extensions", "stamp",
    )  # fmt: skip
    return root


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The authority's URL. `/other` stamps another query, `/down` fails, `/no` refuses."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/down":
                self.send_error(503)
                return
            (folder / "query.tsq").write_bytes(query if self.path != "/no" else b"nothing")
            if self.path == "/other":
                (folder / "data").write_bytes(b"other")
                openssl(
                    "ts", "-query", "-data", str(folder / "data"), "-sha256", "-cert",
                    "-out", str(folder / "query.tsq"),
                )  # fmt: skip
            subprocess.run(
                ["openssl", "ts", "-reply", "-config", str(folder / "openssl.cnf"),
                 "-queryfile", str(folder / "query.tsq"), "-out", str(folder / "reply.tsr")],
                check=False, capture_output=True,
            )  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write((folder / "reply.tsr").read_bytes())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing on stderr."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
