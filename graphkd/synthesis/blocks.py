"""Blocks that fill columns (text, painted parts, stacks), breaking lines, and filling columns."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from graphkd.synthesis.sheet import ASCENT, DESCENT, SLANT, Box, Sheet
from graphkd.synthesis.styles import Color, Type, unit_width

Words = list[tuple[str, str]]


@dataclass(frozen=True)
class BrokenLine:
    """One line of a paragraph: words with fonts, natural width, left shift, whether it is last."""

    words: Words
    width: float
    shift: float
    last: bool


def in_font(words: list[str], font: str) -> Words:
    """Give all words the same font."""
    return [(word, font) for word in words]


def break_lines(words: Words, *, type_: Type, width: float) -> list[BrokenLine]:
    """Breaks words into lines of at most `width`; a longer word gets a line of its own."""
    scale = type_.size * type_.stretch
    lines: list[BrokenLine] = []
    current: Words = []
    shift = type_.indent
    used = 0.0
    for word, font in words:
        wide = unit_width(word, font) * scale
        space = unit_width(" ", font) * scale
        if current and used + space + wide > width - shift:
            lines.append(BrokenLine(current, used, shift, False))
            current, used, shift = [], 0.0, 0.0
        used += wide + (space if current else 0.0)
        current.append((word, font))
    if current:
        lines.append(BrokenLine(current, used, shift, True))
    return lines


@dataclass(frozen=True)
class Block:
    """A part of fixed size; `gap` is the space above it, `keep` keeps it with the next block."""

    width: float
    height: float
    gap: float = 0.0
    keep: bool = False

    def draw(self, sheet: Sheet, x: float, y: float) -> None:
        """Paint with the top left corner at (x, y) and mark the regions."""

    def split(self, room: float) -> "tuple[Block, Block] | None":
        """A first part no higher than `room` and the rest, or None where it cannot be broken."""
        return None


@dataclass(frozen=True)
class TextBlock(Block):
    """Lines of text that form one region (none where `name` is None).

    `hang` is the indent of all lines; `marker` (a bullet, a number) stands in it.
    """

    lines: tuple[BrokenLine, ...] = ()
    type_: Type | None = None
    name: str | None = None
    group: int | None = None
    hang: float = 0.0
    marker: str = ""
    marker_at: float = 0.0

    def draw(self, sheet: Sheet, x: float, y: float) -> None:
        """Set the lines; justified lines are stretched at their spaces."""
        type_ = self.type_
        inner = self.width - self.hang
        left, right = x + self.width, x
        before = len(sheet.lines)
        for number, line in enumerate(self.lines):
            baseline = y + number * type_.leading + ASCENT * type_.size
            slack = inner - line.shift - line.width
            start = x + self.hang + line.shift
            extra = 0.0
            if type_.align == "center":
                start += slack / 2
            elif type_.align == "right":
                start += slack
            elif type_.align == "justify" and not line.last and len(line.words) > 1:
                # A line that is far too short would get ugly gaps.
                extra = slack / (len(line.words) - 1) if slack < inner * 0.3 else 0.0
            sheet.text(start, baseline, line.words, type_, extra=extra)
            end = start + line.width + extra * (len(line.words) - 1)
            left, right = min(left, start), max(right, end)
        if self.marker:
            words = [(self.marker, self.lines[0].words[0][1])]
            baseline = y + ASCENT * type_.size
            sheet.text(x + self.marker_at, baseline, words, type_, joins=sheet.lines[before])
            left = min(left, x + self.marker_at)
        if self.name:
            bottom = y + (len(self.lines) - 1) * type_.leading + (ASCENT + DESCENT) * type_.size
            over = SLANT * type_.size
            sheet.mark(self.name, (left - over, y, right + over, bottom), group=self.group)

    def split(self, room: float) -> "tuple[Block, Block] | None":
        """Break between lines, at least two on either side."""
        if self.name not in ("Text", "List-item") or len(self.lines) < 4:
            return None
        fits = int((room - text_height(1, self.type_)) // self.type_.leading) + 1
        fits = min(fits, len(self.lines) - 2)
        if fits < 2:
            return None
        first = replace(self, lines=self.lines[:fits], height=text_height(fits, self.type_))
        rest = self.lines[fits:]
        height = text_height(len(rest), self.type_)
        return first, replace(self, lines=rest, height=height, marker="", gap=0.0)


def text_height(lines: int, type_: Type) -> float:
    """Height of that many lines; each counts its leading, so that baselines stay evenly spaced."""
    return (lines - 1) * type_.leading + max(type_.leading, 1.06 * type_.size) if lines else 0.0


def text_block(
    words: Words,
    *,
    type_: Type,
    width: float,
    name: str | None,
    gap: float = 0.0,
    keep: bool = False,
    group: int | None = None,
    hang: float = 0.0,
    marker: str = "",
    marker_at: float = 0.0,
) -> TextBlock:
    """Break the words to the width and make a block of them."""
    lines = tuple(break_lines(words, type_=type_, width=width - hang))
    height = text_height(len(lines), type_)
    return TextBlock(width, height, gap, keep, lines, type_, name, group, hang, marker, marker_at)


@dataclass(frozen=True)
class Painted(Block):
    """A block painted by a function of (sheet, x, y): tables, charts, formulas, ornaments."""

    paint: Callable[[Sheet, float, float], None] | None = None

    def draw(self, sheet: Sheet, x: float, y: float) -> None:
        """Call the function."""
        if self.paint is not None:
            self.paint(sheet, x, y)


@dataclass(frozen=True)
class Stack(Block):
    """Blocks below each other that stay together, with or without a tinted or framed panel."""

    parts: tuple[Block, ...] = ()
    padding: float = 0.0
    fill: Color | None = None
    frame: Color | None = None
    stripe: bool = False

    def draw(self, sheet: Sheet, x: float, y: float) -> None:
        """Paint the panel, then the parts from the top."""
        before = sheet.ground
        if self.fill is not None or self.frame is not None:
            box: Box = (x, y, x + self.width, y + self.height)
            sheet.rect(box, fill=self.fill, stroke=self.frame, line=0.6)
            if self.stripe and self.frame is not None:
                sheet.rect((x, y, x + 3, y + self.height), fill=self.frame)
        if self.fill is not None:
            sheet.ground = self.fill
        at = y + self.padding
        for number, part in enumerate(self.parts):
            at += part.gap if number else 0.0
            part.draw(sheet, x + (self.width - part.width) / 2, at)
            at += part.height
        sheet.ground = before


def stack(
    parts: list[Block],
    *,
    width: float,
    gap: float,
    padding: float = 0.0,
    fill: Color | None = None,
    frame: Color | None = None,
    stripe: bool = False,
) -> Stack:
    """Makes a `Stack`; the parts should be as wide as `width` without the padding on both sides."""
    height = sum(part.height for part in parts) + sum(part.gap for part in parts[1:]) + 2 * padding
    return Stack(width, height, gap, False, tuple(parts), padding, fill, frame, stripe)


Source = Callable[[float, float], list[Block]]
"""A function of (column width, room left): the next blocks, or an empty list at the end."""


def pour(sheet: Sheet, columns: list[Box], source: Source) -> None:
    """Fills the columns one after the other until they are full or the source ends.

    A block that does not fit and cannot be broken waits for the next column, while the text behind
    it moves up (as figures float). What is left after the last column is dropped.
    """
    queue: deque[Block] = deque()
    waiting: deque[Block] = deque()
    for column in columns:
        sheet.column += 1
        x0, top, x1, bottom = column
        y = top
        queue.extendleft(reversed(waiting))
        waiting.clear()
        failures, below = 0, 0.0
        while failures < 4:
            if not queue:
                queue.extend(source(x1 - x0, bottom - y))
                if not queue:
                    return
            block = queue.popleft()
            gap = max(block.gap, below) if y > top else 0.0
            room = bottom - y - gap
            need = block.height
            if block.keep:
                if not queue:
                    queue.extend(source(x1 - x0, max(room - block.height, 0.0)))
                need += _least(queue[0]) if queue else 0.0
            if need <= room:
                block.draw(sheet, x0, y + gap)
                y += gap + block.height
                # Figures, tables, formulas and panels keep off the text below them too, ruled
                # headings a little.
                loose = not isinstance(block, TextBlock)
                below = (3.0 if block.keep else 0.8 * block.gap) if loose else 0.0
                continue
            parts = None if block.keep else block.split(room)
            if parts is not None:
                parts[0].draw(sheet, x0, y + gap)
                queue.appendleft(parts[1])
                break
            failures += 1
            if block.keep or isinstance(block, TextBlock):
                queue.appendleft(block)
                break
            waiting.append(block)
            if bottom - y < 30:
                break


def _least(block: Block) -> float:
    """Height that the block after a heading needs: all of it, or the first lines of a text."""
    parts = block.split(80.0)
    return block.gap + (parts[0].height if parts else block.height)
