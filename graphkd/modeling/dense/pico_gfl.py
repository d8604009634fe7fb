"""PicoGFL, a GFL of 1 to 3 million parameters: a timm body, a depthwise PAN, a shared head. [ours]

Points, anchors and losses are GFL's, so cells correspond to those of a GFL teacher on the levels
that both have.
"""

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.modeling.dense.gfl import GFL
from graphkd.modeling.dense.gfl_heads import EdgeHead
from graphkd.modeling.timm_fpn import timm_bottom_up

KERNEL = 5


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Module:
    layer = nn.Conv2d(
        inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _block(channels: int, *, stride: int = 1) -> nn.Sequential:
    """A depthwise 5x5 and a 1x1 convolution, each with batch norm and ReLU."""
    return nn.Sequential(
        _conv(channels, channels, KERNEL, stride=stride, groups=channels),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        _conv(channels, channels, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


class PicoPAN(Backbone):
    """A path aggregation network of depthwise blocks: p3, p4, p5, and p6 by a strided block.

    Maps are joined by addition, which takes half the parameters of joining their channels.

    Args:
        bottom_up: a body with maps at strides 8, 16 and 32.
        in_features: their names, fine to coarse.
        channels: width of all levels.
    """

    def __init__(self, bottom_up: Backbone, in_features: Sequence[str], *, channels: int):
        super().__init__()
        shapes = [bottom_up.output_shape()[name] for name in in_features]
        self.bottom_up, self.in_features = bottom_up, list(in_features)
        self.laterals = nn.ModuleList(
            nn.Sequential(_conv(shape.channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU())
            for shape in shapes
        )
        steps = len(shapes) - 1
        self.top_down = nn.ModuleList(_block(channels) for _ in range(steps))
        self.reduce = nn.ModuleList(_block(channels, stride=2) for _ in range(steps + 1))
        self.up_again = nn.ModuleList(_block(channels) for _ in range(steps))
        strides = [shape.stride for shape in shapes]
        strides.append(2 * strides[-1])
        self._out_feature_strides = {f"p{s.bit_length() - 1}": s for s in strides}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, channels)
        # Maps are doubled on the way down, so the coarsest joined one must fit exactly.
        self._size_divisibility = shapes[-1].stride

    @property
    def size_divisibility(self) -> int:
        """Sides of inputs must be multiples of this."""
        return self._size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps images (N, 3, H, W) to {level: (N, channels, H / stride, W / stride)}."""
        maps = self.bottom_up(images)
        joined = [
            lateral(maps[name])
            for lateral, name in zip(self.laterals, self.in_features, strict=True)
        ]
        for index in reversed(range(len(joined) - 1)):
            above = F.interpolate(joined[index + 1], scale_factor=2.0, mode="nearest")
            joined[index] = self.top_down[index](joined[index] + above)
        for index, block in enumerate(self.up_again):
            joined[index + 1] = block(joined[index + 1] + self.reduce[index](joined[index]))
        joined.append(self.reduce[-1](joined[-1]))
        return dict(zip(self._out_features, joined, strict=True))


class PicoHead(EdgeHead):
    """Depthwise blocks shared by classes, edges and levels; every level has its own batch norm.

    Args:
        channels: width of the pyramid and of the blocks.
        num_convs: number of blocks.
        num_levels: pyramid levels.
        options: the others of `EdgeHead`.
    """

    def __init__(self, *, channels: int, num_convs: int, num_levels: int, **options: Any):
        super().__init__(channels=channels, num_levels=num_levels, kernel=1, **options)
        layers = [layer for _ in range(num_convs) for layer in _head_convs(channels)]
        self.convs = nn.ModuleList(layers)
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(num_levels)) for _ in layers
        )

    def towers(self, features: Tensor, level: int) -> tuple[Tensor, Tensor]:
        for conv, norms in zip(self.convs, self.norms, strict=True):
            features = F.relu(norms[level](conv(features)))
        return features, features


def _head_convs(channels: int) -> tuple[nn.Module, nn.Module]:
    return _conv(channels, channels, KERNEL, groups=channels), _conv(channels, channels, 1)


@META_ARCH_REGISTRY.register()
class PicoGFL(GFL):
    """GFL with the shared depthwise head, of MODEL.GFL.NUM_CONVS blocks; no published detector."""

    head_class = PicoHead


def build_pico_pan_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PicoPAN:
    """Returns MODEL.TIMM.NAME with `PicoPAN` of MODEL.FPN.OUT_CHANNELS on top."""
    body = timm_bottom_up(cfg, input_shape)
    return PicoPAN(body, cfg.MODEL.FPN.IN_FEATURES, channels=cfg.MODEL.FPN.OUT_CHANNELS)
