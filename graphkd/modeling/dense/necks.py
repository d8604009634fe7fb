"""GFL's feature pyramid on Detectron2's ResNets and on timm models; deformable convolutions."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import FPN, build_resnet_backbone
from detectron2.modeling.backbone.resnet import BasicBlock
from fvcore.nn import weight_init
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from graphkd.errors import UserError
from graphkd.modeling.timm_fpn import STRIDES, fpn_on, timm_bottom_up


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
    """A deformable 3x3 convolution by torchvision, in the place of an ordinary one.

    It starts as that one: the layer that moves the sampling points begins at 0. It runs on CPUs,
    too, where Detectron2's own operator does not; neither can be exported to ONNX.

    Args:
        plain: the convolution without bias, grouped or not, whose weight it takes over; of one of
            Detectron2 also the norm.
    """

    def __init__(self, plain: nn.Conv2d):
        super().__init__()
        self.weight, self.norm = plain.weight, getattr(plain, "norm", None)
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
        found = found.to(features.dtype)
        return found if self.norm is None else self.norm(found)


def build_gfl_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Returns Detectron2's ResNet of MODEL.RESNETS with GFL's FPN on top: p3..p7.

    Raises:
        UserError: what `deform` refuses.
    """
    plain = cfg.clone()
    plain.defrost()
    plain.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False] * 4
    body = build_resnet_backbone(plain, input_shape)
    deform(cfg, {name: getattr(body, name, None) for name in STRIDES})
    return fpn_on(cfg, body, P6P7FromP5(cfg.MODEL.FPN.OUT_CHANNELS))


def build_gfl_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Returns MODEL.TIMM.NAME with GFL's FPN on top: p3..p7 for IN_FEATURES res3..res5.

    Raises:
        UserError: no res5, or what `TimmBottomUp` and `deform` refuse.
    """
    body = timm_bottom_up(cfg, input_shape)
    if "res5" not in body.output_shape():
        raise UserError("MODEL.FPN.IN_FEATURES: GFL's p6 and p7 need 'res5' among them")
    # timm's ResNets and Res2Nets call res2..res5 so.
    layers = [getattr(body.body, f"layer{number}", None) for number in (1, 2, 3, 4)]
    deform(cfg, dict(zip(STRIDES, layers, strict=True)))
    return fpn_on(cfg, body, P6P7FromP5(cfg.MODEL.FPN.OUT_CHANNELS))


def deform(cfg: CfgNode, stages: dict[str, nn.Module | None]) -> None:
    """Makes the 3x3 convolutions of bottlenecks deformable, in place, in the stages that
    MODEL.RESNETS.DEFORM_ON_PER_STAGE names.

    Args:
        cfg: reads MODEL.RESNETS.
        stages: res2..res5 of the body; None for one that it has not.

    Raises:
        UserError: modulated or grouped sampling points, or a stage that is missing or has no
            bottlenecks.
    """
    node = cfg.MODEL.RESNETS
    wanted = [name for name, on in zip(stages, node.DEFORM_ON_PER_STAGE, strict=True) if on]
    if wanted and (node.DEFORM_MODULATED or node.DEFORM_NUM_GROUPS != 1):
        raise UserError(
            "MODEL.RESNETS: deformable convolutions are unmodulated and have one group here; set "
            "DEFORM_MODULATED to False and DEFORM_NUM_GROUPS to 1"
        )
    for name in wanted:
        parents = [] if stages[name] is None else list(stages[name].modules())
        places = [
            (parent, key, layer)
            for parent in parents
            for key, layer in parent.named_children()
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
        ]
        if not places or any(isinstance(each, BasicBlock) for each in parents):
            raise UserError(
                f"MODEL.RESNETS.DEFORM_ON_PER_STAGE: {name} of this body has no bottlenecks; use a "
                "ResNet with a DEPTH of 50 or more, or a Res2Net of timm"
            )
        for parent, key, layer in places:
            setattr(parent, key, DeformConv(layer))
