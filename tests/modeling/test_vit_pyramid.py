"""The ViT pyramid: page sizes, shapes, gradients, refusals."""

import pytest
import torch

from graphkd.errors import UserError
from graphkd.modeling.vit_pyramid import VitPyramid

NAME = "vit_tiny_patch16_224"


def test_two_page_sizes_give_the_announced_shapes():
    pyramid = VitPyramid(NAME, out_channels=16)
    assert pyramid.size_divisibility == 32
    for height, width in ((96, 64), (64, 160)):
        levels = pyramid(torch.randn(2, 3, height, width))
        assert list(levels) == list(pyramid.output_shape())
        for level, shape in pyramid.output_shape().items():
            stride = shape.stride
            assert stride == 2 ** int(level[1])
            assert levels[level].shape == (2, 16, -(-height // stride), -(-width // stride))


def test_position_embeddings_follow_the_page():
    torch.manual_seed(0)
    pyramid = VitPyramid(NAME, out_channels=16).eval()
    with torch.no_grad():
        level = pyramid(torch.zeros(1, 3, 96, 96))["p4"]
    assert (
        level[..., 0, 0] - level[..., 5, 5]
    ).abs().max() > 1e-4  # a blank page, yet places differ


def test_every_weight_gets_a_gradient_unless_frozen():
    pyramid = VitPyramid(NAME, out_channels=16, freeze_at=1)
    frozen = {key for key, weight in pyramid.named_parameters() if not weight.requires_grad}
    assert frozen == {
        "body.model.pos_embed",
        "body.model.patch_embed.proj.weight",
        "body.model.patch_embed.proj.bias",
    }
    sum(level.sum() for level in pyramid(torch.randn(2, 3, 64, 64)).values()).backward()
    assert {k for k, weight in pyramid.named_parameters() if weight.grad is None} == frozen


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "resnet18"}, "not a plain ViT"),
        ({"name": "vit_tiny_patch32_224"}, "unknown|no model"),
        ({"name": "vit_small_patch32_224"}, "16 pixel"),
        ({"name": NAME, "norm": "GN"}, "no batch norm"),
        ({"name": NAME, "freeze_at": 2}, "FREEZE_AT"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        VitPyramid(**options)
