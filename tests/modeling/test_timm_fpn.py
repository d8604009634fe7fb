"""Convolutional timm backbones: strides, freezing, refusals."""

import importlib

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, build_backbone

import graphkd.modeling
from graphkd.errors import UserError
from graphkd.modeling import add_timm_config
from graphkd.modeling.timm_fpn import TimmBottomUp


def _cfg(builder: str, name: str, *, features: list[str]):
    cfg = get_cfg()
    add_timm_config(cfg)
    cfg.MODEL.BACKBONE.NAME = builder
    cfg.MODEL.TIMM.NAME = name
    cfg.MODEL.FPN.IN_FEATURES = features
    cfg.MODEL.FPN.OUT_CHANNELS = 16
    return cfg


def _trainable(module) -> set[str]:
    return {key for key, weight in module.named_parameters() if weight.requires_grad}


def test_importing_twice_is_harmless():
    importlib.reload(graphkd.modeling)
    assert "build_timm_fpn_backbone" in BACKBONE_REGISTRY


def test_adding_the_node_twice_keeps_what_was_set():
    cfg = get_cfg()
    add_timm_config(cfg)
    cfg.MODEL.TIMM.NAME = "resnet18"
    add_timm_config(cfg)
    assert cfg.MODEL.TIMM.NAME == "resnet18"


@pytest.mark.parametrize(
    "name",
    ["mobilenetv4_conv_small", "mobilenetv2_100", "efficientnet_b0", "hgnetv2_b0", "resnet18"],
)
def test_levels_have_the_shapes_they_announce(name):
    features = ["res2", "res3", "res4", "res5"]
    backbone = build_backbone(_cfg("build_timm_fpn_backbone", name, features=features))
    assert backbone.size_divisibility == 32
    levels = backbone(torch.randn(2, 3, 64, 160))
    assert list(levels) == ["p2", "p3", "p4", "p5", "p6"]
    for level, shape in backbone.output_shape().items():
        stride = 2 ** int(level[1])
        assert shape == ShapeSpec(channels=16, stride=stride)
        assert levels[level].shape == (2, 16, -(-64 // stride), -(-160 // stride))


def test_retinanet_levels_and_unused_stage():
    cfg = _cfg(
        "build_timm_retinanet_fpn_backbone", "mobilenetv2_100", features=["res3", "res4", "res5"]
    )
    backbone = build_backbone(cfg)
    levels = backbone(torch.randn(1, 3, 128, 128))
    assert {k: v.shape[-1] for k, v in levels.items()} == {
        "p3": 16, "p4": 8, "p5": 4, "p6": 2, "p7": 1
    }  # fmt: skip
    assert list(backbone.bottom_up.output_shape()) == ["res3", "res4", "res5"]


def test_every_weight_gets_a_gradient():
    bottom_up = TimmBottomUp("mobilenetv4_conv_small")
    sum(level.sum() for level in bottom_up(torch.randn(2, 3, 64, 64)).values()).backward()
    assert all(weight.grad is not None for weight in bottom_up.parameters())


def test_freezing_covers_what_feeds_the_stage_and_nothing_else():
    bottom_up = TimmBottomUp("resnet18", freeze_at=2)
    assert {key.split(".")[1] for key in _trainable(bottom_up)} == {"layer2", "layer3", "layer4"}
    bottom_up.train()
    images = torch.randn(2, 3, 64, 64)
    first, second = bottom_up(images), bottom_up(images + 1)
    assert not first["res2"].requires_grad
    assert first["res3"].requires_grad
    assert not torch.equal(first["res2"], second["res2"])
    torch.testing.assert_close(bottom_up(images)["res2"], first["res2"])  # no statistics moved


def test_freezing_the_stem_only():
    bottom_up = TimmBottomUp("mobilenetv2_100", freeze_at=1)
    frozen = {k for k, _ in bottom_up.named_parameters()} - _trainable(bottom_up)
    assert {".".join(key.split(".")[1:3]) for key in frozen} == {"conv_stem.weight", "blocks.0"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "vit_tiny_patch16_224"}, "build_timm_vit_pyramid_backbone"),
        ({"name": "swin_tiny_patch4_window7_224"}, "convolutional"),
        ({"name": "hgnetv2_b0", "freeze_at": 1}, r"FREEZE_AT: 1 .* \[2, 3, 4, 5\]"),
        ({"name": "resnet18", "freeze_at": 6}, "FREEZE_AT: 6"),
        ({"name": "resnet18", "norm": "IN"}, "MODEL.TIMM.NORM"),
        ({"name": "resnet18", "out_features": ("p2",)}, "IN_FEATURES"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        TimmBottomUp(**options)


def test_grey_pages_are_refused():
    cfg = _cfg("build_timm_fpn_backbone", "resnet18", features=["res2", "res3", "res4", "res5"])
    with pytest.raises(UserError, match="three channels"):
        build_backbone(cfg, ShapeSpec(channels=1))
