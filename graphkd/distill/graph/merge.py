"""Merging of alike, neighbouring text regions into one node; nothing about features or losses.

Evidence: text nodes are merged iteratively with adaptive sample mining to reduce text bias [paper];
two cliques of text stay apart although two of their members are adjacent, so the rule is not
connected components [paper, figure]; nearest box centres, complete linkage, threshold, stopping
rule and the order among ties [ours].
"""

import torch
from torch import Tensor

TIE = 1e-5


def centre_adjacency(boxes: Tensor, counted: Tensor, *, neighbours: int) -> Tensor:
    """Which regions are among each other's nearest, by box centre, in either direction.

    Args:
        boxes: (n, 4) x1 y1 x2 y2.
        counted: (n,) bool; the others have no neighbour and are none.
        neighbours: k; all regions as near as the k-th count, so the order of regions does not
            matter.

    Returns:
        (n, n) bool, symmetric, the diagonal False.
    """
    size = len(boxes)
    if size < 2:
        return torch.zeros(size, size, dtype=torch.bool, device=boxes.device)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    distances = (centres[:, None] - centres[None]).square().sum(-1)
    pairs = counted[:, None] & counted[None] & ~_diagonal(counted)
    distances = torch.where(pairs, distances, torch.inf)
    limit = distances.topk(min(neighbours, size - 1), largest=False).values[:, -1:]
    near = (distances <= limit) & pairs
    return near | near.T


def merge_threshold(similarity: Tensor, pairs: Tensor) -> Tensor:
    """The threshold: mean + 0.5 std of `similarity` (n, n) over `pairs`, within 0.7..0.98."""
    count = pairs.sum().clamp(min=1)
    mean = torch.where(pairs, similarity, 0).sum() / count
    variance = torch.where(pairs, (similarity - mean).square(), 0).sum() / count
    return (mean + 0.5 * variance.sqrt()).clamp(0.7, 0.98)


def merge_text(
    similarity: Tensor, adjacent: Tensor, is_text: Tensor, *, nontext: Tensor, rounds: int
) -> Tensor:
    """Merges text regions round by round under complete linkage.

    Two groups are linked by the smallest similarity of their cross pairs, and only where every
    cross pair is adjacent. A round merges all mutual nearest neighbours whose link reaches the
    threshold. It stops where text groups are no more than max(non-text regions, 4). Equal links
    prefer groups with more common neighbours, then a pairing that halves a set of exact copies
    every round.

    Args:
        similarity: (n, n) the teacher's cosines.
        adjacent: (n, n) bool.
        is_text: (n,) bool; the others never merge.
        nontext: scalar, number of non-text foreground regions.
        rounds: at most this many.

    Returns:
        (n,) int64 group of every region, named by its first member.
    """
    size = len(similarity)
    index = torch.arange(size, device=similarity.device)
    if size < 2:
        return index
    pairs = adjacent & is_text[:, None] & is_text[None] & ~_diagonal(is_text)
    threshold = merge_threshold(similarity, pairs)
    link = torch.where(pairs, similarity, -torch.inf)
    preference = _preference(pairs)
    groups, alive = index, is_text
    limit = nontext.clamp(min=4)
    for _ in range(rounds):
        best = link.max(1).values
        tied = link >= best[:, None] - TIE
        nearest = torch.where(tied, preference, -torch.inf).argmax(1)
        merges = (nearest[nearest] == index) & (best >= threshold - TIE) & (alive.sum() > limit)
        partner = torch.where(merges, nearest, index)
        link = torch.minimum(link, link[partner])
        link = torch.minimum(link, link[:, partner])
        first = torch.minimum(index, partner)
        alive = alive & (first == index)
        link = torch.where(alive[:, None] & alive[None], link, -torch.inf)
        groups = first[groups]
    return groups


def _preference(pairs: Tensor) -> Tensor:
    """(n, n) order among equal links: more common neighbours first, then the smaller exclusive or
    of the indices.

    The second part is symmetric and has no ties within a row, so exact copies always find a mutual
    partner.
    """
    size = len(pairs)
    closed = (pairs | _diagonal(pairs)).float()
    index = torch.arange(size, device=pairs.device)
    exclusive = (index[:, None] ^ index[None]).float()
    return closed @ closed * (1 << size.bit_length()) - exclusive


def _diagonal(like: Tensor) -> Tensor:
    return torch.eye(len(like), dtype=torch.bool, device=like.device)
