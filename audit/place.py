"""A record's place: its ledger's origin and its index, signed with the statement itself.

So a record that was moved, doubled or taken from another ledger betrays itself, even behind the
last checkpoint, and evidence needs no list of indexes.
"""

from __future__ import annotations

from typing import Any

from audit.errors import Refused

Json = dict[str, Any]
FIELD = "kette_ledger"


def placed(statement: Json, origin: str, index: int) -> Json:
    """The statement with its place; `index_of(placed(s, o, i), o) == i`."""
    predicate = {**statement["predicate"], FIELD: {"origin": origin, "index": index}}
    return {**statement, "predicate": predicate}


def index_of(statement: Json, origin: str) -> int:
    """The index that a statement was signed for.

    Raises:
        Refused: if it names no place, or one in another ledger.
    """
    predicate = statement.get("predicate")
    place = predicate.get(FIELD) if isinstance(predicate, dict) else None
    match place:
        case {"origin": str(named), "index": int(index), **rest} if named == origin and not rest:
            return index
    raise Refused(
        "The record was signed for no place in this ledger.",
        "Compare the ledger with its mirror or a backup.",
    )
