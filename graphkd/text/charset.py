"""Character sets of text recognition: reading and writing them, text to class numbers and back."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from graphkd.errors import UserError
from graphkd.io import write_text

BLANK = 0
# The name of the second space that published heads have. Lists of classes refuse equal names.
SECOND_SPACE = "<space 2>"
NORMS = ("nfc", "nfkc", "none")
# Full-width forms of ASCII lie this far above it; the ideographic space is a case of its own.
_FULL_WIDTH = {code + 0xFEE0: code for code in range(0x21, 0x7F)} | {0x3000: 0x20}


class UnknownCharacter(KeyError):
    """A text has a character that the charset lacks; `args[0]` is the character."""


@dataclass(frozen=True)
class Charset:
    """The characters that a reader can write.

    Class 0 is the blank, class i + 1 is `entries[i]`. Texts are compared in NFC. An entry of
    several code points (a letter and a mark without a composed form) is found before shorter ones.

    Attributes:
        entries: the characters, without the blank.
        duplicate_space: one more class at the end that is decoded to a space and is never a target,
            as in heads whose dictionary got its space twice.

    Raises:
        ValueError: an entry is empty, given twice, or holds a line end.
    """

    entries: tuple[str, ...]
    duplicate_space: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        entries = tuple(unicodedata.normalize("NFC", entry) for entry in self.entries)
        object.__setattr__(self, "entries", entries)
        for entry, count in Counter(entries).items():
            if count > 1:
                raise ValueError(f"{entry!r} is given {count} times")
            if not entry or "\n" in entry or "\r" in entry:
                raise ValueError(f"{entry!r} is no character")

    @classmethod
    def from_names(cls, names: Sequence[str]) -> "Charset":
        """The charset of a class list; see `names`."""
        twice = bool(names) and names[-1] == SECOND_SPACE
        return cls(tuple(names[:-1] if twice else names), duplicate_space=twice)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes 1 to size - 1, as checkpoints and model files store them."""
        return (*self.entries, SECOND_SPACE) if self.duplicate_space else self.entries

    @property
    def size(self) -> int:
        """Number of classes of the head, with the blank."""
        return 1 + len(self.names)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {entry: number for number, entry in enumerate(self.entries, start=1)}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.entries), default=1)

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        return ("", *self.entries, *(" " * self.duplicate_space))

    def _pieces(self, text: str) -> Iterable[tuple[str, int | None]]:
        """The parts of a text with their classes; None for a character that is not in the set."""
        text = unicodedata.normalize("NFC", text)
        at = 0
        while at < len(text):
            for length in range(min(self._longest, len(text) - at), 0, -1):
                number = self._numbers.get(text[at : at + length])
                if number is not None:
                    break
            yield text[at : at + length], number
            at += length

    def encode(self, text: str) -> list[int]:
        """The classes of a text, each in 1..size - 1.

        Raises:
            UnknownCharacter: the charset lacks a character.
        """
        numbers = []
        for piece, number in self._pieces(text):
            if number is None:
                raise UnknownCharacter(piece)
            numbers.append(number)
        return numbers

    def decode(self, indices: Iterable[int]) -> str:
        """The text of some classes; blanks give nothing."""
        return "".join(self._texts[index] for index in indices)

    def unknown(self, text: str) -> str:
        """The characters of a text that the charset lacks, in their order, with repetitions."""
        return "".join(piece for piece, number in self._pieces(text) if number is None)

    def covers(self, text: str) -> bool:
        """Whether the charset has every character of a text."""
        return not self.unknown(text)

    def keep(self, text: str, *, replacement: str = "") -> str:
        """The text in NFC with `replacement` for every unknown character."""
        return "".join(
            piece if number is not None else replacement for piece, number in self._pieces(text)
        )


def normalise(text: str, *, norm: str = "nfc", half_width: bool = False) -> str:
    """A label as it is trained on: a Unicode form, then full-width to half-width if asked for.

    Args:
        text: in logical order.
        norm: one of `NORMS`.
        half_width: full-width ASCII and the ideographic space become ASCII.
    """
    if norm != "none":
        text = unicodedata.normalize(norm.upper(), text)
    return text.translate(_FULL_WIDTH) if half_width else text


def charset_of(texts: Iterable[str], *, least: int = 1) -> Charset:
    """The code points (in NFC) that occur at least `least` times, in the order of their numbers."""
    counts = count_characters(texts)
    return Charset(tuple(sorted(char for char, count in counts.items() if count >= least)))


def count_characters(texts: Iterable[str]) -> Counter[str]:
    """How often each code point occurs in texts in NFC; line ends are left out."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(unicodedata.normalize("NFC", text))
    counts.pop("\n", None)
    counts.pop("\r", None)
    return counts


def read_charset(path: str | Path) -> Charset:
    """Reads a charset file: UTF-8, one entry a line; a line with one space is the space.

    Only line ends (LF or CR LF) are removed, and a byte order mark. The blank is not in the file.

    Raises:
        UserError: the file is missing, not UTF-8, empty, or has an empty or repeated entry.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such charset file; `graphkd data charset` makes one from labels"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save the charset as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    rows = text.split("\n")
    if rows[-1] == "":
        rows.pop()
    rows = [row.removesuffix("\r") for row in rows]
    if "" in rows:
        raise UserError(f"{path}, line {rows.index('') + 1}: empty; delete the line")
    if not rows:
        raise UserError(f"{path}: empty; one character a line is expected")
    try:
        return Charset.from_names(rows)
    except ValueError as error:
        raise UserError(f"{path}: {error}; an entry may occur once") from None


def write_charset(path: str | Path, charset: Charset) -> None:
    """Writes a charset as `read_charset` reads it."""
    write_text(Path(path), "".join(f"{name}\n" for name in charset.names))
