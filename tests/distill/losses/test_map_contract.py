"""What every loss that serves text maps must keep; no numbers of single methods."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from graphkd.distill.losses.build import LOSSES, build_losses, import_methods
from graphkd.errors import UserError
from tests.distill.losses import map_pages
from tests.distill.losses.map_pages import context, gradients, outputs, targets, with_gradient

import_methods()
METHODS = sorted(name for name, _ in LOSSES if not name.startswith("toy_"))
# Label, name and options of all methods that text detectors are served with.
SERVED = {
    **{name: (name, {}) for name in ("logits", "cwd", "pkd", "fitnets", "mgd", "fgd")},
    "region_features": ("region_features", {}),
    **{name: (name, {}) for name in ("ka", "skd", "masket", "dml", "cml")},
    **{name: (name, {}) for name in ("sdet", "dsn", "deep_supervision", "sd", "sad")},
    "balanced logits": ("logits", {"BALANCED": True, "TEMPERATURE": 2.0}),
    "cwd of text": ("cwd", {"MAPS": "text"}),
    "pkd of text": ("pkd", {"MAPS": "text"}),
    "fused fitnets": ("fitnets", {"TAP": "fused"}),
    "decoupled": ("decoupled", {"OBJECT_CLASS_WEIGHT": 0, "BACKGROUND_CLASS_WEIGHT": 0}),
    "hybrid sdet": ("sdet", {"AUX_GT": 0.4, "REGION": "text", "HEAD": "refine"}),
    "sdet of stages": ("sdet", {"TAP": "stages", "POSITION": "P1", "HEAD": "deconv"}),
    "sdet of a live map": ("sdet", {"DETACH": False, "RESIZE": "head", "DISTANCE": "l1"}),
    "sad of levels": ("sad", {"TAP": "levels"}),
}
# Methods of detectors alone, refused on map models in one line.
REFUSED = sorted(set(METHODS) - {name for name, _ in SERVED.values()})
# Random holes differ between the copies of an image.
DETERMINED = {"mgd": {"MASK_RATIO": 0.0}}
served = pytest.mark.parametrize("label", SERVED)
ROOT = Path(__file__).resolve().parents[3]
YAMLS = sorted((ROOT / "projects" / "TextDetection" / "configs" / "methods").glob("*.yaml"))


def build(label, facts=None, **options):
    name, own = SERVED[label]
    torch.manual_seed(0)
    options = {**own, **options}
    return build_losses({name: options}, facts or context(), source="run.yaml")[name].module


def said(loss, seed=2, **changes):
    """What the other side of the loss said; None for self-distillation."""
    return outputs(seed, **changes) if loss.needs_teacher or loss.needs_peers else None


def check(terms):
    assert terms
    for name, value in terms.items():
        assert value.shape == () and value.dtype == torch.float32, name
        assert torch.isfinite(value) and value >= -1e-6, name


def test_the_rest_needs_a_detector():
    assert {"fine_grained", "pfi", "rank_mimicking", "gid", "graphkd", "dsig"} <= set(REFUSED)
    for name in REFUSED:
        with pytest.raises(UserError) as caught:
            build_losses({name: {}}, context(), source="run.yaml")
        message = str(caught.value)
        assert "\n" not in message and f"DISTILL.LOSSES.{name}" in message and "needs" in message


@pytest.mark.parametrize("teacher_width", [8, 12])
@pytest.mark.parametrize("stride", [1, 4])
@served
def test_terms_are_finite_and_reach_the_student_alone(label, stride, teacher_width):
    loss = build(label, context(teacher_width=teacher_width, stride=stride))
    student = with_gradient(outputs(1, stride=stride))
    teacher = said(loss, width=teacher_width, stride=stride)
    teacher = teacher and with_gradient(teacher)
    terms = loss(student, teacher, targets())
    check(terms)
    sum(terms.values()).backward()
    found = gradients(student)
    assert found and all(torch.isfinite(each).all() for each in found.values())
    assert any(each.abs().sum() > 0 for each in found.values())
    assert {part for part, _ in found} <= loss.needs
    assert teacher is None or not gradients(teacher)
    parameters = list(loss.parameters())
    assert all(each.grad is not None for each in parameters)


@served
def test_the_parts_it_does_not_need_may_be_missing(label):
    loss = build(label)
    pair = [outputs(1), said(loss)]
    for part in {"features", "stages", "maps"} - loss.needs:
        pair = [each and replace(each, **{part: {}}) for each in pair]
    facts = targets()
    if "boxes" not in loss.reads:
        facts = replace(facts, boxes=(), classes=())
    if "maps" not in loss.reads:
        facts = replace(facts, maps={})
    check(loss(*pair, facts))


@pytest.mark.parametrize("kind", ["empty", "masked"])
@served
def test_pages_without_text_and_without_a_pixel_to_train_on(label, kind):
    loss = build(label)
    student = with_gradient(outputs(1))
    terms = loss(student, said(loss), targets(**{kind: True}))
    check(terms)
    total = sum(terms.values())
    assert total.requires_grad
    total.backward()
    assert all(torch.isfinite(each).all() for each in gradients(student).values())


@served
def test_copies_of_images_change_nothing(label):
    name = SERVED[label][0]
    loss = build(label, **DETERMINED.get(name, {})).eval()
    pair = outputs(1), said(loss)
    once = loss(*pair, targets())
    twice = [each and map_pages.change(each, lambda t: torch.cat([t, t])) for each in pair]
    torch.testing.assert_close(loss(*twice, targets(images=4)), once, rtol=1e-5, atol=1e-6)


@served
def test_padding_and_ignored_text_do_not_matter(label):
    """Values of the text maps outside of the mask change no term."""
    loss = build(label, **DETERMINED.get(SERVED[label][0], {})).eval()
    pair = outputs(1), said(loss)
    once = loss(*pair, targets())

    def changed(item):
        maps = {"text": item.maps["text"].clone()}
        maps["text"][..., 80:] += 5
        return replace(item, maps=maps)

    again = loss(*[each and changed(each) for each in pair], targets())
    torch.testing.assert_close(again, once)


@served
def test_a_map_of_another_stride_and_further_padding(label):
    """A teacher of stride 4 pads to 96 x 96; its extra cells are not read."""
    loss = build(label, context(teacher_stride=4))
    if not loss.needs_teacher or "maps" not in loss.needs:
        return
    teacher = outputs(2, stride=4, padded=(96, 96))
    loss.eval()
    terms = loss(outputs(1), teacher, targets())
    check(terms)
    text = teacher.maps["text"].clone()
    text[:, :, 16:] = 50
    again = loss(outputs(1), replace(teacher, maps={"text": text}), targets())
    torch.testing.assert_close(again, terms)


@served
def test_bfloat16(label):
    loss = build(label)
    pair = [
        each and map_pages.change(each, torch.Tensor.bfloat16) for each in (outputs(1), said(loss))
    ]
    with torch.autocast("cpu", torch.bfloat16):
        check(loss(*pair, targets()))


@pytest.mark.parametrize(
    "label",
    ["logits", "balanced logits", "cwd", "cwd of text", "pkd", "pkd of text", "fitnets"]
    + ["fused fitnets", "skd", "masket", "dml"],
)
def test_the_teachers_terms_vanish_at_equality(label):
    same = outputs(1)
    terms = build(label)(same, same, targets())
    assert all(value.abs() < 1e-5 for value in terms.values()), terms


# A map of `sad` is a constant for its neighbour and trained at the same time.
@pytest.mark.parametrize("label", sorted({*SERVED} - {"sad", "sad of levels"}))
def test_the_gradient_is_the_slope(label):
    loss = build(label, **DETERMINED.get(SERVED[label][0], {})).eval()
    other, facts = said(loss), targets()

    def total(item):
        return sum(loss(item, other, facts).values())

    student = with_gradient(outputs(1))
    total(student).backward()
    reached = gradients(student)
    draw = torch.Generator().manual_seed(3)
    ways = {key: torch.randn(grad.shape, generator=draw) for key, grad in reached.items()}
    slope = sum((grad * ways[key]).sum().double() for key, grad in reached.items())

    def moved(step):
        item = map_pages.change(outputs(1), torch.clone)
        for part, name in ways:
            getattr(item, part)[name] += step * ways[part, name]
        with torch.no_grad():
            return total(item).double()

    found = (moved(2e-3) - moved(-2e-3)) / 4e-3
    assert found == pytest.approx(float(slope), rel=0.05, abs=2e-3)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_method_yaml_builds(path):
    node = CfgNode.load_yaml_with_base(str(path))["DISTILL"]
    built = build_losses(node["LOSSES"], context(), source=path.name)
    assert built and all(each.weight > 0 for each in built.values())
    peers = any(each.module.needs_peers for each in built.values())
    assert node.get("PEERS", 1) == (2 if peers else 1)


def test_every_method_has_a_yaml():
    there = {path.stem for path in YAMLS}
    names = {"st" if name == "logits" else name for name, _ in SERVED.values()}
    assert names <= there
