import pytest
import torch
from detectron2.utils.events import EventStorage

from graphkd.distill.distiller import Distiller
from graphkd.distill.losses.build import build_losses
from graphkd.distill.outputs import Outputs, Sequence
from graphkd.distill.teacher import FrozenTeacher
from graphkd.engine.build import loss_context
from graphkd.engine.state import preserved_rng
from graphkd.views import view_of
from tests.small import CLASSES, page, small_model


def distiller(losses, *, teacher_name="rcnn_tiny_R18", student=None, ramp=0):
    student = student or small_model(seed=0)
    with preserved_rng():
        teacher = FrozenTeacher(view_of(small_model(teacher_name, seed=1)), CLASSES, "RGB", "RGB")
        context = loss_context(view_of(student), teacher, CLASSES, ("text", "title", "list"))
        built = build_losses(losses, context, source="test.yaml", ramp=ramp)
    return Distiller(student, view_of(student), teacher, built).train()


def step(model, batch, seed=3):
    torch.manual_seed(seed)
    with EventStorage(0):
        return model(batch)


ALL = {"graphkd": {}, "logits": {}, "fitnets": {"WEIGHT": 0.5}}


def test_the_teacher_is_no_part_of_the_module():
    model = distiller(ALL)
    student = set(model.student.state_dict())
    assert {key.split(".")[0] for key in model.state_dict()} <= {"student", "losses"}
    assert {
        key.removeprefix("student.") for key in model.state_dict() if key.startswith("student.")
    } == student
    teacher = {id(p) for p in model.teacher.model.parameters()}
    assert not teacher & {id(p) for p in model.parameters()}
    model.train()
    assert not model.teacher.model.training


def test_student_losses_are_untouched_and_terms_are_named():
    batch = [page(5, seed=1), page(0, seed=2)]
    plain = step(small_model(seed=0).train(), batch)
    losses = step(distiller(ALL), batch)
    assert all(torch.equal(losses[key], plain[key]) for key in plain)
    kd = [key for key in losses if key not in plain]
    assert kd and all(key.startswith("loss_kd_") for key in kd)
    assert {key.split("_")[2] for key in kd} == set(ALL)


def test_every_term_is_finite_and_teaches_the_student():
    batch = [page(5, seed=1), page(4, seed=2)]
    for name in ALL:
        model = distiller({name: ALL[name]})
        losses = step(model, batch)
        kd = sum(value for key, value in losses.items() if key.startswith("loss_kd_"))
        assert torch.isfinite(kd) and kd > 0
        kd.backward()
        gradient = sum(
            float(p.grad.abs().sum()) for p in model.student.parameters() if p.grad is not None
        )
        assert gradient > 0, name
        assert all(p.grad is None for p in model.teacher.model.parameters())


def test_weight_and_ramp_multiply_the_terms():
    batch = [page(5, seed=1)]
    one = step(distiller({"fitnets": {}}), batch)
    model = distiller({"fitnets": {"WEIGHT": 3.0}}, ramp=10)
    model.iteration = 4
    (key,) = [key for key in one if key.startswith("loss_kd_")]
    torch.testing.assert_close(step(model, batch)[key], 1.5 * one[key])


def test_the_log_holds_every_term_its_factor_and_its_share():
    model = distiller(ALL)
    losses = step(model, [page(5, seed=1)])
    shares = {key: value for key, value in model.log.items() if key.startswith("kd_share/")}
    assert len(shares) == sum(key.startswith("loss_kd_") for key in losses)
    assert 0 < sum(shares.values()) < 1
    assert {f"kd_factor/{name}" for name in ALL} <= set(model.log)


def test_pages_without_objects_give_finite_losses():
    losses = step(distiller(ALL), [page(0, seed=1), page(0, seed=2)])
    assert all(torch.isfinite(value) for value in losses.values())
    sum(losses.values()).backward()


def test_eval_is_the_student_itself():
    model = distiller(ALL).eval()
    item = {key: value for key, value in page(3).items() if key != "instances"}
    ours, plain = model([item]), model.student.eval()([item])
    assert torch.equal(ours[0]["instances"].scores, plain[0]["instances"].scores)


def test_a_teacher_of_another_width_gets_an_adapter():
    wide = small_model("rcnn_tiny_MNv4s", "MODEL.FPN.OUT_CHANNELS", "32")
    model = distiller({"graphkd": {}, "fitnets": {}}, student=wide)
    losses = step(model, [page(5, seed=1)])
    assert all(torch.isfinite(value) for value in losses.values())
    assert list(model.losses.parameters())


def test_a_class_loss_is_refused_where_class_lists_differ():
    from graphkd.errors import UserError

    student = small_model(seed=0)
    teacher = FrozenTeacher(view_of(small_model(seed=1)), ("other", *CLASSES[1:]), "RGB", "RGB")
    context = loss_context(view_of(student), teacher, CLASSES, None)
    with pytest.raises(UserError, match="different class lists"):
        build_losses({"logits": {}}, context, source="test.yaml")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"WEIGHT": float("nan")}, "WEIGHT is nan"),
        ({"WEIGHT": 0}, "WEIGHT is 0"),
        ({"WEIGHT": "a"}, "WEIGHT is a"),
        (None, "must hold options"),
        ({"MERGE": "no"}, "MERGE must be True or False"),
        ({"EDGE_TYPE_WEIGHTS": 1}, "graphkd: "),
    ],
)
def test_wrong_loss_options_are_a_users_mistake(options, problem):
    from graphkd.errors import UserError

    with pytest.raises(UserError, match=problem):
        distiller({"graphkd": options})
    with pytest.raises(UserError, match="DISTILL.RAMP is -5"):
        distiller({"graphkd": {}}, ramp=-5)


def test_outputs_move_to_a_device():
    frames = Sequence(torch.zeros(1, 2, 3), torch.tensor([2]))
    moved = Outputs({"p2": torch.zeros(1)}, frames=frames).to(torch.device("meta"))
    assert {each.device.type for each in (*moved.features.values(), moved.frames.lengths)} == {
        "meta"
    }
    assert moved.frames.trusted is None and moved.dense is None
