"""Tests of graphkd/distill/losses/dsig.py."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode
from torch.nn import functional as F

from graphkd.distill.losses.build import build_losses
from graphkd.distill.losses.dsig import DSIG, image_edge_term, image_node_terms
from graphkd.distill.outputs import Outputs
from graphkd.errors import UserError
from tests.distill.losses.graph_pages import CLASSES, batch, context, make_page, run, same

METHODS = Path(__file__).resolve().parents[3] / "configs" / "methods"
SMALL = dict(edge_weight=2.0, feature_weight=0.5, class_weight=3.0, box_weight=1.0)


def complete(pages, *, student_width=8):
    """Outputs of both networks with every part the small recipe reads."""
    student, teacher, targets = batch(pages)
    draw = torch.Generator().manual_seed(0)
    rows = len(targets.region_labels)

    def fill(outputs, width, size):
        regions = replace(
            outputs.regions,
            logits=torch.randn(rows, CLASSES + 1, generator=draw),
            deltas=torch.randn(rows, CLASSES * 4, generator=draw),
        )
        shapes = (size, size // 2, size // 4, size // 8)
        levels = context().levels
        maps = {
            level: torch.randn(len(pages), width, edge, edge, generator=draw)
            for level, edge in zip(levels, shapes, strict=True)
        }
        return Outputs(maps, regions=regions)

    return fill(student, student_width, 32), fill(teacher, 8, 40), targets


def test_terms_by_hand():
    # unit vectors at 0 and 90 degrees for the teacher, at 0 and 60 for the student
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    student = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)]])
    # cosines 0.5 against 0, twice among four edges
    assert image_edge_term(student, teacher).item() == pytest.approx(0.5 * 2 * 0.25 / 4)
    squares, background = torch.tensor([3.0, 5.0, 1.0, 2.0]), torch.tensor([0, 0, 0, 1]).bool()
    terms = [term.item() for term in image_node_terms(squares, background)]
    assert terms == pytest.approx([3, 3 * 2])


def test_weights_of_the_release():
    """Twice the mean of an image, as the release sums over the two images of a device."""
    page = make_page(0, texts=4, figures=2, background=3, easy=2)
    terms, _ = run(DSIG(context()), [page.change(student=page.teacher + 2)])
    assert terms["foreground"].item() == pytest.approx(2 * 0.5 * 4)
    # 7.5 * 6 foreground / 5 background regions, of which the teacher finds 3 hard
    assert terms["background"].item() == pytest.approx(2 * 0.5 * 7.5 * 6 / 5 * 4, rel=1e-5)


def test_zero_when_student_equals_teacher():
    page = make_page(0)
    terms, grad = run(DSIG(context()), [page.change(student=page.teacher)])
    assert all(term == 0 for term in terms.values()) and not grad.any()


@pytest.mark.parametrize(
    "numbers",
    [
        dict(texts=0, figures=0, background=0, easy=0),
        dict(texts=0, figures=0, background=0),
        dict(texts=1, figures=0, background=0),
        dict(texts=1, figures=1, background=0),
        dict(texts=0, figures=0),
        dict(background=0),
    ],
)
def test_unusual_pages_give_finite_terms_and_gradients(numbers):
    terms, grad = run(DSIG(context()), [make_page(0, **numbers)])
    assert all(term.isfinite() and term >= 0 for term in terms.values())
    assert grad.isfinite().all()


def test_order_of_regions_and_images_and_batch_size_do_not_matter():
    pages = [make_page(1), make_page(2, texts=3)]
    loss = DSIG(context())
    expected = run(loss, pages)[0]
    shuffled = [page.take(torch.randperm(len(page.boxes))) for page in reversed(pages)]
    assert same(run(loss, shuffled)[0], expected)
    alone = [run(loss, [page])[0] for page in pages]
    means = {name: (alone[0][name] + alone[1][name]) / 2 for name in expected}
    assert same(means, expected)
    assert same(run(loss, pages * 3)[0], expected)


def test_background_that_the_teacher_is_sure_of_has_no_edges_but_is_a_node():
    page = make_page(0)
    sure = page.logits.clone()
    sure[page.labels == CLASSES, -1] = 20.0
    terms = run(DSIG(context()), [page])[0]
    without = run(DSIG(context()), [page.change(logits=sure)])[0]
    assert without["background"] == terms["background"] > 0
    assert without["edges"] != terms["edges"]
    fore = page.take((page.labels < CLASSES).nonzero().flatten())
    assert torch.allclose(without["edges"], run(DSIG(context()), [fore])[0]["edges"])


def test_a_single_hard_background_region_does_not_drown_the_rest():
    """The background term grows with foreground over sampled, not over hard, background."""
    page = make_page(0, texts=8, figures=4, background=1, easy=23)
    terms = run(DSIG(context()), [page.change(student=page.teacher + 2)])[0]
    assert terms["background"].item() == pytest.approx(7.5 * 12 / 24 * terms["foreground"].item())


def test_small_recipe_by_hand():
    student, teacher, targets = complete([make_page(0), make_page(1)])
    terms = DSIG(context(), **SMALL)(student, teacher, targets)
    squares = [
        (student.features[level] - teacher.features[level][..., :edge, :edge]).square().mean()
        for level, edge in zip(context().levels, (32, 16, 8, 4), strict=True)
    ]
    assert torch.allclose(terms["features"], 0.5 * sum(squares))
    own, other = student.regions.logits.log_softmax(1), teacher.regions.logits.softmax(1)
    # the release calls F.kl_div without a reduction, which is a mean over regions and classes
    released = F.kl_div(own, other, reduction="none").mean()
    assert torch.allclose(terms["classes"], 3 * released)
    labels = targets.region_labels
    rows = (labels < CLASSES).nonzero().flatten()
    columns = labels[rows][:, None] * 4 + torch.arange(4)
    difference = (student.regions.deltas - teacher.regions.deltas)[rows[:, None], columns]
    assert torch.allclose(terms["boxes"], difference.abs().mean())


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_kl_a_region_weighs_as_many_times_as_there_are_classes(temperature):
    """K + 1 times the release's class term, background included; the other terms are the same."""
    parts = complete([make_page(0), make_page(1)])
    options = dict(SMALL, temperature=temperature)
    released = DSIG(context(), **options)(*parts)
    ours = DSIG(context(), **options, mean_over_classes=False)(*parts)
    assert (ours.pop("classes") / released.pop("classes")).item() == pytest.approx(CLASSES + 1)
    assert same(ours, released, rtol=0, atol=0)


