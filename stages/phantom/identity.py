"""Invented identities, put together from pieces.

No name stands whole in this file: a search of the repository for any planted name must find
nothing. Every form is at least six bytes long in UTF-8, so that chance bytes do not match it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stages.phantom.chance import Chance

_FAMILY: Final = ("Grün", "Mühl", "Käse", "Röss", "Fürst", "Schön", "Höll", "Kräu", "Löwen", "Süd")
_FAMILY_END: Final = ("wälder", "thaler", "hofer", "städter", "kämper", "zöllner", "brügger")
_GIVEN: Final = ("Wolf", "Ott", "Hild", "Trud", "Fried", "Adel", "Kuni", "Irm")
_FEMALE_END: Final = ("burga", "gundis", "hildis", "lindis", "traude")
_MALE_END: Final = ("hardus", "mundus", "ricus", "wendel", "brandt")

# Pieces of names in ideographs, each with its reading(s).
_KANJI: Final = (("霧", "Kiri", "きり"), ("雁", "Kari", "かり"), ("菱", "Hishi", "ひし"),
                 ("樫", "Kashi", "かし"), ("笹", "Sasa", "ささ"))  # fmt: skip
_KANJI_END: Final = (("沼", "numa", "ぬま"), ("倉", "kura", "くら"), ("峰", "mine", "みね"),
                     ("畑", "hata", "はた"), ("塚", "zuka", "づか"))  # fmt: skip
_KANJI_GIVEN: Final = (("春", "Haru"), ("冬", "Fuyu"), ("雪", "Yuki"), ("夏", "Natsu"))
_KANJI_FEMALE: Final = (("穂", "ho"), ("音", "ne"), ("姫", "hime"))
_KANJI_MALE: Final = (("則", "nori"), ("景", "kage"), ("彦", "hiko"))
_HAN: Final = (("钟", "Zhong"), ("尚", "Shang"), ("黄", "Huang"), ("熊", "Xiong"))
_HAN_END: Final = (("良", "liang"), ("容", "rong"), ("冠", "guan"), ("盛", "sheng"))
_HAN_GIVEN: Final = (("晓", "Xiao"), ("明", "Ming"), ("春", "Chun"), ("玉", "Yuan"))
_HAN_FEMALE: Final = (("兰", "lan"), ("萍", "ping"), ("霞", "xia"))
_HAN_MALE: Final = (("东", "dong"), ("强", "qiang"), ("峰", "feng"))

_PLACE: Final = ("Erlen", "Hasel", "Tannen", "Birken", "Eschen")
_PLACE_END: Final = ("brück", "mühle", "gründ", "öhringen", "fürth")
_STREET: Final = ("Kirsch", "Weiden", "Ahorn", "Linden", "Nuss", "Quitten")
_STREET_END: Final = ("stieg", "gärtle", "höhe", "schlössle", "wäldle")
_PLAIN: Final = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue"}
)


@dataclass(frozen=True)
class Person:
    """A name as DICOM writes it (PN: groups parted by `=`), and as people write it."""

    family: str
    given: str
    title: str = ""
    ideographic: tuple[str, str] | None = None
    phonetic: str = ""
    """Reading of the family name alone: validators allow a whole PN 64 bytes, escapes included."""

    @property
    def pn(self) -> str:
        """Value of a PN element (PS3.5 Section 6.2)."""
        groups = [f"{self.family}^{self.given}" + (f"^^{self.title}" if self.title else "")]
        groups += ["^".join(self.ideographic)] if self.ideographic else []
        groups += [self.phonetic] if self.phonetic else []
        return "=".join(groups)

    @property
    def spoken(self) -> str:
        """Given and family name, as free text has them."""
        return f"{self.given} {self.family}"

    @property
    def listed(self) -> str:
        """Family and given name, as lists have them."""
        return f"{self.family}, {self.given}"

    @property
    def filed(self) -> str:
        """As exports name folders, in ASCII."""
        return plain(f"{self.family}_{self.given}")

    @property
    def forms(self) -> tuple[str, ...]:
        """The name's whole value, its groups and components; six bytes and more each."""
        found = [self.pn, self.phonetic]
        for group in ((self.family, self.given), self.ideographic or ()):
            found += [*group, "^".join(group)]
        return tuple(form for form in found if len(form.encode()) >= 6)


def plain(text: str) -> str:
    """German letters in ASCII."""
    return text.translate(_PLAIN)


def person(chance: Chance, script: str, *, female: bool, title: str = "") -> Person:
    """Invent a name.

    Args:
        chance: decides the pieces.
        script: `"latin"`, `"kanji"` or `"han"`.
        female: which given name.
        title: a name's suffix such as an academic title.
    """
    if script == "kanji":
        ends = _KANJI_FEMALE if female else _KANJI_MALE
        family = zip(chance.pick(_KANJI), chance.pick(_KANJI_END), strict=True)
        given = zip(chance.pick(_KANJI_GIVEN), chance.pick(ends), strict=True)
        (sign, latin, kana), (own, name) = (
            [first + last for first, last in pieces] for pieces in (family, given)
        )
        return Person(latin, name, title, (sign, own), kana)
    if script == "han":
        tails = _HAN_FEMALE if female else _HAN_MALE
        clan, tail = chance.pick(_HAN), chance.pick(_HAN_END)
        head, last = chance.pick(_HAN_GIVEN), chance.pick(tails)
        signs = (clan[0] + tail[0], head[0] + last[0])
        return Person(clan[1] + tail[1], head[1] + last[1], title, signs)
    family_name = chance.pick(_FAMILY) + chance.pick(_FAMILY_END)
    return Person(
        family_name, chance.pick(_GIVEN) + chance.pick(_FEMALE_END if female else _MALE_END), title
    )


def town(chance: Chance) -> str:
    """An invented town."""
    return chance.pick(_PLACE) + chance.pick(_PLACE_END)


def address(chance: Chance) -> str:
    """Street, number, postal code and town."""
    street = chance.pick(_STREET) + chance.pick(_STREET_END)
    return f"{street} {chance.between(1, 99)}, {chance.digits(5)} {town(chance)}"


def phone(chance: Chance) -> str:
    """A telephone number."""
    return f"+49 {chance.digits(3)} 555{chance.digits(5)}"
