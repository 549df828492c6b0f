"""DICOMweb: studies found by QIDO and fetched by WADO, instance by instance, into a folder.

Rules:

- DWB-1  A server cannot make the client hold or keep more than its bounds: bytes of an answer,
         instances and bytes in all. It cannot send the client elsewhere (no redirects).
- DWB-2  User, password and token come from the environment alone, go over TLS or to this machine
         alone, and stand in no error or log; nor does a UID, a query or the server's own words.
- DWB-3  An instance is asked for in the encoding that the server has it in; what comes must be the
         instance that was asked for.
- DWB-4  Called again, it fetches what is missing.

Sources: PS3.18 Section 10.4 (Retrieve), 10.6 (Search); CP-2040 (multipart answers).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final
from urllib.parse import urlsplit

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient

from audit.errors import Fault, Transient, WrongUse
from stages.ingest.header import quiet
from stages.ingest.inbox import Inbox

USER: Final = "KETTE_DICOMWEB_USER"
PASSWORD: Final = "KETTE_DICOMWEB_PASSWORD"  # noqa: S105 - the variable's name
TOKEN: Final = "KETTE_DICOMWEB_TOKEN"  # noqa: S105 - the variable's name
_STUDY, _SERIES, _SOP = "0020000D", "0020000E", "00080018"
_LOCAL: Final = ("127.0.0.1", "::1", "localhost")
_PAGE: Final = 1000
_TIMEOUT_S: Final = (10, 120)
_ATTEMPTS: Final = 3
_WAIT_MS: Final = 100
_LOGGERS: Final = ("dicomweb_client", "urllib3", "requests")


@dataclass(frozen=True)
class Bounds:
    """What one call takes (DWB-1)."""

    instances: int = 200_000
    total_bytes: int = 1 << 40
    answer_bytes: int = 512 * 2**20
    """Of one instance or one page of a search, unpacked."""


@dataclass
class Fetched:
    """What a call did."""

    instances: int = 0
    present: int = 0
    """Instances that were there from an earlier call."""
    bytes: int = 0


def fetch(
    url: str,
    inbox: Inbox,
    *,
    studies: Sequence[str] = (),
    query: Mapping[str, str] | None = None,
    bounds: Bounds | None = None,
    say: Callable[[str, float], None] = lambda text, fraction: None,
) -> Fetched:
    """Fetch all instances of the studies named, and of those that a query finds.

    Args:
        url: of the DICOMweb service.
        inbox: where instances go.
        studies: Study Instance UIDs.
        query: attribute's keyword or tag → value, for a search for studies.
        bounds: what is taken at most.
        say: told what came so far; no identifier is in it.

    Raises:
        WrongUse: the URL is none, holds a password, or would carry one in the open; neither studies
            nor a query are given; the search finds nothing.
        Transient: the server does not answer.
        Fault: it refuses, exceeds a bound, or sends what was not asked for.
    """
    if not studies and not query:
        raise WrongUse("Nothing was asked for.", "Name studies with `--study`, or a `--query`.")
    bounds, done = bounds or Bounds(), Fetched()
    with _faults(), _session(url, bounds) as session:
        client = DICOMwebClient(url, session=session, timeout=_TIMEOUT_S)
        client.set_http_retry_params(max_attempts=_ATTEMPTS, wait_exponential_multiplier=_WAIT_MS)
        wanted = list(studies)
        if query:
            found = _pages(client.search_for_studies, bounds, search_filters=dict(query))
            wanted += [_uid(row, _STUDY) for row in found]
        if not wanted:
            raise WrongUse("The search finds no study.", "Ask for others with `--query`.")
        for number, study in enumerate(dict.fromkeys(wanted)):
            for row in _pages(client.search_for_instances, bounds, study_instance_uid=study):
                _take(client, inbox, (study, _uid(row, _SERIES), _uid(row, _SOP)), bounds, done)
                fraction = number / len(wanted)
                say(f"{done.instances} instances fetched, {done.present} were here", fraction)
    return done


def _take(
    client: DICOMwebClient, inbox: Inbox, uids: tuple[str, str, str], bounds: Bounds, done: Fetched
) -> None:
    """Fetch one instance, unless it is here (DWB-3, DWB-4)."""
    name = hashlib.sha256("\\".join(uids).encode()).hexdigest()
    if inbox.has(name):
        done.present += 1
        return
    if done.instances >= bounds.instances or done.bytes >= bounds.total_bytes:
        raise _beyond()
    with quiet():
        dataset = client.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
        found = (dataset.get("StudyInstanceUID"), dataset.get("SeriesInstanceUID"))
        if (*found, dataset.get("SOPInstanceUID")) != uids:
            raise ValueError
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    data = buffer.getvalue()
    inbox.put(data, name)
    done.instances += 1
    done.bytes += len(data)


def _pages(search: Callable[..., Any], bounds: Bounds, **options: Any) -> Iterator[dict[str, Any]]:
    """All rows of a search, a page at a time; a server that repeats its pages ends it."""
    seen: set[str] = set()
    while True:
        rows = search(limit=_PAGE, offset=len(seen), **options)
        new = [row for row in rows if _key(row) not in seen]
        if not new:
            return
        seen.update(map(_key, new))
        if len(seen) > bounds.instances:
            raise _beyond()
        yield from new
        if len(rows) < _PAGE:
            return


def _key(row: dict[str, Any]) -> str:
    return _uid(row, _SOP) if _SOP in row else _uid(row, _STUDY)


def _uid(row: dict[str, Any], tag: str) -> str:
    """A UID of a row in DICOM JSON (PS3.18 Section F.2).

    Raises:
        ValueError: it has none.
    """
    try:
        text = row[tag]["Value"][0]
    except (KeyError, IndexError, TypeError):
        raise ValueError from None
    if not isinstance(text, str) or not text:
        raise ValueError
    return text


@contextmanager
def _session(url: str, bounds: Bounds) -> Iterator[requests.Session]:
    """A connection with the environment's credentials, bounded and silent (DWB-1, DWB-2)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise WrongUse("The address is none of a DICOMweb service.", "Give https://host/path.")
    if parts.username or parts.password:
        raise WrongUse("A password stands in the address.", f"Set {USER} and {PASSWORD}.")
    user, password, token = (os.environ.get(name) for name in (USER, PASSWORD, TOKEN))
    if (user or token) and parts.scheme == "http" and parts.hostname not in _LOCAL:
        raise WrongUse("A password would go in the open.", "Use an address with https.")
    before = {name: logging.getLogger(name).level for name in _LOGGERS}
    with requests.Session() as session:
        session.max_redirects = 0
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        elif user:
            session.auth = (user, password or "")
        session.hooks["response"].append(lambda answer, **_: _bounded(answer, bounds))
        try:
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
            yield session
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)


