"""Bytes behind https, bounded: how a file of the registry is downloaded.

Rules:

- WTS-15 Only https, each redirect too; no credentials of this machine are sent, no cookie is kept,
         and neither address nor answer is quoted: they may carry secrets.
- WTS-16 Size, redirects and time are bounded, whatever the server says of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import urljoin, urlsplit

from audit.errors import Fault, Refused, Transient

if TYPE_CHECKING:
    import requests

_REDIRECTS: Final = 5
_ANSWER: Final = (10.0, 60.0)
"""Seconds to connect, and between two pieces of an answer."""
_CHUNK: Final = 1 << 20
_LOGGERS: Final = ("urllib3", "requests")


def download(
    url: str,
    out: IO[bytes],
    *,
    most: int,
    seconds: int = 3600,
    session: requests.Session | None = None,
) -> None:
    """Write the file behind an address.

    Args:
        url: https.
        out: an open file.
        most: bytes.
        seconds: for the whole, of the clock.
        session: whose trust in certificates counts; default: a new one.

    Raises:
        Refused: an address without https, or a file beyond the bounds.
        Fault: the server does not give it.
        Transient: it may at the next try.
    """
    import requests

    until = time.monotonic() + seconds
    with _quiet(), _told(), session or requests.Session() as used:
        for _ in range(_REDIRECTS + 1):
            parts = urlsplit(url)
            if parts.scheme != "https" or parts.username or parts.password:
                raise Refused(
                    "The server of pre-trained weights leads to an address without https.",
                    "Take another place for them.",
                )
            used.cookies.clear()
            with used.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=_ANSWER,
                headers={"Accept-Encoding": "identity"},
                auth=_nobody,
            ) as answer:
                if not answer.is_redirect:
                    answer.raise_for_status()
                    _copy(answer, out, most, until)
                    return
                url = urljoin(url, answer.headers["Location"])
    raise Refused(
        f"The server of pre-trained weights leads on more than {_REDIRECTS} times.",
        "Take the address where the file itself is.",
    )


def _copy(answer: requests.Response, out: IO[bytes], most: int, until: float) -> None:
    left = most
    for piece in answer.iter_content(_CHUNK):
        left -= len(piece)
        if left < 0:
            raise Refused(
                f"The server of pre-trained weights sends more than {most} bytes.",
                "Take a smaller file.",
            )
        if time.monotonic() > until:
            raise Transient(
                "The download of pre-trained weights takes too long.",
                "Run again when it is faster.",
            )
        out.write(piece)


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authentication as nobody; without it, the user's `.netrc` would be read."""
    return request


@contextmanager
def _quiet() -> Iterator[None]:
    """Libraries log addresses (WTS-15)."""
    before = {name: logging.getLogger(name).level for name in _LOGGERS}
    try:
        for name in _LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _told() -> Iterator[None]:
    """Errors without the words of server and library."""
    import requests

    remedy = "Check the entry's place, or put the file into `KETTE_HOME/weights/<its SHA-256>`."
    try:
        yield
    except requests.exceptions.SSLError:
        raise Fault("The server of pre-trained weights cannot prove who it is.", remedy) from None
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,  # an answer that ends early
    ):
        raise Transient("The server of pre-trained weights does not answer.", remedy) from None
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise Fault(
            f"The server of pre-trained weights answers with status {status}.", remedy
        ) from None
    except (requests.RequestException, ValueError, KeyError):
        raise Fault("The server of pre-trained weights sends no file.", remedy) from None
