"""The masks of the `imitation` method, cell by cell."""

from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.build import build_losses
from graphkd.distill.losses.imitation import GI_CELLS, MASKS, general_instances, inside_boxes
from graphkd.errors import UserError


def build(toy, mask, **changes):
    torch.manual_seed(0)
    context = toy.context(two_stage=False, **changes)
    return build_losses({"imitation": {"MASK": mask}}, context, source="run.yaml")[
        "imitation"
    ].module


def taught(toy, mask, **options):
    """The cells of every level that the loss reaches, (N, H, W) bool."""
    student = toy.change(toy.outputs(1, two_stage=False), lambda each: each.requires_grad_())
    terms = build(toy, mask)(student, toy.outputs(2, two_stage=False), toy.targets(**options))
    terms["features"].backward()
    return [each.grad.abs().sum(1) > 0 for each in student.features.values()]


@pytest.mark.parametrize("mask", MASKS)
def test_every_mask_reaches_some_cells_and_none_beyond_the_page(toy, mask):
    levels = taught(toy, mask)
    assert any(level.any() for level in levels)
    # The page is 90 x 120 of 96 x 128: the last row of p3 has its centre at 92.
    assert not levels[0][:, 11].any() and not levels[0][:, :, 15].any()


def test_cells_inside_a_box():
    anchors = torch.tensor([[0.0, 0, 8, 8], [8, 0, 16, 8], [16, 0, 24, 8]])
    boxes = (torch.tensor([[6.0, 2.0, 14.0, 6.0]]), torch.zeros(0, 4))
    assert inside_boxes(anchors, boxes).tolist() == [[False, True, False], [False] * 3]


def test_decoupled_takes_every_cell_of_the_page(toy):
    inside, everywhere = taught(toy, "gt"), taught(toy, "decoupled")
    assert not inside[0][:, :11, :15].all()
    assert everywhere[0][:, :11, :15].all()


def test_outside_cells_are_taught_twice_as_strongly(toy):
    student, teacher = toy.outputs(1, two_stage=False), toy.outputs(2, two_stage=False)
    even = {name: torch.zeros_like(each) for name, each in student.features.items()}
    one = {name: torch.ones_like(each) for name, each in even.items()}
    pair = replace(student, features=even), replace(teacher, features=one)
    inside = build(toy, "gt")(*pair, toy.targets())["features"]
    both = build(toy, "decoupled")(*pair, toy.targets())["features"]
    levels = len(even)
    torch.testing.assert_close(inside, torch.tensor(float(levels)))
    # p6 is wholly inside a box or not: every level with cells outside adds 2.
    assert both > inside and (both - inside) % 2 == 0


def test_page_without_boxes(toy):
    student = toy.change(toy.outputs(1, two_stage=False), lambda each: each.requires_grad_())
    for mask in ("gt", "fine_grained", "main", "vlr"):
        found = build(toy, mask)(student, toy.outputs(2, two_stage=False), toy.targets(empty=True))[
            "features"
        ]
        assert found == 0 and found.requires_grad


def test_general_instances_of_a_page_do_not_depend_on_other_pages():
    draw = torch.Generator().manual_seed(0)
    gap = torch.rand(3, 40, generator=draw)
    corner = torch.rand(3, 40, 2, generator=draw) * 90
    boxes = torch.cat([corner, corner + 12], 2)
    together = general_instances(gap, boxes, (30, 10))
    for page in range(3):
        alone = general_instances(gap[page : page + 1], boxes[page : page + 1], (30, 10))
        assert torch.equal(alone[0], together[page])
    assert (together[:, :30].sum(1) <= GI_CELLS).all() and together[:, 30:].any()


def test_general_instances_by_hand():
    gap = torch.tensor([[0.9, 0.8, 0.1, -1.0]])
    boxes = torch.tensor([[[0.0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [90, 90, 99, 99]]])
    # The second overlaps the first, the last is beyond the page.
    assert general_instances(gap, boxes, (4,)).tolist() == [[True, False, True, False]]


def test_widths_may_differ(toy):
    loss = build(toy, "gt", teacher_channels=12)
    kernels = {each.kernel_size for each in loss.modules() if isinstance(each, torch.nn.Conv2d)}
    assert kernels == {(1, 1)}
    student, teacher = toy.outputs(1), toy.outputs(2, channels=12)
    assert torch.isfinite(loss(student, teacher, toy.targets())["features"])


def test_unknown_mask(toy):
    with pytest.raises(UserError, match="MASK must be one of gt"):
        build(toy, "everything")
