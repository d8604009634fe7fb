"""ATSS against hand cases and against a plain loop over boxes and anchors."""

import statistics

import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from graphkd.modeling.dense.atss import ATSS

STRIDES = (8, 16, 32, 64, 128)


def square_anchors(size, strides=STRIDES):
    """One anchor of 8 strides a cell, centred on the multiples of the stride."""
    levels = []
    for stride in strides:
        ys, xs = (torch.arange(-(-side // stride)) * float(stride) for side in size)
        y, x = torch.meshgrid(ys, xs, indexing="ij")
        centre = torch.stack([x, y, x, y], -1).reshape(-1, 4)
        half = 4.0 * stride
        levels.append(centre + torch.tensor([-half, -half, half, half]))
    return levels


def by_loops(anchors, boxes, candidates=9):
    """Owners and thresholds of an unpadded page, one box and one anchor at a time."""
    every = torch.cat(anchors)
    iou = pairwise_iou(Boxes(boxes), Boxes(every))
    owner, best, thresholds = [-1] * len(every), [-1.0] * len(every), []
    for index, box in enumerate(boxes.tolist()):
        near, first = [], 0
        for level in anchors:
            centres = [((a[0] + a[2]) / 2, (a[1] + a[3]) / 2) for a in level.tolist()]
            middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            far = [(c[0] - middle[0]) ** 2 + (c[1] - middle[1]) ** 2 for c in centres]
            near += [first + i for i in sorted(range(len(far)), key=far.__getitem__)[:candidates]]
            first += len(level)
        values = [iou[index, place].item() for place in near]
        thresholds.append(statistics.mean(values) + statistics.stdev(values))
        for place, value in zip(near, values, strict=True):
            x, y = (every[place, :2] + every[place, 2:]).tolist()
            x, y = x / 2, y / 2
            inside = min(x - box[0], y - box[1], box[2] - x, box[3] - y) > 0.01
            if value >= thresholds[-1] and inside and value > best[place]:
                owner[place], best[place] = index, value
    return owner, thresholds


def assign(anchors, boxes, size, **options):
    found = ATSS(**options)(anchors, [boxes], [size])
    return found.owners[0], found.valid[0], found.thresholds[0]


def test_the_case_of_the_design():
    """256 px, one box of 64 px: 40 candidates, of mean 0.2390 and deviation 0.2897."""
    owners, valid, thresholds = assign(
        square_anchors((256, 256)), torch.tensor([[96.0, 96, 160, 160]]), (256, 256)
    )
    assert thresholds[0].item() == pytest.approx(0.2390 + 0.2897, abs=2e-4)
    assert valid.all()
    positive = torch.nonzero(owners >= 0)[:, 0]
    cells = {(15, 15), (15, 16), (15, 17), (16, 15), (16, 16), (16, 17)}
    cells |= {(17, 15), (17, 16), (17, 17)}
    assert {divmod(place, 32) for place in positive.tolist()} == cells


def test_it_equals_a_plain_loop():
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(12, 2, generator=draw) * 150
    extent = 12 + torch.rand(12, 2, generator=draw) * 90
    boxes, anchors = torch.cat([corner, corner + extent], 1), square_anchors((256, 224))
    owners, _, thresholds = assign(anchors, boxes, (256, 224))
    expected, values = by_loops(anchors, boxes)
    assert owners.tolist() == expected and len(set(expected)) > 5
    torch.testing.assert_close(thresholds, torch.tensor(values))


def test_an_anchor_of_two_boxes_goes_to_the_larger_overlap():
    boxes = torch.tensor([[96.0, 96, 200, 200], [96, 96, 160, 160]])
    owners, _, _ = assign(square_anchors((256, 256)), boxes, (256, 256))
    assert owners[16 * 32 + 16] == 1
    swapped, _, _ = assign(square_anchors((256, 256)), boxes.flip(0), (256, 256))
    assert torch.equal(torch.where(owners >= 0, 1 - owners, -1), swapped)


def test_a_page_without_boxes_has_no_owners():
    owners, valid, thresholds = assign(square_anchors((64, 64)), torch.zeros(0, 4), (64, 64))
    assert owners.dtype == torch.int64 and (owners == -1).all()
    assert valid.all() and thresholds.shape == (0,)


def test_padded_cells_are_neither_valid_nor_candidates():
    """A page in the corner of a padded batch gets what it gets alone."""
    boxes = torch.tensor([[11.0, 12, 59, 40], [30, 20, 64, 60]])
    alone, _, thresholds = assign(square_anchors((64, 64)), boxes, (64, 64))
    padded = square_anchors((256, 320))
    owners, valid, same = assign(padded, boxes, (64, 64))
    torch.testing.assert_close(same, thresholds)
    assert torch.equal(owners[valid], alone)
    assert (owners[~valid] == -1).all() and valid.sum() == 64 + 16 + 4 + 1 + 1


def test_one_anchor_in_all():
    """A single candidate has no deviation; its own overlap is the threshold."""
    box = torch.tensor([[-4.0, -4, 4, 4]])
    owners, _, thresholds = assign([box * 8], box, (8, 8))
    assert owners.tolist() == [0] and thresholds.item() == pytest.approx(1 / 64)


def test_a_flat_box_between_two_rows_of_points_has_no_anchor():
    owners, _, _ = assign(square_anchors((64, 64)), torch.tensor([[9.0, 9, 60, 15]]), (64, 64))
    assert (owners == -1).all()


def test_a_centre_on_the_border_is_outside():
    anchor = [torch.tensor([[-4.0, -4, 4, 4]])]
    inside, _, _ = assign(anchor, torch.tensor([[-0.02, -4, 8, 4]]), (16, 16))
    outside, _, _ = assign(anchor, torch.tensor([[-0.01, -4, 8, 4]]), (16, 16))
    assert inside.tolist() == [0] and outside.tolist() == [-1]


def test_it_has_no_parameters_and_no_python_loop_over_anchors():
    module = ATSS()
    assert not list(module.parameters()) and not module.state_dict()
    with torch.profiler.profile() as few:
        module(square_anchors((64, 64)), [torch.tensor([[9.0, 9, 60, 40]])], [(64, 64)])
    with torch.profiler.profile() as many:
        boxes = torch.tensor([[9.0, 9, 60, 40]]).repeat(20, 1)
        module(square_anchors((512, 512)), [boxes], [(512, 512)])
    count = [sum(event.count for event in each.key_averages()) for each in (few, many)]
    assert count[1] < 1.3 * count[0]


def test_anchors_in_ignored_boxes_are_neither_object_nor_background():
    """Except those that have an object, which lies in the middle of the ignored box."""
    anchors, size = square_anchors((256, 256)), (256, 256)
    box, ignored = torch.tensor([[96.0, 96, 160, 160]]), torch.tensor([[64.0, 80, 200, 168]])
    plain_owners, plain_valid, thresholds = assign(anchors, box, size)
    found = ATSS()(anchors, [box], [size], ignored=[ignored])
    assert torch.equal(found.owners[0], plain_owners)
    assert torch.equal(found.thresholds[0], thresholds)
    every = torch.cat(anchors)
    x, y = ((every[:, :2] + every[:, 2:]) / 2).T
    inside = (x > 64) & (x < 200) & (y > 80) & (y < 168)
    assert (inside & (plain_owners >= 0)).any() and (inside & (plain_owners < 0)).any()
    assert torch.equal(found.valid[0], plain_valid & (~inside | (plain_owners >= 0)))
    none = ATSS()(anchors, [box], [size], ignored=[ignored[:0]])
    assert torch.equal(none.valid[0], plain_valid)
