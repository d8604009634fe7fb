"""DB: text as shrunk regions, with a threshold map that is trained but not needed to find text."""

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from torch import Tensor, nn
from torch.nn import functional as F

from graphkd.errors import UserError
from graphkd.modeling.maps.detector import MapDetector, conv_block, initialise
from graphkd.modeling.maps.map_losses import TEXT_LOSSES, db_losses

NORM_BIAS = 1e-4


class DBNeck(nn.Module):
    """Adds the taps top-down and joins a quarter of the width from each level at stride 4.

    Args:
        widths: channels of c2..c5.
        channels: of `fused`, a multiple of 4.
    """

    def __init__(self, widths: dict[str, int], channels: int):
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Conv2d(width, channels, 1, bias=False) for width in widths.values()
        )
        self.smooth = nn.ModuleList(
            nn.Conv2d(channels, channels // 4, 3, padding=1, bias=False) for _ in widths
        )
        self.names = [name.replace("c", "p") for name in widths]
        self.channels = {**dict.fromkeys(self.names, channels // 4), "fused": channels}
        initialise(self)

    def forward(self, taps: dict[str, Tensor]) -> dict[str, Tensor]:
        """{c2..c5} to {p2..p5}, each at its own stride, and `fused` at stride 4."""
        rows = [conv(tap) for conv, tap in zip(self.laterals, taps.values(), strict=True)]
        for index in reversed(range(len(rows) - 1)):
            rows[index] = rows[index] + F.interpolate(rows[index + 1], scale_factor=2.0)
        rows = [conv(row) for conv, row in zip(self.smooth, rows, strict=True)]
        # From the coarsest to the finest, as in the reference.
        same = [
            F.interpolate(row, scale_factor=float(2**index)) if index else row
            for index, row in enumerate(rows)
        ]
        return {**dict(zip(self.names, rows, strict=True)), "fused": torch.cat(same[::-1], 1)}


class DBHead(nn.Module):
    """Two branches of the same shape that bring `fused` to one logit per pixel of the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.text = _branch(channels)
        self.threshold = _branch(channels)

    def forward(self, fused: Tensor) -> dict[str, Tensor]:
        """`text` (N, 1, H, W), and in training `threshold` of the same shape; logits."""
        maps = {"text": self.text(fused)}
        if self.training:
            maps["threshold"] = self.threshold(fused)
        return maps


def _branch(channels: int) -> nn.Sequential:
    width = channels // 4
    branch = nn.Sequential(
        *conv_block(channels, width),
        nn.ConvTranspose2d(width, width, 2, 2),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(width, 1, 2, 2),
    )
    initialise(branch, norm_bias=NORM_BIAS)
    return branch


@META_ARCH_REGISTRY.register()
class DB(MapDetector):
    """Differentiable binarization.

    Source: Liao et al., Real-time Scene Text Detection with Differentiable Binarization (2020).
    Deformable convolutions are left out: they have no reliable ONNX form.
    """

    @configurable
    def __init__(self, **parts: Any):
        """Takes the parts of `MapDetector`; `from_config` says which key each is."""
        super().__init__(**parts)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments for a config.

        Raises:
            UserError: a width that is no multiple of 4, or an unknown TEXT_LOSS.
        """
        node, backbone = cfg.MODEL.DB, build_backbone(cfg)
        if node.CHANNELS % 4:
            raise UserError(f"MODEL.DB.CHANNELS is {node.CHANNELS}; it must be a multiple of 4")
        if node.TEXT_LOSS not in TEXT_LOSSES:
            raise UserError(
                f"MODEL.DB.TEXT_LOSS is {node.TEXT_LOSS}; choose {', '.join(TEXT_LOSSES)}"
            )
        widths = {name: shape.channels for name, shape in backbone.output_shape().items()}
        return {
            "backbone": backbone,
            "neck": DBNeck(widths, node.CHANNELS),
            "head": DBHead(node.CHANNELS),
            "text_loss": TEXT_LOSSES[node.TEXT_LOSS],
            "text_weight": node.W_PROB,
            "loss_options": {
                "binary_weight": node.W_BINARY,
                "threshold_weight": node.W_THRESHOLD,
            },
            **cls.common_parts(cfg),
        }

    def losses(self, maps: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict:
        """The losses of `db_losses`."""
        return db_losses(maps, targets, text_loss=self.text_loss, **self.loss_options)
