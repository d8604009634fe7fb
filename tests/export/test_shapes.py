import itertools

import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge

from graphkd.export.shapes import pick, test_size, top


@pytest.mark.parametrize(("shortest", "longest"), [(320, 320), (800, 1333), (96, 128)])
def test_sizes_are_those_of_detectron2(shortest, longest):
    # 384 x 273 with 320 px is a tie: 227.5.
    sides = (1, 2, 100, 271, 272, 273, 384, 1200, 1600, 3507)
    for height, width in itertools.product(sides, sides):
        expected = ResizeShortestEdge.get_output_shape(height, width, shortest, longest)
        size = test_size(torch.tensor([height, width]), shortest=shortest, longest=longest)
        assert size.tolist() == [max(side, 1) for side in expected], (height, width)


def test_a_shortest_side_of_0_keeps_the_page():
    assert test_size(torch.tensor([70, 50]), shortest=0, longest=9).tolist() == [70, 50]


def test_top_takes_what_there_is():
    values = torch.tensor([[1.0, 3.0, 2.0]])
    assert top(values, 2)[0].tolist() == [[3.0, 2.0]]
    assert top(values, 9)[1].tolist() == [[1, 2, 0]]


def test_pick_takes_rows_of_each_image():
    rows = torch.arange(12.0).view(2, 3, 2)
    assert pick(rows, torch.tensor([[2], [0]])).tolist() == [[[4.0, 5.0]], [[6.0, 7.0]]]


# The function under test is named like a test.
test_size.__test__ = False
