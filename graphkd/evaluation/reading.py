"""Scores of text recognition: exact match, edits per character and word, confused characters.

Texts are compared in NFC, code point by code point. Every line gives counts, and counts are summed
before they are divided, so the parts of a data set can be scored in several processes.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rapidfuzz.distance import Levenshtein

from graphkd.evaluation.statistics import Difference, clustered_interval

# Metric -> the counts of a line that are summed: what is counted, and out of how many.
_RATIOS = {
    "exact": ("right", "lines"),
    "exact_no_spaces": ("right_no_spaces", "lines"),
    "exact_folded": ("right_folded", "lines"),
    "exact_alnum": ("right_alnum", "lines"),
    "CER": ("edits", "characters"),
    "CER_folded": ("edits_folded", "characters_folded"),
    "WER": ("word_edits", "words"),
    "NED": ("likeness", "lines"),
}


def folded(text: str) -> str:
    """A text without regard to case, in NFC; a long s is an s."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def count_line(truth: str, text: str) -> dict[str, float]:
    """The counts of one line, from which `totals` makes metrics.

    Args:
        truth: the label as published. It may be empty; then every character read is an edit.
        text: what a model read.

    Returns:
        `right` (1 or 0), the same without whitespace, without regard to case, and with letters and
        digits alone, without regard to case; `edits`, `characters` of the truth, both also without
        regard to case; `word_edits` and `words`, separated by whitespace; `likeness`, which is
        1 - edits / length of the longer text, 1 for two empty texts; `lines`, 1.
    """
    truth, text = (unicodedata.normalize("NFC", each) for each in (truth, text))
    low_truth, low_text = folded(truth), folded(text)
    edits = Levenshtein.distance(truth, text)
    return {
        "lines": 1,
        "right": int(truth == text),
        "right_no_spaces": int(_joined(truth) == _joined(text)),
        "right_folded": int(low_truth == low_text),
        "right_alnum": int(_alnum(low_truth) == _alnum(low_text)),
        "edits": edits,
        "characters": len(truth),
        "edits_folded": Levenshtein.distance(low_truth, low_text),
        "characters_folded": len(low_truth),
        "word_edits": Levenshtein.distance(truth.split(), text.split()),
        "words": len(truth.split()),
        "likeness": 1 - edits / max(len(truth), len(text), 1),
    }


def _joined(text: str) -> str:
    return "".join(text.split())


def _alnum(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def score_lines(
    lines: Sequence[Mapping[str, Any]], found: Sequence[tuple[str, float]]
) -> list[dict[str, Any]]:
    """The rows of `items.json`: what was read on every line, and its counts.

    Args:
        lines: dicts of a data set: image_id, text, and perhaps document.
        found: (text, score) for every line.

    Returns:
        One dict a line: id, document (the line itself if it is not known), truth, text, score,
        `exact` and `CER` of the line in percent, and the counts of `count_line`.
    """
    items = []
    for line, (text, score) in zip(lines, found, strict=True):
        counts = count_line(line["text"], text)
        items.append(
            {
                "id": line["image_id"],
                "document": line.get("document", line["image_id"]),
                "truth": line["text"],
                "text": text,
                "score": score,
                "exact": 100.0 * counts["right"],
                "CER": 100.0 * counts["edits"] / max(counts["characters"], 1),
                **counts,
            }
        )
    return items


def totals(items: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """The metrics of all lines together, in percent; None where there is nothing to divide by.

    `exact`, `exact_no_spaces`, `exact_folded` and `exact_alnum` are shares of lines; `CER`,
    `CER_folded` and `WER` are edits by the characters or words of the truth, and may exceed 100;
    `NED` is 100 minus the mean distance, of which each is divided by the longer text.

    Args:
        items: rows of `score_lines`, or counts of `count_line`.
    """
    sums: Counter[str] = Counter()
    for item in items:
        sums.update({name: item[name] for pair in _RATIOS.values() for name in dict.fromkeys(pair)})
    return {
        name: 100 * sums[part] / sums[whole] if sums[whole] else None
        for name, (part, whole) in _RATIOS.items()
    }


def interval(items: Sequence[Mapping[str, Any]], metric: str) -> Difference:
    """A metric of `totals` with its 95 % bootstrap interval over documents.

    Args:
        items: rows of `score_lines`.
        metric: a key of `totals`.

    Raises:
        UserError: there are no lines.
    """
    part, whole = _RATIOS[metric]
    return clustered_interval(
        [100 * item[part] for item in items],
        [item["document"] for item in items],
        sizes=[item[whole] for item in items],
    )


def confusion(items: Iterable[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """Errors as (true character, read character, count), the most frequent first.

    The first is empty for a character too many, the second for one that is missing.

    Args:
        items: rows of `score_lines`.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for item in items:
        truth, text = (unicodedata.normalize("NFC", item[key]) for key in ("truth", "text"))
        for kind, at, to in Levenshtein.editops(truth, text):
            counts["" if kind == "insert" else truth[at], "" if kind == "delete" else text[to]] += 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [(*pair, count) for pair, count in ranked]
