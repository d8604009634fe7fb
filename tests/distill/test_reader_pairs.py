"""Every method of text recognition between real readers, with peers, and without a teacher."""

import copy

import pytest
import torch
from detectron2.config import CfgNode

from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
from graphkd.distill.teacher import FrozenTeacher
from graphkd.engine.build import check_needs, loss_context
from graphkd.engine.state import preserved_rng
from graphkd.errors import UserError
from graphkd.views import view_of
from tests.reader import LETTERS, READERS, SMALL, line_batch, reader

YAMLS = sorted((READERS / "methods").glob("*.yaml"))
WIDE = ("MODEL.READER.WIDTH", "0.75", "MODEL.READER.HIDDEN", "24")


def method(name):
    return CfgNode.load_yaml_with_base(str(READERS / "methods" / f"{name}.yaml"))["DISTILL"]


def distiller(node, *, kind="CRNN", other=WIDE):
    """A small student with the losses of a method yaml, a wider teacher, and peers if it asks."""
    view = view_of(reader(kind, *SMALL))
    with preserved_rng():
        teacher = FrozenTeacher(view_of(reader(kind, *other, seed=1)), tuple(LETTERS))
        context = loss_context(view, teacher, tuple(LETTERS), None)
        losses = build_losses(node["LOSSES"], context, source="run.yaml")
        peers = [view_of(reader(kind, *SMALL, seed=9)) for _ in range(node.get("PEERS", 1) - 1)]
    taught = any(loss.module.needs_teacher for loss in losses.values())
    teacher = teacher if taught else None
    check_needs(losses, view, teacher, peers=len(peers), source="run.yaml")
    return Distiller(view.model, view, teacher, losses, peers=peers).train()


@pytest.mark.parametrize("name", [path.stem for path in YAMLS])
def test_a_step_of_every_method(name):
    model = distiller(method(name), kind="RARE" if name == "dkd" else "CRNN")
    losses = model(line_batch())
    assert all(torch.isfinite(value) for value in losses.values())
    sum(value for key, value in losses.items() if key.startswith("loss_kd_")).backward()
    # A method of the neck does not reach the encoder and the decoder behind it.
    grads = [each.grad for each in model.student.body.parameters()]
    assert all(each is not None and each.isfinite().all() for each in grads)
    assert any(each.abs().sum() > 0 for each in grads)


def test_peers_both_learn():
    model = distiller(method("dml"))
    model(line_batch())["loss_kd_dml_frames"].backward()
    for each in (model.student, *model.peers):
        assert each.decoder.linear.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["dctc", "gtc"])
def test_self_distillation_leaves_the_plain_student(name):
    """The same initial weights, losses and random numbers as without it."""
    plain = reader("CRNN", *SMALL).train()
    after = torch.rand(3)
    model = distiller(method(name))
    assert torch.equal(torch.rand(3), after) and model.teacher is None
    batch = line_batch()
    torch.manual_seed(5)
    expected = plain(copy.deepcopy(batch))
    drawn = torch.rand(3)
    torch.manual_seed(5)
    losses = model(copy.deepcopy(batch))
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(losses[key], expected[key]) for key in expected)
    assert list(model.student.state_dict()) == list(plain.state_dict())
    heads = [key for key in model.state_dict() if key.startswith("losses.gtc.head")]
    assert bool(heads) == (name == "gtc")


def test_a_pyramid_is_taught_by_its_levels():
    pyramid = ("MODEL.READER.NECK", "C")
    node = {"LOSSES": {"fitnets": {}}}
    view = view_of(reader("CRNN", *SMALL, *pyramid))
    teacher = FrozenTeacher(view_of(reader("CRNN", *WIDE, *pyramid, seed=1)), tuple(LETTERS))
    context = loss_context(view, teacher, tuple(LETTERS), None)
    loss = build_losses(node["LOSSES"], context, source="run.yaml")["fitnets"]
    assert list(loss.module.adapters) == ["p3", "p4", "p5"]
    model = Distiller(view.model, view, teacher, {"fitnets": loss}).train()
    assert model(line_batch())["loss_kd_fitnets_features"] > 0


@pytest.mark.parametrize(
    "name, kind, complaint",
    [
        ("ctc_mean", "RARE", "needs the frames of a CTC reader"),
        ("dkd", "STAR", "needs the steps of an attention reader"),
        ("masket", "CRNN", "needs the text map"),
        ("ld", "CRNN", "needs"),
        ("graphkd", "CRNN", "needs"),
        ("fgd", "CRNN", "reads boxes|needs FPN levels"),
    ],
)
def test_other_methods_are_refused_in_one_line(name, kind, complaint):
    with pytest.raises(UserError, match=complaint) as caught:
        distiller({"LOSSES": {name: {}}}, kind=kind)
    assert "\n" not in str(caught.value) and f"DISTILL.LOSSES.{name}" in str(caught.value)


def test_a_teacher_of_another_charset_is_refused():
    view, teacher = view_of(reader("CRNN", *SMALL)), view_of(reader("CRNN", *SMALL))
    context = loss_context(view, FrozenTeacher(teacher, tuple("ab")), tuple(LETTERS), None)
    with pytest.raises(UserError, match="different class lists"):
        build_losses({"ctc_mean": {}}, context, source="run.yaml")
