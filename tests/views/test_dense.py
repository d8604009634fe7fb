"""The view of RetinaNet, on small real ones: untouched losses, made regions, distilled steps."""

from dataclasses import replace

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils.events import EventStorage

from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
from graphkd.distill.teacher import FrozenTeacher
from graphkd.engine.build import check_needs, loss_context
from graphkd.engine.state import preserved_rng
from graphkd.errors import UserError
from graphkd.views import view_of
from graphkd.views.dense import BOXES_AN_IMAGE, DenseView, label_boxes, region_logits
from tests.small import CLASSES, page, small_model

SMALL = ("MODEL.RETINANET.NUM_CLASSES", "5", "MODEL.RETINANET.NUM_CONVS", "1")
NARROW = ("MODEL.FPN.OUT_CHANNELS", "32")
REGION_NEEDS = frozenset({"region_features", "region_predictions"})
BATCH = [page(5, seed=1), page(0, seed=2)]


def retinanet(name="retinanet_R18", *overrides, seed=0):
    return small_model(name, *SMALL, *NARROW, *overrides, seed=seed)


def without_running_statistics(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def step(model, batch=BATCH):
    with EventStorage(0):
        return view_of(model).step(batch)


@pytest.fixture(scope="module")
def seen():
    """What one step of a student said and what the data said."""
    return step(retinanet().train())


def test_losses_are_bit_identical_with_and_without_taps():
    plain = retinanet().train()
    with EventStorage(0):
        expected = plain(BATCH)
    tapped = retinanet().train()
    losses, _, _ = step(tapped)
    assert losses.keys() == expected.keys() == {"loss_cls", "loss_box_reg"}
    assert all(torch.equal(losses[key], expected[key]) for key in expected)
    state = tapped.state_dict()
    assert all(torch.equal(state[key], value) for key, value in plain.state_dict().items())
    assert not any(module._forward_hooks for module in tapped.modules())


def test_head_maps_have_detectron2s_layout(seen):
    _, outputs, targets = seen
    assert list(outputs.features) == ["p3", "p4", "p5", "p6", "p7"]
    both = zip(outputs.dense.logits, outputs.dense.deltas, targets.anchors, strict=True)
    for logits, deltas, anchors in both:
        images, channels, height, width = logits.shape
        assert images == 2 and channels == 9 * 5
        assert deltas.shape == (2, 9 * 4, height, width)
        assert anchors.shape == (height * width * 9, 4)
    levels = {"p3": 8, "p4": 16, "p5": 32, "p6": 64, "p7": 128}
    assert targets.strides == {**levels, "c3": 8, "c4": 16, "c5": 32}
    assert targets.image_sizes == ((128, 96),) * 2


def test_regions_and_targets_belong_together(seen):
    _, outputs, targets = seen
    regions, count = outputs.regions, sum(outputs.regions.counts)
    assert regions.features.shape == (count, 32, 7, 7)
    assert regions.logits.shape == (count, 6)
    assert targets.region_boxes.shape == (count, 4)
    assert len(targets.region_labels) == len(targets.region_levels) == count
    assert targets.region_levels.min() >= 0 and targets.region_levels.max() <= 2
    overlap = [
        pairwise_iou(Boxes(box[None]), Boxes(matched[None])).item()
        for box, matched in zip(torch.cat(regions.boxes), targets.region_boxes, strict=True)
    ]
    foreground = targets.region_labels < 5
    assert torch.equal(torch.tensor(overlap) >= 0.5, foreground)


def test_regions_are_the_best_boxes_after_nms_and_the_ground_truth(seen):
    _, outputs, targets = seen
    for boxes, truth in zip(outputs.regions.boxes, targets.boxes, strict=True):
        assert not boxes.requires_grad
        predicted, added = boxes.split([len(boxes) - len(truth), len(truth)])
        torch.testing.assert_close(added, truth)
        assert 0 < len(predicted) <= BOXES_AN_IMAGE
        assert (predicted[:, 2:] > predicted[:, :2]).all()
        assert (predicted >= 0).all()
        assert (predicted <= torch.tensor([96, 128, 96, 128])).all()
    first, truth = outputs.regions.boxes[0], targets.boxes[0]
    labels = targets.region_labels.split(outputs.regions.counts)[0]
    assert torch.equal(labels[len(first) - len(truth) :], targets.classes[0])


def test_the_best_scored_box_comes_first():
    student = retinanet().train()

    # The square 64 px anchor of the cell in row 4, column 3 of p4 is made sure of class 3.
    def raise_one(module, args, output):
        logits, deltas = output
        logits[1].data[0, 1 * 5 + 3, 4, 3] = 50.0
        deltas[1].data[0, 1 * 4 : 2 * 4, 4, 3] = 0.0
        return logits, deltas

    handle = student.head.register_forward_hook(raise_one)
    try:
        _, outputs, _ = step(student)
    finally:
        handle.remove()
    torch.testing.assert_close(outputs.regions.boxes[0][0], torch.tensor([16.0, 32, 80, 96]))
    torch.testing.assert_close(outputs.regions.logits[0][3], torch.tensor(50.0))


def test_a_page_without_objects_has_only_background():
    losses, outputs, targets = step(retinanet().train(), [page(0, seed=3)])
    assert (targets.region_labels == 5).all()
    assert targets.region_boxes.shape == (len(outputs.regions.features), 4)
    assert all(torch.isfinite(value) for value in losses.values())


def test_gradients_reach_the_backbone_through_regions(seen):
    student = retinanet().train()
    _, outputs, _ = step(student)
    outputs.regions.features.square().sum().backward()
    assert student.backbone.bottom_up.stem.conv1.weight.grad.abs().sum() > 0
    assert student.head.cls_score.weight.grad is None


def test_observing_at_the_same_boxes_gives_the_same_regions():
    model = without_running_statistics(retinanet().train())
    _, outputs, _ = step(model)
    seen = view_of(model).observe(BATCH, outputs.regions.boxes, REGION_NEEDS | {"dense"})
    torch.testing.assert_close(seen.regions.features, outputs.regions.features)
    torch.testing.assert_close(seen.regions.logits, outputs.regions.logits)
    torch.testing.assert_close(seen.dense.logits[0], outputs.dense.logits[0])
    assert seen.regions.deltas is None and outputs.regions.deltas is None


def test_only_needed_stages_run():
    model = retinanet().eval()
    ran = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in {"head": model.head, "anchors": model.anchor_generator}.items()
    ]
    boxes = [torch.tensor([[0.0, 0.0, 40.0, 40.0]])]
    try:
        view = view_of(model)
        outputs = view.observe([page(2)], None, frozenset({"features"}))
        assert outputs.dense is None and outputs.regions is None and not ran
        outputs = view.observe([page(2)], boxes, frozenset({"region_features"}))
        assert outputs.regions.logits is None and not ran
        outputs = view.observe([page(2)], boxes, REGION_NEEDS)
        assert outputs.dense is None and outputs.regions.logits.shape == (1, 6)
        assert ran == ["head", "anchors"]
    finally:
        for handle in handles:
            handle.remove()


