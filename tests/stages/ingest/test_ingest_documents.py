"""ING-3, ING-4: structure sets, reports and presentation states refer on and tell nothing."""

import subprocess
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from helpers_documents import (
    SLICES,
    identities,
    presentation_state,
    references,
    report,
    structure_set,
)
from helpers_ingest import (
    NAME,
    PATIENT,
    ROOT,
    ct,
    encoded,
    ingest,
    new_vault,
    parameters,
    save,
    seg,
)
from pydicom.dataset import Dataset

from stages.ingest import keys, vault
from stages.ingest.codes import codes_of
from stages.ingest.header import quiet
from stages.ingest.params import Options
from stages.ingest.pseudonymize import pseudonymize
from stages.ingest.quarantine import Quarantined, Reason
from stages.ingest.rules import Rules
from stages.ingest.tables import classes

DOCUMENTS = (structure_set, report, presentation_state)


def rules(folder: Path, **options: object) -> Rules:
    """What one run gets of a vault."""
    with vault.open_vault(folder) as held:
        subject = held.subject(PATIENT, "")
        return Rules(
            subject=subject.pseudonym,
            uid_key=keys.derive(held.domain_key, "uid"),
            reader_key=keys.derive(held.domain_key, "reader"),
            days=keys.shift_days(subject.secret, -3650, -366),
            readers={},
            labels={},
            codes=codes_of(parameters().task),
            depth=16,
            options=Options(**options),
        )


def through(dataset: Dataset, rules: Rules) -> tuple[Dataset, bytes]:
    source = pydicom.dcmread(BytesIO(encoded(dataset)))
    with quiet():
        result = pseudonymize(source, rules)[0]
    result.file_meta = pydicom.dataset.FileMetaDataset()
    result.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, result, enforce_file_format=True)
    return result, buffer.getvalue()


@pytest.mark.rule("ING-4")
def test_every_reference_of_every_kind_resolves_across_separate_runs(tmp_path: Path) -> None:
    folder = new_vault(tmp_path / "vault")
    images = [through(ct(index), rules(folder))[0] for index in range(SLICES)]
    known = set().union(*map(identities, images))
    for make in (seg, *DOCUMENTS):
        source = make()
        result = through(source, rules(folder))[0]
        before, after = list(references(source)), list(references(result))
        own = identities(result)
        assert Counter(name for name, _ in after) == Counter(name for name, _ in before)
        assert [uid for _, uid in after if uid not in known | own] == []
        assert sum(uid in known for _, uid in after) >= 3


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize("make", DOCUMENTS)
def test_a_document_tells_nothing_of_its_subject(tmp_path: Path, make) -> None:
    _, data = through(make(), rules(new_vault(tmp_path / "vault")))
    names = (*NAME.split("^"), "Kraehwinkler", "KRAEHWINKLER", PATIENT, "Quacksalber", ROOT)
    for needle in (*names, "19431207", "20240229", "20240301", "20240302", "20240303"):
        for codec in ("utf-8", "latin-1", "utf-16-le"):
            assert needle.encode(codec) not in data


@pytest.mark.rule("ING-3")
def test_what_a_document_measures_stays(tmp_path: Path) -> None:
    run = rules(new_vault(tmp_path / "vault"))
    contours = through(structure_set(), run)[0]
    assert contours.ROIContourSequence[0].ContourSequence[0].ContourData[3] == 1.5
    assert contours.StructureSetROISequence[0].ROIName == "liver"
    content = through(report(), run)[0].ContentSequence
    assert content[4].MeasuredValueSequence[0].NumericValue == 12.5
    assert content[5].ConceptCodeSequence[0].CodeMeaning == "Lesion"
    assert [item.get("TextValue") for item in content[:2]] == ["removed", None]
    drawn = through(presentation_state(), run)[0].GraphicAnnotationSequence[0]
    assert drawn.GraphicObjectSequence[0].GraphicData == [1.0, 1.0, 2.0, 2.0]
    assert drawn.TextObjectSequence[0].UnformattedTextValue == "removed"


