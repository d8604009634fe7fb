"""From which score a region is shown, class by class; no detector in here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from graphkd.errors import UserError

DEFAULT = 0.5


def choose_thresholds(
    classes: Sequence[str],
    *,
    stored: Mapping[str, float],
    score: float | None = None,
    by_class: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """The lowest shown score of every class: `by_class`, else `score`, else the file's, else 0.5.

    Args:
        classes: the detector's class names.
        stored: class name -> score from the weights file; may be empty.
        score: one score for all classes, in 0..1.
        by_class: class name -> score in 0..1.

    Raises:
        UserError: an unknown class, or a score outside 0..1.
    """
    by_class = dict(by_class or {})
    for name in by_class:
        if name not in classes:
            raise UserError(f"no class named {name!r}; the model knows {', '.join(classes)}")
    for value in [score, *by_class.values()]:
        if value is not None and not 0 <= value <= 1:
            raise UserError(f"a score is a number in 0..1, not {value:g}")
    if score is not None:
        return {name: by_class.get(name, score) for name in classes}
    return {name: by_class.get(name, stored.get(name, DEFAULT)) for name in classes}


def parse_by_class(texts: Iterable[str]) -> dict[str, float]:
    """Reads `title=0.3,table=0.6`; of a class named twice the last score counts, and a name may
    hold commas, since each has its score.

    Raises:
        UserError: a part that is not NAME=NUMBER.
    """
    parsed = {}
    for part in (part for text in texts for part in _parts(text)):
        name, sign, number = part.rpartition("=")
        try:
            parsed[name.strip()] = float(number)
        except ValueError:
            sign = ""
        if not sign or not name.strip():
            raise UserError(f"--score-class {part!r}: write CLASS=SCORE, such as title=0.3")
    return parsed


def _parts(text: str) -> Iterator[str]:
    """What is between commas; a piece without = is the beginning of the next one."""
    *pieces, last = text.split(",")
    waiting = ""
    for piece in pieces:
        waiting += piece
        if "=" in waiting:
            yield waiting
            waiting = ""
        else:
            waiting += ","
    yield waiting + last
