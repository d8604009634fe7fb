import itertools

import numpy as np
import pytest
import torch
from detectron2.data.transforms import ResizeShortestEdge
from PIL import Image

from graphkd.export.preprocess import (
    Preprocess,
    resize,
    resize_by_products,
    test_size,
    triangles,
)
from tests.export.sample import page

# The function under test is named like a test.
test_size.__test__ = False


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


@pytest.mark.parametrize("way", [resize, resize_by_products])
def test_resizing_is_pillows(way):
    pixels = page(150, 111)
    planes = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    for height, width in ((120, 80), (150, 111), (61, 200)):
        ours = way(planes, torch.tensor([height, width]))[0].permute(1, 2, 0).numpy()
        theirs = np.asarray(Image.fromarray(pixels).resize((width, height), Image.BILINEAR))
        assert np.abs(ours.astype(int) - theirs).max() <= 1
        assert (ours != theirs).mean() < 0.01


def test_triangles_by_hand():
    halved = triangles(torch.tensor(4), torch.tensor(2))
    # Centres at 1 and 3, reach 2: pixel centres 0.5, 1.5, 2.5 weigh 3, 3, 1 of 7.
    assert torch.allclose(halved * 7, torch.tensor([[3.0, 3, 1, 0], [0, 1, 3, 3]]))
    assert torch.equal(triangles(torch.tensor(3), torch.tensor(3)), torch.eye(3))


def made(**changes):
    mean, std = torch.tensor([1.0, 2.0, 3.0])[:, None, None], torch.full((3, 1, 1), 2.0)
    arguments = {"shortest": 0, "longest": 0, "flip": False, "divisibility": 32}
    return Preprocess(mean=mean, std=std, **{**arguments, **changes})


def test_channels_statistics_and_padding():
    images = torch.full((2, 40, 33, 3), 5, dtype=torch.uint8)
    images[..., 2] = 9
    planes, size_of_page, size = made()(images)
    assert planes.shape == (2, 3, 64, 64)
    assert size_of_page.tolist() == size.tolist() == [40, 33]
    assert planes[0, :, 0, 0].tolist() == [2.0, 1.5, 3.0]
    assert planes[:, :, 40:].abs().sum() == planes[:, :, :, 33:].abs().sum() == 0
    flipped, _, _ = made(flip=True)(images)
    assert flipped[0, :, 0, 0].tolist() == [4.0, 1.5, 1.0]


def test_no_divisibility_means_no_padding():
    planes, _, _ = made(divisibility=0)(torch.zeros(1, 41, 33, 3, dtype=torch.uint8))
    assert planes.shape == (1, 3, 41, 33)
