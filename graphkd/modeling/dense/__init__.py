"""One-stage detectors whose box edges are distributions: GFL v1 and v2, and the small PicoGFL."""

from graphkd.modeling.dense.csp import build_csp_pan_backbone
from graphkd.modeling.dense.gfl import GFL, add_gfl_config
from graphkd.modeling.dense.necks import build_gfl_resnet_fpn_backbone, build_gfl_timm_fpn_backbone
from graphkd.modeling.dense.pico_gfl import PicoGFL, build_pico_pan_backbone

__all__ = [
    "GFL",
    "PicoGFL",
    "add_gfl_config",
    "build_csp_pan_backbone",
    "build_gfl_resnet_fpn_backbone",
    "build_gfl_timm_fpn_backbone",
    "build_pico_pan_backbone",
]
