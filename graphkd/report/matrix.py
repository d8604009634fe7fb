"""A confusion matrix as the template needs it: texts, shades and hover texts; no HTML."""

import re
from collections.abc import Sequence

import numpy as np

from graphkd.evaluation.matching import precision, recall
from graphkd.report.table import DASH

BACKGROUND = "background"


def matrix_table(name: str, counts: np.ndarray, classes: Sequence[str]) -> dict:
    """Lay out a matrix: a row an object's class, a column what it was taken for.

    A cell is shaded by its share of the row's objects (for the row of background: of all
    predictions without an object). The right margin tells how many of a class were found, the
    lower one how many predictions of a class are right.

    Args:
        name: of the model.
        counts: (K + 1, K + 1) as `confusion()` gives them.
        classes: K names.
    """
    names = [*classes, BACKGROUND]
    found = [*map(percent, recall(counts)), ""]
    return {
        "name": name,
        "columns": [breakable(name) for name in names],
        "rows": [
            {
                "name": names[i],
                "cells": [_cell(counts, i, j, names) for j in range(len(names))],
                "found": found[i],
            }
            for i in range(len(names))
        ],
        "right": [*map(percent, precision(counts)), ""],
    }


def breakable(name: str) -> str:
    """A class name with zero-width spaces where a narrow column may break it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[-_/])", "\u200b", name)


def percent(share: float | None) -> str:
    """A share in 0..1 as text; an en dash for None."""
    return DASH if share is None else f"{100 * share:.0f} %"


def _cell(counts: np.ndarray, i: int, j: int, names: list[str]) -> dict:
    number, total, last = int(counts[i, j]), int(counts[i].sum()), len(names) - 1
    share = number / total if total else 0.0
    if i == last:
        text = f"{number} of {total} predictions without an object are {names[j]}"
    elif j == last:
        text = f"{number} of {total} {names[i]} were not found"
    elif i == j:
        text = f"{number} of {total} {names[i]} were found"
    else:
        text = f"{number} of {total} {names[i]} were taken for {names[j]}"
    return {
        "text": str(number) if number else "",
        "title": text if number else "",
        "shade": round(0.6 * share, 3),
        "right": i == j,
    }
