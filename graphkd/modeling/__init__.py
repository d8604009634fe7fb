"""Backbones and detectors that Detectron2 lacks, registered with it on import."""

from detectron2.modeling import BACKBONE_REGISTRY

from graphkd.modeling.dense import (
    build_csp_pan_backbone,
    build_gfl_resnet_fpn_backbone,
    build_gfl_timm_fpn_backbone,
    build_pico_pan_backbone,
)
from graphkd.modeling.line import LineRecognizer
from graphkd.modeling.maps import build_map_backbone
from graphkd.modeling.timm_create import add_timm_config
from graphkd.modeling.timm_fpn import build_timm_fpn_backbone, build_timm_retinanet_fpn_backbone
from graphkd.modeling.vit_pyramid import build_timm_vit_pyramid_backbone

__all__ = [
    "LineRecognizer",
    "add_timm_config",
    "build_timm_fpn_backbone",
    "build_timm_retinanet_fpn_backbone",
    "build_timm_vit_pyramid_backbone",
]

for _builder in (
    build_csp_pan_backbone,
    build_gfl_resnet_fpn_backbone,
    build_gfl_timm_fpn_backbone,
    build_map_backbone,
    build_pico_pan_backbone,
    build_timm_fpn_backbone,
    build_timm_retinanet_fpn_backbone,
    build_timm_vit_pyramid_backbone,
):
    # The registry refuses a second entry of a name, which a reload of this module would make.
    if _builder.__name__ not in BACKBONE_REGISTRY:
        BACKBONE_REGISTRY.register(_builder)
