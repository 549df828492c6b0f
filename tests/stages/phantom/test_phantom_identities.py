"""What is planted is known, whole, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_phantom import datasets, elements, encodings, of, small_cohort

from stages.phantom.cohort import identities
from stages.phantom.scanner import VENDORS
from stages.phantom_root import UID_ROOT, is_phantom

_ROOT = Path(__file__).parents[3]
_HARMLESS = {
    "ConvolutionKernel", "Manufacturer", "ManufacturerModelName", "ProtocolName",
    "BodyPartExamined", "SoftwareVersions", "RescaleType", "ScheduledProcedureStepID",
    "RequestedProcedureID",
    "IssuerOfPatientID", "ContentLabel", "SegmentLabel", "SegmentDescription", "CodeValue",
    "CodingSchemeDesignator", "CodeMeaning", "DimensionDescriptionLabel",
}  # fmt: skip


@pytest.mark.rule("PHA-4")
def test_every_planted_text_stands_in_the_files_in_their_character_set() -> None:
    known, files = small_cohort()
    paths = "\n".join(files)
    written = set()
    for _, dataset in datasets(files):
        assert encodings(dataset)
        for element in elements(dataset):
            if element.VR in {"PN", "LO", "SH", "LT", "ST", "UT"}:
                values = element.value if element.VM > 1 else [element.value]
                written |= {str(value) for value in values}
    text = paths + "\n" + "\n".join(written)
    assert [planted for planted in known.planted if planted not in text] == []


@pytest.mark.rule("PHA-4")
def test_every_planted_text_of_each_subject_is_in_the_bytes_of_that_subject() -> None:
    known, files = small_cohort()
    codecs = ("utf-8", "latin-1", "iso2022_jp")
    for subject in known.subjects:
        own = of(files, subject)
        content = b"\n".join([*own.values(), *(name.encode() for name in own)])
        content += subject.folder.encode()
        for planted in subject.planted:
            # ISO 2022 escapes are written for each component, so values are split at them.
            parts = [part for part in planted.replace("=", "^").split("^") if part]
            for part in parts:
                forms = {part.encode(codec, "ignore") for codec in codecs}
                assert any(form and form in content for form in forms), subject.number


@pytest.mark.rule("PHA-4")
def test_no_identifying_text_is_written_that_is_not_planted() -> None:
    known, files = small_cohort()
    safe = {vendor.kernel for vendor in VENDORS} | {vendor.creator for vendor in VENDORS}
    safe |= {f"{vendor.creator} 2" for vendor in VENDORS}
    for _, dataset in datasets(files):
        for element in elements(dataset):
            if element.VR not in {"PN", "LO", "SH", "LT", "ST", "UT"} or not element.value:
                continue
            value = str(element.value)
            if element.keyword in _HARMLESS or value in safe or value.startswith("Abdomen "):
                continue
            assert any(planted in value for planted in known.planted), element.tag


@pytest.mark.rule("PHA-4")
def test_the_named_uids_are_those_in_the_files() -> None:
    known, files = small_cohort()
    written = set()
    for _, dataset in datasets(files):
        for element in elements(dataset):
            if element.VR == "UI":
                values = element.value if element.VM > 1 else [element.value]
                written |= {str(value) for value in values if is_phantom(str(value))}
    lost = {uid for uid in known.uids if uid not in written}
    scout = next(data for name, data in files.items() if name.endswith("scout.dcm"))
    assert all(uid.encode() in scout for uid in lost)
    assert written <= set(known.uids)
    assert max(map(len, known.uids)) <= 64


@pytest.mark.rule("PHA-4")
def test_the_named_dates_are_those_in_the_subjects_own_files() -> None:
    known, files = small_cohort()
    for subject in known.subjects:
        written = set()
        for _, dataset in datasets(of(files, subject)):
            for element in elements(dataset):
                if element.VR in {"DA", "DT"} and element.value:
                    written.add(str(element.value)[:8])
                elif element.tag == 0x00191012:
                    value = element.value
                    written.add(value.decode() if isinstance(value, bytes) else str(value))
        assert written == set(known.dates[subject.patient_id])


@pytest.mark.rule("PHA-4")
def test_identities_are_known_without_making_a_voxel() -> None:
    known, _ = small_cohort()
    assert identities(subjects=6, unlabeled=1) == known


@pytest.mark.rule("PHA-4")
def test_planted_texts_are_long_enough_to_be_searched_for() -> None:
    known = identities()
    assert min(len(planted.encode()) for planted in known.planted) >= 6
    assert len({subject.patient_id for subject in known.subjects}) == len(known.subjects) == 33


@pytest.mark.rule("PHA-5")
def test_no_planted_text_stands_in_the_repository() -> None:
    known = identities()
    files = [
        path
        for folder in ("flows", "stages", "audit", "tests", "docs", "benchmarks", ".")
        for path in (_ROOT / folder).glob("*" if folder == "." else "**/*")
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".json", ".csv", ".txt"}
    ]
    assert len(files) > 20
    hidden = (*known.planted, *known.uids)
    for path in files:
        text = path.read_text("utf-8", "replace")
        assert [planted for planted in hidden if planted in text] == [], path.name


@pytest.mark.rule("PHA-3")
def test_every_instance_is_below_the_root_of_phantoms() -> None:
    _, files = small_cohort()
    for _, dataset in datasets(files):
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            assert is_phantom(dataset[keyword].value)
    assert not is_phantom(UID_ROOT + "1.2")
    assert not is_phantom("1.2.840.1")


def test_the_default_cohort_has_three_scripts_and_three_character_sets() -> None:
    known = identities()
    names = "".join(subject.person.pn for subject in known.subjects)
    assert any("\u4e00" <= letter <= "\u9fff" for letter in names)
    assert any("\u3040" <= letter <= "\u309f" for letter in names)
    assert any(letter in names for letter in "äöü")
    assert {subject.site.vendor.character_set for subject in known.subjects} == {
        ("ISO_IR 100",), ("", "ISO 2022 IR 87"), ("ISO_IR 192",)
    }  # fmt: skip
    kinds = {subject.malignant for subject in known.subjects if subject.labeled}
    assert kinds == {True, False}
    assert sum(len(subject.studies) == 2 for subject in known.subjects) == 8
