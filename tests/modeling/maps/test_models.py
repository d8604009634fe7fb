"""DB and EAST as models: sizes, shapes, gradients, learning pages by heart."""

import numpy as np
import pytest
import torch

from graphkd.errors import UserError
from graphkd.modeling.maps.detector import target_maps
from graphkd.modeling.maps.east import PATIENCE
from graphkd.modeling.network import is_untrained, parameters
from graphkd.text.east import iou
from tests.maps import map_cfg, map_item, map_model

KINDS = ("DB", "EAST")


@pytest.mark.parametrize(
    ("body", "width", "taps", "count", "wide", "narrow"),
    [
        ("large", 1.0, (24, 40, 112, 960), 2_971_952, 4_017_009, 3_187_209),
        ("large", 0.5, (16, 24, 56, 480), 785_736, 1_687_433, 947_233),
        ("small", 1.0, (16, 24, 48, 576), 927_008, 1_851_233, 1_096_953),
        ("small", 0.5, (8, 16, 24, 288), 256_296, 1_096_553, 394_753),
    ],
)
def test_parameters_are_those_of_the_papers_networks(body, width, taps, count, wide, narrow):
    for channels, total in ((256, wide), (96, narrow)):
        options = ("MODEL.MAPS.BODY", f"mobilenet_v3_{body}", "MODEL.MAPS.WIDTH", str(width))
        model = map_model("DB", *options, "MODEL.DB.CHANNELS", str(channels))
        assert model.backbone.channels == taps and parameters(model.backbone) == count
        # The threshold head is in the model, but not needed to find text.
        assert parameters(model) - parameters(model.head.threshold) == total


@pytest.mark.parametrize("body", ["resnet18", "resnet50", "mobilenet_v3_small"])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_of_a_page_of_odd_size(kind, body):
    model = map_model(kind, "MODEL.MAPS.BODY", body).eval()
    images = model.preprocess_image([{"image": torch.zeros(3, 77, 101)}])
    assert images.tensor.shape[-2:] == (96, 128) and images.image_sizes == [(77, 101)]
    with torch.no_grad():
        taps = model.backbone(images.tensor)
        features = model.neck(taps)
        maps = model.maps(images.tensor)
    shapes = model.backbone.output_shape()
    assert set(features) == {"p2", "p3", "p4", "p5", "fused"}
    for index, stride in enumerate((4, 8, 16, 32), start=2):
        size = 96 // stride, 128 // stride
        assert taps[f"c{index}"].shape == (1, shapes[f"c{index}"].channels, *size)
        assert features[f"p{index}"].shape == (1, model.neck.channels[f"p{index}"], *size)
    assert features["fused"].shape == (1, model.neck.channels["fused"], 24, 32)
    stride = model.map_stride
    assert maps["text"].shape == (1, 1, 96 // stride, 128 // stride)
    assert set(maps) == ({"text"} if kind == "DB" else {"text", "geometry"})
    assert is_untrained(model.state_dict())
    found = model([{"image": torch.zeros(3, 77, 101, dtype=torch.uint8), "height": 154}])[0]
    assert len(found["polygons"]) == len(found["scores"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_reaches_every_parameter_with_and_without_text(kind):
    cfg = map_cfg(kind)
    model = map_model(kind).train()
    for lines in (4, 0):
        model.zero_grad()
        batch = [map_item(cfg, lines, seed=1), map_item(cfg, lines, seed=2)]
        losses = model(batch)
        sum(losses.values()).backward()
        assert all(torch.isfinite(value) for value in losses.values())
        if lines:
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_pages_of_two_sizes_share_a_batch_and_padding_is_not_trained_on():
    cfg = map_cfg("DB")
    model = map_model("DB").train()
    batch = [map_item(cfg, 3, size=(128, 96)), map_item(cfg, 2, size=(64, 160))]
    images = model.preprocess_image(batch).tensor
    maps = target_maps(batch, images)
    assert maps["mask"].shape == (2, 1, 128, 160)
    assert maps["mask"][0, 0, :, 96:].sum() == 0 and maps["mask"][1, 0, 64:].sum() == 0
    assert maps["mask"][0, 0, :, :96].min() == 1
    assert all(torch.isfinite(value) for value in model(batch).values())


def test_east_stops_when_there_is_never_text():
    cfg = map_cfg("EAST")
    model = map_model("EAST").train()
    batch = [map_item(cfg, 0)]
    targets = {name: each[None].float() for name, each in batch[0]["maps"].items()}
    maps = {"text": torch.zeros(1, 1, 32, 40), "geometry": torch.zeros(1, 5, 32, 40)}
    for _ in range(PATIENCE - 1):
        model.losses(maps, targets)
    with pytest.raises(UserError, match="no pixel of text"):
        model.losses(maps, targets)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("DB", "MODEL.DB.CHANNELS", "30"),
        ("DB", "MODEL.DB.TEXT_LOSS", "hinge"),
        ("DB", "MODEL.DB.SHRINK_RATIO", "[1.5]"),
        ("DB", "MODEL.MAPS.BODY", "vgg16"),
        ("DB", "TEST.TEXT.SHAPE", "circle"),
        ("EAST", "MODEL.EAST.GEOMETRY", "circle"),
        ("EAST", "MODEL.EAST.GEOMETRY_NORM", "none"),
    ],
)
def test_unusable_options_are_refused_by_name(kind, key, value):
    with pytest.raises(UserError, match=key):
        map_model(kind, key, value)


@pytest.mark.parametrize(
    ("kind", "options", "steps"),
    [
        ("DB", (), 80),
        ("EAST", ("MODEL.MAPS.MIN_TEXT", "10.0", "MODEL.EAST.GEOMETRY_NORM", "positives"), 140),
    ],
)
def test_it_learns_eight_pages_by_heart(kind, options, steps):
    cfg = map_cfg(kind, *options)
    model = map_model(kind, *options).train()
    batch = [map_item(cfg, 2, seed=seed, size=(64, 96), turn=5.0) for seed in range(8)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        found = model(batch)
    right = 0
    for item, page in zip(batch, found, strict=True):
        assert len(page["polygons"]) <= 3
        for truth in item["polygons"]:
            overlaps = [iou(np.float64(truth), each) for each in page["polygons"]]
            right += max(overlaps, default=0) > 0.6
    assert right >= 15  # of 16
