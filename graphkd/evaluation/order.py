"""Scores of reading order, without regard to the text, and likeness of whole page texts."""

import unicodedata
from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import Indel


def order_scores(places: Sequence[int]) -> dict[str, float | None]:
    """How well a reading order agrees with the true one.

    Args:
        places: for each true item that was found, in true order, its place in the found order.
            Places need not be consecutive: only what was matched on both sides is compared.

    Returns:
        `successor`, the share of true neighbours that also follow each other here, and `kendall`,
        Kendall's tau in -1..1, 1 for equal orders. None below two items.
    """
    count = len(places)
    if count < 2:
        return {"successor": None, "kendall": None}
    ranks = np.argsort(np.argsort(places, kind="stable"), kind="stable")
    rising = sum(int((ranks[i + 1 :] > rank).sum()) for i, rank in enumerate(ranks[:-1]))
    pairs = count * (count - 1) / 2
    return {
        "successor": float((np.diff(ranks) == 1).mean()),
        "kendall": 2 * rising / pairs - 1,
    }


def text_likeness(truth: str, text: str) -> float:
    """NID: 1 - (insertions and deletions) / (both lengths), in NFC; 1 for two empty texts.

    White space is reduced to single spaces, since breaks between regions are a matter of form.
    """
    one, other = (" ".join(unicodedata.normalize("NFC", each).split()) for each in (truth, text))
    return Indel.normalized_similarity(one, other)
