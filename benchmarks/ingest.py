"""Ingestion beside dicognito and dicom-anonymizer: files a second on 400 uncompressed CT slices.

The stage's time is all of its own work on folders: both hashes, planning, profile, archives and
tables, with the pipes between its processes; the peers' is reading each file, anonymizing it and
writing it, as their own programs do (`python -m benchmarks.ingest`). On one core, every process is
bound to it. Nobody looks into the pixels, but where the line says so. Peers that are not installed
are named, not compared.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

FILES = 400
SIDE = 512
ROUNDS = 7
_NAMES = (
    "copy",
    "kette",
    "kette on two cores",
    "dicognito",
    "dicomanonymizer",
    "kette with its sample of slices searched for text",
)
_ROOT = "1.2.826.0.1.3680043.10.9999"


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make(work / "in", FILES, SIDE)
        rates: dict[str, list[float]] = {}
        for name in [name for name in _NAMES if _present(name)] * ROUNDS:
            command = (sys.executable, "-m", "benchmarks.ingest", name, str(work))
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rates.setdefault(name, []).append(FILES / float(done.stdout))
    best = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in best.items():
        low, high = min(rates[name]), max(rates[name])
        print(f"{name}: {rate:.0f} files/s ({low:.0f} to {high:.0f})", end="")
        print(f"; kette's ratio to it {best['kette'] / rate:.2f}")
    print(f"ratio of two cores to one {best['kette on two cores'] / best['kette']:.2f}")
    for name in _NAMES:
        if not _present(name):
            print(f"{name}: not installed (pip install dicognito dicom-anonymizer)")


def make(folder: Path, files: int, side: int, subjects: int = 2) -> None:
    """Write slices with a header as scanners write it: 110 public elements, a private block."""
    import numpy as np
    from pydicom import dcmwrite

    folder.mkdir(parents=True)
    noise = np.random.default_rng(1)
    for number in range(files):
        subject, index = divmod(number, -(-files // subjects))
        dataset = _slice(f"{subject}", index, side)
        dataset.PixelData = noise.integers(0, 4096, (side, side), np.uint16).tobytes()
        buffer = BytesIO()
        dcmwrite(buffer, dataset, enforce_file_format=True)
        (folder / f"{number:06}.dcm").write_bytes(buffer.getvalue())


def _slice(subject: str, index: int, side: int) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    def item(**values: Any) -> Dataset:
        dataset = Dataset()
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        return dataset

    def code(value: str, meaning: str) -> Dataset:
        return item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)

    clock = f"10{index // 60 % 60:02}{index % 60:02}.{index % 1000:03}000"
    root = f"{_ROOT}.{subject}"
    source = item(
        ReferencedSOPClassUID=CTImageStorage,
        ReferencedSOPInstanceUID=f"{root}.5.1",
        PurposeOfReferenceCodeSequence=Sequence([code("121320", "Uncompressed predecessor")]),
    )
    dataset = item(
        SpecificCharacterSet="ISO_IR 100",
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 SPI"],
        InstanceCreationDate="20240229",
        InstanceCreationTime=clock,
        SOPClassUID=CTImageStorage,
        SOPInstanceUID=f"{root}.3.{index + 1}",
        StudyDate="20240229",
        SeriesDate="20240229",
        AcquisitionDate="20240229",
        ContentDate="20240229",
        AcquisitionDateTime=f"20240229{clock}",
        StudyTime="101112.345000",
        SeriesTime="101212.345000",
        AcquisitionTime=clock,
        ContentTime=clock,
        AccessionNumber="A-4711",
        Modality="CT",
        Manufacturer="SIEMENS",
        InstitutionName="St. Elsewhere",
        InstitutionAddress="Main Street 1, Springfield",
        ReferringPhysicianName="Quack^Doctor^^Dr.",
        StationName="CT71234",
        StudyDescription="CT thorax with contrast",
        ProcedureCodeSequence=Sequence([code("P5-08000", "CT thorax")]),
        SeriesDescription="thorax 3.0 B31f",
        InstitutionalDepartmentName="Radiology",
        PhysiciansOfRecord="Quack^Doctor",
        PerformingPhysicianName="Quack^Doctor",
        OperatorsName="Tech^Anna",
        ManufacturerModelName="SOMATOM Definition AS",
        ReferencedStudySequence=Sequence([source]),
        ReferencedPatientSequence=Sequence([source]),
        ReferencedImageSequence=Sequence([source, source]),
        SourceImageSequence=Sequence([source]),
        IrradiationEventUID=f"{root}.9.{index + 1}",
        PatientName="Doe^Jane",
        PatientID=f"KH-4711-{subject}",
        IssuerOfPatientID="St. Elsewhere",
        PatientBirthDate="19431207",
        PatientSex="F",
        PatientAge="080Y",
        PatientSize="1.62",
        PatientWeight="61",
        AdditionalPatientHistory="cough",
        ContrastBolusAgent="contrast",
        BodyPartExamined="CHEST",
        ScanOptions="SPIRAL MODE",
        SliceThickness="3",
        KVP="120",
        DataCollectionDiameter="500",
        DeviceSerialNumber="71234",
        SoftwareVersions="syngo CT 2013B",
        ProtocolName="Thorax routine",
        ReconstructionDiameter="380",
        DistanceSourceToDetector="1085.6",
        DistanceSourceToPatient="595",
        GantryDetectorTilt="0",
        TableHeight="155",
        RotationDirection="CW",
        ExposureTime="500",
        XRayTubeCurrent=str(180 + index % 17),
        Exposure=str(90 + index % 17),
        FilterType="FLAT",
        GeneratorPower="22",
        FocalSpots="1.2",
        DateOfLastCalibration="20240228",
        TimeOfLastCalibration="063000.000000",
        ConvolutionKernel="B31f",
        PatientPosition="HFS",
        SingleCollimationWidth=1.2,
        TotalCollimationWidth=38.4,
        TableSpeed=46.0,
        TableFeedPerRotation=23.0,
        SpiralPitchFactor=0.6,
        ExposureModulationType="XYZ_EC",
        EstimatedDoseSaving=10.5,
        CTDIvol=6.1 + index % 17 / 10,
        CTDIPhantomTypeCodeSequence=Sequence([code("113691", "IEC Body Dosimetry Phantom")]),
        StudyInstanceUID=f"{root}.1",
        SeriesInstanceUID=f"{root}.2",
        StudyID="4711",
        SeriesNumber="3",
        AcquisitionNumber="2",
        InstanceNumber=str(index + 1),
        ImagePositionPatient=["-190.2", "-345.2", f"{-700.5 + 3 * index}"],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        FrameOfReferenceUID=f"{root}.4",
        PositionReferenceIndicator="",
        SliceLocation=f"{-700.5 + 3 * index}",
        ImageComments="none",
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=side,
        Columns=side,
        PixelSpacing=["0.7421875", "0.7421875"],
        BitsAllocated=16,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        SmallestImagePixelValue=0,
        LargestImagePixelValue=4000 + index % 17,
        WindowCenter=["50", "-600"],
        WindowWidth=["350", "1200"],
        RescaleIntercept="-1024",
        RescaleSlope="1",
        RescaleType="HU",
        WindowCenterWidthExplanation=["WINDOW1", "WINDOW2"],
        RequestingPhysician="Quack^Doctor",
        RequestedProcedureDescription="CT thorax",
        PerformedProcedureStepStartDate="20240229",
        PerformedProcedureStepStartTime="101112.345000",
        PerformedProcedureStepID="1",
        PerformedProcedureStepDescription="CT thorax",
        RequestAttributesSequence=Sequence(
            [item(RequestedProcedureID="R1", ScheduledProcedureStepID="S1")]
        ),
    )
    block = dataset.private_block(0x0019, "SIEMENS CT VA0  COAD", create=True)
    for element, vr, value in (
        (0x10, "IS", str(index)),
        (0x11, "DS", "1.5"),
        (0x61, "DS", f"{index / 7:.4f}"),
        (0x70, "DS", "1.2"),
        (0x90, "LO", "Doe^Jane"),
        (0xB0, "DS", "595"),
    ):
        block.add_new(element, vr, value)
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", struct.pack("<I", index) * 512)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _present(name: str) -> bool:
    return name.startswith(("copy", "kette")) or find_spec(name) is not None


def _seconds(name: str, work: Path) -> float:
    """Seconds, after what is loaded once was loaded."""
    cores = 2 if "two" in name else 1
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    warnings.simplefilter("ignore")
    logging.disable()
    out = work / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    os.sync()  # or this run would share the disk and the processors with what the last one wrote
    peers: dict[str, Callable[[Path, Path], float]] = {
        "copy": _copy,
        "dicognito": _dicognito,
        "dicomanonymizer": _dicomanonymizer,
    }
    if name in peers:
        return peers[name](work / "in", out)
    return kette(work / "in", out, cores=cores, sampled="sample" in name)


def _each(folder: Path, do: Callable[[Path], None]) -> float:
    files = sorted(folder.iterdir())
    do(files[0])
    start = time.perf_counter()
    for file in files:
        do(file)
    return time.perf_counter() - start


def _copy(folder: Path, out: Path) -> float:
    return _each(folder, lambda file: (out / file.name).write_bytes(file.read_bytes()) and None)


def _dicognito(folder: Path, out: Path) -> float:
    from dicognito.anonymizer import Anonymizer
    from pydicom import dcmread

    anonymizer = Anonymizer()

    def do(file: Path) -> None:
        with dcmread(file, force=False) as dataset:
            anonymizer.anonymize(dataset)
            dataset.save_as(out / file.name)

    return _each(folder, do)


def _dicomanonymizer(folder: Path, out: Path) -> float:
    from dicomanonymizer import anonymize_dicom_file

    return _each(folder, lambda file: anonymize_dicom_file(str(file), str(out / file.name)))


def kette(folder: Path, out: Path, *, cores: int = 1, sampled: bool = False) -> float:
    """Seconds of the whole stage, as a run makes it: by a worker process for each core."""
    from stages.ingest import vault
    from stages.ingest.stage import STAGE
    from stages.pool import Workers
    from stages.stage import PlanContext

    home = out.parent / f"home of {out.name}"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    vault.create(home / "vault")
    make(home / "warm", cores, SIDE, subjects=cores)
    params = _parameters(sampled=sampled)
    workers = Workers(cores, None, lambda text, fraction: None)
    spread = partial(workers.spread, STAGE.name)
    for source, place in ((home / "warm", home / "warm out"), (folder, out / "trees")):
        start = time.perf_counter()
        plan = STAGE.plan(
            PlanContext(
                params=params,
                upstream={},
                sources=(source,),
                vault=home / "vault",
                spread=spread,
            )
        )
        units = {unit.name: place / unit.name for unit in plan.units}
        do = _unit if source == folder else _warm
        list(spread(do, [(unit, params, units[unit.name], cores) for unit in plan.units]))
        (outcome,) = spread(_merge, [(params, units, plan.notes, place / "merged")])
        seconds = time.perf_counter() - start
    workers.close()
    if outcome.findings["instances_out"] != len(list(folder.iterdir())):
        raise RuntimeError("a slice was not taken in")
    return seconds


def _unit(job: tuple[Any, Any, Path, int]) -> None:
    from stages.ingest.stage import STAGE
    from stages.stage import RunContext

    unit, params, out, _ = job
    out.mkdir(parents=True)
    STAGE.run(unit, RunContext(params=params, trees={}, out=out))


def _warm(job: tuple[Any, Any, Path, int]) -> None:
    """Load in each worker what is loaded once: none goes on before all have begun."""
    from stages import table  # noqa: F401 - for merging
    from stages.ingest import sightings  # noqa: F401 - for planning

    _unit(job)
    while len(list(job[2].parent.iterdir())) < job[3]:
        time.sleep(0.01)


def _merge(job: tuple[Any, dict[str, Path], Any, Path]) -> Any:
    from stages.ingest.stage import STAGE
    from stages.stage import MergeContext

    params, units, notes, out = job
    out.mkdir()
    return STAGE.merge(MergeContext(params, units, {}, notes, out))


def _parameters(*, sampled: bool) -> Any:
    from stages.ingest.params import IngestParams, Parameters, PixelParams
    from stages.params import Code, Project, Structure, Task

    lesion = Structure(
        name="lesion",
        label=1,
        segment_label="Lesion",
        code=Code(value="52988006", scheme="SCT", meaning="Lesion"),
    )
    return Parameters(
        project=Project(name="bench", epoch=datetime(2026, 1, 1, tzinfo=UTC)),
        task=Task(modality="CT", structures=(lesion,)),
        ingest=IngestParams(pixels=PixelParams() if sampled else PixelParams(sampled=0)),
    )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(_seconds(sys.argv[1], Path(sys.argv[2])))
