"""Tests of graphkd/distill/losses/masks.py."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphkd.distill.losses.masks import assign_levels, box_cells, foreground_weights

NUMBER = st.floats(0, 100, width=32)


def test_cells_of_a_box():
    """8 pixels a cell: x 8..24 touches columns 1 and 2, y 0..9 rows 0 and 1."""
    cells = box_cells(torch.tensor([[8.0, 0.0, 24.0, 9.0]]), stride=8, size=(3, 4))
    expected = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
    assert torch.equal(cells[0], expected)


@pytest.mark.parametrize(
    "box", [[5.0, 5.0, 5.0, 5.0], [32.0, 24.0, 32.0, 24.0], [31.9, 23.9, 90.0, 90.0]]
)
def test_every_box_has_a_cell(box):
    """Boxes without area, on the far corner or beyond it."""
    assert box_cells(torch.tensor([box]), stride=8, size=(3, 4)).sum() == 1


def test_the_smaller_box_wins_where_boxes_overlap():
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 1.0]])
    weights = foreground_weights(boxes, stride=1, size=(4, 4))
    assert weights[0, :2].tolist() == [0.5, 0.5]
    assert weights[3, 3] == 1 / 16
    assert weights.count_nonzero() == 16


@settings(max_examples=30, deadline=None)
@given(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER))
def test_foreground_weights_of_one_box_sum_to_one(corners):
    x, y, width, height = corners
    box = torch.tensor([[x, y, x + width, y + height]])
    weights = foreground_weights(box, stride=8, size=(12, 16))
    assert weights.sum().item() == pytest.approx(1, abs=1e-5)


def test_no_boxes_give_an_empty_mask():
    none = torch.zeros(0, 4)
    assert box_cells(none, stride=8, size=(3, 4)).shape == (0, 3, 4)
    assert foreground_weights(none, stride=8, size=(3, 4)).tolist() == [[0.0] * 4] * 3


@pytest.mark.parametrize(
    ("side", "level"), [(10, 0), (111, 0), (112, 1), (223, 1), (224, 2), (448, 3), (5000, 3)]
)
def test_a_box_of_224_lies_on_p4(side, level):
    box = torch.tensor([[0.0, 0.0, side, side]])
    assert assign_levels(box, num_levels=4, finest_stride=4).tolist() == [level]


def test_levels_follow_the_finest_stride():
    """A one-stage detector starts at p3, so the same box has an index one lower."""
    box = torch.tensor([[0.0, 0.0, 300.0, 300.0]])
    assert assign_levels(box, num_levels=4, finest_stride=8).tolist() == [1]


def test_no_boxes_have_no_levels():
    assert assign_levels(torch.zeros(0, 4), num_levels=4, finest_stride=4).shape == (0,)


def test_a_box_on_a_map_that_rounds_up_keeps_its_cells():
    """800 pixels on 13 cells of 64: 640..766 lies on cells 10 and 11, the last one is padding."""
    cells = box_cells(torch.tensor([[640.0, 640.0, 766.0, 766.0]]), stride=64, size=(13, 13))
    assert cells[0].nonzero().unique().tolist() == [10, 11]
