"""What goes wrong in hospitals' exports, planted on purpose.

- subject `SKIPPED_READER`: one of the three readers left the study out;
- `BURNED_IN`: the patient's name stands in the pixels, and the header says so;
- `MISSING_SLICE`: the export lost a slice of the second study;
- `TRUNCATED`: a scout's file ends in its pixels;
- `TEXT_FILE`: a note that names the patient lies among the files;
- `ORPHAN_ANNOTATION`: an annotation refers to a series that nobody exported;
- `SINGLE_SLICE`: a subject of whom one slice is left.
"""

from __future__ import annotations

from typing import Final

from stages.phantom import uids
from stages.phantom.chance import Integers
from stages.phantom.headers import scout_file
from stages.phantom.identity import plain
from stages.phantom.scanner import Vendor
from stages.phantom.study import Study
from stages.phantom.subject import Subject

_BRIGHT_HU: Final = 1000
# A font of 3 x 5 dots: five rows of three bits for each letter.
_FONT: Final = {
    "A": 0o25755, "B": 0o65656, "C": 0o34443, "D": 0o65556, "E": 0o74647, "F": 0o74644,
    "G": 0o34553, "H": 0o55755, "I": 0o72227, "J": 0o11152, "K": 0o55655, "L": 0o44447,
    "M": 0o57755, "N": 0o65555, "O": 0o25552, "P": 0o65644, "Q": 0o25563, "R": 0o65655,
    "S": 0o34216, "T": 0o72222, "U": 0o55557, "V": 0o55552, "W": 0o55775, "X": 0o55255,
    "Y": 0o55222, "Z": 0o71247,
}  # fmt: skip


def burn_in(stored: Integers, text: str, vendor: Vendor) -> Integers:
    """Write a text into the upper rows of every slice, above the body.

    Args:
        stored: pixel values (slices, rows, columns).
        text: Latin letters, a word a line; longer words than the image is wide are cut.
        vendor: whose scanner stored them.
    """
    written = stored.copy()
    for line, word in enumerate(plain(text).upper().split()):
        for place, letter in enumerate(word[: (stored.shape[2] - 2) // 4]):
            dots = _FONT[letter]
            for dot in range(15):
                if dots >> (14 - dot) & 1:
                    row, column = 1 + 6 * line + dot // 3, 1 + 4 * place + dot % 3
                    written[:, row, column] = _BRIGHT_HU - vendor.intercept
    return written


def truncated_scout(subject: Subject, study: Study, stored: Integers) -> bytes:
    """A scout of one slice whose transfer broke off in the middle of its pixels."""
    whole = scout_file(subject, study, stored)
    return whole[: len(whole) - stored.size]


def note(subject: Subject, study: Study) -> bytes:
    """A text file as it lies beside exported studies."""
    lines = (
        f"Export fuer {subject.person.listed}",
        f"ID {subject.patient_id}, Tel. {subject.phone}",
        f"Studie {uids.study_uid(subject.number, study.index)} vom {study.da}",
    )
    return "\r\n".join(lines).encode()
