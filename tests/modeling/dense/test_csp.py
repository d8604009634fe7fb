"""CSP bodies with PAN: published numbers of parameters, shapes, and steps with the head of GFL."""

import pytest
import torch
from detectron2.utils.events import EventStorage

from graphkd.errors import UserError
from graphkd.modeling.dense.csp import CSPPAN, CSPBody, widths_of
from graphkd.modeling.network import parameters
from graphkd.views import view_of
from tests.small import page, small_model

# Without a head. With an anchor head of 80 classes they are the published 1.9, 7.2, 21.2, 46.5 and
# 86.7 million.
PARAMETERS = {"n": 1757152, "s": 7006144, "m": 20847072, "l": 46105984, "x": 86177440}
ANCHOR_HEAD = 255


def csp(size="n", *overrides):
    return small_model(
        "gfl_R18",
        *("MODEL.BACKBONE.NAME", "build_csp_pan_backbone", "MODEL.CSP.SIZE", size),
        *("MODEL.GFL.IN_FEATURES", "['p3', 'p4', 'p5']", "MODEL.GFL.NUM_CONVS", "1"),
        *(
            "MODEL.GFL.NUM_CLASSES",
            "5",
            "INPUT.MAX_SIZE_TRAIN",
            "640",
            "INPUT.MAX_SIZE_TEST",
            "640",
        ),
        *overrides,
    )


@pytest.mark.parametrize("size", PARAMETERS)
def test_parameters_are_those_published(size):
    with torch.device("meta"):
        model = CSPPAN(size)
    assert parameters(model.bottom_up) + parameters(model.neck) == PARAMETERS[size]
    widths = widths_of(size)
    assert list(model.output_shape()) == ["p3", "p4", "p5"]
    assert {shape.channels for shape in model.output_shape().values()} == {widths[2]}
    published = {"n": 1.87, "s": 7.24, "m": 21.19, "l": 46.56, "x": 86.75}
    head = sum((width + 1) * ANCHOR_HEAD for width in widths[2:])
    assert (PARAMETERS[size] + head) / 1e6 == pytest.approx(published[size], abs=0.03)


def test_maps_halve_and_residuals_are_in_the_body_alone():
    model = CSPPAN("n").eval()
    images = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        body, maps = model.bottom_up(images), model(images)
    assert [tuple(each.shape[1:]) for each in body.values()] == [
        (64, 12, 20),
        (128, 6, 10),
        (256, 3, 5),
    ]
    assert [tuple(each.shape[1:]) for each in maps.values()] == [
        (64, 12, 20),
        (64, 6, 10),
        (64, 3, 5),
    ]
    residual = {
        name: each.residual for name, each in model.named_modules() if "residual" in vars(each)
    }
    assert len(residual) == 1 + 2 + 3 + 1 + 4
    assert all(value == name.startswith("bottom_up.") for name, value in residual.items())


def test_pooling_keeps_the_largest_value_within_six_cells():
    pooling = CSPBody("n").stages[-1][-1]
    maps = torch.zeros(1, 256, 1, 20)
    maps[..., 0] = 1
    pooling.reduce = torch.nn.Identity()
    given = []
    pooling.join.register_forward_pre_hook(lambda module, args: given.append(args[0]))
    with pytest.raises(RuntimeError):  # twice the channels that it joins
        pooling(maps)
    reach = given[0].reshape(4, 256, 20)[:, 0].sum(1)
    assert reach.tolist() == [1, 3, 5, 7]


def test_a_page_of_odd_size_trains_every_weight_and_finds_boxes():
    model = csp()
    with EventStorage(0):
        losses = model.train()([page(4, seed=1, size=(77, 101)), page(0, seed=2, size=(64, 90))])
    sum(losses.values()).backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key
    with torch.no_grad():
        (found,) = model.eval()([{"image": page(1)["image"], "height": 256, "width": 192}])
    assert found["instances"].image_size == (256, 192)


def test_what_the_view_says_of_it():
    view = view_of(csp())
    assert view.levels == ("p3", "p4", "p5") and "stages" in view.provides
    assert view.channels == {"p3": 64, "p4": 64, "p5": 64, "c3": 64, "c4": 128, "c5": 256}
    assert view.strides == {"p3": 8, "p4": 16, "p5": 32, "c3": 8, "c4": 16, "c5": 32}


def test_bins_pass_to_950_px():
    csp("n", "INPUT.MAX_SIZE_TRAIN", "950")
    with pytest.raises(UserError, match="REG_MAX 16 at stride 32"):
        csp("n", "INPUT.MAX_SIZE_TRAIN", "960")


def test_an_unknown_size_is_refused():
    with pytest.raises(UserError, match="CSP.SIZE is xl; choose one of n, s, m, l, x"):
        csp("xl")
