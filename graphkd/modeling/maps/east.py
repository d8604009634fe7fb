"""EAST: a score and a box at every cell of stride 4."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.errors import UserError
from graphkd.modeling.maps.detector import MapDetector, conv_block, initialise
from graphkd.modeling.maps.map_losses import SCORE_LOSSES, east_losses
from graphkd.text.east import CHANNELS

# Steps without any pixel of text after which the run stops: the labels must be wrong.
PATIENCE = 100


class EASTNeck(nn.Module):
    """Joins the taps one by one from stride 32 to stride 4.

    `p5` is the last tap itself, p4 to p2 are the merges; the last convolution gives `fused`.

    Args:
        widths: channels of c2..c5.
        channels: of the merges at strides 16, 8 and 4; the last is also that of `fused`.
    """

    def __init__(self, widths: dict[str, int], channels: Sequence[int]):
        super().__init__()
        *below, above = widths.values()
        merges = []
        for tap, width in zip(reversed(below), channels, strict=True):
            merges.append(
                nn.Sequential(conv_block(above + tap, width, 1), conv_block(width, width))
            )
            above = width
        self.merges = nn.ModuleList(merges)
        self.last = conv_block(above, above)
        self.names = [name.replace("c", "p") for name in reversed(widths)]
        own = [list(widths.values())[-1], *channels]
        self.channels = {**dict(zip(self.names[::-1], own[::-1], strict=True)), "fused": above}
        initialise(self)

    def forward(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """{c2..c5} to {p2..p5} and `fused` at stride 4."""
        *below, merged = taps.values()
        rows = [merged]
        for merge, tap in zip(self.merges, reversed(below), strict=True):
            larger = F.interpolate(merged, scale_factor=2.0, mode="bilinear", align_corners=False)
            merged = merge(torch.cat([larger, tap], 1))
            rows.append(merged)
        return {**dict(zip(self.names[::-1], rows[::-1], strict=True)), "fused": self.last(merged)}


class EASTHead(nn.Module):
    """1x1 convolutions: `text` (N, 1, h, w) and `geometry`, (N, 5 or 8, h, w); both raw."""

    def __init__(self, channels: int, geometry: str):
        super().__init__()
        self.text = nn.Conv2d(channels, 1, 1)
        self.geometry = nn.Conv2d(channels, CHANNELS[geometry], 1)
        initialise(self)

    def forward(self, fused: Tensor) -> dict[str, Tensor]:
        return {"text": self.text(fused), "geometry": self.geometry(fused)}


@META_ARCH_REGISTRY.register()
class EAST(MapDetector):
    """An efficient and accurate scene text detector.

    Source: Zhou et al., EAST (2017). Long lines lose their ends, since a box is predicted from one
    cell with a limited view.
    """

    map_stride = 4

    @configurable
    def __init__(self, **parts: Any):
        """Takes the parts of `MapDetector`; `from_config` says which key each is."""
        super().__init__(**parts)
        self._empty_steps = 0

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments for a config.

        Raises:
            UserError: an unknown GEOMETRY, SCORE_LOSS or GEOMETRY_NORM.
        """
        node, backbone = cfg.MODEL.EAST, build_backbone(cfg)
        known = {
            "GEOMETRY": tuple(CHANNELS),
            "SCORE_LOSS": tuple(SCORE_LOSSES),
            "GEOMETRY_NORM": ("all", "positives"),
        }
        for key, choices in known.items():
            if node[key] not in choices:
                raise UserError(f"MODEL.EAST.{key} is {node[key]}; choose {' or '.join(choices)}")
        widths = {name: shape.channels for name, shape in backbone.output_shape().items()}
        return {
            "backbone": backbone,
            "neck": EASTNeck(widths, node.CHANNELS),
            "head": EASTHead(node.CHANNELS[-1], node.GEOMETRY),
            "text_loss": SCORE_LOSSES[node.SCORE_LOSS],
            "text_weight": node.W_SCORE,
            "loss_options": {
                "geometry": node.GEOMETRY,
                "angle_weight": node.W_ANGLE,
                "per_pixel": node.GEOMETRY_NORM == "all",
            },
            **cls.common_parts(cfg),
        }

    def losses(self, maps: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict:
        """The losses of `east_losses`.

        Raises:
            UserError: no step of the last PATIENCE had a pixel of text.
        """
        trained = targets["text"] * targets["mask"]
        self._empty_steps = 0 if trained.any() else self._empty_steps + 1
        if self._empty_steps >= PATIENCE:
            share = 100 * (1 - targets["mask"].mean().item())
            raise UserError(
                f"EAST: the last {PATIENCE} steps had no pixel of text to train on ({share:.0f} % "
                "of this batch is ignored or too small text); check the labels with "
                "`graphkd data check`, or lower MODEL.MAPS.MIN_TEXT"
            )
        return east_losses(maps, targets, text_loss=self.text_loss, **self.loss_options)
