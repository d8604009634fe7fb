"""Checks of what a loss is built with: the options of its yaml and the facts about the pair."""

import math
from collections.abc import Sequence

from graphkd.distill.losses.base import LossContext


def number(
    name: str, value: float, *, least: float = 0.0, most: float = math.inf, positive: bool = False
) -> float:
    """Returns `value` as float.

    Raises:
        ValueError: it is no finite number of `least`..`most`, or not above 0 for `positive`.
    """
    # yaml reads 5e-5 as a string and true as a bool: take the first, refuse the second
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name.upper()} must be a finite number, not {value!r}")
    if positive and found <= 0:
        raise ValueError(f"{name.upper()} must be above 0, not {value}")
    if not least <= found <= most:
        limits = f"lie in {least:g}..{most:g}" if most < math.inf else "not be negative"
        raise ValueError(f"{name.upper()} must {limits}, but is {value}")
    return found


def whole_number(name: str, value: int, *, least: int) -> int:
    """Returns `value`.

    Raises:
        ValueError: it is no whole number of at least `least`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name.upper()} must be a whole number of {least} or more, not {value!r}")
    return value


def switch(name: str, value: bool) -> bool:
    """Returns `value`.

    Raises:
        ValueError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name.upper()} must be True or False, not {value!r}")
    return value


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Returns `value`.

    Raises:
        ValueError: it is none of `choices`.
    """
    if value not in choices:
        raise ValueError(f"{name.upper()} must be one of {', '.join(choices)}, not {value}")
    return value


def weight_tuple(name: str, values: Sequence[float], *, length: int) -> tuple[float, ...]:
    """Returns `values` as floats.

    Raises:
        ValueError: they are not `length` numbers of at least 0, or all are 0.
    """
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != length:
        raise ValueError(f"{name.upper()} must be {length} numbers, not {values!r}")
    found = tuple(number(name, value) for value in values)
    if not any(found):
        raise ValueError(f"{name.upper()} must not all be 0")
    return found


def need_two_stage(context: LossContext, *, remedy: str = "") -> None:
    """Raises ValueError, with `remedy` if given, where there is no box head on RoI features."""
    if not context.two_stage:
        raise ValueError("; ".join(filter(None, ["needs a two-stage detector", remedy])))


def need_regions(context: LossContext) -> None:
    """Raises ValueError where the models are no detectors, so that nothing can be pooled."""
    if context.shared_regions is None:
        raise ValueError("needs the regions of a detector")


def need_anchors(context: LossContext, *, shared: bool = True) -> None:
    """Raises ValueError where there are no anchors, or for `shared` where the detectors' anchors
    differ, so that places do not correspond.
    """
    if context.same_anchors is None:
        raise ValueError("needs a detector with anchors")
    if shared and not context.same_anchors:
        raise ValueError(
            "compares anchors one by one, but those of teacher and student differ; remove it or "
            "give both the same MODEL.ANCHOR_GENERATOR and MODEL.RPN.BBOX_REG_WEIGHTS"
        )


def need_same_classes(context: LossContext, *, remedy: str) -> None:
    """Raises ValueError with `remedy` where teacher and student have different class lists."""
    if not context.same_classes:
        raise ValueError(
            f"compares class scores, but teacher and student have different class lists; {remedy}"
        )


def need_same_box_codes(context: LossContext, *, remedy: str) -> None:
    """Raises ValueError with `remedy` where equal box deltas mean different boxes."""
    if not context.same_box_codes:
        raise ValueError(
            "compares box deltas, but BBOX_REG_WEIGHTS or class-agnostic boxes differ between "
            f"teacher and student; {remedy}"
        )
