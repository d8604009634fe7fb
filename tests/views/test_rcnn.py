import pytest
import torch
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage

from graphkd.distill.taps import TapError
from graphkd.errors import UserError
from graphkd.views import view_of
from tests.small import page, small_model


@pytest.fixture(scope="module")
def student():
    return small_model().train()


def step(student, batch, seed=1):
    torch.manual_seed(seed)
    with EventStorage(0):
        return view_of(student).step(batch)


def test_losses_are_bit_identical_with_and_without_taps():
    batch = [page(5, seed=1), page(0, seed=2)]
    torch.manual_seed(1)
    with EventStorage(0):
        plain = small_model().train()
        torch.manual_seed(1)
        expected = plain(batch)
    losses, _, _ = step(small_model().train(), batch)
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[key], expected[key]) for key in expected)


def test_regions_and_targets_belong_together(student):
    _, outputs, targets = step(student, [page(5, seed=1), page(3, seed=2)])
    regions = outputs.regions
    assert sum(regions.counts) == len(regions.features) == len(regions.logits)
    assert len(targets.region_labels) == len(targets.region_levels) == len(regions.features)
    foreground = targets.region_labels < targets.num_classes
    overlap = torch.stack(
        [
            torch.diag(iou(Boxes(a[None]), Boxes(b[None])))
            for a, b in zip(torch.cat(regions.boxes), targets.region_boxes, strict=True)
        ]
    ).flatten()
    assert foreground.any()
    assert (overlap[foreground] >= 0.5).all()
    assert (overlap[~foreground] < 0.5).all()
    assert len(targets.anchors) == len(outputs.dense.logits) == len(outputs.features)


def test_stages_of_the_body_are_named_by_stride(student):
    _, outputs, targets = step(student, [page(2, seed=1)])
    view = view_of(student)
    assert list(outputs.stages) == ["c2", "c3", "c4", "c5"] and "stages" in view.provides
    for name, stage in outputs.stages.items():
        assert stage.shape[1] == view.channels[name]
        assert stage.shape[2] == 128 // targets.strides[name]
    seen = view.observe([page(2, seed=1)], None, frozenset({"stages"}))
    assert [each.shape for each in seen.stages.values()] == [
        each.shape for each in outputs.stages.values()
    ]


def iou(a, b):
    from detectron2.structures import pairwise_iou

    return pairwise_iou(a, b)


def test_a_page_without_objects_has_only_background(student):
    losses, outputs, targets = step(student, [page(0, seed=3)])
    assert (targets.region_labels == targets.num_classes).all()
    assert targets.region_boxes.shape == (len(outputs.regions.features), 4)
    assert all(torch.isfinite(value) for value in losses.values())


def test_observing_at_the_same_boxes_gives_the_same_regions():
    model = small_model().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    batch = [page(4, seed=1)]
    _, outputs, _ = step(model, batch)
    needs = frozenset({"region_features", "region_predictions", "dense"})
    seen = view_of(model).observe(batch, outputs.regions.boxes, needs)
    torch.testing.assert_close(seen.regions.features, outputs.regions.features)
    torch.testing.assert_close(seen.regions.logits, outputs.regions.logits)
    torch.testing.assert_close(seen.dense.logits[0], outputs.dense.logits[0])


def test_only_needed_stages_run(student):
    view = view_of(student.eval())
    ran = []
    heads = student.roi_heads
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, module in {"pool": heads.box_pooler, "head": heads.box_head}.items()
    ]
    try:
        outputs = view.observe([page(2)], None, frozenset({"features"}))
        assert outputs.dense is None and outputs.regions is None and not ran
        boxes = [torch.tensor([[0.0, 0.0, 40.0, 40.0]])]
        view.observe([page(2)], boxes, frozenset({"region_features"}))
        assert ran == ["pool"]
    finally:
        for handle in handles:
            handle.remove()
        student.train()


def test_a_cascade_head_fails_loudly():
    cascade = small_model(
        "rcnn_tiny_MNv4s",
        *("MODEL.ROI_HEADS.NAME", "CascadeROIHeads"),
        *("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "True"),
    ).train()
    with pytest.raises((TapError, UserError), match="box_p|Cascade"):
        step(cascade, [page(3)])


def test_another_meta_architecture_is_refused():
    with pytest.raises(UserError, match="no view for Linear"):
        view_of(torch.nn.Linear(1, 1))
