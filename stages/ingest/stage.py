"""Ingest: DICOM studies from outside become pseudonymized series, or are quarantined.

In: folders and ZIP archives, read-only. Out, for each subject: `<series>.zip` (instances as
`<sop>.dcm`), `series.parquet`, `instances.parquet`, `class_labels.parquet`, `quarantine.parquet`;
merged: the four tables of all subjects. Only this stage sees identities: planning reads who an
instance belongs to, of many files in workers (`sightings.py`); a unit's worker gets the one
subject's secrets, and no worker the vault.

Rules:

- ING-1   Every file ends in exactly one place: an output instance, a duplicate that was dropped,
          an ignored media directory, a table of labels (`label_table.py`), or quarantine, with
          its digest and a fixed reason.
- ING-2   A bad file stops nothing but itself and, where a series is not whole without it, its
          series.
- ING-3   What no rule of the profile lets pass is not in the output, at any depth
          (`profile.py`); nothing of the source's preamble, file meta and trailing bytes is.
- ING-4   UIDs are replaced by keyed ones; what referred to an instance before still does.
- ING-5   Dates move by the subject's own number of days; intervals stay exact, at any depth.
- ING-6   The same instances give the same bytes in any order, folder, batch and process.
- ING-7   Pixel bytes are not touched, but where text is found in them: then it is blanked or the
          image is quarantined (`pixels.py`); where an overlay lies in them (`overlay.py`); and
          where faces are taken away (`face_series.py`).
- ING-8   A series of slices is one volume, or what its finding's policy says: quarantined, flagged
          or to be resampled (`geometry_policy.py`); an annotation refers to one kept series.
- ING-9   The output states which options were applied, and only those.
- ING-10  The public demo key serves phantoms alone.
- ING-11  The stage refuses when no subject is left, or more than the declared share of the files
          is quarantined.
- ING-12  No text, name or error of this stage holds a value of a source.
- ING-13  What the ledger lists as this stage's own output passes byte for byte, under its
          pseudonym; any other's claim to be de-identified counts for nothing (`own.py`).
- ING-14  A NIfTI image with its sidecar becomes instances and is then treated like any; no text of
          its header is read (`nifti.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from audit.errors import WrongUse
from stages.ingest import keys
from stages.ingest.accounts import TABLES, counts, gate, quarantine_rows, write
from stages.ingest.params import IngestParams, Parameters
from stages.ingest.quarantine import Reason
from stages.ingest.tables import EDITION
from stages.stage import (
    MergeContext,
    Outcome,
    Plan,
    PlanContext,
    RunContext,
    Stage,
    Unit,
)

if TYPE_CHECKING:
    from stages.ingest.label_table import Given
    from stages.ingest.survey import Member


def plan(ctx: PlanContext[Parameters]) -> Plan:
    """Identify every file of the sources and name a unit for each subject.

    Raises:
        WrongUse: no source, no vault, or a vault in a place that others get.
    """
    from stages.ingest import label_table, own, suppression
    from stages.ingest.rules import reader_named
    from stages.ingest.sightings import sightings
    from stages.ingest.survey import survey

    params = ctx.params.ingest
    if not ctx.sources:
        raise WrongUse("There is nothing to take in.", "Name a folder or a ZIP archive of studies.")
    with _keys(ctx) as secrets:
        classes = [label.name for label in ctx.params.task.classes]
        found = survey(
            sightings(ctx.sources, params.limits, classes, ctx.spread),
            demo=params.pseudonym_key == "demo",
            own=ctx.own_outputs.get(secrets.version, frozenset()),
        )
        found = suppression.kept(found, secrets)
        new = _replacement(secrets, params)
        subjects = own.joined(found, secrets, new)
        reader_key = keys.derive(secrets.domain_key, "reader")
        labels, unknown = label_table.assign(
            found.tables, subjects, new, lambda name: reader_named(name, params.readers, reader_key)
        )
        units = [
            _unit(
                subject, subjects.pop(subject), secrets, params, new, labels=labels.get(subject, ())
            )
            for subject in list(subjects)
        ]
    return Plan(
        units=tuple(sorted(units, key=lambda unit: unit.name)),
        notes={
            "files": found.files,
            "duplicates": found.duplicates,
            "ignored": found.ignored,
            "label_tables": [table.sha256 for table in found.tables],
            "labels_unknown": unknown,
            "quarantined": [[sha256, reason.value] for sha256, reason in found.quarantined],
        },
    )


def run(unit: Unit, ctx: RunContext[Parameters]) -> Outcome:
    """Pseudonymize one subject's instances, keep the series that are whole.

    Raises:
        Fault: a source changed since it was planned.
    """
    from stages.ingest.codes import codes_of
    from stages.ingest.instance import Item
    from stages.ingest.label_table import Given
    from stages.ingest.packed import unpacked
    from stages.ingest.rules import Rules
    from stages.ingest.sources import Handle
    from stages.ingest.subject import Taken, take_in

    params, task = ctx.params.ingest, ctx.params.task
    secrets = unit.private["secrets"]
    rules = Rules(
        subject=unit.name,
        uid_key=bytes.fromhex(secrets["uid_key"]),
        reader_key=bytes.fromhex(secrets["reader_key"]),
        days={"modified": secrets["shift_days"], "full": 0, "removed": None}[params.dates],
        readers=params.readers,
        labels={s.segment_label.casefold(): (s.segment_label, s.classes) for s in task.structures},
        codes=codes_of(task),
        depth=params.limits.depth,
        options=params.options,
        key_version=unit.facts["key_version"],
    )
    items = [
        Item(kind, series, sop, sha256, Handle(path, member), own)
        for path, member, sha256, kind, series, sop, own in unpacked(unit.private["members"])
    ]
    taken = Taken()
    for taken in take_in(
        items, rules, params.limits, ctx.out, params.pixels, geometry=params.geometry
    ):
        done = len(taken.instances) + len(taken.quarantined)
        ctx.say(f"{done} of {len(items)} instances", done / len(items))
    rows = {
        "series": taken.series,
        "instances": taken.instances,
        "class_labels": taken.labels([Given(*row) for row in unit.private["labels"]]),
        "quarantine": quarantine_rows(taken.quarantined),
    }
    write(ctx.out, rows)
    return Outcome(findings=counts(rows))


def merge(ctx: MergeContext[Parameters]) -> Outcome:
    """Put the subjects' tables together and decide whether enough was taken in.

    The instances' table is sorted by subject first, so it is the subjects' tables in a row; it
    alone grows with the files and is never in memory as a whole.
    """
    from stages.table import join_tables, read_table

    trees = [ctx.units[name] for name in sorted(ctx.units)]
    rows: dict[str, list[dict[str, Any]]] = {
        name: [row for tree in trees for row in read_table(tree / f"{name}.parquet")]
        for name in ("series", "class_labels", "quarantine")
    }
    instances = [tree / "instances.parquet" for tree in trees]
    join_tables(ctx.out / "instances.parquet", instances, TABLES["instances"])
    rows["quarantine"] += quarantine_rows(
        [(sha256, Reason(reason)) for sha256, reason in ctx.notes["quarantined"]]
    )
    write(ctx.out, rows)
    findings = {
        **counts(rows),
        "instances_in": ctx.notes["files"] - ctx.notes["ignored"] - len(ctx.notes["label_tables"]),
        "label_tables": ctx.notes["label_tables"],
        "labels_unknown": ctx.notes["labels_unknown"],
        "duplicates": ctx.notes["duplicates"],
        "ignored": ctx.notes["ignored"],
        "profile": EDITION,
    }
    return Outcome(findings=findings, gate=gate(findings, ctx.params.ingest))


STAGE = Stage(name="ingest", parameters=Parameters, after=(), plan=plan, run=run, merge=merge)


@contextmanager
def _keys(ctx: PlanContext[Parameters]) -> Iterator[keys.Keys]:
    """The public demo key, or the project's vault, held while planning."""
    from stages.ingest.vault import check_place, open_vault

    if ctx.params.ingest.pseudonym_key == "demo":
        yield keys.DemoKeys()
        return
    if ctx.vault is None:
        raise WrongUse("There is no vault for this project.", "Make one with `kette init`.")
    check_place(ctx.vault, [source for source in ctx.sources if source.is_dir()])
    with open_vault(ctx.vault, dry=ctx.dry) as vault:
        yield vault