def test_the_pooler_is_no_part_of_the_model():
    model = retinanet()
    before = set(model.state_dict())
    view = view_of(model)
    assert isinstance(view, DenseView) and not list(view.pooler.parameters())
    assert set(model.state_dict()) == before
    assert view.pooled_levels == ["p3", "p4", "p5"] and view.levels[-1] == "p7"


def test_levels_too_coarse_for_regions_are_refused():
    model = retinanet()
    model.head_in_features = ["p6", "p7"]
    with pytest.raises(UserError, match="stride 32 or finer"):
        view_of(model)


def test_labels_by_hand():
    truth = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 5], [0, 0, 10, 4.9], [21, 0, 30, 10], [40, 40, 50, 50]])
    labels, matched = label_boxes(boxes, truth, torch.tensor([3, 1]), background=5)
    assert labels.tolist() == [3, 5, 1, 5]
    assert torch.equal(matched[:3], truth[[0, 0, 1]])
    labels, matched = label_boxes(boxes, truth[:0], torch.tensor([], dtype=int), background=5)
    assert labels.tolist() == [5] * 4 and not matched.any()


def test_region_logits_by_hand():
    """Two cells side by side with two anchors each, three classes; the page is 8 x 4 pixels."""
    anchors = torch.tensor([[0.0, 0, 4, 4], [0, 1, 4, 3], [4, 0, 8, 4], [4, 1, 8, 3]])
    logits = torch.arange(12.0).reshape(1, 2 * 3, 1, 2)
    boxes = torch.tensor([[4.0, 0, 8, 3.5], [0, 1, 4, 3.2]])
    found = region_logits([logits], [anchors], [boxes], num_classes=3)
    # The first anchor owns channels 0..2, the second 3..5; cell 1 is the right one.
    assert found.tolist() == [[1, 3, 5, 0], [6, 8, 10, 0]]
    none = region_logits([logits], [anchors], [boxes[:0]], num_classes=3)
    assert none.shape == (0, 4)


def test_a_single_class_has_its_sigmoid_score_after_the_softmax():
    score = torch.tensor(0.3)
    logits = torch.logit(score).reshape(1, 1, 1, 1)
    box = torch.tensor([[0.0, 0, 4, 4]])
    found = region_logits([logits], [box], [box], num_classes=1).softmax(1)
    torch.testing.assert_close(found, torch.tensor([[0.3, 0.7]]))


