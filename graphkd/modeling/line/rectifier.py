"""A spatial transformer that straightens a line by a thin plate spline."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.modeling.line.layers import conv_norm, relu

_WIDTHS = (16, 32, 64, 128)


class ThinPlateSpline(nn.Module):
    """Finds points along the upper and lower edge of a line and draws the line between them
    straight, at the size of the input.

    Source: Shi et al., Robust Scene Text Recognition with Automatic Rectification (2016), section
    3.1. `linear` gives the affine part of the spline from another layer, as released models do, in
    place of the paper's zeros.
    """

    def __init__(self, *, fiducials: int = 20, linear: bool = False):
        """`fiducials` is the number of points, half of them on each edge."""
        super().__init__()
        layers, channels = [], 3
        for width in _WIDTHS:
            pool = nn.MaxPool2d(2) if width != _WIDTHS[-1] else nn.AdaptiveAvgPool2d(1)
            layers += [conv_norm(channels, width, 3, activation=relu), pool]
            channels = width
        self.locate = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels, 64), nn.ReLU(inplace=True)
        )
        self.points = nn.Linear(64, 2 * fiducials)
        self.affine = nn.Linear(2 * fiducials, 6) if linear else None
        base = _edge_points(fiducials)
        self.register_buffer("base", base, persistent=False)
        self.register_buffer("solution", _system(base).inverse().float(), persistent=False)
        self.start()

    def start(self) -> None:
        """Puts the points on two straight rows, so that a line stays as it is."""
        nn.init.zeros_(self.points.weight)
        with torch.no_grad():
            self.points.bias.copy_(self.base.flatten())
        if self.affine is not None:
            nn.init.zeros_(self.affine.weight)
            nn.init.zeros_(self.affine.bias)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W), normalised, to the same shape in float32."""
        with torch.autocast(images.device.type, enabled=False):
            images = images.float()
            found = self.points(self.locate(images))
            count, batch = len(self.base), images.shape[0]  # len() is a constant of exported graphs
            points = found.view(batch, count, 2)
            rest = points.new_zeros(batch, 3, 2)
            if self.affine is not None:
                rest = self.affine(found).view(-1, 3, 2)
            spline = self.solution @ torch.cat([points, rest], 1)
            height, width = images.shape[-2:]
            cells = _cells(height, width, images)
            basis = torch.cat([_kernel(cells, self.base), torch.ones_like(cells[:, :1]), cells], 1)
            assert basis.shape[1] == count + 3
            grid = (basis @ spline).view(-1, height, width, 2)
            return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _edge_points(count: int) -> Tensor:
    """(count, 2) x and y in -1..1; half of the points are on the upper edge, half on the lower."""
    along = torch.linspace(-1, 1, count // 2)
    rows = [torch.stack([along, torch.full_like(along, y)], 1) for y in (-1.0, 1.0)]
    return torch.cat(rows)


def _cells(height: int, width: int, like: Tensor) -> Tensor:
    """(H * W, 2) x and y of the centres of all cells in -1..1."""
    x = (torch.arange(width, device=like.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=like.device) * 2 + 1) / height - 1
    # Not repeat_interleave, which exported graphs have for one size alone.
    cells = [x.expand(height, width), y[:, None].expand(height, width)]
    return torch.stack(cells, 2).reshape(-1, 2)


def _kernel(cells: Tensor, base: Tensor) -> Tensor:
    """(P, K) of r^2 log r for every cell and base point."""
    squares = (cells[:, None] - base).square().sum(2)
    return 0.5 * squares * squares.clamp(min=1e-12).log()


def _system(base: Tensor) -> Tensor:
    """(K + 3, K + 3) float64: the spline's conditions at the base points."""
    base = base.double()
    count = len(base)
    system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
    system[:count, :count] = _kernel(base, base)
    system[:count, count] = system[count, :count] = 1
    system[:count, count + 1 :] = base
    system[count + 1 :, :count] = base.T
    return system
