"""Plans: how many channels every group keeps, so that a number of multiplications is reached.

A plan follows from the sensitivity of the groups, or is drawn at random.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from graphkd.errors import UserError
from graphkd.pruning.groups import Costs, Group, Widths

# The shares of a group's channels that the sensitivity is measured at; no plan removes more.
RATIOS = tuple(round(0.1 * step, 1) for step in range(1, 10))
# Group name -> ratio (as text, for json) -> relative loss of the score.
Sensitivity = Mapping[str, Mapping[str, float]]


def widths_at(groups: Sequence[Group], ratios: Mapping[str, float]) -> dict[str, int]:
    """The number of channels of every group after a share of them is removed; 1 at least."""
    return {group.name: max(1, round(group.size * (1 - ratios[group.name]))) for group in groups}


def tolerant_plan(
    groups: Sequence[Group], sensitivity: Sensitivity, costs: Costs, *, target: float
) -> dict[str, int]:
    """The plan with one tolerated loss for all groups.

    From every group as many channels are removed as this loss allows; between the measured ratios
    it is interpolated. The loss is the smallest that reaches the target.

    Args:
        groups: of the model.
        sensitivity: measured loss of every group.
        costs: of the model.
        target: share of the multiplications that may stay, in 0..1.

    Raises:
        UserError: the target cannot be reached.
    """
    curves = {
        group.name: np.maximum.accumulate(
            [0.0, *(max(0.0, sensitivity[group.name][str(ratio)]) for ratio in RATIOS)]
        )
        for group in groups
    }

    def plan(loss: float) -> dict[str, int]:
        ratios = {name: _ratio(curve, loss) for name, curve in curves.items()}
        return widths_at(groups, ratios)

    most = max(curve[-1] for curve in curves.values())
    return _reach(groups, plan, costs, target=target, most=most)


def random_plan(
    groups: Sequence[Group], costs: Costs, *, target: float, rng: np.random.Generator
) -> dict[str, int]:
    """A plan with a random share of every group, scaled to the target; see `tolerant_plan`."""
    shares = {group.name: rng.uniform(0.1, 1.0) for group in groups}

    def plan(strength: float) -> dict[str, int]:
        ratios = {name: 1 - max(0.1, share**strength) for name, share in shares.items()}
        return widths_at(groups, ratios)

    return _reach(groups, plan, costs, target=target, most=1e4)


def _ratio(curve: np.ndarray, loss: float) -> float:
    """The greatest ratio in 0..0.9 whose loss is at most `loss`, by interpolation."""
    above = int(np.searchsorted(curve, loss, side="right"))
    if above == len(curve):
        return RATIOS[-1]
    low, high = curve[above - 1], curve[above]
    return 0.1 * (above - 1 + (loss - low) / (high - low))


def _reach(
    groups: Sequence[Group],
    plan: Callable[[float], dict[str, int]],
    costs: Costs,
    *,
    target: float,
    most: float,
) -> dict[str, int]:
    """Bisects the strength of a plan, then gives channels back as long as the target allows."""
    allowed = target * costs({})
    if costs(plan(most)) > allowed:
        least = costs(plan(most)) / costs({})
        raise UserError(
            f"--target {target:g} cannot be reached: if every group keeps a tenth of its channels, "
            f"{least:.3f} of the multiplications stay"
        )
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if costs(plan(middle)) <= allowed else (middle, high)
    return _filled(groups, plan(high), costs, allowed=allowed)


def _filled(
    groups: Sequence[Group], widths: Widths, costs: Costs, *, allowed: float
) -> dict[str, int]:
    """Adds channels one by one, to all groups in turn, where they fit."""
    widths, grown = dict(widths), True
    while grown:
        grown = False
        for group in groups:
            more = {**widths, group.name: widths[group.name] + 1}
            if more[group.name] <= group.size and costs(more) <= allowed:
                widths, grown = more, True
    return widths
