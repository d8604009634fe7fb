"""The table of results as text and the sentence that states the gain; no drawing."""

import math
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from graphkd.compare.rows import METRICS, share_of_teacher

DASH = "–"
_COLUMNS = ("Role", "Method", "Parameters (M)", "AP", "AP50", "AP75", "Training (s)")
_ROUNDS_TO_ZERO = 0.05


def format_table(rows: Sequence[dict]) -> str:
    """Format result rows for a terminal.

    Args:
        rows: dicts with role, method, params, AP, AP50, AP75, seconds; a missing, None or NaN
            number becomes an en dash. No rows: the headings alone.
    """
    return tabulate(
        [list(cells(row).values()) for row in rows],
        headers=_COLUMNS,
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "left", *["right"] * 5),
    )


def cells(row: dict) -> dict[str, str]:
    """Return one row's text, column by column; the order is that of the table."""
    parameters = number(row.get("params"))
    return {
        "role": str(row.get("role") or DASH),
        "method": str(row.get("method") or DASH),
        "params": DASH if parameters is None else f"{parameters / 1e6:.1f}",
        **{key: tenths(row.get(key)) for key in ("AP", "AP50", "AP75")},
        "seconds": _seconds(row.get("seconds")),
    }


def number(value: Any) -> float | None:
    """Return a float, or None for what is no finite number."""
    return float(value) if value is not None and math.isfinite(value) else None


def tenths(value: Any) -> str:
    """Write a number with one decimal; an en dash for None and NaN."""
    known = number(value)
    return DASH if known is None else f"{known:.1f}"


def gain_sentences(rows: Sequence[dict]) -> list[str]:
    """Say what each distilled student gained over the plain student, or lost.

    Returns one sentence a distilled row with a known AP; an empty list means that there is no
    plain or no distilled student to compare.
    """
    plain = next((row for row in rows if row.get("role") == "student"), None)
    teacher = next((row for row in rows if row.get("role") == "teacher"), None)
    before = number(plain.get("AP")) if plain else None
    if before is None:
        return []
    distilled = [row for row in rows if row.get("role") == "distilled"]
    known = [row for row in distilled if number(row.get("AP")) is not None]
    return [_gain(row, before, teacher, name=len(distilled) > 1) for row in known]


def _gain(row: dict, before: float, teacher: dict | None, *, name: bool) -> str:
    after = number(row["AP"])
    gain = after - before
    who = "The distilled student"
    if name and row.get("method"):
        who += f" ({row['method']})"
    if abs(gain) < _ROUNDS_TO_ZERO:
        sentence = f"{who} reaches {after:.1f} AP, the same as the plain student: no gain here."
    elif gain > 0:
        sentence = (
            f"{who} reaches {after:.1f} AP, {gain:.1f} AP more than the plain student "
            f"({before:.1f})."
        )
    else:
        sentence = (
            f"{who} reaches only {after:.1f} AP, {-gain:.1f} AP less than the plain student "
            f"({before:.1f}): distillation did not help here."
        )
    return sentence + _share_of_teacher(row, teacher)


def _share_of_teacher(row: dict, teacher: dict | None) -> str:
    best = number(teacher.get("AP")) if teacher else None
    share = share_of_teacher(number(row["AP"]), best, metric=METRICS[0])
    if share is None:
        return ""
    sentence = f" That is {share:.0f} % of the teacher's {best:.1f} AP"
    small, big = number(row.get("params")), number(teacher.get("params"))
    if small and big:
        sentence += f", with {100 * small / big:.0f} % of its parameters"
    return sentence + "."


def _seconds(value: Any) -> str:
    known = number(value)
    if known is None:
        return DASH
    return f"{known:.1f}" if known < 100 else f"{known:.0f}"
