"""One subject's instances: pseudonymized, gathered into series, each series judged as a whole.

Instances are handled one at a time, in the order of their new UIDs, and written straight into the
archive of their series; only headers' facts stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, Final

from stages.archive import ZipWriter
from stages.artifact import Digest
from stages.ingest.document import DOCUMENT
from stages.ingest.face import Risk, risk
from stages.ingest.face_series import NOTHING, treat_faces
from stages.ingest.instance import ANNOTATION, IMAGE, Converted, Converter, Item
from stages.ingest.label_table import Given, of_kept
from stages.ingest.params import GeometryParams, Limits, PixelParams
from stages.ingest.pixels import PICTURE
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.rules import Rules
from stages.ingest.series_whole import Instance, settle
from stages.ingest.sources import digest, read
from stages.ingest.stated import stated
from stages.ingest.tables import EDITION

_ORDER: Final = (IMAGE, PICTURE, ANNOTATION, DOCUMENT)


@dataclass
class Taken:
    """What became of a subject: rows of its tables."""

    series: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    quarantined: list[tuple[Digest, Reason]] = field(default_factory=list)

    def labels(self, given: Sequence[Given]) -> list[dict[str, Any]]:
        """Rows of class labels of what was taken in."""
        images = [row for row in self.series if row["kind"] in (IMAGE, PICTURE)]
        series = {row["series"]: row["subject"] for row in images}
        studies = {row["study"]: row["subject"] for row in images}
        sops = {row["sop"] for row in self.instances if row["series"] in series}
        return [
            {"subject": studies[one.study], **one._asdict()}
            for one in of_kept(given, studies, series, sops)
        ]


def take_in(
    items: Sequence[Item],
    rules: Rules,
    limits: Limits,
    out: Path,
    pixels: PixelParams | None = None,
    *,
    geometry: GeometryParams | None = None,
) -> Iterator[Taken]:
    """Pseudonymize a subject's instances into `<out>/<series>.zip`.

    Yields once before the first series and after each. Images come first, so that annotations can
    be held against the series that were kept.

    Raises:
        Fault: a source changed since it was planned.
    """
    taken = Taken()
    order = sorted(items, key=lambda item: (_ORDER.index(item.kind), item.series, item.sop))
    kinds = [{item.series for item in items if item.kind == kind} for kind in _ORDER]
    mixed = {uid for one, other in combinations(kinds, 2) for uid in one & other}
    taken.quarantined += [(item.sha256, Reason.KINDS) for item in order if item.series in mixed]
    yield taken
    order = [item for item in order if item.series not in mixed]
    sources = read([(item.handle, item.sha256) for item in order], limits)
    with Converter(rules, limits, pixels) as converter:
        for (kind, uid), members in groupby(order, key=lambda item: (item.kind, item.series)):
            path = out / f"{uid}.zip"
            passed = _write(members, sources, path, converter=converter, rules=rules, taken=taken)
            kept = {row["series"] for row in taken.series if row["kind"] == IMAGE}
            text = kind == IMAGE and uid in converter.with_text
            judged = settle(kind, path, [] if text else passed, kept, geometry or GeometryParams())
            reason = Reason.TEXT if text else judged.reason
            for index, one in enumerate(passed):
                lost = Reason.LOCALIZER if index in judged.apart else reason
                taken.quarantined += [(one.row["input_sha256"], lost)] if lost else []
            passed = [one for index, one in enumerate(passed) if index not in judged.apart]
            if reason or not passed:
                path.unlink()
            else:
                taken.instances += [one.row for one in passed]
                row = _series_row(kind, uid, [one.facts for one in passed], rules)
                taken.series.append(row | stated(path, limits)._asdict() | dict(judged.row))
            yield taken
    remove = pixels is not None and pixels.face == "remove"
    taken.quarantined += treat_faces(
        out, taken.series, taken.instances, remove=remove, limits=limits
    )
    yield taken


def _write(
    members: Iterator[Item],
    sources: Iterator[bytes],
    path: Path,
    *,
    converter: Converter,
    rules: Rules,
    taken: Taken,
) -> list[Instance]:
    """Write the instances of one series that pass by themselves; their rows and facts."""
    passed: list[Instance] = []
    with ZipWriter(path) as archive:
        for item in members:
            source = next(sources)
            try:
                facts = converter.convert(item, source)
            except Quarantined as error:
                taken.quarantined.append((item.sha256, error.reason))
                continue
            archive.add(f"{item.sop}.dcm", *facts.pieces)
            like = passed[-1] if passed and passed[-1].facts.counts is facts.counts else None
            actions = like.row if like else facts.counts.row()
            row = _instance_row(item, facts, rules, actions)
            passed.append(Instance(row, facts.without_data()))
    return passed


def _instance_row(
    item: Item, facts: Converted, rules: Rules, actions: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        **actions,
        "subject": rules.subject,
        "series": item.series,
        "sop": item.sop,
        "input_sha256": item.sha256,
        "output_sha256": digest(*facts.pieces),
        "key_version": rules.key_version,
        "edition": "" if item.own else EDITION,
        "pixels": facts.pixels,
        "text_boxes": facts.text_boxes,
    }


def _series_row(
    kind: str, uid: str, instances: Sequence[Converted], rules: Rules
) -> dict[str, Any]:
    first = instances[0]
    return {
        "subject": rules.subject,
        "study": first.study,
        "series": uid,
        "modality": first.modality,
        "kind": kind,
        "reader": first.reader,
        "annotates": min(first.references, default=""),
        "manufacturer": first.manufacturer,
        "model": first.model,
        "instances": len(instances),
        "face_risk": _face_risk(first, instances) if kind == IMAGE else Risk.NONE.value,
        **NOTHING,
    }


def _face_risk(first: Converted, instances: Sequence[Converted]) -> str:
    places = [one.place.frames for one in instances if one.place]
    return risk(first.modality, first.body, [frame for some in places for frame in some]).value
