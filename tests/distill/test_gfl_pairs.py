"""Localization distillation between real detectors: a PicoGFL student and GFL teachers."""

import copy

import pytest
import torch
from detectron2.utils.events import EventStorage

from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
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


def distiller(losses, *, teacher=("gfl_tiny_R18", *GFL), own=()):
    model = student(*own)
    view = view_of(model)
    kept = FrozenTeacher(view_of(small_model(*teacher, seed=1)), CLASSES, "RGB", "RGB")
    context = loss_context(view, kept, CLASSES, CLASSES[:3])
    built = build_losses(losses, context, source="run.yaml")
    check_needs(built, view, kept, source="run.yaml")
    return Distiller(model, view, kept, built).train()


def step(model, batch):
    with EventStorage(0):
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