def test_other_widths_train_adapters_and_other_sizes_meet():
    loss = DSIG(context(student_channels=6), **SMALL)
    page = make_page(0, student_width=6)
    smaller = page.change(student=page.student[..., :3, :3])
    student, teacher, targets = complete([smaller], student_width=6)
    sum(loss(student, teacher, targets).values()).backward()
    assert all(parameter.grad is not None for parameter in loss.parameters())
    assert loss.adapter.weight.grad.any()


def test_half_precision_input_and_a_teacher_without_gradient():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms, grad = run(DSIG(context()), [make_page(0)], dtype=torch.bfloat16)
    assert same(terms, run(DSIG(context()), [make_page(0)])[0], rtol=0.05)
    assert grad.isfinite().all()
    student, teacher, targets = complete([make_page(0)])
    constants = [teacher.regions.features, *teacher.features.values()]
    for each in constants:
        each.requires_grad_()
    sum(DSIG(context(), **SMALL)(student, teacher, targets).values()).backward()
    assert all(each.grad is None for each in constants)


def test_needs_follow_the_weights():
    assert DSIG(context()).needs == {"region_features", "region_predictions"}
    assert DSIG(context(), max_background=0).needs == {"region_features"}
    assert DSIG(context(), **SMALL).needs == {"features", "region_features", "region_predictions"}


def test_class_terms_need_one_class_list():
    with pytest.raises(UserError, match="CLASS_WEIGHT and BOX_WEIGHT"):
        build_losses(
            {"dsig": {"CLASS_WEIGHT": 3.0}}, context(same_classes=False), source="run.yaml"
        )
    DSIG(context(same_classes=False))


@pytest.mark.parametrize("path", sorted(METHODS.glob("dsig*.yaml")), ids=lambda path: path.stem)
def test_every_method_file_builds_and_runs(path):
    cfg = CfgNode.load_yaml_with_base(str(path))
    losses = build_losses(cfg["DISTILL"]["LOSSES"], context(), source=path.name)
    terms = losses["dsig"].module(*complete([make_page(0)]))
    assert all(term.isfinite() for term in terms.values())
