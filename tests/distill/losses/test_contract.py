"""What every registered distillation loss of detectors must keep; no numbers of single methods.
test_map_contract.py has those of text detectors.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode

from graphkd.distill.losses.base import DistillLoss
from graphkd.distill.losses.build import LOSSES, build_losses, import_methods
from graphkd.distill.outputs import Outputs
from graphkd.errors import UserError
from tests.small import TEXT_METHODS

import_methods()
METHODS = sorted(
    name for name, _ in LOSSES if not name.startswith("toy_") and name not in TEXT_METHODS
)
HERE = {
    "bckd",
    "cwd",
    "decoupled",
    "fgd",
    "fine_grained",
    "fitnets",
    "gid",
    "imitation",
    "ld",
    "logits",
    "mgd",
    "pfi",
    "pkd",
    "proposals",
    "rank_mimicking",
}
# parts that a method reads from the teacher alone, so no gradient reaches the student's
TEACHER_ONLY = {("dsig", "region_predictions"), ("graphkd", "region_predictions")}
ONLY_TWO_STAGE = {"decoupled", "gid", "proposals"}
ONLY_ONE_STAGE = {"bckd", "ld"}
# random holes differ between the copies of an image; without holes the loss is determined
DETERMINED = {"mgd": {"MASK_RATIO": 0.0}}
YAMLS = sorted((Path(__file__).resolve().parents[3] / "configs" / "methods").glob("*.yaml"))


def build(name, context, **options) -> DistillLoss:
    torch.manual_seed(0)
    return build_losses({name: options}, context, source="run.yaml")[name].module


def stages(name):
    """Options of the toy's makers for a pair that the method serves."""
    return {"two_stage": name not in ONLY_ONE_STAGE}


def read_tensors(loss, item, toy):
    """The tensors of the parts the loss says it needs."""
    return [each for part in sorted(loss.needs) for each in toy.tensors(item).get(part, [])]


def copies(item, toy):
    """Every image of the batch twice, image by image."""

    def twice(tensor):
        return torch.cat([tensor, tensor])

    doubled = toy.change(item, twice)
    if item.regions is None:
        return doubled
    return replace(doubled, regions=replace(doubled.regions, boxes=item.regions.boxes * 2))


def run_twice(name, toy, *, two_stage):
    """Terms of a batch and of the same batch with every image twice."""
    loss = build(name, toy.context(two_stage=two_stage), **DETERMINED.get(name, {}))
    loss.eval()
    pair = toy.outputs(1, two_stage=two_stage), toy.outputs(2, two_stage=two_stage)
    once = loss(*pair, toy.targets())
    doubled = loss(*[copies(each, toy) for each in pair], toy.targets(images=4))
    return once, doubled


def check(terms):
    assert terms
    for name, value in terms.items():
        assert value.shape == (), name
        assert value.dtype == torch.float32, name
        assert torch.isfinite(value), name


def test_all_methods_of_this_folder_are_registered():
    assert set(METHODS) >= HERE


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("teacher_channels", [8, 12])
def test_terms_are_finite_and_reach_the_student_alone(toy, name, teacher_channels):
    context = toy.context(teacher_channels=teacher_channels, **stages(name))
    loss = build(name, context)
    student = toy.change(toy.outputs(1, **stages(name)), lambda tensor: tensor.requires_grad_())
    teacher = toy.change(
        toy.outputs(2, channels=teacher_channels, **stages(name)),
        lambda tensor: tensor.requires_grad_(),
    )
    terms = loss(student, teacher, toy.targets())
    check(terms)
    sum(terms.values()).backward()
    reached = read_tensors(loss, student, toy)
    assert any(each.grad is not None and each.grad.abs().sum() > 0 for each in reached)
    for part in loss.needs:
        grads = [each.grad for each in toy.tensors(student)[part] if each.grad is not None]
        assert grads or (name, part) in TEACHER_ONLY, f"no gradient reaches {part}"
        assert all(torch.isfinite(each).all() for each in grads)
    assert all(each.grad is None for part in toy.tensors(teacher).values() for each in part)
    adapters = [each for each in loss.parameters() if each.requires_grad]
    assert all(torch.isfinite(each.grad).all() for each in adapters if each.grad is not None)
    if adapters:
        assert any(each.grad is not None and each.grad.abs().sum() > 0 for each in adapters)


