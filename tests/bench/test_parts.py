"""Made-up batches."""

import pytest
import torch

from graphkd.bench.parts import made_up_batch
from graphkd.errors import UserError


def test_a_batch_follows_from_its_seed():
    first, same, other = (made_up_batch(2, size=(96, 64), num_classes=3, seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, same, strict=True))
    assert not torch.equal(first[0]["image"], other[0]["image"])


def test_boxes_lie_inside_the_page_and_classes_in_range():
    for page in made_up_batch(3, size=(120, 80), num_classes=4):
        assert page["image"].shape == (3, 120, 80) and page["image"].dtype == torch.uint8
        boxes = page["instances"].gt_boxes.tensor
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= torch.tensor([80.0, 120.0])).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert set(page["instances"].gt_classes.tolist()) <= set(range(4))


@pytest.mark.parametrize(("pages", "size"), [(0, (96, 96)), (1, (8, 96))])
def test_nothing_to_measure_is_a_users_mistake(pages, size):
    with pytest.raises(UserError):
        made_up_batch(pages, size=size, num_classes=2)
