"""A record's place: its ledger's origin, its index, its time and the keys' state, signed with it.

So a record that was moved, doubled or taken from another ledger betrays itself, even behind the
last checkpoint; and no evidence can leave out who was allowed to sign.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from audit.errors import Refused

Json = dict[str, Any]
FIELD = "kette_ledger"

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")


@dataclass(frozen=True)
class Place:
    """Where a record stands."""

    origin: str
    """The ledger's."""
    index: int
    at: str
    """When it was appended, by its writer's clock: UTC, RFC 3339 with microseconds."""
    key_record: int | None
    """Index of the newest key event before it; None for record 0."""


def placed(statement: Json, place: Place) -> Json:
    """The statement with its place; `place_of(placed(s, p)) == p`."""
    return {**statement, "predicate": {**statement["predicate"], FIELD: asdict(place)}}


def place_of(statement: Json) -> Place:
    """The place that a statement was signed for.

    Raises:
        Refused: if it names none.
    """
    predicate = statement.get("predicate")
    match predicate.get(FIELD) if isinstance(predicate, dict) else None:
        case {
            "origin": str(origin),
            "index": int(index),
            "at": str(at),
            "key_record": int() | None as key_record,
            **rest,
        } if not rest and _TIME.fullmatch(at):
            return Place(origin, index, at, key_record)
    raise Refused(
        "The record was signed for no place in a ledger.",
        "Compare the ledger with its mirror or a backup.",
    )


def kind_of(statement: Json) -> str | None:
    """What an event is about; None for a stage's run."""
    predicate = statement.get("predicate")
    kind = predicate.get("kind") if isinstance(predicate, dict) else None
    return kind if isinstance(kind, str) else None
