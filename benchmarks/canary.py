"""Planted identifiers that are left by Kette and by other tools: `python -m benchmarks.canary`.

The instances of `tests/stages/ingest/helpers_canary.py`: phantom CT slices, and, where
../shared/data is, a real MR series and a real ultrasound image. Every tool gets the same files and
its own defaults. Once with well-formed values alone, once, on the phantom, with values that break
their VR too. A tool that is not installed is said so; a file that a tool fails on is counted.
"""

from __future__ import annotations

import copy
import importlib.metadata
import logging
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pydicom

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
sys.path += [str(ROOT / "tests" / "stages" / "ingest"), str(ROOT / "tests" / "stages")]

Tool = Callable[[list[Path], Path], None]


def corpora() -> dict[str, list[Any]]:
    """Name → data sets before anything is planted."""
    from helpers_ingest import ct

    found: dict[str, list[Any]] = {"phantom CT": [ct(index) for index in range(4)]}
    for name, archive, part in (
        ("shared MR", SHARED / "hippocampus" / "hippocampus_001.zip", "MR/"),
        ("shared ultrasound", SHARED / "busi" / "busi.zip", "malignant"),
    ):
        if archive.is_file():
            with zipfile.ZipFile(archive) as file:
                names = sorted(member for member in file.namelist() if member.startswith(part))
                found[name] = [pydicom.dcmread(BytesIO(file.read(one))) for one in names[:4]]
        else:
            print(f"{name}: not here (../shared/data)")
    return found


def kette(files: list[Path], out: Path) -> None:
    """The stage's own pseudonymization, a file at a time as the others do it."""
    from helpers_ingest import encode, parameters

    from stages.ingest import keys
    from stages.ingest.codes import codes_of
    from stages.ingest.header import quiet
    from stages.ingest.pseudonymize import pseudonymize
    from stages.ingest.rules import Rules

    rules = Rules(
        subject="s-aaaaaaaaaa",
        uid_key=keys.derive(b"benchmark", "uid"),
        reader_key=keys.derive(b"benchmark", "reader"),
        days=-1000,
        readers={},
        labels={},
        codes=codes_of(parameters().task),
        depth=16,
    )
    for number, path in enumerate(files):
        with quiet():
            result, _ = pseudonymize(pydicom.dcmread(path), rules)
            (out / f"{number}.dcm").write_bytes(encode(result))


def dicognito(files: list[Path], out: Path) -> None:
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="benchmark")
    for number, path in enumerate(files):
        dataset = pydicom.dcmread(path)
        anonymizer.anonymize(dataset)
        dataset.save_as(out / f"{number}.dcm")


def dicom_anonymizer(files: list[Path], out: Path) -> None:
    from dicomanonymizer import anonymize_dicom_file

    for number, path in enumerate(files):
        anonymize_dicom_file(str(path), str(out / f"{number}.dcm"))


def deid(files: list[Path], out: Path) -> None:
    from deid.dicom import get_identifiers, replace_identifiers

    names = [str(path) for path in files]
    identifiers = get_identifiers(names)
    replace_identifiers(
        dicom_files=names, ids=identifiers, save=True, overwrite=True, output_folder=str(out)
    )


TOOLS: dict[str, tuple[str, Tool]] = {
    "Kette": ("kette", kette),
    "dicognito": ("dicognito", dicognito),
    "dicom-anonymizer": ("dicom-anonymizer", dicom_anonymizer),
    "deid": ("deid", deid),
}


@contextmanager
def silent() -> Iterator[None]:
    """Their logs and warnings quote what was planted; they are not what is counted here."""
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def leaks(tool: Tool, files: list[Path], folder: Path) -> tuple[set[str], int]:
    """Places that leaked, and the number of files that came out.

    Each file goes through the tool by itself, so that one that it fails on costs only itself.
    """
    from helpers_canary import search

    found: set[str] = set()
    done = 0
    for number, path in enumerate(files):
        out = folder / str(number)
        out.mkdir(parents=True)
        try:
            with silent():
                tool([path], out)
        except Exception:  # noqa: BLE001, S112 - whatever another tool fails with is a failed file
            continue
        outputs = {one.name: one.read_bytes() for one in out.rglob("*") if one.is_file()}
        done += bool(outputs)
        found |= set(search(outputs))
    return found, done


def compare(corpus: str, datasets: list[Any], plants: tuple[Any, ...], folder: Path) -> None:
    """Print one corpus' counts, and the places that leaked."""
    from helpers_canary import DATES, OUTSIDE, plant, wrap

    total = len(plants) + len(OUTSIDE) + len(DATES)
    place = folder / OUTSIDE[-1].needle
    place.mkdir(parents=True)
    for number, dataset in enumerate(datasets):
        path = place / f"{OUTSIDE[-2].needle}_{number}.dcm"
        path.write_bytes(wrap(plant(copy.deepcopy(dataset), plants)))
    print(f"{corpus}: {total} places, each with a needle of its own")
    for title, (distribution, tool) in TOOLS.items():
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            print(f"  {title}: not installed")
            continue
        found, done = leaks(tool, sorted(place.iterdir()), folder / title)
        print(
            f"  {title} {version}: {len(found)} of {total} leaked,"
            f" {done} of {len(datasets)} files came out"
        )
        print("".join(f"      {one}\n" for one in sorted(found)), end="")


def main() -> None:
    """Print the counts, and the places that leaked."""
    from helpers_canary import MALFORMED, PLANTS

    sound = tuple(one for one in PLANTS if one not in MALFORMED)
    with tempfile.TemporaryDirectory() as name:
        for corpus, datasets in corpora().items():
            compare(corpus, datasets, sound, Path(name) / corpus)
            if corpus == "phantom CT":
                odd = f"{corpus}, values that break their VR too"
                compare(odd, datasets, PLANTS, Path(name) / odd)


if __name__ == "__main__":
    main()
