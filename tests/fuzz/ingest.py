"""Coverage-guided fuzzing of ingestion: `python tests/fuzz/ingest.py -max_total_time=3600 CORPUS`.

The bytes of one file go through all that sees them: identification, scan, profile and writing. Held
to: nothing but a quarantine is raised; what passes is a DICOM file that scans again, states its
de-identification and is what pydicom's full read and write give; an instance that follows a like
one comes out as it does alone. Needs `atheris`; the corpus folder may be empty.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import atheris

sys.path[:0] = [
    str(Path(__file__).parents[2] / part) for part in ("", "tests/stages", "tests/stages/ingest")
]

with atheris.instrument_imports(include=["stages.ingest", "pydicom.filereader", "pydicom.values"]):
    from helpers_ingest import ROOT, ct, encoded

    from stages.ingest import keys
    from stages.ingest.header import Identifier, quiet
    from stages.ingest.instance import IMAGE, Converter, Item
    from stages.ingest.params import Limits
    from stages.ingest.quarantine import Quarantined
    from stages.ingest.raw import scan
    from stages.ingest.raw_file import open_file
    from stages.ingest.rules import Rules
    from stages.ingest.sources import Handle

LIMITS = Limits(file_bytes=1 << 20, header_bytes=1 << 18, elements=5000, rows=64, frames=8)
RULES = Rules(
    subject="s-aaaaaaaaaa",
    uid_key=b"u" * 32,
    reader_key=b"r" * 32,
    days=-1000,
    readers={},
    labels={},
    codes={},
    depth=LIMITS.depth,
)
SEEDS = [encoded(ct(index, series="5"), implicit=bool(index % 2)) for index in range(4)]
_FRAMED = Converter(RULES, LIMITS)


def once(data: bytes) -> None:
    """Hold one file to the rules."""
    identifiers = Identifier(LIMITS), Identifier(LIMITS)
    with quiet(), suppress(Quarantined):
        for seed in SEEDS[:2]:
            identifiers[1].identify(seed)
        header = identifiers[0].identify(data)
        if identifiers[1].identify(data) != header:
            raise AssertionError("whose instance it is depends on what came before")
        new = [keys.replace_uid(RULES.uid_key, uid) for uid in (header.series, header.sop)]
        item = Item(IMAGE, new[0], new[1], "0" * 64, Handle("", None))
        _check(item, data)


def _check(item: Item, data: bytes) -> None:
    outcomes = []
    for converter in (Converter(RULES, LIMITS), _FRAMED):
        try:
            made = converter.convert(item, data)
            outcomes.append((b"".join(made.pieces), made.counts))
        except Quarantined as error:
            outcomes.append((error.reason.value.encode(), None))
    if outcomes[0] != outcomes[1]:
        raise AssertionError("an instance depends on those before it")
    if outcomes[0][1] is None:
        return
    whole = outcomes[0][0]
    file = open_file(whole, LIMITS)
    found = scan(whole, file.at, file.syntax, LIMITS)
    tags = {element.tag for element in found.elements}
    if not {0x00120062, 0x00120063, 0x00120064} <= tags or ROOT.encode() in whole:
        raise AssertionError("the output does not state what it is, or holds a source's UID")


def main() -> None:
    """Run the fuzzer over the corpus that the arguments name, the seeds added."""
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    for folder in folders[:1]:
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS):
            (folder / f"seed{number}").write_bytes(seed)
    for index in range(4):
        with quiet(), suppress(Quarantined):
            header = Identifier(LIMITS).identify(SEEDS[index])
            new = [keys.replace_uid(RULES.uid_key, uid) for uid in (header.series, header.sop)]
            _FRAMED.convert(Item(IMAGE, new[0], new[1], "0" * 64, Handle("", None)), SEEDS[index])
    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
