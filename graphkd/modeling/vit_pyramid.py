"""Plain timm ViTs with a simple feature pyramid."""

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.modeling.timm_create import convert_norm, create_features

PATCH = 16


class VitPyramid(Backbone):
    """A plain ViT whose last stride 16 map alone makes the pyramid p2..p6 (ViTDet, section 3).

    Pages may have any size that `size_divisibility` divides: timm interpolates the position
    embeddings to the page's grid.

    Differs from the paper: attention stays global in every block; the pyramid's norm is a choice.

    Args:
        name: timm's name of a ViT with 16 pixel patches.
        pretrained: start from timm's ImageNet weights.
        norm: "BN" for a ViT without batch norm layers.
        freeze_at: 1 freezes patch and position embeddings, 0 nothing.
        out_channels: width of every level.
        pyramid_norm: a name that Detectron2's `get_norm` knows; "" uses biases instead.

    Raises:
        UserError: the model or its weights don't exist, or it is not a ViT with 16 pixel patches.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        norm: str = "BN",
        freeze_at: int = 0,
        out_channels: int = 256,
        pyramid_norm: str = "BN",
    ):
        super().__init__()
        body = _create_vit(name, pretrained=pretrained)
        self.body = convert_norm(body, norm)
        width = self.body.feature_info.channels()[-1]
        self._freeze(freeze_at)
        self.resize = nn.ModuleDict(
            {
                "p2": nn.Sequential(
                    _double(width, width // 2),
                    get_norm(pyramid_norm, width // 2) or nn.Identity(),
                    nn.GELU(),
                    _double(width // 2, width // 4),
                ),
                "p3": _double(width, width // 2),
                "p4": nn.Identity(),
                "p5": nn.MaxPool2d(2),
            }
        )
        widths = {"p2": width // 4, "p3": width // 2, "p4": width, "p5": width}
        self.project = nn.ModuleDict(
            {
                level: nn.Sequential(
                    _conv(channels, out_channels, kernel=1, norm=pyramid_norm),
                    _conv(out_channels, out_channels, kernel=3, norm=pyramid_norm),
                )
                for level, channels in widths.items()
            }
        )
        self._out_feature_strides = {"p2": 4, "p3": 8, "p4": 16, "p5": 32, "p6": 64}
        self._out_features = list(self._out_feature_strides)
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)

    @property
    def size_divisibility(self) -> int:
        """Sides of a batch must be multiples of this, in pixels."""
        return 32

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps images (N, 3, H, W) to {"p2".."p6": (N, out_channels, H / stride, W / stride)}."""
        (stride16,) = self.body(images)
        levels = {
            level: self.project[level](resize(stride16)) for level, resize in self.resize.items()
        }
        levels["p6"] = F.max_pool2d(levels["p5"], kernel_size=1, stride=2)
        return levels

    def _freeze(self, freeze_at: int) -> None:
        if freeze_at not in (0, 1):
            raise UserError(f"MODEL.TIMM.FREEZE_AT: {freeze_at} is not 0 or 1, all a ViT offers")
        if freeze_at:
            for key, weight in self.body.named_parameters():
                if "patch_embed" in key or "pos_embed" in key:
                    weight.requires_grad_(False)


def _create_vit(name: str, *, pretrained: bool) -> nn.Module:
    try:
        body = create_features(name, pretrained=pretrained, out_indices=[-1], dynamic_img_size=True)
    except TypeError as error:  # models without that option
        raise UserError(f"MODEL.TIMM.NAME: {name!r} is not a plain ViT") from error
    if body.feature_info.reduction()[-1] != PATCH:
        raise UserError(f"MODEL.TIMM.NAME: {name!r} has no {PATCH} pixel patches")
    return body


def _double(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=2, stride=2)


def _conv(inputs: int, outputs: int, *, kernel: int, norm: str) -> Conv2d:
    return Conv2d(
        inputs,
        outputs,
        kernel_size=kernel,
        padding=kernel // 2,
        bias=norm == "",
        norm=get_norm(norm, outputs),
    )


def build_timm_vit_pyramid_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> VitPyramid:
    """Returns the plain ViT MODEL.TIMM.NAME with its pyramid p2..p6; reads no FPN.IN_FEATURES."""
    if input_shape.channels != 3:
        raise UserError("MODEL.PIXEL_MEAN: timm models need three channels (INPUT.FORMAT 'RGB')")
    return VitPyramid(
        cfg.MODEL.TIMM.NAME,
        pretrained=cfg.MODEL.TIMM.PRETRAINED,
        norm=cfg.MODEL.TIMM.NORM,
        freeze_at=cfg.MODEL.TIMM.FREEZE_AT,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        pyramid_norm=cfg.MODEL.FPN.NORM,
    )
