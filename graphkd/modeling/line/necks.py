"""Necks of line readers: the plain last convolution, and the pyramids A to D."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.errors import UserError
from graphkd.modeling.line.bodies import LineBody
from graphkd.modeling.line.layers import POOLS, conv_norm, relu

NECKS = ("none", "A", "B", "C", "D")


class PlainNeck(nn.Module):
    """The last convolution of the body, where it has one, and the pool before the frames.

    Attributes:
        channels: name of a map that `forward` gives -> its channels.
    """

    def __init__(self, body: LineBody, pool: nn.Module):
        super().__init__()
        width = body.channels["c5"]
        self.conv = nn.Identity()
        if body.final is not None:
            self.conv = conv_norm(width, body.out_channels, activation=body.final)
        self.pool = pool
        self.channels = {"neck": body.out_channels}

    def forward(self, taps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{c5: (N, C, 1 or 2, W)} to {neck: (N, C', 1, W / 2)}."""
        return {"neck": self.pool(self.conv(taps["c5"]))}


class LinePyramid(nn.Module):
    """Joins levels that are 8, 4 and 2 cells high.

    A and B add no level twice: each takes the raw next level of the body. C goes down level by
    level, D does with three kernels, whose results are summed. The joined levels are concatenated
    at 2 cells high. A taps the first block of every stage, the others tap the last one.

    Attributes:
        channels: name of a map that `forward` gives -> its channels.
    """

    def __init__(self, body: LineBody, pool: nn.Module, *, kind: str):
        super().__init__()
        c3, c4, c5 = body.channels.values()
        self.recursive = kind in "CD"
        down4, down3 = (2, 1), (4, 1)
        if self.recursive:
            kernels = (1,) if kind == "C" else (1, 3, 5)
            self.join4 = _branches(c5 + c4, c4, kernels)
            self.join3 = _branches(c4 + c3, c3, kernels)
            self.down4 = conv_norm(c4, c4, 3, stride=down4, activation=relu)
            self.down3 = conv_norm(c3, c3, 3, stride=down3, activation=relu)
        else:
            self.join4 = conv_norm(c5 + c4, c4, 3, stride=down4, activation=relu)
            self.join3 = conv_norm(c4 + c3, c3, 3, stride=down3, activation=relu)
        self.conv = conv_norm(c3 + c4 + c5, body.out_channels, activation=body.final)
        self.pool = pool
        self.channels = {"p3": c3, "p4": c4, "p5": c5, "neck": body.out_channels}

    def forward(self, taps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """{c3, c4, c5: (N, C, 8, 4 or 2, W)} to {p3, p4, p5} and {neck: (N, C', 1, W / 2)}."""
        f3, f4, f5 = (taps[name] for name in ("c3", "c4", "c5"))
        p4 = _sum(self.join4, torch.cat([_doubled(f5), f4], 1))
        p3 = _sum(self.join3, torch.cat([_doubled(p4 if self.recursive else f4), f3], 1))
        rows = (f5, self.down4(p4), self.down3(p3)) if self.recursive else (f5, p4, p3)
        return {"p3": p3, "p4": p4, "p5": f5, "neck": self.pool(self.conv(torch.cat(rows, 1)))}


def _branches(inputs: int, outputs: int, kernels: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(conv_norm(inputs, outputs, kernel, activation=relu) for kernel in kernels)


def _sum(join: nn.Module, features: Tensor) -> Tensor:
    if isinstance(join, nn.ModuleList):
        return sum(branch(features) for branch in join)
    return join(features)


def _doubled(features: Tensor) -> Tensor:
    """Twice as high, by repetition."""
    return F.interpolate(features, scale_factor=(2.0, 1.0))


def line_neck(kind: str, body: LineBody, *, pool: str) -> nn.Module:
    """The neck of a kind for a body that was built for it.

    Raises:
        UserError: an unknown kind or pool.
    """
    for key, value, known in (("NECK", kind, NECKS), ("POOL", pool, tuple(POOLS))):
        if value not in known:
            raise UserError(f"MODEL.READER.{key} is {value}; choose one of {', '.join(known)}")
    last = POOLS[pool]()
    return PlainNeck(body, last) if kind == "none" else LinePyramid(body, last, kind=kind)
