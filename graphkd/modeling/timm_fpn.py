"""Convolutional timm models below Detectron2's own FPN."""

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from timm.layers import freeze_batch_norm_2d
from torch import Tensor, nn

from graphkd.errors import UserError
from graphkd.modeling.timm_create import convert_norm, create_features

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class TimmBottomUp(Backbone):
    """A timm model as the bottom-up part of an FPN.

    Args:
        name: timm's name of the model.
        pretrained: start from timm's ImageNet weights.
        norm: "BN", "FrozenBN", "SyncBN" or "GN".
        freeze_at: 0 trains everything, 1 freezes what feeds the stride 2 feature, n = 2..5 what
            feeds res{n}; batch norm layers of the frozen part no longer update their statistics.
        out_features: which of res2..res5 to return; later stages are not built.

    Raises:
        UserError: the model, its weights, or features at the strides asked for don't exist.
    """

    def __init__(
        self,
        name: str,
        *,
        pretrained: bool = False,
        norm: str = "BN",
        freeze_at: int = 0,
        out_features: tuple[str, ...] = tuple(STRIDES),
    ):
        super().__init__()
        unknown = [feature for feature in out_features if feature not in STRIDES]
        if unknown or not out_features:
            raise UserError(f"MODEL.FPN.IN_FEATURES: {unknown} must be some of {list(STRIDES)}")
        stages = _stage_of_stride(name)
        missing = [STRIDES[f] for f in out_features if STRIDES[f] not in stages]
        if missing:
            raise UserError(
                f"MODEL.TIMM.NAME: {name!r} has no features at stride {missing}, only at "
                f"{sorted(stages)}; a plain ViT needs build_timm_vit_pyramid_backbone"
            )
        self.body = create_features(
            name, pretrained=pretrained, out_indices=[stages[STRIDES[f]] for f in out_features]
        )
        channels = self.body.feature_info.channels()
        self._out_features = list(out_features)
        self._out_feature_strides = {f: STRIDES[f] for f in out_features}
        self._out_feature_channels = dict(zip(out_features, channels, strict=True))
        self._check_maps(name)
        if freeze_at:
            self._freeze(name, stages, freeze_at)
        self.body = convert_norm(self.body, norm)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps images (N, 3, H, W) to {name: (N, C, H / stride, W / stride)}, rounded up."""
        return dict(zip(self._out_features, self.body(images), strict=True))

    def _check_maps(self, name: str) -> None:
        was_training = self.body.training
        self.body.eval()
        with torch.no_grad():
            try:
                maps = self(torch.zeros(1, 3, 64, 96))
            except (AssertionError, RuntimeError) as error:
                raise UserError(
                    f"MODEL.TIMM.NAME: {name!r} does not take pages of any size; choose a "
                    "convolutional model"
                ) from error
        self.body.train(was_training)
        for feature, shape in self.output_shape().items():
            expected = (1, shape.channels, 64 // shape.stride, 96 // shape.stride)
            if tuple(maps[feature].shape) != expected:
                raise UserError(
                    f"MODEL.TIMM.NAME: {feature} of {name!r} is {tuple(maps[feature].shape)} where "
                    f"{expected} is needed; choose a convolutional model"
                )

    def _freeze(self, name: str, stages: dict[int, int], freeze_at: int) -> None:
        stride = 2**freeze_at
        if not 1 <= freeze_at <= 5 or stride not in stages:
            raise UserError(
                f"MODEL.TIMM.FREEZE_AT: {freeze_at} is not possible for {name!r}; choose 0 or one "
                f"of {[s.bit_length() - 1 for s in sorted(stages)]}"
            )
        # Autograd knows which weights a feature depends on; timm's module names differ by model.
        prefix = create_features(name, pretrained=False, out_indices=[stages[stride]]).eval()
        weights = dict(prefix.named_parameters())
        (feature,) = prefix(torch.zeros(1, 3, 64, 64))
        gradients = torch.autograd.grad(feature.sum(), weights.values(), allow_unused=True)
        used = {key for key, grad in zip(weights, gradients, strict=True) if grad is not None}
        for key, weight in self.body.named_parameters():
            weight.requires_grad_(key not in used)
        for key, layer in list(self.body.named_modules()):
            if isinstance(layer, nn.BatchNorm2d) and not layer.weight.requires_grad:
                parent, _, child = key.rpartition(".")
                setattr(self.body.get_submodule(parent), child, freeze_batch_norm_2d(layer))


def _stage_of_stride(name: str) -> dict[int, int]:
    """Returns {stride: index of the last timm feature with that stride}."""
    with torch.device("meta"):
        info = create_features(name, pretrained=False).feature_info
    return {stride: index for index, stride in enumerate(info.reduction())}


def timm_bottom_up(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBottomUp:
    """The timm model of MODEL.TIMM with the features of MODEL.FPN.IN_FEATURES.

    Raises:
        UserError: the input has not three channels, or what `TimmBottomUp` refuses.
    """
    if input_shape.channels != 3:
        raise UserError("MODEL.PIXEL_MEAN: timm models need three channels (INPUT.FORMAT 'RGB')")
    return TimmBottomUp(
        cfg.MODEL.TIMM.NAME,
        pretrained=cfg.MODEL.TIMM.PRETRAINED,
        norm=cfg.MODEL.TIMM.NORM,
        freeze_at=cfg.MODEL.TIMM.FREEZE_AT,
        out_features=tuple(cfg.MODEL.FPN.IN_FEATURES),
    )


def fpn_on(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module) -> FPN:
    """Detectron2's FPN of MODEL.FPN on a body; `top_block` makes the levels above."""
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Returns MODEL.TIMM.NAME with Detectron2's FPN on top: p2..p6, p6 by max pooling."""
    return fpn_on(cfg, timm_bottom_up(cfg, input_shape), LastLevelMaxPool())


def build_timm_retinanet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Returns MODEL.TIMM.NAME with RetinaNet's FPN on top: p3..p7 for IN_FEATURES res3..res5."""
    bottom_up = timm_bottom_up(cfg, input_shape)
    if "res5" not in bottom_up.output_shape():
        raise UserError("MODEL.FPN.IN_FEATURES: RetinaNet's p6 and p7 need 'res5' among them")
    top_block = LastLevelP6P7(bottom_up.output_shape()["res5"].channels, cfg.MODEL.FPN.OUT_CHANNELS)
    return fpn_on(cfg, bottom_up, top_block)
