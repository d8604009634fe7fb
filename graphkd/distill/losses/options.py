"""Checks of what a loss is built with: the options of its yaml and the facts about the pair.

All of them raise a ValueError of one line. Those of options return the checked value.
"""

import math
from collections.abc import Sequence

from graphkd.distill.losses.base import LossContext


def number(
    name: str, value: float, *, least: float = 0.0, most: float = math.inf, positive: bool = False
) -> float:
    """A finite number of `least`..`most`, above 0 for `positive`."""
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
    """A whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name.upper()} must be a whole number of {least} or more, not {value!r}")
    return value


def switch(name: str, value: bool) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name.upper()} must be True or False, not {value!r}")
    return value


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """One of `choices`."""
    if value not in choices:
        raise ValueError(f"{name.upper()} must be one of {', '.join(choices)}, not {value}")
    return value


def weight_tuple(name: str, values: Sequence[float], *, length: int) -> tuple[float, ...]:
    """`length` numbers of at least 0, not all 0."""
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != length:
        raise ValueError(f"{name.upper()} must be {length} numbers, not {values!r}")
    found = tuple(number(name, value) for value in values)
    if not any(found):
        raise ValueError(f"{name.upper()} must not all be 0")
    return found


def need_two_stage(context: LossContext, *, remedy: str = "") -> None:
    """Both models have a box head on RoI features."""
    if not context.two_stage:
        raise ValueError("; ".join(filter(None, ["needs a two-stage detector", remedy])))


def need_dense_head(context: LossContext) -> None:
    """Both models predict classes and boxes on every anchor."""
    if context.two_stage is None:
        raise ValueError("needs a detector")
    if context.two_stage:
        raise ValueError("needs one-stage detectors, whose heads predict classes on every anchor")


def need_regions(context: LossContext) -> None:
    """The models are detectors, so that regions can be pooled."""
    if context.shared_regions is None:
        raise ValueError("needs the regions of a detector")


def need_anchors(context: LossContext, *, shared: bool = True) -> None:
    """There are anchors, for `shared` the same in both detectors, so that places correspond."""
    if context.same_anchors is None:
        raise ValueError("needs a detector with anchors")
    if shared and not context.same_anchors:
        raise ValueError(
            "compares anchors one by one, but those of teacher and student differ; remove it or "
            "give both the same MODEL.ANCHOR_GENERATOR and MODEL.RPN.BBOX_REG_WEIGHTS"
        )


def need_same_classes(context: LossContext, *, remedy: str) -> None:
    """Teacher and student have the same class list."""
    if not context.same_classes:
        raise ValueError(
            f"compares class scores, but teacher and student have different class lists; {remedy}"
        )


def need_same_box_codes(context: LossContext, *, remedy: str) -> None:
    """Equal box deltas mean equal boxes in both detectors."""
    if not context.same_box_codes:
        raise ValueError(
            "compares box deltas, but BBOX_REG_WEIGHTS or class-agnostic boxes differ between "
            f"teacher and student; {remedy}"
        )
