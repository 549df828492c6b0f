"""Planted text that is found in pixels, and text that is seen where none is.

`python -m benchmarks.burned_in [N]`: N images of each kind (4 unless told).

Lines of text of known boxes, in four heights and two brightnesses, are drawn into real ultrasound
images (../shared/data) and into phantom CT slices, enlarged. A line is found if a box touches it;
it is gone if the boxes that would be blanked hold every one of its pixels. On untouched phantom CT
nothing is written, so every box is false; the ultrasound images carry text of their own, so boxes
there are counted, not judged. Last, what a look costs, and what the default sample adds to an
instance of a volume.
"""

from __future__ import annotations

import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
BUSI = ROOT.parent / "shared" / "data" / "busi" / "busi.zip"
sys.path += [str(ROOT / "tests" / "stages" / "ingest"), str(ROOT / "tests" / "stages")]

TEXTS = ("KRAEHWINKLER LEONORE", "1943-12-07 F", "ID 4711-0815", "Dr. Quacksalber")
HEIGHTS = (9, 11, 14, 20)
"""Of the font, pixels."""
ENLARGED = 4
"""Times that a phantom slice is enlarged, so that a line of text fits in."""
INKS = (1.0, 0.7)
"""Brightness of the text, as a share of the image's highest value."""
Image = NDArray[Any]


def ultrasound(number: int) -> list[Image]:
    """Real images, evenly taken from the shared ones; none where they are not."""
    if not BUSI.is_file():
        print("shared ultrasound: not here (../shared/data)")
        return []
    with zipfile.ZipFile(BUSI) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".dcm"))
        chosen = names[:: max(1, len(names) // number)][:number]
        return [pydicom.dcmread(BytesIO(archive.read(name))).pixel_array for name in chosen]


def phantom(number: int) -> list[Image]:
    """CT slices of the product's own phantom, evenly taken, enlarged."""
    from stages.phantom.cohort import generate

    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder), subjects=2, unlabeled=0, defects=False)
        slices = []
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                dataset = pydicom.dcmread(path)
                if dataset.Modality == "CT" and dataset.get("NumberOfFrames") is None:
                    slices.append(dataset.pixel_array)
    chosen = slices[:: max(1, len(slices) // number)][:number]
    return [np.kron(one, np.ones((ENLARGED, ENLARGED), one.dtype)) for one in chosen]


def looked(finder: Any, image: Image) -> list[tuple[int, int, int, int]]:
    """What would be blanked: boxes with their margin."""
    from stages.ingest.pixels_frames import views, with_margin

    seen = {box for view in views(image[None], "MONOCHROME2") for box in finder.boxes(view)}
    return sorted(with_margin(box) for box in seen)


def planted(finder: Any, images: list[Image], height: int, ink: float) -> tuple[int, int]:
    """Lines that were found, and lines of which nothing would be left."""
    from helpers_text import draw

    found = gone = 0
    for number, image in enumerate(images):
        text = TEXTS[number % len(TEXTS)]
        at = (image.shape[0] * (1 + number % 3) // 4, 6)
        marks = draw(np.zeros(image.shape, np.uint8), text, at, height)[0] > 0
        drawn = image.copy()
        drawn[marks] = int(image.max() * ink)
        left = marks.copy()
        for top, start, bottom, stop in looked(finder, drawn):
            left[top:bottom, start:stop] = False
        found += bool((left != marks).any())
        gone += not left.any()
    return found, gone


def main() -> None:
    """Print the counts."""
    from stages.ingest.ocr import TextFinder
    from stages.ingest.params import PixelParams

    number = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    finder = TextFinder()
    for name, images in (
        ("phantom CT", phantom(number)),
        ("shared ultrasound", ultrasound(number)),
    ):
        if not images:
            continue
        print(f"{name}: {len(images)} images of {images[0].shape}, {images[0].dtype}")
        start = time.perf_counter()
        boxes = [len(looked(finder, image)) for image in images]
        seconds = (time.perf_counter() - start) / len(images)
        print(f"  untouched: {sum(boxes)} boxes in {sum(map(bool, boxes))} images")
        for height in HEIGHTS:
            for ink in INKS:
                found, gone = planted(finder, images, height, ink)
                print(
                    f"  planted, {height} pixels, {ink:.0%} of the brightest: found {found} of"
                    f" {len(images)}, gone {gone}"
                )
        print(f"  a look costs {seconds:.2f} s", end="")
        if name == "phantom CT":
            share = PixelParams().sampled
            print(f"; {share:.1%} of the instances: {1000 * share * seconds:.1f} ms each", end="")
        print()


if __name__ == "__main__":
    main()
