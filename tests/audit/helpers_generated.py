"""A ledger of 2,000 records: every kind of record, two keys, and a clock ten years off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from helpers_audit import ORIGIN, keys_of, look, new_signer, sha, stage_run
from securesystemslib.signer import Key, Signer

from audit import clock
from audit.key_events import ROLES, enrolled, retired, signature
from audit.ledger import Ledger
from audit.statement import event

RECORDS = 2000
NOW = datetime(2026, 6, 1, tzinfo=UTC)
BUNDLE = [("bundle.zip", sha(500))]
GATE = {"checks": [{"rule": "PKG-1", "verdict": "passed"}]}
approval = partial(signature, BUNDLE, "approved", "approver", signer="Ada", comment="", at=NOW)


@dataclass(frozen=True)
class Generated:
    """What was generated."""

    ledger: Ledger
    first: Signer
    """Of record 0; retired by a record of its own."""
    second: Signer
    kinds: dict[str, int]
    """Name of a kind → index of a record of that kind, in a batch of its own."""

    @property
    def keys(self) -> dict[str, Key]:
        """What a verifier who knows the first key trusts."""
        return keys_of(self.first)


@contextmanager
def clock_at(moment: datetime) -> Iterator[None]:
    with mock.patch.object(clock, "now", return_value=moment):
        yield


def generate(folder: Path, records: int = RECORDS) -> Generated:
    """Each kind once, one batch a record; then many; two checkpoints, the last over all."""
    ledger, first, second = Ledger(folder, ORIGIN), new_signer(), new_signer()
    kinds: dict[str, int] = {"first enrolment": 0}

    def say(kind: str, statement: dict[str, Any], signer: Signer) -> None:
        kinds[kind] = ledger.append(statement, signer)[0]

    with clock_at(NOW + timedelta(days=3652)):
        say("unit", stage_run(1), first)
        say("merge", stage_run(2, unit="", gate=GATE), first)
    with clock_at(NOW):
        say("event", look(), first)
    kinds["clock"] = kinds["event"] - 1
    say("enrolment", enrolled(second.public_key, ROLES, "second", NOW), first)
    say("signature", approval(), second)
    released = event("released", at=NOW, details={"version": "1.0.0"}, subjects=BUNDLE)
    say("release", released, second)
    ledger.checkpoint(first)
    say("retirement", retired(first.public_key.keyid, "rotation", NOW), second)
    done = kinds["retirement"] + 1
    for size in (1, 255, 700, records):
        step = min(size, records - done)
        ledger.append([stage_run(done + number) for number in range(step)], second)
        done += step
    ledger.checkpoint(second)
    return Generated(ledger, first, second, kinds)
