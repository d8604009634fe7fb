"""CSP bodies of five sizes with a path aggregation network: the one-stage text detectors.

The layers are those of the n, s, m, l and x detectors of Ultralytics' YOLOv5 (release 6), rebuilt
from published descriptions and checked by their numbers of parameters. Their anchor head is
replaced by the head of GFL [ours].
"""

import math

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.errors import UserError

# Size -> factors of the number of blocks and of the width.
SIZES = {"n": (0.33, 0.25), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}
# Width of the maps at strides 2, 4, 8, 16 and 32, and blocks of the last four, at factors of 1.
WIDTHS = (64, 128, 256, 512, 1024)
BLOCKS = (3, 6, 9, 3)
NECK_BLOCKS = 3
# Widths are multiples of this.
DIVISOR = 8
POOL = 5


class ConvBlock(nn.Sequential):
    """A convolution without bias, batch norm, SiLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1):
        # The stem's even kernel of 6 with a padding of 2 halves the image exactly.
        padding = (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False),
            nn.BatchNorm2d(outputs, eps=1e-3),
            nn.SiLU(),
        )


class Bottleneck(nn.Module):
    """A 1x1 and a 3x3 convolution of one width, with a residual connection in the body."""

    def __init__(self, channels: int, *, residual: bool):
        super().__init__()
        self.layers = nn.Sequential(ConvBlock(channels, channels), ConvBlock(channels, channels, 3))
        self.residual = residual

    def forward(self, features: Tensor) -> Tensor:
        found = self.layers(features)
        return features + found if self.residual else found


class CSPStage(nn.Module):
    """Two paths of half the width, one of them through `blocks` bottlenecks, joined by a 1x1
    convolution (cross stage partial).
    """

    def __init__(self, inputs: int, outputs: int, *, blocks: int, residual: bool):
        super().__init__()
        hidden = outputs // 2
        self.long = nn.Sequential(
            ConvBlock(inputs, hidden),
            *(Bottleneck(hidden, residual=residual) for _ in range(blocks)),
        )
        self.short = ConvBlock(inputs, hidden)
        self.join = ConvBlock(2 * hidden, outputs)

    def forward(self, features: Tensor) -> Tensor:
        return self.join(torch.cat([self.long(features), self.short(features)], 1))


class ChainedPooling(nn.Module):
    """The map and three max poolings of it, one after the other, joined by a 1x1 convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduce = ConvBlock(channels, channels // 2)
        self.join = ConvBlock(2 * channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        maps = [self.reduce(features)]
        for _ in range(3):
            maps.append(F.max_pool2d(maps[-1], POOL, stride=1, padding=POOL // 2))
        return self.join(torch.cat(maps, 1))


class CSPBody(Backbone):
    """Images (N, 3, H, W) to {c3, c4, c5}: the maps of strides 8, 16 and 32.

    Args:
        size: one of `SIZES`.
    """

    def __init__(self, size: str):
        super().__init__()
        widths, blocks = widths_of(size), [_count(size, each) for each in BLOCKS]
        self.stem = ConvBlock(3, widths[0], 6, stride=2)
        stages = []
        for inputs, outputs, count in zip(widths, widths[1:], blocks, strict=False):
            down = ConvBlock(inputs, outputs, 3, stride=2)
            stage = CSPStage(outputs, outputs, blocks=count, residual=True)
            stages.append(nn.Sequential(down, stage))
        stages[-1].append(ChainedPooling(widths[-1]))
        self.stages = nn.ModuleList(stages)
        self._out_feature_strides = {"c3": 8, "c4": 16, "c5": 32}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict(zip(self._out_features, widths[2:], strict=True))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return dict(zip(self._out_features, maps[2:], strict=True))


class CSPNeck(nn.Module):
    """Path aggregation: coarse maps go down to stride 8 and back up to 32, joined by channels.

    Args:
        size: one of `SIZES`.
    """

    def __init__(self, size: str):
        super().__init__()
        _, _, small, middle, large = widths_of(size)
        blocks = _count(size, NECK_BLOCKS)

        def stage(inputs: int, outputs: int) -> CSPStage:
            return CSPStage(inputs, outputs, blocks=blocks, residual=False)

        self.lateral5, self.lateral4 = ConvBlock(large, middle), ConvBlock(middle, small)
        self.down4, self.down3 = stage(2 * middle, middle), stage(2 * small, small)
        self.stride4 = ConvBlock(small, small, 3, stride=2)
        self.stride5 = ConvBlock(middle, middle, 3, stride=2)
        self.up4, self.up5 = stage(2 * small, middle), stage(2 * middle, large)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> list[Tensor]:
        """Maps the body's maps to those of strides 8, 16 and 32, of the same shapes."""
        top = self.lateral5(c5)
        middle = self.lateral4(self.down4(torch.cat([_doubled(top), c4], 1)))
        p3 = self.down3(torch.cat([_doubled(middle), c3], 1))
        p4 = self.up4(torch.cat([self.stride4(p3), middle], 1))
        return [p3, p4, self.up5(torch.cat([self.stride5(p4), top], 1))]


class CSPPAN(Backbone):
    """A `CSPBody` with a `CSPNeck`, and a 1x1 convolution that gives p3, p4 and p5 one width.

    The head of GFL is shared by the levels, and regions are pooled from several of them: both need
    one width. It is that of the neck's finest map [ours].

    Args:
        size: one of `SIZES`.
    """

    def __init__(self, size: str):
        super().__init__()
        self.bottom_up, self.neck = CSPBody(size), CSPNeck(size)
        levels = widths_of(size)[2:]
        self.outputs = nn.ModuleList(ConvBlock(width, levels[0]) for width in levels)
        self._out_feature_strides = {"p3": 8, "p4": 16, "p5": 32}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, levels[0])

    @property
    def size_divisibility(self) -> int:
        """Sides of inputs must be multiples of 32, so that doubled maps fit those of the body."""
        return 32

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps images (N, 3, H, W) to {level: (N, channels, H / stride, W / stride)}."""
        maps = self.neck(*self.bottom_up(images).values())
        found = [layer(each) for layer, each in zip(self.outputs, maps, strict=True)]
        return dict(zip(self._out_features, found, strict=True))


def widths_of(size: str) -> list[int]:
    """Channels at strides 2, 4, 8, 16 and 32."""
    factor = SIZES[size][1]
    return [math.ceil(width * factor / DIVISOR) * DIVISOR for width in WIDTHS]


def _count(size: str, blocks: int) -> int:
    return max(round(blocks * SIZES[size][0]), 1)


def _doubled(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2.0, mode="nearest")


def build_csp_pan_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> CSPPAN:
    """Returns `CSPPAN` of the size MODEL.CSP.SIZE.

    Raises:
        UserError: an unknown size, or an input without three channels.
    """
    size = cfg.MODEL.CSP.SIZE
    if size not in SIZES:
        raise UserError(f"MODEL.CSP.SIZE is {size}; choose one of {', '.join(SIZES)}")
    if input_shape.channels != 3:
        raise UserError("MODEL.PIXEL_MEAN: CSP bodies need three channels (INPUT.FORMAT 'RGB')")
    return CSPPAN(size)
