"""Faces for generated lines: installed fonts and those of the dependencies, with their glyphs."""

import hashlib
import logging
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import reportlab
from fontTools import agl
from fontTools.afmLib import AFM
from fontTools.ttLib import TTFont
from PIL import ImageFont

MOST = 6  # faces of one family that are used; some have forty
EM = 44  # pixels of the type size at which glyphs are drawn; lines are then shrunk to their height
_BASIC = frozenset("abcdefghilmnopqrstuABCDEFLMNOPST.")  # types of before 1500 have few more
# Faces whose letters are pictures, other scripts or a sample, though their cmap has Latin letters;
# and those whose cmap is wrong: matplotlib's cm*10 draw a sigma for the section sign.
_NO_TEXT = re.compile(
    "lastresort|adobe.?blank|^cm[a-z]+10|gnutypew|blankenburg|darkgarden|hb-test|math|symbol|"
    "emoji|dseg|braille|barcode|outline|shadow|inline|unicode.?hex|callig|initial|ornament|solid|stencil|swash|display|ding|d0500|wenquan|"
    "cjk|zd_|sy_|biolinum_k|thin|hairline",
    re.IGNORECASE,
)
_OLD = re.compile(
    "garamond|junicode|elstob|1743|gotico|antiqua|isabella|joscelyn|oldstandard|fell|goudy|linden|"
    "fanwood|hamlet|jessen|ptolemy|fust|parix|rot-|rusch|soufflet|spira|sweynheim|zainer|cardo|"
    "caslon|jenson|didot|baskerv|bodoni|romande|berenis|vollkorn|accanthis|libertine|prociono|"
    "century|oldania",
    re.IGNORECASE,
)
_TYPED = re.compile("typewr|typist|typo|courier|coo_|cob_|com_|cobo|prime|ocr", re.I)

logger = logging.getLogger(__name__)


class Glyph(NamedTuple):
    """Coverage of a glyph's ink, uint8 (H, W), and where its left top lies from the pen, y down."""

    ink: np.ndarray
    left: int
    top: int


