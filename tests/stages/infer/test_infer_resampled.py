"""Series that are no even volume: refused, or resampled by a network that learned from such."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from helpers_infer import LIMITS, TASK, bright, bundle, instances, study, voxels
from pydicom import dcmread

from stages.infer.infer import infer
from stages.overlap import dice
from stages.segmentation import read_labels
from stages.series import read_series


def tilted(slope: float) -> dict[str, bytes]:
    """The study's slices, each moved along its columns as by a tilted gantry."""
    changed = {}
    for name, data in instances(voxels()).items():
        ds = dcmread(BytesIO(data))
        column = np.array(ds.ImageOrientationPatient[3:], float)
        position = np.array(ds.ImagePositionPatient, float)
        aside = slope * (int(ds.InstanceNumber) - 1)
        ds.ImagePositionPatient = [round(float(v), 4) for v in position + aside * column]
        buffer = BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        changed[f"{name}.dcm"] = buffer.getvalue()
    return changed


@pytest.mark.rule("INF-2")
def test_a_tilted_series_is_refused_by_a_network_that_learned_from_none(tmp_path: Path) -> None:
    release = bundle(tmp_path / "release" / "toy.zip")
    result = infer(release, study(tmp_path / "study", tilted(0.4)), tmp_path / "seg.dcm")
    assert result.refused is not None
    assert "tilted gantry" in result.refused


@pytest.mark.rule("INF-2")
@pytest.mark.rule("BUN-3")
def test_a_tilted_series_is_answered_on_its_own_slices(tmp_path: Path) -> None:
    limits = LIMITS.model_copy(update={"resampled": True})
    release = bundle(tmp_path / "release" / "toy.zip", limits)
    source = study(tmp_path / "study", tilted(0.4))
    result = infer(release, source, tmp_path / "seg.dcm")
    assert result.refused is None
    assert result.output is not None
    series = read_series(source / "DICOM", resample=True)
    seg = pydicom.dcmread(result.output)
    headers = {header.SOPInstanceUID: header for header in series.headers}
    for group in seg.PerFrameFunctionalGroupsSequence:
        (reference,) = group.DerivationImageSequence[0].SourceImageSequence
        header = headers[reference.ReferencedSOPInstanceUID]
        own = group.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(own, header.ImagePositionPatient)
    assert series.regrid is not None
    found = series.regrid.to_frames(read_labels(result.output, series, TASK).map) == 3
    assert dice(found, bright()) > 0.9
