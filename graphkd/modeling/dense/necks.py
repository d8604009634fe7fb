"""GFL's feature pyramid on Detectron2's ResNets and on timm models; deformable convolutions."""

from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling.backbone import FPN, Backbone, BottleneckBlock, build_resnet_backbone
from fvcore.nn import weight_init
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from graphkd.errors import UserError
from graphkd.modeling.timm_fpn import fpn_on, timm_bottom_up


class P6P7FromP5(nn.Module):
    """P6 and P7 by strided convolutions from P5.

    Detectron2's `LastLevelP6P7` has a ReLU between the two, which GFL has not.

    Args:
        channels: width of the pyramid.
    """

    num_levels = 2
    in_feature = "p5"

    def __init__(self, channels: int):
        super().__init__()
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        for layer in (self.p6, self.p7):
            weight_init.c2_xavier_fill(layer)

    def forward(self, p5: Tensor) -> list[Tensor]:
        """Maps P5 (N, C, H, W) to P6 and P7 of half and a quarter its size."""
        p6 = self.p6(p5)
        return [p6, self.p7(p6)]


class DeformConv(nn.Module):
    """A deformable 3x3 convolution by torchvision, in the place of an ordinary one of Detectron2.

    It starts as that one: the layer that moves the sampling points begins at 0. It runs on CPUs,
    too, where Detectron2's own operator does not; neither can be exported to ONNX.

    Args:
        plain: the convolution whose weight and norm it takes over.
    """

    def __init__(self, plain: Conv2d):
        super().__init__()
        self.weight, self.norm = plain.weight, plain.norm
        self.geometry = {key: getattr(plain, key) for key in ("stride", "padding", "dilation")}
        points = plain.kernel_size[0] * plain.kernel_size[1]
        self.offset = nn.Conv2d(plain.in_channels, 2 * points, plain.kernel_size, **self.geometry)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the plain convolution's output size."""
        # A sampling point at 16 bits would move by whole pixels.
        offset = self.offset(features).float()
        found = deform_conv2d(features.float(), offset, self.weight.float(), **self.geometry)
        return self.norm(found.to(features.dtype))


def build_gfl_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Returns Detectron2's ResNet of MODEL.RESNETS with GFL's FPN on top: p3..p7.

    Stages in MODEL.RESNETS.DEFORM_ON_PER_STAGE get deformable convolutions of torchvision.

    Raises:
        UserError: modulated deformable convolutions.
    """
    deform = list(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE)
    plain = cfg.clone()
    plain.defrost()
    plain.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False] * 4
    body = build_resnet_backbone(plain, input_shape)
    if any(deform):
        _deform(body, deform, cfg)
    return fpn_on(cfg, body, P6P7FromP5(cfg.MODEL.FPN.OUT_CHANNELS))


def build_gfl_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Returns MODEL.TIMM.NAME with GFL's FPN on top: p3..p7 for IN_FEATURES res3..res5.

    Raises:
        UserError: no res5, or what `TimmBottomUp` refuses.
    """
    body = timm_bottom_up(cfg, input_shape)
    if "res5" not in body.output_shape():
        raise UserError("MODEL.FPN.IN_FEATURES: GFL's p6 and p7 need 'res5' among them")
    return fpn_on(cfg, body, P6P7FromP5(cfg.MODEL.FPN.OUT_CHANNELS))


def _deform(body: Backbone, stages: list[bool], cfg: CfgNode) -> None:
    if cfg.MODEL.RESNETS.DEFORM_MODULATED or cfg.MODEL.RESNETS.DEFORM_NUM_GROUPS != 1:
        raise UserError(
            "MODEL.RESNETS: deformable convolutions are unmodulated and have one group here; set "
            "DEFORM_MODULATED to False and DEFORM_NUM_GROUPS to 1"
        )
    for stage, wanted in zip((body.res2, body.res3, body.res4, body.res5), stages, strict=True):
        for block in stage if wanted else ():
            if not isinstance(block, BottleneckBlock):
                raise UserError("MODEL.RESNETS.DEFORM_ON_PER_STAGE: needs a DEPTH of 50 or more")
            block.conv2 = DeformConv(block.conv2)