def pair(student=None, teacher=None, **facts):
    """Student view, frozen teacher and the facts of the pair, some of them changed."""
    student = student or retinanet("retinanet_MNv2", seed=0)
    teacher = FrozenTeacher(view_of(teacher or retinanet(seed=1)), CLASSES, "RGB", "RGB")
    context = loss_context(view_of(student), teacher, CLASSES, ("text", "title", "list"))
    return view_of(student), teacher, replace(context, **facts)


def distiller(losses, view, teacher, context):
    with preserved_rng():
        built = build_losses(losses, context, source="test.yaml")
        check_needs(built, view, teacher, source="test.yaml")
    return Distiller(view.model, view, teacher, built).train()


def distilled_step(losses, *parts, batch=BATCH):
    """A distilled step; returns the sum of the distillation terms, after its backward."""
    model = distiller(losses, *parts)
    with EventStorage(0):
        found = model(batch)
    terms = [value for key, value in found.items() if key.startswith("loss_kd_")]
    assert terms and all(torch.isfinite(value) for value in found.values())
    total = sum(terms)
    total.backward()
    assert all(p.grad is None for p in model.teacher.model.parameters())
    gradients = [p.grad for p in model.student.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    return float(total.detach()), float(sum(gradient.abs().sum() for gradient in gradients))


@pytest.mark.parametrize(
    "name", ["graphkd", "dsig", "fitnets", "logits", "fgd", "rank_mimicking", "pfi"]
)
def test_a_distilled_step_teaches_the_student(name):
    total, gradient = distilled_step({name: {}}, *pair())
    assert total > 0 and gradient > 0
    total, _ = distilled_step({name: {}}, *pair(), batch=[page(0, seed=1)])
    assert total >= 0


def test_confident_background_of_the_teacher_becomes_nodes():
    """A teacher that sees objects everywhere makes background regions nodes; an unsure one none."""
    view, teacher, context = pair()
    nodes = {}
    for bias in (-5.0, 2.0):
        torch.nn.init.constant_(teacher.model.head.cls_score.bias, bias)
        model = distiller({"dsig": {}}, view, teacher, context)
        with EventStorage(0):
            model([page(3, seed=1)])
        nodes[bias] = float(model.log["kd/dsig/background"])
    assert nodes[-5.0] == 0 and nodes[2.0] > 10


def test_a_step_in_bfloat16_and_channels_last_is_finite():
    models = [retinanet(seed=seed).to(memory_format=torch.channels_last) for seed in (0, 1)]
    parts = pair(*models)
    with torch.autocast("cpu", torch.bfloat16):
        total, gradient = distilled_step({"graphkd": {}, "fitnets": {}}, *parts)
        _, outputs, targets = step(models[0])
    assert total > 0 and gradient > 0
    assert outputs.regions.features.dtype == outputs.regions.logits.dtype == torch.float32
    torch.testing.assert_close(outputs.regions.boxes[0][-5:], targets.boxes[0])


@pytest.mark.parametrize(
    "losses",
    [{"gid": {}}, {"decoupled": {}}, {"proposals": {}}, {"dsig": {"CLASS_WEIGHT": 3.0}}],
    ids=str,
)
def test_losses_of_box_heads_say_that_they_need_one(losses):
    (name,) = losses
    with pytest.raises(UserError, match=f"test.yaml.*{name}.*two-stage"):
        distiller(losses, *pair())


def two_stage(seed=0):
    return small_model("rcnn_tiny_R18", *NARROW, seed=seed)


@pytest.mark.parametrize("student_is_dense", [True, False])
def test_mixed_families_share_feature_maps(student_is_dense):
    models = {"student": retinanet(), "teacher": two_stage(seed=1)}
    if not student_is_dense:
        models = {"student": two_stage(), "teacher": retinanet(seed=1)}
    parts = pair(**models)
    assert parts[2].levels == ("p3", "p4", "p5", "p6") and not parts[2].two_stage
    total, gradient = distilled_step({"fitnets": {}, "fgd": {}, "pkd": {}}, *parts)
    assert total > 0 and gradient > 0


@pytest.mark.parametrize("name", ["graphkd", "dsig", "gid", "logits", "rank_mimicking", "pfi"])
def test_mixed_families_do_not_share_heads_and_regions(name):
    parts = pair(student=retinanet(), teacher=two_stage(seed=1))
    with pytest.raises(UserError, match=f"test.yaml.*{name}.*two-stage") as caught:
        distiller({name: {}}, *parts)
    assert "\n" not in str(caught.value)


def test_the_context_says_whether_region_features_have_one_size():
    assert pair()[2].shared_regions
    assert pair(student=two_stage(), teacher=two_stage(1))[2].shared_regions
    wide = small_model("rcnn_tiny_R18", *NARROW, "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", "9")
    assert not pair(student=two_stage(), teacher=wide)[2].shared_regions
