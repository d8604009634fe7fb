"""What every loss on lines of text must keep; no numbers of single methods."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from torch.nn import functional as F

from graphkd.distill.losses.build import LOSSES, build_losses, import_methods
from graphkd.errors import UserError
from tests.distill.losses import crops
from tests.distill.losses.crops import change, context, gradients, outputs, targets, with_gradient

import_methods()
METHODS = sorted(name for name, _ in LOSSES if not name.startswith("toy_"))
# Label, name and options of the methods that compare frames or steps, and of feature methods.
OWN = {
    **{name: (name, {}) for name in ("ctc_mean", "ctc_posterior", "frame_kl", "dml")},
    **{name: (name, {}) for name in ("dctc", "gtc", "dkd")},
    "ctc_mean without blank": ("ctc_mean", {"BLANK": "drop"}),
    "posterior": ("ctc_posterior", {"MODE": "posterior"}),
    "shifted posterior": ("ctc_posterior", {"MODE": "posterior", "SHIFT": 2}),
    "shifted frames": ("ctc_posterior", {"SHIFT": 1, "CONFIDENCE": False}),
    "soft frame_kl": ("frame_kl", {"TEMPERATURE": 2.0, "BLANK_WEIGHT": 0.1}),
}
FEATURES = {
    "fitnets": ("fitnets", {"TAP": "neck"}),
    "cwd": ("cwd", {"MAPS": "neck"}),
    "pkd": ("pkd", {"MAPS": "neck"}),
}
SERVED = {**OWN, **FEATURES}
served, own = (pytest.mark.parametrize("label", each) for each in (SERVED, OWN))
ROOT = Path(__file__).resolve().parents[3]
YAMLS = sorted((ROOT / "projects" / "TextRecognition" / "configs" / "methods").glob("*.yaml"))


def build(label, facts=None):
    name, options = SERVED[label]
    torch.manual_seed(0)
    facts = facts or context(sequence="steps" if name == "dkd" else "frames")
    return build_losses({name: options}, facts, source="run.yaml")[name].module


def said(loss, seed=2, **changes):
    """What the other side of the loss said; None for self-distillation."""
    return outputs(seed, **changes) if loss.needs_teacher or loss.needs_peers else None


def check(terms):
    assert terms
    for name, value in terms.items():
        assert value.shape == () and value.dtype == torch.float32, name
        assert torch.isfinite(value) and value >= -1e-6, name


@served
def test_terms_are_finite_and_reach_the_student_alone(label):
    loss = build(label)
    student, teacher = with_gradient(outputs(1)), said(loss)
    teacher = teacher and with_gradient(teacher)
    terms = loss(student, teacher, targets())
    check(terms)
    sum(terms.values()).backward()
    found = gradients(student)
    assert set(found) == {"neck" if part == "features" else part for part in loss.needs} - (
        {"frames"} if label == "gtc" else set()
    )
    assert all(torch.isfinite(each).all() and each.abs().sum() > 0 for each in found.values())
    assert teacher is None or not gradients(teacher)
    assert all(each.grad is not None for each in loss.parameters())


@served
def test_the_parts_it_does_not_need_may_be_missing(label):
    loss = build(label)
    empty = {"features": {}, "frames": None, "steps": None}
    unread = {part: each for part, each in empty.items() if part not in loss.needs}
    pair = [each and replace(each, **unread) for each in (outputs(1), said(loss))]
    check(loss(*pair, targets() if "texts" in loss.reads else targets(())))


@own
@pytest.mark.parametrize(
    "lengths, texts",
    [
        ((12, 7), ("", "")),
        ((1, 1), ("a", "")),
        ((1, 2), ("aa", "abcd")),
        ((3, 5), ("aa", "aaa")),
        ((2, 4), ("aa", "aaa")),
    ],
    ids=["empty labels", "one frame", "labels do not fit", "at the limit", "below the limit"],
)
def test_labels_of_all_lengths_are_finite(label, lengths, texts):
    loss = build(label)
    student = with_gradient(outputs(1, lengths=lengths))
    terms = loss(student, said(loss, lengths=lengths), targets(texts))
    check(terms)
    total = sum(terms.values())
    assert total.requires_grad
    total.backward()
    assert all(torch.isfinite(each).all() for each in gradients(student).values())


@own
def test_copies_of_lines_change_nothing(label):
    loss = build(label)
    pair = outputs(1), said(loss)
    once = loss(*pair, targets())

    def twice(item):
        doubled = change(item, lambda each: torch.cat([each, each]))
        frames = replace(doubled.frames, lengths=torch.cat([item.frames.lengths] * 2))
        return replace(doubled, frames=frames)

    again = loss(*[each and twice(each) for each in pair], targets(crops.TEXTS * 2))
    torch.testing.assert_close(again, once, rtol=1e-5, atol=1e-6)


@own
def test_padded_frames_and_their_values_change_nothing(label):
    loss = build(label)
    pair = outputs(1), said(loss)
    once = loss(*pair, targets())

    def padded(item):
        frames = F.pad(item.frames.logits, (0, 0, 0, 4), value=7.0)
        frames[1, 7:] += 50
        neck = F.pad(item.features["neck"], (0, 4))
        neck[1, ..., 7:] += 50
        return replace(
            item,
            frames=replace(item.frames, logits=frames),
            features={**item.features, "neck": neck},
        )

    again = loss(*[each and padded(each) for each in pair], targets())
    torch.testing.assert_close(again, once, rtol=1e-5, atol=1e-6)


@own
def test_a_teacher_of_another_stride(label):
    """A teacher of half the frames; what it says beyond its valid frames is not read."""
    loss = build(label)
    if "frames" not in loss.needs or not (loss.needs_teacher or loss.needs_peers):
        return
    teacher = outputs(2, time=6, lengths=(6, 4))
    terms = loss(outputs(1), teacher, targets())
    check(terms)
    logits = teacher.frames.logits.clone()
    logits[1, 4:] = 30
    other = replace(teacher, frames=replace(teacher.frames, logits=logits))
    torch.testing.assert_close(loss(outputs(1), other, targets()), terms)


@served
def test_bfloat16(label):
    loss = build(label)
    pair = [each and change(each, torch.Tensor.bfloat16) for each in (outputs(1), said(loss))]
    with torch.autocast("cpu", torch.bfloat16):
        check(loss(*pair, targets()))


# `frames` of ctc_posterior has the gradient of CTC there instead, see its own test.
@pytest.mark.parametrize(
    "label",
    ["ctc_mean", "ctc_mean without blank", "posterior", "shifted posterior", "frame_kl"]
    + ["soft frame_kl", "dml", "dkd", *FEATURES],
)
def test_the_teachers_terms_vanish_at_equality(label):
    same = with_gradient(outputs(1))
    terms = build(label)(same, same.detached(), targets())
    assert all(value.abs() < 1e-5 for value in terms.values()), terms
    sum(terms.values()).backward()
    assert all(each.abs().max() < 1e-4 for each in gradients(same).values())


# dctc aims at a class that follows from the logits themselves.
@pytest.mark.parametrize("label", sorted({*OWN} - {"dctc"}))
def test_the_gradient_is_the_slope(label):
    loss = build(label)
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
        item = outputs(1)
        leaves = {**item.features, "frames": item.frames.logits, "steps": item.steps.logits}
        for name, way in ways.items():
            leaves[name] += step * way
        with torch.no_grad():
            return total(item).double()

    found = (moved(2e-3) - moved(-2e-3)) / 4e-3
    assert found == pytest.approx(float(slope), rel=0.05, abs=2e-3)


def test_cells_of_another_size_are_refused():
    for label in FEATURES:
        with pytest.raises(UserError, match="cells of neck, but one is 4 input .* and 8 in the"):
            build(label, context(stride=8))


def test_a_wider_teacher_gets_an_adapter():
    loss = build("fitnets", context(teacher_width=12))
    check(loss(outputs(1), outputs(2, width=12), targets()))


@pytest.mark.parametrize("name", sorted({*METHODS} - {name for name, _ in SERVED.values()}))
def test_the_rest_is_refused_in_one_line_or_reads_what_lines_lack(name):
    try:
        loss = build_losses({name: {}}, context(), source="run.yaml")[name].module
    except UserError as error:
        message = str(error)
        assert "\n" not in message and f"DISTILL.LOSSES.{name}" in message and "need" in message
        return
    assert loss.reads - {"texts"} or loss.needs - {"features", "frames"} or name == "mgd"


@pytest.mark.parametrize("label", [*OWN, "fitnets"])
def test_another_charset_is_refused_where_characters_are_compared(label):
    name = SERVED[label][0]
    facts = context(sequence="steps" if name == "dkd" else "frames", same_classes=False)
    if name in ("ctc_mean", "ctc_posterior", "frame_kl", "dkd"):
        with pytest.raises(UserError, match="different class lists"):
            build(label, facts)
    else:
        build(label, facts)


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_method_yaml_builds(path):
    node = CfgNode.load_yaml_with_base(str(path))["DISTILL"]
    sequence = "steps" if "dkd" in node["LOSSES"] else "frames"
    built = build_losses(node["LOSSES"], context(sequence=sequence), source=path.name)
    assert built and all(each.weight > 0 for each in built.values())
    peers = any(each.module.needs_peers for each in built.values())
    assert node.get("PEERS", 1) == (2 if peers else 1)


def test_every_method_has_a_yaml():
    assert {name for name, _ in SERVED.values()} <= {path.stem for path in YAMLS}
