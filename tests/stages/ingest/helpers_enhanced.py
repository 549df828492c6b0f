"""Enhanced multi-frame CT and MR for the tests, with identifiers in their functional groups."""

from __future__ import annotations

import struct
from collections.abc import Sequence as Several
from typing import Any

from helpers_ingest import ROOT, change, ct, item
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

ECT = "1.2.840.10008.5.1.4.1.1.2.1"
EMR = "1.2.840.10008.5.1.4.1.1.4.1"


def enhanced(
    depths: Several[float] = (6, 0, 3, 9),
    *,
    series: str = "1",
    modality: str = "CT",
    rescale: str = "per frame",
    **changes: Any,
) -> Dataset:
    """One instance of 4 × 4 frames in the order of `depths` (mm); frame n holds the value n.

    Args:
        depths: where each frame lies along z.
        series: of its UIDs.
        modality: CT or MR.
        rescale: `per frame` (slope n + 1, intercept -1000), `shared` or `none`.
        changes: of attributes at the top.
    """
    frames = [_frame(index, depth, rescale == "per frame") for index, depth in enumerate(depths)]
    shared = item(
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[1, 1], SliceThickness="3")]),
    )
    if rescale == "shared":
        shared.PixelValueTransformationSequence = Sequence([_rescale(2)])
    dataset = ct(
        series=series,
        SOPClassUID=ECT if modality == "CT" else EMR,
        Modality=modality,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        NumberOfFrames=str(len(depths)),
        AcquisitionDateTime="20240229101112.5",
        ContentTime="101112",
        PixelData=b"".join(struct.pack("<16H", *[index] * 16) for index in range(len(depths))),
        SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence(frames),
        DimensionOrganizationSequence=Sequence([item(DimensionOrganizationUID=f"{ROOT}.66")]),
        **dict.fromkeys(
            (
                "ImagePositionPatient",
                "ImageOrientationPatient",
                "PixelSpacing",
                "SliceThickness",
                "RescaleSlope",
                "RescaleIntercept",
                "RescaleType",
            )
        ),
    )
    return change(dataset, **changes)


def _frame(index: int, depth: float, rescaled: bool) -> Dataset:
    frame = item(
        PlanePositionSequence=Sequence([item(ImagePositionPatient=[0, 0, depth])]),
        FrameContentSequence=Sequence(
            [
                item(
                    FrameAcquisitionDateTime=f"2024022910111{index}.250000",
                    FrameReferenceDateTime="20240229101112",
                    FrameComments="Leonore Krähwinkler, KH-4711-0815",
                    StackID="1",
                    InStackPositionNumber=index + 1,
                )
            ]
        ),
    )
    if rescaled:
        frame.PixelValueTransformationSequence = Sequence([_rescale(index + 1)])
    return frame


def _rescale(slope: int) -> Dataset:
    return item(RescaleSlope=str(slope), RescaleIntercept="-1000", RescaleType="HU")
