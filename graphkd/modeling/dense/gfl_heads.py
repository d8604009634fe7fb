"""The heads of GFL: edge distributions and class scores on shared layers, and v2's quality."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

# Class scores start at this, so that the many empty cells do not swamp the first steps.
PRIOR = 0.01


class QualityPredictor(nn.Module):
    """How well a box is localised, read from the shape of its edges' distributions (DGQP).

    Source: Li et al., Generalized Focal Loss V2, section 3.2.

    Args:
        largest: how many of the largest probabilities of an edge are read, with their mean.
        hidden: width of the layer between.
    """

    def __init__(self, *, largest: int = 4, hidden: int = 64):
        super().__init__()
        self.largest = largest
        self.reduce = nn.Conv2d(4 * (largest + 1), hidden, 1)
        self.score = nn.Conv2d(hidden, 1, 1)
        for layer in (self.reduce, self.score):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, edges: Tensor) -> Tensor:
        """Maps edge logits (N, 4 * (n + 1), H, W) to qualities (N, 1, H, W) in 0..1, float32."""
        with torch.autocast(edges.device.type, enabled=False):
            images, _, height, width = edges.shape
            bins = edges.float().reshape(images, 4, -1, height, width).softmax(2)
            best = bins.topk(self.largest, 2).values
            numbers = torch.cat([best, best.mean(2, keepdim=True)], 2)
            # Exported to ONNX, `flatten` here would fix the number of pages.
            numbers = numbers.reshape(images, 4 * (self.largest + 1), height, width)
            return self.score(torch.relu(self.reduce(numbers))).sigmoid()


class EdgeHead(nn.Module):
    """The output layers of a head that is shared by all levels; subclasses bring the towers.

    Args:
        channels: width of the towers' maps.
        num_classes: K.
        num_levels: pyramid levels; each has a factor of its own on the edge logits.
        reg_max: n, the last bin.
        quality: whether a `QualityPredictor` is added.
        kernel: side of the output convolutions.
    """

    def __init__(
        self,
        *,
        channels: int,
        num_classes: int,
        num_levels: int,
        reg_max: int,
        quality: bool,
        kernel: int,
    ):
        super().__init__()
        self.cls_score = nn.Conv2d(channels, num_classes, kernel, padding=kernel // 2)
        self.bbox_pred = nn.Conv2d(channels, 4 * (reg_max + 1), kernel, padding=kernel // 2)
        self.scales = nn.Parameter(torch.ones(num_levels))
        self.quality = QualityPredictor() if quality else None
        for layer in (self.cls_score, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.cls_score.bias, -math.log((1 - PRIOR) / PRIOR))

    @abstractmethod
    def towers(self, features: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Maps from which classes and edges of one level are read."""

    def forward(
        self, features: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """Maps of all levels.

        Args:
            features: per level (N, C, H, W).

        Returns:
            Per level class logits (N, K, H, W), edge logits (N, 4 * (n + 1), H, W) float32, and
            qualities (N, 1, H, W), None without a quality predictor.
        """
        logits, edges = [], []
        for level, each in enumerate(features):
            classes, boxes = self.towers(each, level)
            logits.append(self.cls_score(classes))
            edges.append(self.bbox_pred(boxes).float() * self.scales[level])
        quality = None if self.quality is None else [self.quality(each) for each in edges]
        return logits, edges, quality


class GFLHead(EdgeHead):
    """Two towers of 3x3 convolutions with group norm, one for classes and one for edges.

    Args:
        channels: width of the pyramid and of the towers.
        num_convs: layers of a tower.
        options: those of `EdgeHead`.
    """

    def __init__(self, *, channels: int, num_convs: int, **options: Any):
        super().__init__(channels=channels, kernel=3, **options)
        self.cls_tower = _tower(channels, num_convs)
        self.box_tower = _tower(channels, num_convs)

    def towers(self, features: Tensor, level: int) -> tuple[Tensor, Tensor]:
        return self.cls_tower(features), self.box_tower(features)


def _tower(channels: int, layers: int) -> nn.Sequential:
    tower = nn.Sequential()
    # At least two channels a group: one value alone, on a 1 x 1 map, has no norm.
    groups = math.gcd(32, channels // 2)
    for _ in range(layers):
        layer = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        nn.init.normal_(layer.weight, std=0.01)
        tower.extend([layer, nn.GroupNorm(groups, channels), nn.ReLU()])
    return tower
