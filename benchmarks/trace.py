"""A prediction to its DICOM instances: `kette audit prove FILE`, proof written and checked.

A ledger of about 1,500 records and a table of 100,000 instances, by the stages' own writers, in
a temporary project: `python -m benchmarks.trace`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.artifact import FileEntry, Manifest
from stages.ingest.accounts import INSTANCES, write
from stages.lock import lock_digest, read_lock
from stages.project import Place
from stages.recorder import Recorder
from stages.stage import Check, Gate, Verdict
from stages.store import Entry

ROOT = Path(__file__).parents[1]
SUBJECTS, INSTANCES_EACH = 740, 136
NOW = "2026-01-01T00:00:00+00:00"
GATE = Gate(
    checks=(Check(rule="B-1", figure="1", limit="at least 1", verdict=Verdict.PASSED, remedy=""),)
)


def sha(*words: object) -> str:
    """A digest that stands for something."""
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


class Chain:
    """Records one unit or merge after the other, as a run does."""

    def __init__(self, place: Place) -> None:
        lock = lock_digest(read_lock(place.lock))
        self.recorder = Recorder(place, None, lock, dry=False)
        self.trees: dict[str, str] = {}

    def made(self, label: str, inputs: list[str], files: dict[str, str], **outside: str) -> None:
        """A unit or merge made these files of these trees."""
        stage, _, unit = label.partition("/")
        listed = [FileEntry(path=path, size=1, sha256=s) for path, s in sorted(files.items())]
        digest = Manifest(files=tuple(listed)).digest
        parts: dict[str, Any] = {
            "parameters": {}, "facts": {}, "inputs": {n: self.trees[n] for n in inputs} | outside,
        }  # fmt: skip
        entry = Entry(
            stage=stage, unit=unit, key=sha("key", label), parts=parts, digest=digest,
            findings={}, measured={}, gate=GATE, started=NOW, finished=NOW,
        )  # fmt: skip
        self.recorder.ran(entry, listed, "ran")
        self.trees[label] = digest


def rows(subjects: int, each: int) -> Iterator[dict[str, Any]]:
    """Rows of the table of instances."""
    filled = {name: "x" if kind == "string" else 1 for name, kind in INSTANCES.items()}
    for subject in range(subjects):
        for number in range(each):
            yield filled | {
                "subject": f"S{subject:05d}",
                "series": f"1.2.{subject}.1",
                "sop": f"1.2.{subject}.1.{number}",
                "input_sha256": sha("in", subject, number),
                "output_sha256": sha("out", subject, number),
            }


def build(place: Place, subjects: int = SUBJECTS, each: int = INSTANCES_EACH) -> Path:
    """Ledger and table; gives the prediction's file, of the last subject's only series."""
    table = list(rows(subjects, each))
    tables = place.work / "tables"
    tables.mkdir(parents=True)
    write(tables, {"series": [], "instances": table, "quarantine": []})
    place.data.mkdir()
    shutil.copyfile(tables / "instances.parquet", place.data / "ingest.parquet")
    listed = hashlib.sha256((place.data / "ingest.parquet").read_bytes()).hexdigest()
    chain, names = Chain(place), [f"S{subject:05d}" for subject in range(subjects)]
    for number, name in enumerate(names):
        mine = table[number * each : (number + 1) * each]
        outside = {f"source/{row['input_sha256'][:16]}": row["input_sha256"] for row in mine}
        chain.made(f"ingest/{name}", [], {f"1.2.{number}.1.zip": sha("zip", name)}, **outside)
    ingested = [f"ingest/{name}" for name in names]
    chain.made("ingest", ingested, {"instances.parquet": listed})
    for name in names:
        chain.made(f"annotate/{name}", [f"ingest/{name}"], {"consensus/1.dcm": sha("seg", name)})
    annotated = [f"annotate/{name}" for name in names]
    chain.made("annotate", annotated, {"agreement.parquet": sha("agreement")})
    inputs = [*ingested, "ingest", *annotated, "annotate"]
    chain.made("dataset/cohort", inputs, {"ingest.parquet": listed})
    chain.made("train/plain", ["dataset/cohort"], {"model.safetensors": sha("weights")})
    chain.made("train", ["train/plain"], {"model.safetensors": sha("weights")})
    prediction = place.project / "prediction.dcm"
    prediction.write_bytes(b"a prediction")
    path = f"predictions/{names[-1]}/1.2.{subjects - 1}.1.dcm"
    digest = hashlib.sha256(b"a prediction").hexdigest()
    chain.made("assess/test", ["dataset/cohort", "train"], {path: digest})
    chain.made("assess", ["assess/test"], {"metrics.parquet": sha("metrics")})
    chain.recorder.checkpoint()
    return prediction


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        project.mkdir()
        for name in ("params.yaml", "constraints.txt"):
            shutil.copyfile(ROOT / name, project / name)
        place = Place(project, "kette-phantom", Path(folder) / "home")
        prediction = build(place)
        environment = {**os.environ, "KETTE_HOME": str(place.home), "PYTHONPATH": str(ROOT)}
        command = (sys.executable, "-m", "flows.cli", "audit", "prove", str(prediction), "--json")
        taken = []
        for _ in range(5):
            start = time.perf_counter()
            done = subprocess.run(
                command, cwd=project, env=environment, check=True, capture_output=True
            )
            taken.append(time.perf_counter() - start)
        found = json.loads(done.stdout)
        size = (project / found["proof"]).stat().st_size
    print(f"a prediction to its DICOM instances: {statistics.median(taken):.2f} s")
    print(
        f"{len(found['instances'])} instances of {SUBJECTS * INSTANCES_EACH}, "
        f"{len(found['records'])} records proven in {size / 1e6:.1f} MB"
    )


if __name__ == "__main__":
    main()
