"""Localization distillation between real detectors: a PicoGFL student and GFL teachers."""

import copy

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch.utils.flop_counter import FlopCounterMode

from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
from graphkd.distill.losses.dense_cells import valuable_region
from graphkd.distill.teacher import AverageTeacher, FrozenTeacher
from graphkd.engine.build import check_needs, loss_context
from graphkd.errors import UserError
from graphkd.views import view_of
from tests.small import CLASSES, page, small_model

GFL = ("MODEL.GFL.NUM_CLASSES", "5", "MODEL.GFL.NUM_CONVS", "1")
EVERY = {
    "ld": {},
    "bckd": {},
    "imitation": {"MASK": "gi"},
    "pkd": {},
    "fgd": {},
    "logits": {},
    "rank_mimicking": {"OVERLAP": 0.05},
    "pfi": {},
    "graphkd": {"MAX_BACKGROUND": 8},
}


def student(*overrides):
    return small_model("gfl_pico_tiny_MNv4s", *GFL, "MODEL.FPN.OUT_CHANNELS", "32", *overrides)


EDGES = {
    "ld": {"VLR_CLASSES": 0.5},
    "bckd": {},
    "imitation": {"MASK": "main"},
}


def distiller(losses, *, teacher=("gfl_tiny_R18", *GFL), own=(), classes=CLASSES):
    model = student(*own)
    view = view_of(model)
    kept = FrozenTeacher(view_of(small_model(*teacher, seed=1)), classes, "RGB", "RGB")
    context = loss_context(view, kept, classes, classes[:3])
    built = build_losses(losses, context, source="run.yaml")
    check_needs(built, view, kept, source="run.yaml")
    return Distiller(model, view, kept, built).train()


def step(model, batch):
    with EventStorage(0) as model.storage:
        losses = model(copy.deepcopy(batch))
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    grads = [each.grad for each in model.student.parameters() if each.grad is not None]
    assert grads and all(torch.isfinite(each).all() for each in grads)
    return losses


def test_all_methods_stack_on_gfl():
    """The teacher has a level more than the student, p7, and maps of another width."""
    model = distiller(EVERY)
    assert model.teacher.view.levels[-1] not in model.view.levels
    losses = step(model, [page(5, seed=1), page(0, seed=2)])
    for method in EVERY:
        assert sum(v for k, v in losses.items() if k.startswith(f"loss_kd_{method}_")) > 0, method
    assert {name.split(".")[0] for name in model.state_dict()} == {"student", "losses"}
    step(model, [page(0, seed=3)])


@pytest.mark.parametrize("last", ["8", "20"])
def test_unlike_bins(last):
    model = distiller({"ld": {}}, own=("MODEL.GFL.REG_MAX", last))
    losses = step(model, [page(4, seed=1)])
    assert losses["loss_kd_ld_main"] > 0 and losses["loss_kd_ld_vlr"] > 0


def boxes_on_a_page(*boxes):
    item = page(len(boxes), seed=1)
    item["instances"].gt_boxes.tensor = torch.tensor(boxes)
    return item


def test_one_class_is_taught():
    one = ("MODEL.GFL.NUM_CLASSES", "1")
    model = distiller(EDGES, own=one, teacher=("gfl_tiny_R18", *GFL, *one), classes=("text",))
    batch = [page(3, seed=1)]
    batch[0]["instances"].gt_classes.zero_()
    losses = step(model, batch)
    assert all(value > 0 for name, value in losses.items() if "_kd_" in name)


@pytest.mark.parametrize(
    ("box", "positives"),
    [((9.0, 9.0, 60.0, 60.0), None), ((17.0, 17.0, 23.0, 23.0), 1), ((10.0, 9.0, 60.0, 11.0), 0)],
    ids=["several positives", "one positive", "a box that no anchor takes"],
)
def test_pages_with_one_box(box, positives):
    model = distiller(EDGES)
    losses = step(model, [boxes_on_a_page(box), page(0, seed=2)])
    storage = model.storage.latest()
    logged = int(2 * storage["gfl/positives"][0])
    assert logged == model.losses["ld"].log["main_anchors"]
    assert logged > 1 if positives is None else logged == positives
    assert storage["gfl/boxes_without_anchor"][0] == (0.5 if positives == 0 else 0)
    for name in ("loss_kd_ld_main", "loss_kd_ld_classes", "loss_kd_imitation_features"):
        assert (losses[name] > 0) == (logged > 0), name
    # BCKD teaches all valid anchors.
    assert losses["loss_kd_bckd_classes"] > 0


def test_a_box_beyond_the_last_bin():
    """A line as wide as a page of 960 px: 120 strides of the level whose anchors fit its height."""
    wide = boxes_on_a_page((0.0, 20.0, 960.0, 52.0))
    wide["image"] = torch.zeros(3, 96, 960, dtype=torch.uint8)
    wide["instances"]._image_size = wide["height"], wide["width"] = (96, 960)
    losses = step(distiller(EDGES), [wide])
    assert all(value > 0 for value in losses.values())


