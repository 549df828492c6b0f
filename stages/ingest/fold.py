"""Text in one spelling, so that a name is found again however it was written.

Case, diacritics, umlauts and their transliterations, ligatures, full-width forms and the Cyrillic
and Greek alphabets end in the same lower-case letters: Müller, MUELLER, Muller → `muller`.
Ideographs, kana and hangul stay as they are. The spelling is for comparing alone.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+")
_ALPHABETS: Final = (
    ("абвгдезийклмнопрстуфхыэєіґў", "a b v g d e z i i k l m n o p r s t u f kh y e ie i g u"),
    ("жцчшщюяёї", "zh ts ch sh shch iu ia e i"),
    ("αβγδεζηθικλμνξοπρσςτυφχψω", "a v g d e z i th i k l m n x o p r s s t y f ch ps o"),
    ("łøđðħıŋœæþ", "l o d d h i n oe ae th"),
)
_LETTERS: Final = {
    **{a: b for one, other in _ALPHABETS for a, b in zip(one, other.split(), strict=True)},
    **dict.fromkeys("ъь", ""),
}
_TABLE: Final = str.maketrans(_LETTERS)
_DIGRAPHS: Final = (("ae", "a"), ("oe", "o"), ("ue", "u"), ("aa", "a"))


def fold(text: str) -> str:
    """A text's comparing spelling."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text.casefold())
        text = "".join(char for char in text if not unicodedata.combining(char))
        text = text.casefold().translate(_TABLE)
    text = text.lower()
    for pair, letter in _DIGRAPHS:
        text = text.replace(pair, letter)
    return text


def words_of(text: str) -> list[str]:
    """The words (letters and digits that stand together) of a text."""
    return _WORD.findall(text)


def fold_words(text: str) -> list[str]:
    """The words of a text, folded."""
    return [fold(word) for word in words_of(text)]


def run_of(text: str) -> str:
    """All letters and digits of a text, folded, as one."""
    return "".join(fold_words(text))
