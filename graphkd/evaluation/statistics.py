"""Comparing runs over seeds: mean, spread and a paired interval; numbers in, numbers out."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from graphkd.errors import UserError

_FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (None for a single value) of n values."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """A mean (of paired differences) with its confidence interval; None, None if too few pairs."""

    mean: float
    low: float | None
    high: float | None


def summarise(values: Sequence[float]) -> Summary:
    """Return mean, standard deviation (n - 1 in the denominator) and count of some values.

    Raises:
        UserError: no values, or one that is missing or not finite.
    """
    array = _finite(values, "values")
    std = float(array.std(ddof=1)) if array.size > 1 else None
    return Summary(mean=float(array.mean()), std=std, n=array.size)


def paired_difference(
    a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95, seed: int = 0
) -> Difference:
    """Return the mean of a_i - b_i and its percentile bootstrap interval over the pairs.

    Pair i must be two runs that share seed, data order and budget. Fewer than three pairs say
    nothing about spread, so they get no interval. Few pairs give an interval that is too narrow:
    of normally distributed differences, the 95 % interval holds the true mean in 75 % of cases
    with 3 pairs (where it is the smallest and the largest difference), 84 % with 5, 90 % with 10
    and 93 % with 20 (simulated 4,000 times).

    Args:
        a: one number a seed, for example a distilled student's AP.
        b: the other run's number at the same seeds, same length.
        confidence: share of repetitions that the interval aims to cover, in (0, 1).
        seed: of the resampling, so that a report can be made twice.

    Raises:
        UserError: lengths differ, no pairs, or a value that is missing or not finite.
    """
    first, second = _finite(a, "a"), _finite(b, "b")
    if first.size != second.size:
        raise UserError(
            f"cannot pair {first.size} runs with {second.size}; give both sides the same seeds"
        )
    differences = first - second
    mean = float(differences.mean())
    if differences.size < _FEWEST_PAIRS:
        return Difference(mean=mean, low=None, high=None)
    interval = bootstrap(
        (first, second),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Difference(mean=mean, low=float(interval.low), high=float(interval.high))


def clustered_interval(
    values: Sequence[float],
    groups: Sequence[Hashable],
    *,
    confidence: float = 0.95,
    repeats: int = 2000,
    seed: int = 0,
) -> Difference:
    """Mean of values that come in groups, with a percentile bootstrap interval over the groups.

    Lines of one document are alike, so whole documents are drawn, not lines.

    Args:
        values: one number a line or page.
        groups: its document, same length. Fewer than three groups get no interval.
        confidence: share of repetitions that the interval aims to cover, in (0, 1).
        repeats: how often the groups are drawn.
        seed: of the resampling.

    Raises:
        UserError: no values, or one that is missing or not finite.
    """
    array = _finite(values, "values")
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    index = [places[group] for group in groups]
    sums, counts = np.bincount(index, weights=array), np.bincount(index)
    mean = float(array.mean())
    if len(places) < _FEWEST_PAIRS:
        return Difference(mean=mean, low=None, high=None)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(places), size=len(places)) for _ in range(repeats))
    means = [sums[drawn].sum() / counts[drawn].sum() for drawn in draws]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(mean=mean, low=float(low), high=float(high))


def _finite(values: Sequence[float], name: str) -> np.ndarray:
    array = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
    if array.size == 0:
        raise UserError(f"no {name} to compare; finish at least one run first")
    if not np.isfinite(array).all():
        raise UserError(f"{name} holds a missing or infinite number; repeat or leave out that run")
    return array