@pytest.mark.parametrize("name", METHODS)
def test_the_parts_it_does_not_need_may_be_missing(toy, name):
    loss = build(name, toy.context(**stages(name)))
    pair = []
    for seed in (1, 2):
        item = toy.outputs(seed, **stages(name))
        if "dense" not in loss.needs:
            item = replace(item, dense=None)
        if "stages" not in loss.needs:
            item = replace(item, stages={})
        if not loss.needs & {"region_features", "region_predictions"}:
            item = replace(item, regions=None)
        elif "region_predictions" not in loss.needs:
            item = replace(item, regions=replace(item.regions, logits=None, deltas=None))
        pair.append(item)
    check(loss(*pair, toy.targets()))


@pytest.mark.parametrize("name", METHODS)
def test_pages_without_objects(toy, name):
    loss = build(name, toy.context(**stages(name)))
    student = toy.change(toy.outputs(1, **stages(name)), lambda tensor: tensor.requires_grad_())
    terms = loss(student, toy.outputs(2, **stages(name)), toy.targets(empty=True))
    check(terms)
    assert all(value.requires_grad for value in terms.values())


@pytest.mark.parametrize("name", METHODS)
def test_batch_without_regions(toy, name):
    loss = build(name, toy.context(**stages(name)))
    student = toy.outputs(1, regions=0, **stages(name))
    student = toy.change(student, lambda tensor: tensor.requires_grad_())
    terms = loss(
        student, toy.outputs(2, regions=0, **stages(name)), toy.targets(regions=0, empty=True)
    )
    check(terms)
    total = sum(terms.values())
    assert total.requires_grad
    total.backward()
    parts = toy.tensors(student).values()
    grads = [each.grad for part in parts for each in part if each.grad is not None]
    assert grads
    assert all(torch.isfinite(each).all() for each in grads)