def test_autocast():
    model = distiller(EDGES)
    batch = [page(4, seed=1), page(0, seed=2)]
    plain = step(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        losses = step(model, batch)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(plain[name].item(), rel=0.25), name


@pytest.mark.parametrize("sign", [1, -1])
def test_edges_that_are_all_too_sure(sign):
    """Edge logits of 50 and more on one bin, another one for each network."""
    model = distiller(EDGES)
    for head, place in ((model.student.head, 3), (model.teacher.model.head, 9)):
        torch.nn.init.zeros_(head.bbox_pred.weight)
        bias = head.bbox_pred.bias.data.view(4, -1)
        bias.fill_(-50.0 * sign)
        bias[:, place] = 50.0 * sign
    losses = step(model, [page(4, seed=1)])
    assert losses["loss_kd_ld_main"] > 0


def test_pages_of_a_batch_may_differ_in_size():
    """What is taught on a page does not depend on how far the batch pads it."""
    model = distiller({"ld": {}, "bckd": {}, "imitation": {"MASK": "vlr"}})
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    small, large = page(3, seed=1, size=(64, 64)), page(0, seed=2, size=(192, 160))
    step(model, [small])
    alone = dict(model.losses["ld"].log)
    step(model, [small, large])
    for name in ("main_anchors", "vlr_anchors"):
        assert model.losses["ld"].log[name] == alone[name] > 0


def test_a_step_costs_hardly_more_than_its_two_networks():
    """In operations of convolutions and matrix products, forward and backward."""
    model = distiller({"ld": {}, "bckd": {}, "imitation": {"MASK": "vlr"}})
    batch = [page(4, seed=1)]

    def cost(call):
        with EventStorage(0), FlopCounterMode(display=False) as counter:
            losses = call()
            if isinstance(losses, dict):
                sum(losses.values()).backward()
        return counter.get_total_flops()

    plain = cost(lambda: model.student(batch))
    teacher = cost(lambda: model.teacher.observe(batch, None, model.needs))
    distilled = cost(lambda: model(batch))
    assert plain > 0 and teacher > 0
    # The adapters of `imitation` are the rest.
    assert plain + teacher < distilled < 1.02 * (plain + teacher)


def test_what_no_loss_reads_is_not_computed(monkeypatch):
    """Neither regions nor the teacher's maps; the teacher's layers are free before the student's
    fill up.
    """
    model, calls = distiller({"ld": {}}), []

    def note(model):
        for name, network in (("student", model.student), ("teacher", model.teacher.model)):
            network.head.register_forward_hook(lambda *_, name=name: calls.append(name))

    note(model)
    monkeypatch.delattr(model.view, "pooler")
    step(model, [page(4, seed=1)])
    assert calls == ["teacher", "student"]
    seen = model.teacher.observe([page(4, seed=1)], None, model.needs)
    assert seen.features == {} and seen.regions is None and seen.dense is not None
    pooled = distiller({"ld": {}, "graphkd": {}})
    calls.clear()
    note(pooled)
    step(pooled, [page(4, seed=1)])
    assert calls == ["student", "teacher"]


@pytest.mark.parametrize("method", [*EDGES, "valuable region"])
def test_no_loop_runs_over_anchors_or_boxes(method):
    """A page of 15 times the anchors and 10 times the boxes takes no more operations."""
    model, counts = distiller(EDGES), []
    for objects, size in ((2, (128, 64)), (20, (384, 320))):
        batch = [page(objects, seed=1, size=size)]
        with EventStorage(0):
            _, said, targets = model.view.step(batch)
        teacher = model.teacher.observe(batch, None, model.needs)
        with torch.profiler.profile() as found:
            if method == "valuable region":
                valuable_region(targets, gamma=0.25)
            else:
                model.losses[method](said, teacher, targets)
        counts.append(sum(event.count for event in found.key_averages()))
    assert counts[1] < 1.1 * counts[0]


def test_an_equal_teacher_teaches_nothing():
    """A running average that was never updated is the student itself, so nothing is taught."""
    model = small_model(
        "gfl_tiny_R18", *GFL, "MODEL.RESNETS.NORM", "FrozenBN", "MODEL.FPN.NORM", ""
    )
    teacher = AverageTeacher(model, decay=0.9, view_of=view_of)
    view = view_of(model)
    context = loss_context(view, teacher, CLASSES, None)
    losses = build_losses({"ld": {}, "bckd": {}}, context, source="run.yaml")
    found = step(Distiller(model, view, teacher, losses).train(), [page(4, seed=1)])
    for name, value in found.items():
        if "_kd_" in name:
            assert value.abs() < 1e-3, name


def test_teachers_that_cannot_teach_edges_are_refused():
    retinanet = (
        "retinanet_R18",
        "MODEL.RETINANET.NUM_CLASSES",
        "5",
        "MODEL.FPN.OUT_CHANNELS",
        "16",
    )
    with pytest.raises(UserError, match="distributions .* use bckd, logits"):
        distiller({"ld": {}}, teacher=retinanet)
    assert distiller({"pkd": {}, "fgd": {}}, teacher=retinanet)
