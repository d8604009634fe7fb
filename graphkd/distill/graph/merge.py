"""Merging of regions into nodes: first near copies of any region, then similar text regions that
are neighbours.

Evidence: text nodes are merged iteratively with adaptive sample mining to reduce text bias [paper];
two cliques of text stay apart although two of their members are adjacent, so the rule is not
connected components [paper, figure]; near copies, neighbours, complete linkage, threshold, stopping
rule and the order among ties [ours].
"""

import numpy as np
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from torch import Tensor

# An RPN gives many boxes around one object. The features of boxes a pixel or two apart have a
# cosine of about 0.99. Different lines of one text may look as similar, but they overlap less than
# this.
COPY_IOU, COPY_COSINE = 0.8, 0.97
# Groups that overlap by this IoU are neighbours, even if other groups are nearer.
NEIGHBOUR_IOU = 0.5
THRESHOLD_RANGE = 0.7, 0.98
# Links that differ by less than this count as equal: float32 cosines of equal features do.
TIE = 1e-5
# Distance of groups that are not neighbours. It is above every cosine distance (at most 2).
FAR = 4.0


@torch.no_grad()
def merge_regions(
    similarity: Tensor,
    boxes: Tensor,
    types: Tensor,
    *,
    text: int,
    nontext: int,
    neighbours: int = 8,
) -> Tensor:
    """Groups the regions of a page into nodes.

    First, near copies of a region are merged (`copy_groups`), whatever its type. Then text groups
    are merged by `merge_text`. The result does not depend on the order of the regions: ties are
    broken by the position of a box on the page.

    Args:
        similarity: (n, n) the teacher's cosines.
        boxes: (n, 4) x1 y1 x2 y2.
        types: (n,) int64; only regions of one type are merged.
        text: the type of the regions that `merge_text` merges.
        nontext: the type of the other foreground regions.
        neighbours: number of nearest boxes that count as neighbours, see `nearest`.

    Returns:
        (n,) int64 group of every region, given as the index of its first member, on the device of
        `types`.
    """
    place = torch.arange(len(types), device=types.device)
    if len(types) < 2:
        return place
    # SciPy raises on NaN. A diverged network must be reported by the check of the losses instead.
    edges = np.nan_to_num(boxes.double().cpu().numpy())
    order = np.lexsort(edges.T[[2, 3, 0, 1]])
    edges = edges[order]
    cosines = np.nan_to_num(similarity.double().cpu().numpy())[np.ix_(order, order)]
    kinds = types.cpu().numpy()[order]
    groups = copy_groups(cosines, edges, kinds)
    mean = (groups == np.arange(groups.max() + 1)[:, None]).astype(float)
    mean /= mean.sum(1, keepdims=True)
    edges, cosines = mean @ edges, mean @ cosines @ mean.T
    kinds = kinds[np.unique(groups, return_index=True)[1]]
    others = kinds == nontext
    near = nearest(edges, (kinds == text) | others, neighbours=neighbours)
    rows = np.flatnonzero(kinds == text)
    own = np.ix_(rows, rows)
    names = np.arange(len(kinds))
    names[rows] = rows[merge_text(cosines[own], edges[rows], near[own], least=others.sum())]
    groups = torch.from_numpy(names[groups][np.argsort(order)]).to(types.device)
    first = torch.full_like(place, len(place)).scatter_reduce(0, groups, place, "amin")
    return first[groups]


