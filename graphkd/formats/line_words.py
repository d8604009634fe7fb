"""What several writers need of a line: its words with outlines, and its hyphen at the end."""

from graphkd.document import Line, Region, Word, box_polygon

HYPHENS = "-\u00ad\u2010\u2e17"


def line_words(line: Line) -> tuple[Word, ...]:
    """The words of a line; where it was not split, its text is, in proportion to the letters."""
    if line.words or not line.text.strip():
        return line.words
    corners = line.polygon if len(line.polygon) == 4 else box_polygon(line.box)
    words, place = [], 0
    for text in line.text.split():
        start = line.text.index(text, place)
        place = start + len(text)
        left, right = start / len(line.text), place / len(line.text)
        upper = [_between(corners[0], corners[1], share) for share in (left, right)]
        lower = [_between(corners[3], corners[2], share) for share in (right, left)]
        words.append(Word((*upper, *lower), text, line.confidence))
    return tuple(words)


def divided(region: Region, place: int) -> bool:
    """Whether the last word of a line goes on in the next: a hyphen before a small letter."""
    if place + 1 >= len(region.lines):
        return False
    here, there = region.lines[place].text.rstrip(), region.lines[place + 1].text.lstrip()
    return here[-1:] in HYPHENS and here[-2:-1].isalpha() and there[:1].islower()


def _between(a: tuple[float, float], b: tuple[float, float], share: float) -> tuple[float, float]:
    return a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share
