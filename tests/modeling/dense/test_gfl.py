"""GFL and PicoGFL as models: heads, pyramids, a training step, inference."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from graphkd.errors import UserError
from graphkd.modeling.dense.gfl import check_reach
from graphkd.modeling.dense.gfl_heads import QualityPredictor
from graphkd.modeling.dense.necks import DeformConv, P6P7FromP5
from graphkd.modeling.network import parameters
from tests.small import page, small_cfg, small_model

SMALL = ("MODEL.GFL.NUM_CLASSES", "5", "MODEL.FPN.OUT_CHANNELS", "32", "MODEL.GFL.NUM_CONVS", "1")
DEFORMED = ("MODEL.RESNETS.DEFORM_ON_PER_STAGE", "[False, False, False, True]")
BATCH = [page(5, seed=1), page(0, seed=2)]


def gfl(name="gfl_R18", *overrides, seed=0):
    return small_model(name, *SMALL, *overrides, seed=seed)


def losses_of(model, batch=BATCH):
    with EventStorage(0) as storage:
        losses = model.train()(batch)
    return losses, {key: value for key, (value, _) in storage.latest().items()}


def test_the_quality_predictor_reads_twenty_numbers():
    predictor = QualityPredictor()
    assert parameters(predictor) == 1409
    edges = torch.randn(2, 4 * 17, 3, 5, requires_grad=True)
    quality = predictor(edges)
    assert quality.shape == (2, 1, 3, 5) and ((quality > 0) & (quality < 1)).all()
    (gradient,) = torch.autograd.grad(quality.sum(), edges)
    assert gradient.abs().sum() > 0
    # Bins may be shifted: the numbers are sorted.
    shifted = edges.detach().unflatten(1, (4, 17)).roll(3, 2).flatten(1, 2)
    torch.testing.assert_close(predictor(shifted), quality)


def test_nothing_is_cut_between_p6_and_p7():
    block = P6P7FromP5(4)
    p6, p7 = block(torch.randn(1, 4, 16, 16))
    assert p6.shape == (1, 4, 8, 8) and p7.shape == (1, 4, 4, 4) and (p6 < 0).any()
    torch.testing.assert_close(p7, block.p7(p6))
    assert not torch.allclose(p7, block.p7(p6.relu()))


@pytest.mark.parametrize(
    ("name", "levels"),
    [("gfl_R18", 5), ("gfl_MNv4s", 5), ("gfl_pico_MNv4s", 4), ("gfl_pico_LCNet", 4)],
)
def test_levels_halve_and_heads_have_a_cell_each(name, levels):
    model = gfl(name).eval()
    features = list(model.backbone(torch.zeros(1, 3, 128, 192)).values())
    logits, edges, quality = model.head([f for f in features][-levels:])
    assert quality is None and len(logits) == len(edges) == levels
    for index, (scores, distributions) in enumerate(zip(logits, edges, strict=True)):
        size = -(-16 // 2**index), -(-24 // 2**index)
        assert scores.shape == (1, 5, *size) and distributions.shape == (1, 68, *size)
    anchors = model.anchor_generator(features)
    first = torch.tensor([-32.0, -32, 32, 32])
    assert torch.equal(anchors[0].tensor[0], first)
    assert torch.equal(anchors[1].tensor[1], 2 * first + torch.tensor([16.0, 0, 16, 0]))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("gfl_R18", ()),
        ("gfl_R18", ("MODEL.GFL.QUALITY", "True", "MODEL.GFL.IOU_LOSS", "ciou")),
        ("gfl_pico_MNv4s", ()),
        ("gfl_pico_MNv4s", ("MODEL.GFL.QUALITY", "True")),
    ],
    ids=str,
)
def test_a_step_trains_every_weight_and_logs_the_assignment(name, overrides):
    model = gfl(name, *overrides)
    losses, logged = losses_of(model)
    assert losses.keys() == {"loss_cls", "loss_box_reg", "loss_dfl"}
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())
    assert logged["gfl/positives"] > 1 and logged["gfl/boxes_without_anchor"] >= 0
    sum(losses.values()).backward()
    for key, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), key


def test_a_batch_without_boxes_trains():
    losses, logged = losses_of(gfl(), [page(0, seed=1), page(0, seed=2)])
    assert losses["loss_cls"] > 0 and losses["loss_box_reg"] == losses["loss_dfl"] == 0
    assert logged["gfl/positives"] == 0
    sum(losses.values()).backward()


def test_one_class_trains():
    batch = [page(3, seed=1)]
    batch[0]["instances"].gt_classes.zero_()
    losses, _ = losses_of(gfl("gfl_pico_MNv4s", "MODEL.GFL.NUM_CLASSES", "1"), batch)
    assert all(torch.isfinite(value) and value > 0 for value in losses.values())


def test_ignored_polygons_enter_no_loss():
    """A page without objects that is one ignored text loses its class loss inside that text."""
    left = np.array([[0.0, 0], [50, 4], [48, 128], [0, 124]], dtype=np.float32)
    right = left + np.float32([48, 0])

    def class_loss(**item):
        return losses_of(gfl("gfl_pico_MNv4s"), [{**page(0, seed=1), **item}])[0]["loss_cls"]

    plain = class_loss()
    torch.testing.assert_close(class_loss(polygons=(left,), ignore=np.array([False])), plain)
    half = class_loss(polygons=(left,), ignore=np.array([True]))
    both = class_loss(polygons=(left, right), ignore=np.array([True, True]))
    assert 0.3 * plain < half < 0.7 * plain and both < 0.2 * plain


def test_a_box_without_anchor_is_logged():
    batch = [page(0, seed=1)]
    instances = Instances((128, 96))
    instances.gt_boxes = Boxes(torch.tensor([[9.0, 9, 60, 15], [10, 30, 60, 70]]))
    instances.gt_classes = torch.tensor([0, 1])
    batch[0]["instances"] = instances
    _, logged = losses_of(gfl(), batch)
    assert logged["gfl/boxes_without_anchor"] == 1


@pytest.mark.parametrize("name", ["gfl_R18", "gfl_pico_MNv4s"])
def test_autocast_keeps_edges_and_losses_in_float32(name):
    model = gfl(name, "MODEL.GFL.QUALITY", "True")
    with torch.autocast("cpu", torch.bfloat16):
        losses, _ = losses_of(model)
        maps = model.eval().backbone(torch.zeros(1, 3, 64, 64))
        _, edges, quality = model.head([maps[level] for level in model.head_in_features])
    assert all(value.dtype == torch.float32 for value in losses.values())
    assert edges[0].dtype == quality[0].dtype == torch.float32
    plain, _ = losses_of(model)
    for key, value in plain.items():
        assert losses[key].item() == pytest.approx(value.item(), rel=0.1)


def test_a_diverged_student_has_losses_that_are_not_finite():
    model = gfl("gfl_R18", "MODEL.GFL.QUALITY", "True")
    torch.nn.init.constant_(model.head.bbox_pred.weight, float("nan"))
    losses, _ = losses_of(model)
    assert not all(torch.isfinite(value) for value in losses.values())


def say(model, *, level, cell, label, distances, score=20.0):
    """Hooks a head so that one cell is sure of a class and of whole distances in strides."""

    def speak(module, args, output):
        logits, edges, quality = output
        for maps in (logits, edges):
            for each in maps:
                each.data.fill_(-20.0)
        logits[level].data[0, label, cell[0], cell[1]] = score
        for edge, distance in enumerate(distances):
            edges[level].data[0, edge * 17 + distance, cell[0], cell[1]] = 20.0
        return logits, edges, quality

    return model.head.register_forward_hook(speak)


@pytest.mark.parametrize("quality", [False, True])
def test_inference_decodes_a_cell_and_cuts_at_the_page(quality):
    model = gfl("gfl_R18", "MODEL.GFL.QUALITY", str(quality)).eval()
    # Row 2 and column 3 of p4: the point (48, 32).
    handle = say(model, level=1, cell=(2, 3), label=4, distances=(1, 2, 2, 16))
    with torch.no_grad():
        (found,) = model([{"image": page(1)["image"], "height": 128, "width": 96}])
    handle.remove()
    found = found["instances"]
    torch.testing.assert_close(found.pred_boxes.tensor, torch.tensor([[32.0, 0, 80, 128]]))
    assert found.pred_classes.tolist() == [4]
    # A fresh predictor says 0.5 of everything; nearly, as its weights are not all 0.
    assert found.scores.item() == pytest.approx(0.5 if quality else 1.0, abs=0.01)


def test_suppression_is_by_class_and_the_best_stay():
    model = gfl("gfl_R18", "TEST.DETECTIONS_PER_IMAGE", "7").eval()
    torch.nn.init.normal_(model.head.cls_score.weight, std=0.5)
    torch.nn.init.constant_(model.head.cls_score.bias, -2.0)
    with torch.no_grad():
        (found,) = model([{"image": page(1)["image"], "height": 128, "width": 96}])
    found = found["instances"]
    assert len(found) == 7 and found.scores.diff().le(0).all() and found.scores.min() > 0.05
    assert found.pred_classes.unique().numel() > 1


def test_bins_must_reach_half_the_longest_side():
    cfg = small_cfg("gfl_pico_MNv4s", "MODEL.GFL.REG_MAX", "7", "INPUT.MAX_SIZE_TEST", "700")
    cfg.INPUT.MAX_SIZE_TRAIN = 755
    check_reach(cfg, 64)  # 5.9 strides of 64 px are 377.6
    cfg.INPUT.MAX_SIZE_TRAIN = 756
    with pytest.raises(UserError, match="reaches 378 px.*set it to 8 or more") as caught:
        check_reach(cfg, 64)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="REG_MAX 7 at stride 64"):
        gfl("gfl_pico_MNv4s", "MODEL.GFL.REG_MAX", "7")
    with pytest.raises(UserError, match="IOU_LOSS is iou"):
        gfl("gfl_R18", "MODEL.GFL.IOU_LOSS", "iou")


@pytest.mark.parametrize(
    ("name", "most"),
    [("gfl_pico_MNv4s", 1.5e6), ("gfl_pico_LCNet", 1.5e6), ("gfl_pico_HGNetV2b0", 3e6)],
)
def test_pico_students_are_small(name, most):
    assert 1e6 < parameters(small_model(name, "MODEL.GFL.NUM_CLASSES", "11")) <= most


def test_levels_of_the_small_head_share_weights_but_not_statistics():
    model = gfl("gfl_pico_MNv4s", "MODEL.GFL.NUM_CONVS", "2")
    head = model.head
    assert len(head.convs) == 4 and all(len(norms) == 4 for norms in head.norms)
    losses_of(model)
    means = [head.norms[0][level].running_mean for level in range(4)]
    assert not torch.allclose(means[0], means[1])
    assert all(norm.num_batches_tracked == 1 for norms in head.norms for norm in norms)


@pytest.mark.parametrize(
    ("body", "layers"),
    [
        (("gfl_R50",), 3),
        (("gfl_R50", "MODEL.RESNETS.NUM_GROUPS", "32", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"), 3),
        # Three of the four parts of each block have a convolution.
        (("gfl_MNv4s", "MODEL.TIMM.NAME", "res2net50d"), 9),
    ],
    ids=["resnet", "grouped", "res2net"],
)
def test_deformable_convolutions_start_as_plain_ones(body, layers):
    model = gfl(*body, *DEFORMED).eval()
    plain = gfl(*body).eval()
    found = [each for each in model.modules() if isinstance(each, DeformConv)]
    assert len(found) == layers
    state = {k: v for k, v in model.state_dict().items() if ".offset." not in k}
    plain.load_state_dict(state)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for key, value in plain.backbone(images).items():
            torch.testing.assert_close(model.backbone(images)[key], value, rtol=1e-3, atol=1e-4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)  # timm starts the last one of a block at 0
    losses, _ = losses_of(model)
    sum(losses.values()).backward()
    assert all(each.offset.weight.grad.abs().sum() > 0 for each in found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gfl_R18",), "res5 .* DEPTH of 50 or more"),
        (("gfl_MNv4s",), "res5 .* DEPTH of 50 or more"),
        (("gfl_R50", "MODEL.RESNETS.DEFORM_MODULATED", "True"), "unmodulated"),
    ],
)
def test_other_deformable_convolutions_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        gfl(*words, *DEFORMED)