def _replacement(secrets: keys.Keys, params: IngestParams) -> Callable[[str], str]:
    """What stands for a UID in the output."""
    uid_key = keys.derive(secrets.domain_key, "uid")

    @lru_cache(maxsize=256)
    def new(uid: str) -> str:
        return uid if params.options.uids else keys.replace_uid(uid_key, uid)

    return new


def _unit(
    subject: keys.SubjectSecrets,
    members: Sequence[Member],
    secrets: keys.Keys,
    params: IngestParams,
    new: Callable[[str], str],
    *,
    labels: Sequence[Given],
) -> Unit:
    """A subject's unit: digests in public, identities and derived secrets in private."""
    from audit.canonical import digest_json
    from stages.ingest.packed import packed
    from stages.ingest.tables import classes

    uid_key = keys.derive(secrets.domain_key, "uid")
    return Unit(
        name=subject.pseudonym,
        inputs={
            f"source/{'own/' if member.own else ''}{member.sha256[:16]}": member.sha256
            for member in members
        },
        facts={
            "key_version": secrets.version,
            "subject_key": keys.fingerprint(subject.secret),
        }
        | ({"labels": digest_json([list(row) for row in labels])} if labels else {}),
        private={
            "members": packed(
                [
                    member.handle.path,
                    member.handle.member,
                    member.sha256,
                    classes()[member.origin.sop_class].kind,
                    member.origin.series if member.own else new(member.origin.series),
                    member.sop if member.own else new(member.sop),
                    member.own,
                ]
                for member in members
            ),
            "labels": [list(row) for row in labels],
            "secrets": {
                "uid_key": uid_key.hex(),
                "reader_key": keys.derive(secrets.domain_key, "reader").hex(),
                "shift_days": keys.shift_days(subject.secret, *params.shift_days),
            },
        },
    )