@pytest.mark.rule("ING-9")
@pytest.mark.parametrize(
    ("make", "code"),
    [(report, "113104"), (presentation_state, "113103"), (structure_set, "113105")],
)
def test_a_document_states_how_it_was_cleaned(tmp_path: Path, make, code: str) -> None:
    result = through(make(), rules(new_vault(tmp_path / "vault")))[0]
    stated = {item.CodeValue for item in result.DeidentificationMethodCodeSequence}
    assert code in stated
    assert not stated & ({"113103", "113104", "113101", "113102"} - {code})


@pytest.mark.rule("ING-3")
@pytest.mark.parametrize(
    ("make", "options"),
    [(report, {"structured_content": False}), (presentation_state, {"graphics": False})],
)
def test_without_its_option_a_document_is_quarantined(tmp_path: Path, make, options) -> None:
    with pytest.raises(Quarantined) as caught:
        through(make(), rules(new_vault(tmp_path / "vault"), **options))
    assert caught.value.reason is Reason.SOP_CLASS


def test_no_class_passes_that_is_free_text_or_a_film() -> None:
    for name in ("Encapsulated", "Waveform", "KeyObject", "Video"):
        assert not [
            entry for uid, entry in classes().items() if name in pydicom.uid.UID(uid).keyword
        ]
    kinds = {entry.kind for entry in classes().values()}
    assert kinds == {"image", "picture", "annotation", "document"}


def errors(path: Path, data: bytes) -> set[str]:
    """Errors that dciodvfy finds."""
    path.write_bytes(data)
    done = subprocess.run(
        ["dciodvfy", path], capture_output=True, text=True, check=False, errors="replace"
    )
    return {line for line in done.stderr.splitlines() if line.startswith("Error")}


@pytest.mark.peer("dciodvfy")
@pytest.mark.rule("ING-9")
@pytest.mark.parametrize("make", [*DOCUMENTS, ct, seg])
@pytest.mark.parametrize("days", [-400, None])
def test_dciodvfy_finds_no_error_that_the_source_did_not_have(tmp_path: Path, make, days) -> None:
    run = replace(rules(new_vault(tmp_path / "vault")), days=days)
    before = errors(tmp_path / "before.dcm", encoded(make()))
    assert errors(tmp_path / "after.dcm", through(make(), run)[1]) <= before


@pytest.mark.rule("ING-4")
def test_all_kinds_go_through_the_stage_in_one_run_or_several(tmp_path: Path) -> None:
    folder = new_vault(tmp_path / "vault")
    images = save(tmp_path / "images", *(ct(index) for index in range(SLICES)), seg())
    others = save(tmp_path / "others", *(make() for make in DOCUMENTS))
    whole = ingest(tmp_path / "1", images, others, vault_folder=folder)
    first = ingest(tmp_path / "2", images, vault_folder=folder)
    then = ingest(tmp_path / "3", others, vault_folder=folder)
    assert whole.reasons == []
    assert {row["kind"] for row in whole.table("series")} == {"image", "annotation", "document"}
    assert whole.members == first.members | then.members
    known = set().union(*map(identities, whole.datasets))
    found = [uid for dataset in whole.datasets for _, uid in references(dataset)]
    assert len(found) > 30
    assert set(found) <= known


@pytest.mark.rule("ING-6")
def test_a_document_is_written_as_pydicom_writes_it(tmp_path: Path) -> None:
    result = ingest(
        tmp_path / "out",
        save(tmp_path / "in", *(make() for make in DOCUMENTS)),
        save(tmp_path / "implicit", report(), implicit=True),
        vault_folder=new_vault(tmp_path / "vault"),
        params=parameters(max_quarantined_fraction=1),
    )
    assert result.reasons == [Reason.CONFLICT.value] * 2
    for data in result.members.values():
        again = BytesIO()
        pydicom.dcmread(BytesIO(data)).save_as(again)
        assert again.getvalue() == data


@pytest.mark.rule("ING-1")
def test_a_document_with_pixels_is_quarantined(tmp_path: Path) -> None:
    source = report()
    source.PixelData = b"\0\0"
    source.BitsAllocated = 16
    result = ingest(
        tmp_path / "out",
        save(tmp_path / "in", source, *(ct(index) for index in range(SLICES))),
        vault_folder=new_vault(tmp_path / "vault"),
    )
    assert result.reasons == [Reason.PIXELS.value]
