"""The page of a reproduction, as data: what was asked, what was found, rung by rung.

It is rendered as the release's report is (`stages/package/document.py`): one file, nothing fetched,
every value escaped.
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.reproduced import Reproduction, shortened
from stages.ladder import Comparison
from stages.package.document import Document, Section, Tile, render, table

_SHORT = 12
_LEVELS = {
    "R0": "The released bytes were retrieved, each with the digest that the signed tag names, and "
    "their evidence holds.",
    "R1": "The release was rebuilt from its tag: every result is equal, bit for bit.",
    "R2": "The release was rebuilt from its tag and is equivalent: it differs, within every "
    "tolerance that was declared before.",
    None: "The release could not be reproduced to the level asked for.",
}


def page(found: Reproduction) -> bytes:
    """The page, as one HTML file in UTF-8."""
    return render(
        Document(
            title=f"Reproduction of {found.version}",
            subtitle=found.tag,
            label="Result.",
            lead=_LEVELS[found.level],
            tiles=tuple(_tiles(found)),
            sections=tuple(_sections(found)),
            footer="A signed record of a ledger holds this result and the digest of this page.",
        )
    )


def _tiles(found: Reproduction) -> Iterator[Tile]:
    yield Tile("Level reached", found.level or "none")
    yield Tile("Asked for", found.asked, "" if found.reached else "not reached")
    if found.rungs:
        equal = sum(rung["equal"] for rung in found.rungs)
        yield Tile("Rungs equal", f"{equal} of {len(found.rungs)}")
    if found.rebuild:
        yield Tile("First difference", found.first_difference or "none")


def _sections(found: Reproduction) -> Iterator[Section]:
    yield Section("release", "The release", texts=tuple(_texts(found)))
    if found.rebuild is None:
        return
    yield Section(
        "causes",
        "Why",
        tables=(
            table(
                "What explains the first difference",
                [{"n": n, "cause": c} for n, c in enumerate(shortened(found.causes), 1)],
                {"n": "", "cause": "cause"},
            ),
        ),
    )
    if found.rebuild.comparison:
        yield _rungs(found.rebuild.comparison)
        yield _equivalence(found.rebuild.comparison)
    rows = [
        {"fact": fact, "released": was, "rebuilt": now, "equal": was == now}
        for fact, was, now in found.rebuild.facts
    ]
    columns = {"fact": "fact", "released": "release", "rebuilt": "rebuild", "equal": "equal"}
    yield Section(
        "environment", "Environment",
        texts=(found.rebuild.environment,),
        tables=(table("Facts, side by side", rows, columns),),
    )  # fmt: skip


def _texts(found: Reproduction) -> Iterator[str]:
    if found.standing.sentence:
        yield found.standing.sentence
    yield f"Tag {found.tag}, commit {found.commit}. {found.signer}"
    if found.lost:
        yield f"Of the released bytes: {'; '.join(shortened(found.lost))}."
    else:
        yield "Every released byte is there, and its evidence holds."
    if found.machine:
        yield (
            "This machine is of another class than the release's, so that equivalence (R2) is what "
            f"can be expected: {'; '.join(found.machine)}."
        )


def _rungs(compared: Comparison) -> Section:
    rows = [
        {
            "name": rung.name,
            "released": (rung.released or "–")[:_SHORT],
            "rebuilt": (rung.rebuilt or "–")[:_SHORT],
            "equal": rung.equal,
            "parts": _parts(rung.differs, rung.count),
            "first": rung.name == compared.first_difference,
        }
        for rung in compared.rungs
    ]
    columns = {
        "name": "rung", "released": "release", "rebuilt": "rebuild", "equal": "equal",
        "parts": "parts that differ",
    }  # fmt: skip
    return Section(
        "rungs",
        "Rung by rung",
        texts=("From what the chain stands on to the archive; the first difference stands out.",),
        tables=(table("Digests, first digits", rows, columns, mark="first"),),
    )


def _parts(differs: tuple[str, ...], count: int) -> str:
    more = count - len(differs)
    return ", ".join(differs) + (f" and {more} more" if more > 0 else "")


def _equivalence(compared: Comparison) -> Section:
    tolerances = table(
        "Tolerances",
        [row.model_dump() for row in compared.tolerances],
        {
            "what": "figure", "released": "release", "rebuilt": "rebuild",
            "difference": "difference", "tolerance": "tolerance", "within": "within",
        },
    )  # fmt: skip
    flips = table(
        "Subjects on the other side of the declared limit",
        [row.model_dump() for row in compared.flips],
        {
            "subject": "subject", "series": "series", "structure": "structure",
            "released": "release", "rebuilt": "rebuild", "limit": "limit",
        },
    )  # fmt: skip
    text = (
        "Declared before the release, in its parameters."
        if compared.tolerances
        else "Every result is equal, or no score could be held against another."
    )
    return Section("equivalence", "Equivalence", texts=(text,), tables=(tolerances, flips))
