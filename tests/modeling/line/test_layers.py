"""Layers, pyramids and the rectifier of line readers, on their own."""

import pytest
import torch

from graphkd.modeling.line.bodies import BodyOptions, line_body
from graphkd.modeling.line.layers import (
    BlurPool,
    CoordinateAttention,
    DepthwiseConv,
    FinalPool,
    MetaACON,
    SqueezeExcitation,
)
from graphkd.modeling.line.rectifier import ThinPlateSpline
from tests.reader import SMALL, line_batch, reader


@pytest.mark.parametrize("layer", [CoordinateAttention, MetaACON])
def test_gradients_are_those_of_the_forward_pass(layer):
    torch.manual_seed(0)
    module = layer(6).double().eval()
    inputs = torch.randn(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (inputs,))


def test_coordinate_attention_weighs_rows_and_columns():
    module = CoordinateAttention(8).eval()
    torch.nn.init.zeros_(module.rows.weight)
    torch.nn.init.zeros_(module.rows.bias)
    inputs = torch.randn(1, 8, 4, 5)
    weights = module(inputs) / inputs
    # Rows now all weigh one half, so a cell's weight is that of its column.
    torch.testing.assert_close(weights, weights[:, :, :1].expand_as(weights))


def test_meta_acon_is_the_larger_of_two_lines_when_the_switch_is_far_on():
    module = MetaACON(4).eval()
    module.switch = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 1))
    with torch.no_grad():
        module.switch[0].weight.zero_()
        module.switch[0].bias.fill_(50.0)
        module.p1.fill_(1.0)
        module.p2.fill_(0.25)
    inputs = torch.tensor([-2.0, 3.0]).expand(1, 4, 1, 2)
    # The switch is at most 1, so the two slopes are blended by sigmoid((p1 - p2) x).
    scaled = 0.75 * inputs
    torch.testing.assert_close(module(inputs), scaled * scaled.sigmoid() + 0.25 * inputs)


def test_squeeze_and_excitation_has_the_released_slope():
    module = SqueezeExcitation(4, 1)
    torch.nn.init.zeros_(module.expand.weight)
    torch.nn.init.constant_(module.expand.bias, 1.0)
    inputs = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(module(inputs), 0.7 * inputs)


@pytest.mark.parametrize("pool", [BlurPool, FinalPool])
@pytest.mark.parametrize("height", [1, 2, 3])
def test_pools_halve_the_width_and_keep_a_constant(pool, height):
    found = pool()(torch.full((1, 3, height, 10), 0.7))
    assert found.shape == (1, 3, 1, 5)
    torch.testing.assert_close(found, torch.full_like(found, 0.7))


def test_blur_pool_spreads_a_peak_that_max_pool_keeps():
    peak = torch.zeros(1, 1, 1, 12)
    peak[..., 5] = 1.0
    assert FinalPool()(peak).max() == 1
    blurred = BlurPool()(peak)
    assert 0.5 < blurred.max() < 1 and blurred.sum() == pytest.approx(1.0)


def test_blocks_after_the_last_tap_change_nothing():
    images = torch.rand(1, 3, 32, 64)
    for name in ("mobilenet_v3_small", "mobilenet_v3_large", "resnet18"):
        torch.manual_seed(0)
        whole = line_body(name, BodyOptions(neck="A", width=0.5, dead_blocks=True)).eval()
        live = line_body(name, BodyOptions(neck="A", width=0.5)).eval()
        assert len(live.blocks) < len(whole.blocks)
        kept = {key: value for key, value in whole.state_dict().items() if key in live.state_dict()}
        live.load_state_dict(kept)
        with torch.no_grad():
            expected, found = whole(images), live(images)
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_pyramid_d_without_its_large_kernels_is_c():
    c, d = (reader("CRNN", *SMALL, "MODEL.READER.NECK", kind).eval() for kind in "CD")
    state = d.state_dict()
    for key, value in c.state_dict().items():
        state[key] = value
    d.load_state_dict(state)
    with torch.no_grad():
        for join in (d.neck.join3, d.neck.join4):
            for branch in join[1:]:
                branch[1].weight.zero_()
                branch[1].bias.zero_()
        images, widths = c.pixels(line_batch())
        assert torch.equal(c.frames(images, widths)[0], d.frames(images, widths)[0])


@pytest.mark.parametrize("linear", [False, True])
def test_a_new_rectifier_leaves_a_line_as_it_is(linear):
    torch.manual_seed(0)
    images = torch.rand(2, 3, 32, 96)
    found = ThinPlateSpline(linear=linear).eval()(images)
    torch.testing.assert_close(found, images, atol=2e-3, rtol=0)


def test_a_rectifier_moves_the_line_to_its_points():
    module = ThinPlateSpline().eval()
    with torch.no_grad():
        shifted = module.base + torch.tensor([0.25, 0.0])
        module.points.bias.copy_(shifted.flatten())
    images = torch.rand(1, 3, 32, 96)
    found = module(images)
    # A quarter of half the width: what was 12 pixels further right.
    torch.testing.assert_close(found[..., :80], images[..., 12:92], atol=2e-3, rtol=0)


def test_depthwise_convolutions_are_in_float32_on_cpus():
    conv, inputs = DepthwiseConv(8, 8, 3, padding=1, groups=8), torch.randn(1, 8, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = conv(inputs.bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.nn.Conv2d.forward(conv, inputs.bfloat16().float()))
    body = line_body("mobilenet_v3_small", BodyOptions())
    grouped = [m for m in body.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert len(grouped) == 11 and all(isinstance(each, DepthwiseConv) for each in grouped)


def test_the_first_shortcut_can_be_left_out():
    with_it = line_body("mobilenet_v3_small", BodyOptions(neck="C"))
    without = line_body("mobilenet_v3_small", BodyOptions(neck="C", first_shortcut=False))
    assert with_it.blocks[0].shortcut and not without.blocks[0].shortcut


def test_acon_can_skip_the_blocks_that_halve_the_height():
    def count(**options):
        body = line_body("mobilenet_v3_small", BodyOptions(acon=True, **options))
        return sum(isinstance(module, MetaACON) for module in body.modules())

    # 23 in the body and one after it; 4 blocks of two halve the height.
    assert count() == 23 and count(acon_skips_strides=True) == 15
