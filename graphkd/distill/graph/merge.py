"""Merging of regions into nodes: near copies of any region, then alike text regions that are
neighbours.

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

# An RPN gives many boxes around one object. Boxes a pixel or two apart have features of a cosine
# of about 0.99; other lines of the same text overlap less than this, however alike they are.
COPY_IOU, COPY_COSINE = 0.8, 0.97
# Groups that cover each other by this much are neighbours, whatever lies between their centres.
NEIGHBOUR_IOU = 0.5
THRESHOLD_RANGE = 0.7, 0.98
# Links this close are equal: float32 cosines of equal features differ by less.
TIE = 1e-5
# Distance of groups that are no neighbours: above every cosine distance.
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
    """Which regions form one node.

    First near copies of one region (`copy_groups`) are joined, text or not. Of what is left, text
    groups merge by `merge_text`. The order of the regions does not matter: equal choices are made
    by the place of a box on the page.

    Args:
        similarity: (n, n) the teacher's cosines.
        boxes: (n, 4) x1 y1 x2 y2.
        types: (n,) int64; near copies are of one type.
        text: the type of the regions that merge.
        nontext: the type of the other foreground regions.
        neighbours: nearest boxes that count as neighbours, see `nearest`.

    Returns:
        (n,) int64 group of every region, named by its first member, on the device of `types`.
    """
    place = torch.arange(len(types), device=types.device)
    if len(types) < 2:
        return place
    # NaN of a diverged network ends in the loss, not in SciPy
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
    """Groups of regions of one type that overlap by 0.8 and look alike by 0.97, directly or through
    others; (n,) numbers from 0 in the order of their first members.
    """
    alike = (overlaps(boxes) >= COPY_IOU) & (similarity >= COPY_COSINE)
    return connected_components(alike & (types[:, None] == types), directed=False)[1]


def nearest(boxes: np.ndarray, counted: np.ndarray, *, neighbours: int) -> np.ndarray:
    """Which boxes are among each other's nearest by their centres, in either direction.

    Args:
        boxes: (n, 4).
        counted: (n,) bool; the others have no neighbour and are none.
        neighbours: k, but no more than a third of the boxes, so that on a page of few boxes not all
            of them are neighbours; all boxes as near as the k-th count.

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

    Complete linkage: two groups are linked by the smallest similarity of their cross pairs, and
    only where all their cross pairs are neighbours or their boxes cover each other by half. The
    best link comes first, down to `merge_threshold`; of equal links those come first whose members
    have more neighbours in common. Boxes of merged groups are computed anew, and so what they
    cover, until no two groups merge any more.

    Args:
        similarity: (m, m).
        boxes: (m, 4).
        near: (m, m) bool, which are neighbours.
        least: it stops where this many groups are left.

    Returns:
        (m,) the first member of everyone's group.
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
    """(m,) group of every row under complete linkage of an (m, m) distance, numbers from 0.

    Args:
        distance: symmetric; the diagonal does not count.
        limit: largest distance within a group.
        least: no further merge where this many groups are left (equal distances merge together).
    """
    size = len(distance)
    if size <= max(least, 1):
        return np.arange(size)
    tree = linkage(distance[np.triu_indices(size, 1)], "complete")
    return fcluster(tree, min(limit, tree[size - 1 - max(least, 1), 2]), "distance") - 1


def merge_threshold(similarity: np.ndarray, near: np.ndarray) -> float:
    """Mean + 0.5 standard deviation of `similarity` (m, m) over the pairs of different neighbours
    in `near` (m, m), within 0.7..0.98.
    """
    values = similarity[near & ~np.eye(len(near), dtype=bool)]
    return float(
        np.clip(values.mean() + 0.5 * values.std() if len(values) else 0, *THRESHOLD_RANGE)
    )


def overlaps(boxes: np.ndarray) -> np.ndarray:
    """IoU of all pairs of boxes (n, 4), (n, n); 0 for boxes without area."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    common = (high - low).clip(min=0).prod(2)
    area = np.diagonal(common)
    return common / np.maximum(area[:, None] + area - common, 1e-9)


def _farthest(values: np.ndarray, order: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The largest of (m, m) `values` over the cross pairs of groups, (g, g)."""
    values = values[np.ix_(order, order)]
    return np.maximum.reduceat(np.maximum.reduceat(values, starts, axis=0), starts, axis=1)