@pytest.mark.parametrize("name", METHODS)
def test_copies_of_images_change_nothing(toy, name):
    once, doubled = run_twice(name, toy, **stages(name))
    torch.testing.assert_close(doubled, once, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_zero_maps_are_finite(toy, name):
    loss = build(name, toy.context(**stages(name)))
    nothing = toy.change(toy.outputs(1, **stages(name)), torch.zeros_like)
    student = toy.change(nothing, lambda tensor: tensor.clone().requires_grad_())
    terms = loss(student, nothing, toy.targets())
    check(terms)
    sum(terms.values()).backward()
    for part in toy.tensors(student).values():
        assert all(each.grad is None or torch.isfinite(each.grad).all() for each in part)


@pytest.mark.parametrize("name", METHODS)
def test_teacher_padded_further(toy, name):
    """96 x 128 against 128 x 128: the teacher's extra rows are padding, so they must not matter."""
    student = toy.outputs(1, **stages(name))
    teacher = toy.outputs(2, padded=(128, 128), **stages(name))
    context = toy.context(**stages(name))
    terms = build(name, context)(student, teacher, toy.targets())
    check(terms)

    def beyond(item):
        """Other values in the cells that the student's maps do not cover."""
        changed = toy.change(item, torch.clone)
        maps = [
            [
                tensor
                for part in ("features", "stages", "dense")
                for tensor in toy.tensors(each)[part]
            ]
            for each in (changed, student)
        ]
        for own, cover in zip(*maps, strict=True):
            own[..., cover.shape[-2] :, :] += 100
        return changed

    again = build(name, context)(student, beyond(teacher), toy.targets())
    torch.testing.assert_close(again, terms)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(toy, name, autocast):
    loss = build(name, toy.context(teacher_channels=12, **stages(name)))
    student = toy.change(toy.outputs(1, **stages(name)), lambda tensor: tensor.bfloat16())
    teacher = toy.change(
        toy.outputs(2, channels=12, **stages(name)), lambda tensor: tensor.bfloat16()
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        check(loss(student, teacher, toy.targets()))


@pytest.mark.parametrize("name", sorted(ONLY_ONE_STAGE))
def test_heads_of_dense_detectors_are_asked_for(toy, name):
    with pytest.raises(UserError, match="one-stage"):
        build(name, toy.context(two_stage=True))


@pytest.mark.parametrize("name", METHODS)
def test_one_stage_works_or_refuses(toy, name):
    context = toy.context(two_stage=False)
    if name in ONLY_TWO_STAGE:
        with pytest.raises(UserError, match="two-stage"):
            build(name, context)
        return
    loss = build(name, context)
    student = toy.change(toy.outputs(1, two_stage=False), lambda tensor: tensor.requires_grad_())
    terms = loss(student, toy.outputs(2, two_stage=False), toy.targets())
    check(terms)
    sum(terms.values()).backward()
    assert any(
        each.grad is not None and each.grad.abs().sum() > 0
        for each in read_tensors(loss, student, toy)
    )
    once, doubled = run_twice(name, toy, two_stage=False)
    torch.testing.assert_close(doubled, once, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_other_classes_of_the_teacher_work_or_are_refused(toy, name):
    """A teacher of two more classes: its scores must not be compared with the student's."""
    try:
        loss = build(name, toy.context(same_classes=False, **stages(name)))
    except UserError as error:
        assert "class" in str(error)
        return
    teacher = toy.outputs(2)
    sampled = teacher.regions
    sampled = replace(
        sampled,
        logits=torch.cat([sampled.logits, sampled.logits[:, :2]], 1),
        deltas=torch.cat([sampled.deltas, sampled.deltas[:, :8]], 1),
    )
    check(loss(toy.outputs(1), replace(teacher, regions=sampled), toy.targets()))


@pytest.mark.parametrize("name", METHODS)
def test_refuses_unknown_keys(toy, name):
    with pytest.raises(UserError, match="NO_SUCH_KEY is no option"):
        build(name, toy.context(**stages(name)), NO_SUCH_KEY=1)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_method_yaml_builds(toy, path):
    methods = CfgNode.load_yaml_with_base(str(path))["DISTILL"]["LOSSES"]
    two_stage = not ONLY_ONE_STAGE & set(methods)
    built = build_losses(methods, toy.context(two_stage=two_stage), source=path.name)
    assert built
    assert all(each.weight > 0 for each in built.values())


@pytest.mark.parametrize("name", sorted(HERE))
def test_every_method_here_has_a_yaml(name):
    assert name in {path.stem for path in YAMLS}


# Facts of tasks without boxes: maps on pyramid levels (text detection), one fused map, text lines.
OTHER_TASKS = {
    "pyramid": dict(),
    "fused map": dict(levels=(), channels={"fused": (8, 12)}, strides={"fused": (4, 4)}),
    "lines": dict(levels=(), channels={"stage2": (8, 8)}, strides={}, num_classes=90),
}
NO_BOXES = dict(
    two_stage=None, shared_regions=None, same_anchors=None, same_box_codes=None, bins=None
)
# read maps of features and nothing that only a detector has
FEATURES_ALONE = {"cwd", "fitnets", "mgd", "pkd", "fgd", "region_features"}


@pytest.mark.parametrize("task", OTHER_TASKS)
@pytest.mark.parametrize("name", METHODS)
def test_tasks_without_boxes_are_served_or_refused_in_one_line(toy, name, task):
    context = toy.context(**NO_BOXES, text_classes=None, **OTHER_TASKS[task])
    if name in FEATURES_ALONE and context.levels:
        loss = build(name, context)
        facts = replace(toy.targets(), anchors=(), region_labels=None)
        both = [toy.outputs(seed) for seed in (1, 2)]
        plain = [Outputs(each.features, stages=each.stages) for each in both]
        check(loss(*plain, facts))
        return
    with pytest.raises(UserError) as caught:
        build(name, context)
    message = str(caught.value)
    assert "\n" not in message and f"DISTILL.LOSSES.{name}" in message and "needs" in message


# sad reads stages of the body, which detectors have, too
@pytest.mark.parametrize("name", sorted(TEXT_METHODS - {"sad"}))
def test_losses_of_text_maps_are_refused_on_detectors_in_one_line(toy, name):
    with pytest.raises(UserError, match=f"DISTILL.LOSSES.{name}: needs .*") as caught:
        build(name, toy.context())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", METHODS)
def test_what_it_does_not_read_of_the_targets_may_be_missing(toy, name):
    context = toy.context(**stages(name))
    loss = build(name, context)
    full = toy.targets()
    parts = ("boxes", "classes", "anchors", "assignment")
    unread = {part: () for part in parts if part not in loss.reads}
    if "boxes" in loss.reads:
        unread.pop("classes")
    torch.manual_seed(1)
    pair = toy.outputs(1, **stages(name)), toy.outputs(2, **stages(name))
    found = build(name, context)(*pair, replace(full, **unread))
    torch.testing.assert_close(found, build(name, context)(*pair, full))
    for part in loss.reads:
        with pytest.raises((ValueError, IndexError, RuntimeError, UserError)):
            loss(*pair, replace(full, **{part: ()}))