def copy_groups(similarity: np.ndarray, boxes: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Groups regions of one type that have an IoU of 0.8 and a cosine of 0.97 or more, directly or
    through other regions. Returns (n,) group numbers from 0, in the order of their first members.
    """
    alike = (overlaps(boxes) >= COPY_IOU) & (similarity >= COPY_COSINE)
    return connected_components(alike & (types[:, None] == types), directed=False)[1]


def nearest(boxes: np.ndarray, counted: np.ndarray, *, neighbours: int) -> np.ndarray:
    """Finds neighbours: two boxes are neighbours if one is among the k nearest of the other, by
    the distance of their centres.

    Args:
        boxes: (n, 4).
        counted: (n,) bool; the other boxes are nobody's neighbours.
        neighbours: k, limited to a third of the counted boxes, because otherwise all boxes of a
            page with few boxes would be neighbours. Boxes as near as the k-th also count.

    Returns:
        (n, n) bool, symmetric, the diagonal False.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    pairs = counted[:, None] & counted & ~np.eye(len(boxes), dtype=bool)
    distances = np.where(pairs, cdist(centres, centres), np.inf)
    count = min(neighbours, max(counted.sum() // 3, 1), len(boxes))
    limit = np.partition(distances, count - 1, axis=1)[:, count - 1 : count]
    near = (distances <= limit * (1 + TIE)) & pairs
    return near | near.T


def merge_text(
    similarity: np.ndarray, boxes: np.ndarray, near: np.ndarray, *, least: int
) -> np.ndarray:
    """Merges text groups until nothing changes.

    This is complete linkage: the similarity of two groups is the smallest one of their cross pairs.
    Two groups can merge only if all their cross pairs are neighbours, or if the boxes of the groups
    overlap by an IoU of 0.5. The most similar groups merge first, down to `merge_threshold`; ties
    go to the groups whose members have more common neighbours. Boxes of merged groups and their
    overlaps are then recomputed, and merging is repeated until no two groups merge any more.

    Args:
        similarity: (m, m).
        boxes: (m, 4).
        near: (m, m) bool, True for neighbours.
        least: merging stops at this number of groups.

    Returns:
        (m,) index of the first member of each one's group.
    """
    near = near | (overlaps(boxes) >= NEIGHBOUR_IOU)
    np.fill_diagonal(near, True)
    limit = 1 - merge_threshold(similarity, near) + TIE
    shared = near.astype(float) @ near
    either = near.sum(1)[:, None] + near.sum(1) - shared
    distance = (1 - similarity).clip(min=0) + TIE * (1 - shared / either)
    groups = np.arange(len(boxes))
    while True:
        labels = complete_linkage(np.where(near, distance, FAR), limit=limit, least=least)
        order = np.argsort(labels, kind="stable")
        starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
        if len(starts) == len(labels):
            return np.unique(groups, return_index=True)[1][groups]
        groups = labels[groups]
        low = np.minimum.reduceat(boxes[order, :2], starts)
        boxes = np.hstack([low, np.maximum.reduceat(boxes[order, 2:], starts)])
        distance = _farthest(distance, order, starts)
        near = _farthest(~near, order, starts) == 0
        near |= overlaps(boxes) >= NEIGHBOUR_IOU


def complete_linkage(distance: np.ndarray, *, limit: float, least: int) -> np.ndarray:
    """Complete linkage of an (m, m) distance: the (m,) group number of every row, from 0.

    Args:
        distance: symmetric; the diagonal is ignored.
        limit: largest distance within a group.
        least: merging stops at this number of groups, or below it if equal distances merge at once.
    """
    size = len(distance)
    if size <= max(least, 1):
        return np.arange(size)
    tree = linkage(distance[np.triu_indices(size, 1)], "complete")
    return fcluster(tree, min(limit, tree[size - 1 - max(least, 1), 2]), "distance") - 1


def merge_threshold(similarity: np.ndarray, near: np.ndarray) -> float:
    """Mean + 0.5 standard deviations of `similarity` (m, m) over the pairs of neighbours in `near`
    (m, m), limited to 0.7..0.98.
    """
    values = similarity[near & ~np.eye(len(near), dtype=bool)]
    return float(
        np.clip(values.mean() + 0.5 * values.std() if len(values) else 0, *THRESHOLD_RANGE)
    )


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """(n, n) IoU of all pairs of boxes (n, 4); 0 for boxes without area."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    common = (high - low).clip(min=0).prod(2)
    area = np.diagonal(common)
    return common / np.maximum(area[:, None] + area - common, 1e-9)


def _farthest(values: np.ndarray, order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The largest of (m, m) `values` over the cross pairs of groups, (g, g)."""
    values = values[np.ix_(order, order)]
    return np.maximum.reduceat(np.maximum.reduceat(values, starts, axis=0), starts, axis=1)
