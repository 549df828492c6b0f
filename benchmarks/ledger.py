"""The ledger: durable appends of eight writers, and verification, each beside its peer.

Appends are measured in batches, and one by one, as a run makes them beside its work; the peer is
the least that is durable and in order: a lock, one write at the end of one file, one fsync, of the
same bytes. The peer of verification is a bare loop of Ed25519 over messages of the same length.
`python -m benchmarks.ledger [FOLDER]`: the folder's disk is the one that is measured.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import CryptoSigner

from audit.ledger import Ledger
from audit.statement import statement

WRITERS = 8
BATCHES = {1: 200, 20: 5000, 100: 5000}
"""Records of a batch → records that each writer appends."""
SIZES = (5_000, 20_000, 40_000)
ORIGIN = "kette/benchmark"
SIGNER = CryptoSigner.generate_ed25519()
KEYS = {SIGNER.public_key.keyid: SIGNER.public_key}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def records(first: int, count: int) -> list[dict[str, Any]]:
    """Statements as a run makes them of a unit with three files."""
    return [record(number) for number in range(first, first + count)]


def record(number: int) -> dict[str, Any]:
    digest = f"{number:064x}"
    label = f"annotate/{digest[-16:]}"
    return statement(
        subjects=[(label, digest), *((f"{label}/{path}", digest) for path in "abc")],
        stage="annotate", unit=label, key=digest, parameters={"facts": {}}, lock=digest,
        inputs={f"ingest/{label}": digest}, commit="a" * 40, environment={"threads": 1},
        findings={"readers": 3}, measured={}, gate=None, status="ran", started=NOW, finished=NOW,
    )  # fmt: skip


def seconds(work: Callable[[int], object], processes: int) -> float:
    """Wall time of processes that work at once; they start together."""
    fork = multiprocessing.get_context("fork")
    barrier = fork.Barrier(processes + 1)

    def begin(number: int) -> None:
        barrier.wait()
        work(number)

    running = [fork.Process(target=begin, args=(number,)) for number in range(processes)]
    for process in running:
        process.start()
    barrier.wait()
    start = time.perf_counter()
    for process in running:
        process.join()
    taken = time.perf_counter() - start
    if any(process.exitcode for process in running):
        raise RuntimeError("a writer failed")
    return taken


def append(folder: Path, batch: int, each: int) -> float:
    """Seconds of all writers to sign and append statements that were made before."""
    made = records(0, WRITERS * each)

    def work(writer: int) -> None:
        ledger = Ledger(folder, ORIGIN)
        for first in range(writer * each, (writer + 1) * each, batch):
            ledger.append(made[first : first + batch], SIGNER)

    return seconds(work, WRITERS)


def chain(path: Path, batch: int, each: int, length: int) -> float:
    """Seconds of the peer: the same bytes, locked, written and synced."""
    data = os.urandom(batch * length)

    def work(_: int) -> None:
        with path.open("ab", buffering=0) as file:
            for _ in range(each // batch):
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write(data)
                os.fsync(file.fileno())
                fcntl.flock(file, fcntl.LOCK_UN)

    return seconds(work, WRITERS)


def grown(folder: Path) -> Iterator[tuple[int, Ledger]]:
    """One ledger at each size, its checkpoint over all of it."""
    ledger, size = Ledger(folder, ORIGIN), 1
    for wanted in SIZES:
        ledger.append(records(size, wanted - size), SIGNER)
        ledger.checkpoint(SIGNER)
        size = wanted
        yield wanted, ledger


def ed25519(count: int, length: int) -> float:
    """Signatures a second of a bare loop."""
    key, message = Ed25519PrivateKey.generate(), os.urandom(length)
    public, signature = key.public_key(), key.sign(message)
    start = time.perf_counter()
    for _ in range(count):
        public.verify(signature, message)
    return count / (time.perf_counter() - start)


def verified(ledger: Ledger, size: int, *, signatures: bool) -> float:
    """Records a second."""
    start = time.perf_counter()
    found = ledger.verify(KEYS, signatures=signatures)
    taken = time.perf_counter() - start
    if not found.ok or found.covered != size:
        raise RuntimeError(found)
    return size / taken


def main() -> None:
    """Print the figures."""
    at = sys.argv[1] if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(dir=at) as name:
        folder = Path(name)
        one = Ledger(folder / "one", ORIGIN)
        one.append(records(1, 1), SIGNER)
        _, raw = next(one.read(1))
        print(f"{os.cpu_count()} processors; a record of {len(raw)} bytes")
        for batch, each in BATCHES.items():
            total = WRITERS * each
            rate = total / append(folder / f"ledger-{batch}", batch, each)
            peer = total / chain(folder / f"chain-{batch}", batch, each, len(raw))
            print(
                f"{WRITERS} writers × {each} records in batches of {batch}: {rate:,.0f} records/s, "
                f"durable; lock, write and fsync alone {peer:,.0f}; ratio {rate / peer:.2f}"
            )
        for size, ledger in grown(folder / "verified"):
            hashes = verified(ledger, size, signatures=False)
            every = verified(ledger, size, signatures=True)
            bare = ed25519(size, len(raw) * 3 // 4)
            print(
                f"verification of {size:,} records: hashes and tree {hashes:,.0f} records/s; "
                f"every signature {every:,.0f} records/s on one core, "
                f"Ed25519 alone {bare:,.0f}, ratio {every / bare:.2f}"
            )


if __name__ == "__main__":
    main()
