"""What a model file says about itself, checked alike for every kind of file; no tensors."""

import math
from collections.abc import Sequence
from typing import Any


def class_list(value: Any) -> tuple[str, ...]:
    """Class names in the order of class numbers.

    Raises:
        ValueError: anything but a list of unlike names.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError("its class list is damaged")
    if not value:
        raise ValueError("it names no classes")
    twice = [name for name in value if value.count(name) > 1]
    if twice:
        raise ValueError(f"it names the class {twice[0]!r} twice")
    return tuple(value)


def threshold_table(value: Any, classes: Sequence[str]) -> dict[str, float]:
    """Class name -> score in 0..1 from which a region is shown; it need not name every class.

    Raises:
        ValueError: another name, or what is no such score.
    """
    if not isinstance(value, dict):
        raise ValueError("its thresholds are damaged")
    for name, score in value.items():
        if name not in classes:
            raise ValueError(f"it has a threshold for {name!r}, which is no class of it")
        if not is_score(score):
            raise ValueError(f"its threshold of {name!r} is {score!r}, no score in 0..1")
    return {name: float(score) for name, score in value.items()}


def is_score(value: Any) -> bool:
    """Whether it is a number in 0..1."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and math.isfinite(value) and 0 <= value <= 1


def card_of(value: Any) -> dict[str, str]:
    """Facts about the training.

    Raises:
        ValueError: no table.
    """
    if not isinstance(value, dict):
        raise ValueError("its card is damaged")
    return dict(value)
