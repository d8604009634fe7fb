"""Which channels of a group are removed: L1 and L2 norms of their filters, and FPGM."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from graphkd.pruning.groups import Group, Widths

# From the filters of a layer, (channels, weights of each), to one number a channel.
IMPORTANCE: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": lambda filters: filters.abs().sum(1),
    "l2": lambda filters: filters.square().sum(1).sqrt(),
    # He et al., Filter Pruning via Geometric Median (2019): the sum of the distances to all
    # filters of the layer is small where others can take a filter's place.
    "fpgm": lambda filters: torch.cdist(filters, filters).sum(1),
}


def importance(state: Mapping[str, Tensor], group: Group, *, by: str) -> Tensor:
    """The importance of every channel of a group, (size,) float64.

    It is summed over the convolutions that make the channels, each divided by its mean, so that no
    layer counts more because its weights are larger.

    Args:
        state: weights of the unpruned model.
        group: of this model.
        by: a key of IMPORTANCE.
    """
    total = torch.zeros(group.size, dtype=torch.float64)
    for name in group.producers:
        values = IMPORTANCE[by](state[f"{name}.weight"].double().cpu().flatten(1))
        total += values / values.mean().clamp(min=1e-12)
    return total


def kept_channels(
    state: Mapping[str, Tensor], groups: Iterable[Group], widths: Widths, *, by: str
) -> dict[str, Tensor]:
    """For every group with a width, the numbers of its most important channels, sorted."""
    kept = {}
    for group in groups:
        if group.name in widths:
            # A stable order keeps the first of equal channels on every machine.
            order = importance(state, group, by=by).argsort(descending=True, stable=True)
            kept[group.name] = order[: widths[group.name]].sort().values
    return kept