@dataclass(frozen=True)
class Face:
    """One face: its file, a digest of its bytes, and the characters that it can draw."""

    path: str
    digest: str
    characters: frozenset[str]
    glyphs: dict[str, Glyph] = field(default_factory=dict, repr=False, compare=False)
    advances: dict[str, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return Path(self.path).stem

    @property
    def family(self) -> str:
        """The letters that the name begins with, as files of one family share them."""
        return _family(self.name)

    @cached_property
    def font(self) -> ImageFont.FreeTypeFont:
        """The font at EM pixels. Raqm may be missing on a machine, so it is never used."""
        return ImageFont.truetype(self.path, EM, layout_engine=ImageFont.Layout.BASIC)

    @cached_property
    def style(self) -> str:
        """One of typed, mono, old, serif, sans."""
        if self.font.getlength("i") == self.font.getlength("W"):
            return "typed" if _TYPED.search(self.name) and self._serifs() else "mono"
        if _OLD.search(self.name):
            return "old"
        return "serif" if self._serifs() else "sans"

    @cached_property
    def slanted(self) -> bool:
        """Whether its name says that it is italic or oblique."""
        return bool(re.search("ital|obli|slant|It$|[ _]BI?I$|^_[a-z]*i_", self.name))

    @cached_property
    def x_height(self) -> int:
        """Pixels from the baseline to the top of an x."""
        return max(-self.glyph("x").top, EM // 4)

    def is_plain(self) -> bool:
        """Whether its letters have usual sizes, are filled, and the small ones no small capitals.

        Letters that stand in black boxes are found by their full stop, which is then high.
        """
        tails = [self.glyph(letter).top + len(self.glyph(letter).ink) for letter in "gp"]
        high = EM // 4 < len(self.glyph("M").ink) <= EM
        stem = self.glyph("l").ink
        filled = np.count_nonzero(np.diff(np.pad(stem[len(stem) // 2] > 100, 1))) <= 2
        return high and filled and min(tails) > 0.08 * EM and len(self.glyph(".").ink) < EM // 2

    def _serifs(self) -> bool:
        """Whether an I is much wider at its foot than in its middle."""
        ink = self.glyph("I").ink > 100
        middle, foot = ink[len(ink) // 2].sum(), ink[-2:].sum(axis=1).max()
        return bool(foot > 1.35 * max(middle, 1))

    def has(self, text: str) -> bool:
        """Whether every character of a text can be drawn."""
        return all(character in self.characters and self._drawn(character) for character in text)

    def _drawn(self, character: str) -> bool:
        # Some fonts name a character in their cmap but have an empty glyph for it.
        return character.isspace() or bool(self.glyph(character).ink.size)

    def glyph(self, character: str) -> Glyph:
        """The glyph of one character (or of a letter with its combining mark)."""
        found = self.glyphs.get(character)
        if found is None and len(character) > 1:
            found = self.glyphs[character] = self._marked(character)
        elif found is None:
            core, (left, top) = self.font.getmask2(character, mode="L", anchor="ls")
            ink = np.asarray(core, np.uint8).reshape(core.size[::-1])
            found = self.glyphs[character] = Glyph(ink, int(left), int(top))
        return found

    def _marked(self, cluster: str) -> Glyph:
        """A letter with the marks that follow it, each set above the middle of what is below it.

        The basic layout of Pillow sets marks beside letters in many faces.
        """
        glyph = self.glyph(cluster[0])
        for sign in cluster[1:]:
            mark = self.glyph(sign)
            left = glyph.left + (glyph.ink.shape[1] - mark.ink.shape[1]) // 2
            top = min(mark.top, glyph.top - len(mark.ink) - EM // 20)
            x0, y0 = min(left, glyph.left), top
            x1 = max(left + mark.ink.shape[1], glyph.left + glyph.ink.shape[1])
            joined = np.zeros((glyph.top + len(glyph.ink) - y0, x1 - x0), np.uint8)
            for part, x, y in ((glyph.ink, glyph.left, glyph.top), (mark.ink, left, top)):
                here = joined[y - y0 : y - y0 + len(part), x - x0 : x - x0 + part.shape[1]]
                np.maximum(here, part, out=here)
            glyph = Glyph(joined, x0, y0)
        return glyph

    def advance(self, pair: str) -> float:
        """Pixels from the pen at the first of two characters to the pen at the second."""
        found = self.advances.get(pair)
        if found is None:
            found = self.font.getlength(pair) - self.font.getlength(pair[1:])
            self.advances[pair] = found
        return found


@lru_cache(maxsize=1)
def faces() -> tuple[Face, ...]:
    """All faces with the Latin alphabet, by name: those of the dependencies, then installed ones.

    Of files with the same name only the first counts: matplotlib's DejaVu, not the installed one.
    """
    # Importing it builds matplotlib's cache of fonts, which takes seconds the first time.
    from matplotlib.font_manager import findSystemFonts

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf", Path(reportlab.__file__).parent
    files = [*own[0].glob("*.ttf"), *(own[1] / "fonts").glob("*.pfb")]
    files += [*(own[1] / "fonts").glob("*.ttf"), *map(Path, sorted(findSystemFonts()))]
    first = {path.stem: path for path in reversed(files) if not _NO_TEXT.search(path.name)}
    families: dict[str, list[Face]] = {}
    # The shortest names of a family are those of its usual weights.
    for stem in sorted(first, key=lambda stem: (len(stem), stem)):
        known = families.setdefault(_family(stem), [])
        face = _read(first[stem]) if len(known) < MOST else None
        if face is not None:
            known.append(face)
    return tuple(sorted((face for known in families.values() for face in known), key=_by_name))


def _by_name(face: Face) -> str:
    return face.name


def _family(stem: str) -> str:
    return re.split("[-_0-9]| Minus| Bold| Ital| [BI]+$", stem.lstrip("_"))[0] or stem


def _read(path: Path) -> Face | None:
    """A face; None for a file without the Latin alphabet."""
    try:
        characters = _characters(path)
        if characters >= _BASIC:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            face = Face(str(path), digest, characters)
            if face.has("agpM.") and face.is_plain():
                return face
    except Exception as error:  # a damaged font of the machine must not stop the program
        logger.debug("%s is not used: %s", path, error)
    return None


def _characters(path: Path) -> frozenset[str]:
    """The characters in the cmap of a font; of a Type 1 font, those of its .afm file."""
    if path.suffix.lower() == ".pfb":
        names = AFM(str(path.with_suffix(".afm"))).chars()
        return frozenset(c for c in map(agl.toUnicode, names) if len(c) == 1) | {" "}
    with TTFont(path, lazy=True, fontNumber=0) as font:
        if {"CBDT", "sbix", "COLR"} & set(font.keys()):
            return frozenset()
        # Glyph names are not needed, and reading them takes ten times as long as all else.
        font.setGlyphOrder(list(map(str, range(font["maxp"].numGlyphs))))
        return frozenset(map(chr, font.getBestCmap() or ()))


@lru_cache(maxsize=8)
def faces_of(style: str) -> tuple[tuple[Face, ...], ...]:
    """The faces of one style by family; all faces where there is none."""
    found: dict[str, list[Face]] = {}
    for face in [face for face in faces() if face.style == style] or faces():
        found.setdefault(face.family, []).append(face)
    return tuple(map(tuple, found.values()))