def _bounded(answer: Any, bounds: Bounds) -> None:
    answer.raw = _Bounded(answer.raw, bounds.answer_bytes)


class _Bounded:
    """The body of an answer, of a size that is known to fit."""

    def __init__(self, raw: Any, left: int) -> None:
        self._raw = raw
        self._left = left

    def read(self, size: int) -> bytes:
        """The next bytes, unpacked."""
        data: bytes = self._raw.read(size, decode_content=True)
        self._left -= len(data)
        if self._left < 0:
            raise _beyond()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name) if name != "stream" else self._no()

    def _no(self) -> Any:
        raise AttributeError


@contextmanager
def _faults() -> Iterator[None]:
    """Errors without the words of server and library, which quote addresses and values (DWB-2)."""
    remedy = "Check address and rights; run the same command again to go on."
    try:
        yield
    except (requests.ConnectionError, requests.Timeout):
        raise Transient("The DICOMweb server does not answer.", remedy) from None
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise Fault(f"The DICOMweb server answers with status {status}.", remedy) from None
    except (requests.RequestException, ValueError, TypeError, KeyError, AttributeError, EOFError):
        raise Fault("The DICOMweb server sends what was not asked for.", remedy) from None


def _beyond() -> Fault:
    return Fault(
        "The DICOMweb server sends more than the limit.", "Ask for fewer studies at a time."
    )
