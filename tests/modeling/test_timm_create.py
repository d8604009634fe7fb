"""Creating timm extractors: names, weights that can't be had, and norm conversion."""

import huggingface_hub.constants
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from graphkd.errors import UserError
from graphkd.modeling.timm_create import convert_norm, create_features

NAME = "mobilenetv4_conv_small_050"


def test_an_unknown_name_suggests_near_ones():
    with pytest.raises(UserError, match="did you mean .*resnet18"):
        create_features("resnet_18", pretrained=False)


def test_weights_out_of_reach_are_one_line_that_says_how_to_go_on(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="PRETRAINED False") as caught:
        create_features("mobilenetv4_conv_small", pretrained=True, cache_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


def _norms(module: nn.Module) -> set[str]:
    leaves = {type(m).__name__.replace("Act", "") for m in module.modules() if not _is_block(m)}
    return {name for name in leaves if "Norm" in name}


def _is_block(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Conv2d) for child in module.children())


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        ("BN", {"BatchNorm2d"}),
        ("FrozenBN", {"FrozenBatchNorm2d"}),
        ("SyncBN", {"SyncBatchNorm"}),
        ("GN", {"GroupNorm"}),
    ],
)
def test_every_batch_norm_layer_is_converted(norm, expected):
    assert _norms(convert_norm(create_features(NAME, pretrained=False), norm)) == expected


def test_frozen_norm_leaves_the_output_as_it_is():
    torch.manual_seed(0)
    model = create_features(NAME, pretrained=False)
    model(torch.randn(2, 3, 64, 64))  # running statistics away from their start
    images = torch.randn(1, 3, 64, 64)
    before = model.eval()(images)
    after = convert_norm(model, "FrozenBN").train()(images)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-4, atol=1e-5)


def test_group_norm_keeps_affine_weights_and_the_fused_activation():
    layer = BatchNormAct2d(48, act_layer=nn.ReLU)
    nn.init.uniform_(layer.weight)
    nn.init.uniform_(layer.bias)
    converted = convert_norm(layer, "GN")
    assert converted[0].num_groups == 16  # 32 does not divide 48
    maps = torch.randn(2, 48, 5, 6)
    expected = nn.functional.group_norm(maps, 16, layer.weight, layer.bias, layer.eps).relu()
    torch.testing.assert_close(converted(maps), expected)


def test_wrong_norms_are_refused():
    with pytest.raises(UserError, match="'LN' is not one of"):
        convert_norm(nn.BatchNorm2d(4), "LN")
    with pytest.raises(UserError, match="no batch norm"):
        convert_norm(nn.Conv2d(3, 4, 1), "GN")
