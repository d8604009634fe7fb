"""Sizes of pages and of top-k lists that stay variable in an exported graph; no network parts."""

import torch
from torch import Tensor


def test_size(page: Tensor, *, shortest: int, longest: int) -> Tensor:
    """The size Detectron2's `ResizeShortestEdge` gives a page, computed as it does, in float64.

    Args:
        page: (2,) int64 height and width in pixels.
        shortest: wanted length of the shorter side; 0 keeps the page's size.
        longest: greatest length of the longer side.

    Returns:
        (2,) int64 height and width, at least 1.
    """
    if shortest == 0:
        return page
    sides = page.double()
    least = sides.min()
    # The short side is exactly `shortest`, not the product, or ties would round otherwise.
    scaled = torch.where(sides == least, float(shortest), sides * (float(shortest) / least))
    most = scaled.max()
    shrink = torch.where(most > longest, float(longest) / most, torch.ones_like(most))
    return torch.floor(scaled * shrink + 0.5).clamp(min=1).to(torch.int64)


def as_sizes(sizes: Tensor) -> list:
    """Sizes (n,) as arguments of a torch function: numbers, or traced scalars while tracing."""
    if torch.jit.is_tracing():
        return [sizes[index] for index in range(sizes.shape[0])]
    return sizes.tolist()


def top(values: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """The `limit` largest values of each row of (N, S), or all S where there are fewer.

    Returns:
        values and int64 indices, both (N, min(limit, S)), falling.
    """
    length = values.shape[1]
    # While tracing a size is a tensor, and must stay one to be no constant of the graph.
    count = length.clamp(max=limit) if isinstance(length, Tensor) else min(length, limit)
    return values.topk(count, dim=1)


def pick(rows: Tensor, indices: Tensor) -> Tensor:
    """Rows of (N, S, D) at indices (N, k): (N, k, D)."""
    return rows.gather(1, indices[..., None].expand(-1, -1, rows.shape[2]))
