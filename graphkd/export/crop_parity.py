"""Texts of an exported text recogniser beside those of the trained one."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphkd.errors import UserError
from graphkd.evaluation.reading import count_line, totals
from graphkd.export.pages import Pages
from graphkd.export.parity import Check, Parity, run_both, score_sentence
from graphkd.predict.crops import CropReader, Reading


@dataclass(frozen=True)
class CropLimits:
    """What an exported text recogniser may differ by.

    Attributes:
        exact: loss of lines that are read without a mistake, in points of 0..100.
        cer: rise of the character error rate, in points.
        texts: share of the lines whose texts differ.
        score: greatest difference of a best probability.
    """

    exact: float
    cer: float
    texts: float
    score: float


@dataclass(frozen=True, kw_only=True)
class CropParity(Parity):
    """The trained text recogniser and its export on the same lines.

    Attributes:
        lines: how many, in `buckets` different widths of the network's input.
        texts_share: share of the lines whose texts differ.
        score_error_max: greatest difference of the best probability of a frame;
            `score_error_mean`: the mean.
        exact_trained: lines without a mistake in 0..100, also `exact_exported`; where the texts of
            the lines are not known, those of the trained model count as right.
        cer_trained: character error rate in percent, likewise `cer_exported`.
        known: whether the texts of the lines are known.
    """

    item: ClassVar[str] = "line"

    lines: int
    buckets: int
    texts_share: float
    score_error_mean: float
    score_error_max: float
    exact_trained: float
    exact_exported: float
    cer_trained: float
    cer_exported: float
    known: bool

    def told(self) -> tuple[str, ...]:
        """See `Parity.told`."""
        truth = "" if self.known else " (against the texts of the trained model)"
        return (
            f"{self.lines} lines ({self.source}) of {self.buckets} widths; "
            f"{self.texts_share:.2%} of the texts differ",
            f"best probabilities differ by {self.score_error_mean:.1e} on average, "
            f"{self.score_error_max:.1e} at most",
            score_sentence("exact match", self.exact_trained, self.exact_exported) + truth,
            score_sentence("CER", self.cer_trained, self.cer_exported) + truth,
        )

    def checks(self, limits: CropLimits) -> tuple[Check, ...]:
        """See `Parity.checks`."""
        exact = max(0.0, self.exact_trained - self.exact_exported)
        cer = max(0.0, self.cer_exported - self.cer_trained)
        return (
            (exact, limits.exact, f"exact match falls by {exact:.2f} on {self.lines} lines"),
            (cer, limits.cer, f"CER rises by {cer:.3f} on {self.lines} lines"),
            (
                self.texts_share,
                limits.texts,
                f"of {self.lines} texts, a share of {self.texts_share:.4f} differs",
            ),
            (
                self.score_error_max,
                limits.score,
                f"best probabilities differ by up to {self.score_error_max:.1e}",
            ),
        )


def compare_crops(
    trained: CropReader, exported: CropReader, lines: Pages, *, progress: bool = True
) -> CropParity:
    """Reads all lines with both and compares texts and probabilities.

    Args:
        trained: the model.
        exported: the file.
        lines: at least one.
        progress: show a bar.

    Raises:
        UserError: a batch changes the result.
    """

    def same(first: Reading, second: Reading) -> bool:
        return first.text == second.text and abs(first.score - second.score) <= 1e-3

    runs = run_both(trained, exported, lines, source=lines.source, same=same, progress=progress)
    pairs = list(zip(runs.wanted, runs.given, strict=True))
    if any(len(one.scores) != len(other.scores) for one, other in pairs):
        raise UserError("the exported file gives another number of frames than the trained model")
    errors = np.abs(np.concatenate([one.scores - other.scores for one, other in pairs]))
    known = lines.truth is not None and all("text" in line for line in lines.truth)
    before = [found.text for found in runs.wanted]
    truth = [line["text"] for line in lines.truth] if known else before
    first, second = (
        totals(count_line(text, found.text) for text, found in zip(truth, each, strict=True))
        for each in (runs.wanted, runs.given)
    )
    return CropParity(
        source=lines.source,
        lines=len(before),
        buckets=len(runs.shapes),
        texts_share=float(np.mean([one.text != other.text for one, other in pairs])),
        score_error_mean=float(errors.mean()),
        score_error_max=float(errors.max()),
        exact_trained=first["exact"],
        exact_exported=second["exact"],
        cer_trained=first["CER"],
        cer_exported=second["CER"],
        known=known,
        **runs.seconds,
    )
