"""A DIMSE listener: instances that others send by C-STORE, put into a folder as they were encoded.

Rules:

- DIM-1  It answers C-STORE and C-ECHO to peers that call it by its own title and, where a list is
         given, by a title on the list. Titles are no secret: across a network, TLS with an
         authority of one's own decides who may send.
- DIM-2  A peer cannot use more than its bounds: PDU, instance, idle time, length of an association,
         number of associations. What exceeds one ends the association, and that alone.
- DIM-3  A success is answered once the instance is on the disk, whole.
- DIM-4  No title, UID or value of an instance is logged.

Sources: PS3.4 Annex B (Storage Service Class; its status codes), PS3.7 Section 9.1.5 (C-ECHO),
PS3.8 Section 9.3 (PDUs), PS3.15 Annex B (TLS).
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Final

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from audit.errors import WrongUse
from stages.ingest.inbox import Inbox

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
CANNOT_UNDERSTAND: Final = 0xC000
_HANDSHAKE_S: Final = 5
_PIECE: Final = 2**16
_OVERHEAD: Final = 2**20
"""Bytes of commands and PDU headers that may come with one instance."""


@dataclass(frozen=True)
class Bounds:
    """What one peer, and all of them, may use (DIM-2)."""

    associations: int = 8
    """At the same time."""
    idle_s: float = 60
    association_s: float = 4 * 3600
    """Of one association, from its beginning."""
    pdu_bytes: int = 2**18
    instance_bytes: int = 512 * 2**20


@dataclass(frozen=True)
class Tls:
    """PEM files: the listener's certificate and key, and whose certificates peers must have."""

    cert: Path
    key: Path
    ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer.

        Raises:
            WrongUse: a file is missing or no PEM.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
            if self.ca is not None:
                context.load_verify_locations(self.ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except OSError:
            raise WrongUse(
                "A TLS file is missing, or is no PEM that fits.", "Check `--tls-…`."
            ) from None
        return context


@dataclass
class Received:
    """What came so far."""

    port: int = 0
    instances: int = 0
    """New ones."""
    repeated: int = 0
    """Instances whose very bytes were there already."""
    refused: int = 0
    """Instances that could not be read or written, and associations that exceeded a bound."""


@contextmanager
def listening(
    inbox: Inbox,
    address: tuple[str, int],
    aet: str,
    *,
    allow: Sequence[str] = (),
    tls: Tls | None = None,
    bounds: Bounds | None = None,
) -> Iterator[Received]:
    """Receive instances while the block runs.

    Args:
        inbox: where they go.
        address: host and port to listen on; port 0 takes a free one.
        aet: the listener's own title.
        allow: titles of the peers that may send; none given: all.
        tls: certificates; null: no TLS.
        bounds: what peers may use.

    Raises:
        WrongUse: a title is none, or the address cannot be had.
    """
    bounds, received = bounds or Bounds(), Received()
    _silence()
    try:
        server = AE(ae_title=aet)
        server.require_called_aet = True
        server.require_calling_aet = list(allow)
    except (TypeError, ValueError):
        raise WrongUse("A title is none.", "Give 1 to 16 characters of ASCII.") from None
    server.maximum_associations = bounds.associations
    server.maximum_pdu_size = bounds.pdu_bytes
    server.network_timeout = server.acse_timeout = server.dimse_timeout = bounds.idle_s
    for storage in AllStoragePresentationContexts:
        if storage.abstract_syntax is not None:
            server.add_supported_context(storage.abstract_syntax, ALL_TRANSFER_SYNTAXES)
    server.add_supported_context(Verification)
    guards: dict[Any, _Guard] = {}
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, partial(_opened, guards, bounds, received)),
        (evt.EVT_CONN_CLOSE, lambda event: guards.pop(event.assoc, None)),
        (evt.EVT_C_STORE, partial(_store, guards, inbox, received)),
        (evt.EVT_C_ECHO, lambda _: SUCCESS),
    ]
    context = tls.context() if tls else None
    with _hurried():
        try:
            running = server.start_server(
                address, block=False, ssl_context=context, evt_handlers=handlers
            )
        except (OSError, OverflowError):
            raise WrongUse("The port cannot be had.", "Name another, or stop who has it.") from None
        received.port = running.server_address[1] if running else address[1]
        try:
            yield received
        finally:
            server.shutdown()


@contextmanager
def _hurried() -> Iterator[None]:
    """Give new connections a time limit: pynetdicom awaits TLS's handshake before the next one."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_HANDSHAKE_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


class _Guard:
    """Reads one association's socket, within bounds.

    pynetdicom itself waits for as many bytes as a peer announces, for as long as they take.
    """

    def __init__(self, connection: Any, bounds: Bounds, received: Received) -> None:
        self._connection = connection
        self._bounds = bounds
        self._received = received
        self._end = monotonic() + bounds.association_s
        self._bytes = 0

    def whole(self) -> None:
        """An instance came to its end."""
        self._bytes = 0

    def recv(self, size: int) -> bytearray:
        """As `pynetdicom.transport.AssociationSocket.recv`.

        Raises:
            OSError: a bound was exceeded; pynetdicom then closes the connection.
        """
        self._bytes += size
        if (
            size > self._bounds.pdu_bytes
            or self._bytes > self._bounds.instance_bytes + _OVERHEAD
            or monotonic() > self._end
        ):
            self._received.refused += 1
            raise OSError
        data = bytearray()
        while len(data) < size:
            piece = self._connection.recv(min(size - len(data), _PIECE))
            if not piece:
                break
            data += piece
            if monotonic() > self._end:
                raise OSError
        return data


def _opened(guards: dict[Any, _Guard], bounds: Bounds, received: Received, event: Any) -> None:
    connection = event.assoc.dul.socket
    connection.socket.settimeout(bounds.idle_s)
    guards[event.assoc] = guard = _Guard(connection.socket, bounds, received)
    connection.recv = guard.recv


def _store(guards: dict[Any, _Guard], inbox: Inbox, received: Received, event: Any) -> int:
    """Answer a C-STORE request (DIM-3)."""
    if event.assoc in guards:
        guards[event.assoc].whole()
    try:
        data = event.encoded_dataset()
    except Exception:  # noqa: BLE001 - a request whose parts are missing or malformed
        received.refused += 1
        return CANNOT_UNDERSTAND
    try:
        new = inbox.put(data)
    except OSError:
        received.refused += 1
        return OUT_OF_RESOURCES
    received.instances += new
    received.repeated += not new
    return SUCCESS


def _silence() -> None:
    """Let pynetdicom log nothing: its lines hold titles, UIDs and values (DIM-4)."""
    logger = logging.getLogger("pynetdicom")
    logger.setLevel(logging.CRITICAL + 1)
    logger.propagate = False
