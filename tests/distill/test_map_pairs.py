"""Every method of text detection between real detectors, with peers, and without a teacher."""

import copy

import pytest
import torch
from detectron2.config import CfgNode

from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
from graphkd.distill.teacher import FrozenTeacher
from graphkd.engine.build import check_needs, loss_context
from graphkd.engine.solver import build_optimizer
from graphkd.engine.state import preserved_rng
from graphkd.errors import UserError
from graphkd.views import view_of
from tests.lines_data import CONFIGS
from tests.maps import map_cfg, map_item, map_model

YAMLS = sorted((CONFIGS / "methods").glob("*.yaml"))
SMALL = ("MODEL.DB.CHANNELS", "16", "MODEL.EAST.CHANNELS", "[16, 16, 16]")
LARGE = ("MODEL.DB.CHANNELS", "32", "MODEL.EAST.CHANNELS", "[32, 32, 32]")
# The last tap of EAST's body is its own coarsest level, so its levels differ in width.
NEED_ONE_WIDTH = {"mgd", "fgd"}


def batch_of(kind):
    cfg = map_cfg(kind)
    return [map_item(cfg, 3, seed=1), map_item(cfg, 0, seed=2)]


def distiller(kind, node, *, other=None):
    """A small student with the losses of a method yaml, a wider teacher, and peers if it asks."""
    student = map_model(kind, *SMALL)
    view = view_of(student)
    with preserved_rng():
        teacher = FrozenTeacher(
            view_of(map_model(other or kind, *LARGE, seed=1)), ("text",), "RGB", "RGB"
        )
        context = loss_context(view, teacher, ("text",), None)
        losses = build_losses(node["LOSSES"], context, source="run.yaml")
    peers = [
        view_of(map_model(kind, *SMALL, seed=seed)) for seed in range(2, node.get("PEERS", 1) + 1)
    ]
    check_needs(losses, view, teacher, peers=len(peers), source="run.yaml")
    taught = any(loss.module.needs_teacher for loss in losses.values())
    return Distiller(student, view, teacher if taught else None, losses, peers=peers).train()


def method(name):
    return CfgNode.load_yaml_with_base(str(CONFIGS / "methods" / f"{name}.yaml"))["DISTILL"]


@pytest.mark.parametrize("kind", ["DB", "EAST"])
@pytest.mark.parametrize("name", [path.stem for path in YAMLS])
def test_a_step_of_every_method(name, kind):
    if kind == "EAST" and name in NEED_ONE_WIDTH:
        with pytest.raises(UserError, match="needs FPN levels of one width"):
            distiller(kind, method(name))
        return
    model = distiller(kind, method(name))
    model.iteration, model.length = 3, 4
    losses = model(batch_of(kind))
    assert all(torch.isfinite(value) for value in losses.values())
    own = sum(value for key, value in losses.items() if key.startswith("loss_kd_"))
    own.backward()
    grads = [each.grad for each in model.student.parameters() if each.grad is not None]
    assert grads and any(each.abs().sum() > 0 for each in grads)
    assert all(torch.isfinite(each).all() for each in grads)


@pytest.mark.parametrize("pair", [("DB", "EAST"), ("EAST", "DB")])
def test_a_teacher_of_the_other_family_teaches_by_its_text_map(pair):
    kind, other = pair
    model = distiller(kind, method("st"), other=other)
    losses = model(batch_of(kind))
    assert losses["loss_kd_logits_text"] > 0


def test_cml_teaches_both_students():
    model = distiller("DB", method("cml"))
    losses = model(batch_of("DB"))
    losses["loss_kd_cml_text"].backward()
    for each in (model.student, *model.peers):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in each.parameters())


@pytest.mark.parametrize("name", ["sdet", "sdet_dsn", "dsn", "deep_supervision", "sd", "sad"])
def test_self_distillation_leaves_the_plain_student(name):
    """The same initial weights and data as without it; nothing of it in the state dict."""
    plain = map_model("DB", *SMALL)
    after = torch.rand(3)
    model = distiller("DB", method(name))
    assert torch.equal(torch.rand(3), after)  # the heads drew from another random state
    assert model.teacher is None
    start, own = plain.state_dict(), model.student.state_dict()
    assert list(start) == list(own)
    assert all(torch.equal(start[key], own[key]) for key in start)
    batch = batch_of("DB")
    expected = plain.train()(copy.deepcopy(batch))
    losses = model(copy.deepcopy(batch))
    assert all(torch.equal(losses[key], expected[key]) for key in expected)
    # The first step moved the running statistics of both alike.
    page = [{"image": batch[0]["image"]}]
    one, other = plain.eval()(page)[0], model.eval()(page)[0]
    assert len(one["polygons"]) == len(other["polygons"])
    assert torch.equal(*(torch.as_tensor(each["scores"]) for each in (one, other)))
    extra = {key for key in model.state_dict() if not key.startswith("student.")}
    assert (name == "sad") == (not extra) and all(key.startswith("losses.") for key in extra)


@pytest.mark.parametrize("name", ["sdet", "dsn"])
def test_auxiliary_heads_are_trained(name):
    cfg = map_cfg("DB", "SOLVER.OPTIMIZER", "AdamW")
    model = distiller("DB", method(name))
    model.iteration, model.length = 3, 4
    optimizer = build_optimizer(cfg, model)
    (before,) = (
        p.clone() for key, p in model.losses.named_parameters() if key.endswith("p2.0.weight")
    )
    sum(model(batch_of("DB")).values()).backward()
    optimizer.step()
    (after,) = (p for key, p in model.losses.named_parameters() if key.endswith("p2.0.weight"))
    assert not torch.equal(before, after)


@pytest.mark.parametrize("name", ["pfi", "gid", "rank_mimicking", "fine_grained", "graphkd", "ld"])
def test_methods_of_detectors_are_refused_in_one_line(name):
    with pytest.raises(UserError, match=f"DISTILL.LOSSES.{name}.* needs") as caught:
        distiller("DB", {"LOSSES": {name: {}}})
    assert "\n" not in str(caught.value)
