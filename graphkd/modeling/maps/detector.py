"""The base class of detectors that find text by per-pixel maps."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import ImageList
from torch import Tensor, nn

from graphkd.modeling.maps.bodies import MapBody
from graphkd.text.decode import decoder_for

# Turns the maps of one image into polygons and scores (graphkd/text).
Decoder = Callable[..., tuple[list[np.ndarray], np.ndarray]]
# (logits, truth, mask), all (N, 1, h, w) -> a scalar.
TextLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


class MapDetector(nn.Module):
    """A body, a neck that fuses its taps at stride 4, and a head that gives maps.

    Attributes:
        backbone: images -> {c2..c5}.
        neck: {c2..c5} -> {p2..p5, fused}.
        head: the fused map -> {"text": logits (N, 1, h, w), ...}.
        decoder: used at inference; a calibration replaces it.
        map_stride: input pixels per cell of the text map.
    """

    map_stride = 1

    def __init__(
        self,
        *,
        backbone: MapBody,
        neck: nn.Module,
        head: nn.Module,
        decoder: Decoder,
        text_loss: TextLoss,
        text_weight: float,
        loss_options: dict[str, Any],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        super().__init__()
        self.backbone, self.neck, self.head = backbone, neck, head
        self.decoder, self.loss_options = decoder, loss_options
        self._text_loss, self._text_weight = text_loss, text_weight
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def common_parts(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor arguments that all map detectors read from a config in the same way."""
        return {
            "decoder": decoder_for(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def preprocess_image(self, batch: Sequence[Mapping[str, Any]]) -> ImageList:
        """The normalised images of a batch, padded at the bottom and on the right."""
        images = [item["image"].to(self.device) for item in batch]
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """Maps normalised images (N, 3, H, W), sides multiples of 32, to raw maps by name.

        In eval mode only those that are needed to find text.
        """
        return self.head(self.neck(self.backbone(images))["fused"])

    def text_loss(self, logits: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        """The model's own loss on its text map, with its weight.

        Args:
            logits: (N, 1, h, w).
            truth: the same shape, 0 or 1.
            mask: the same shape, 1 where a pixel is trained on.
        """
        return self._text_weight * self._text_loss(logits.float(), truth, mask)

    @abstractmethod
    def losses(self, maps: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict:
        """The losses of raw maps; `targets` as `target_maps` gives them."""

    def forward(self, batch: Sequence[Mapping[str, Any]]) -> Any:
        """In training a dict of losses, else per image a dict.

        `polygons` is a list of (P, 2) float arrays in pixels of the original image, `scores` a
        (G,) array.
        """
        images = self.preprocess_image(batch)
        maps = self.maps(images.tensor)
        if self.training:
            return self.losses(maps, target_maps(batch, images.tensor))
        arrays = {name: each.detach().float().cpu().numpy() for name, each in maps.items()}
        found = []
        for index, (item, size) in enumerate(zip(batch, images.image_sizes, strict=True)):
            own = {name: each[index] for name, each in arrays.items()}
            original = (item.get("height", size[0]), item.get("width", size[1]))
            polygons, scores = self.decoder(own, size=tuple(size), original=original)
            found.append({"polygons": polygons, "scores": scores})
        return found


def target_maps(batch: Sequence[Mapping[str, Any]], images: Tensor) -> dict[str, Tensor]:
    """The label maps of a batch by name, (N, c, h, w) float32.

    Args:
        batch: items with `maps`, name -> (c, h, w), in strides that divide the padding.
        images: (N, 3, H, W) the padded images. Padding is 0 in every map, so in `mask` too.
    """
    height, width = images.shape[-2:]
    stacked = {}
    for name, first in batch[0]["maps"].items():
        stride = round(batch[0]["image"].shape[-2] / first.shape[-2])
        size = (len(batch), first.shape[0], height // stride, width // stride)
        stacked[name] = images.new_zeros(size, dtype=torch.float32)
        for row, item in zip(stacked[name], batch, strict=True):
            own = item["maps"][name]
            row[:, : own.shape[-2], : own.shape[-1]] = own.to(row)
    return stacked


def conv_block(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """A convolution without bias, batch norm and ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def initialise(module: nn.Module, *, norm_bias: float = 0.0) -> None:
    """Kaiming's initialisation for convolutions; constant biases."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.bias, norm_bias)
