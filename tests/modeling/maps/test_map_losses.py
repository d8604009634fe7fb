"""Losses of DB and EAST: numbers by hand, hard negatives, masks, perfect maps."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from graphkd.modeling.maps.map_losses import (
    NEGATIVES_PER_PAGE,
    SCORE_LOSSES,
    TEXT_LOSSES,
    balanced_cross_entropy,
    dice,
    east_losses,
    hard_cross_entropy,
)
from tests.maps import map_cfg, map_item, map_model
from tests.text.test_east import perfect
from tests.text.test_polygons import rectangle


def planes(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def test_positives_and_three_times_as_many_hard_negatives_count():
    logits = planes(1.0, 2.0, -3.0, 0.5, -1.0, -2.0, 4.0)
    truth = planes(1, 0, 0, 0, 0, 0, 0)
    mask = planes(1, 1, 1, 1, 1, 1, 0)
    terms = F.softplus(torch.tensor([-1.0, 2.0, 0.5, -1.0]))
    assert hard_cross_entropy(logits, truth, mask).item() == pytest.approx(terms.mean().item())


def test_without_positives_512_negatives_a_page_are_trained_on():
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 40, 40, requires_grad=True)
    nothing, everywhere = torch.zeros(2, 1, 40, 40), torch.ones(2, 1, 40, 40)
    loss = hard_cross_entropy(logits, nothing, everywhere)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient != 0).sum() == 2 * NEGATIVES_PER_PAGE and loss.isfinite()


@pytest.mark.parametrize("loss", [*TEXT_LOSSES.values(), *SCORE_LOSSES.values()])
def test_an_empty_mask_is_finite_with_a_gradient_path(loss):
    logits = torch.randn(1, 1, 8, 8, requires_grad=True)
    zeros = torch.zeros(1, 1, 8, 8)
    value = loss(logits, zeros, zeros)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite() and (gradient == 0).all()


@pytest.mark.parametrize("loss", [*TEXT_LOSSES.values(), *SCORE_LOSSES.values()])
def test_masked_pixels_do_not_count_and_right_maps_cost_little(loss):
    torch.manual_seed(1)
    truth = (torch.rand(2, 1, 16, 16) < 0.2).float()
    mask = (torch.rand(2, 1, 16, 16) < 0.8).float()
    logits = torch.randn(2, 1, 16, 16)
    other = torch.where(mask > 0, logits, -logits)
    torch.testing.assert_close(loss(logits, truth, mask), loss(other, truth, mask))
    right = 20 * (truth - 0.5)
    assert loss(right, truth, mask) < 0.01 < 0.1 * loss(-right, truth, mask)


def test_dice_and_balanced_entropy_by_hand():
    logits, truth, mask = planes(0.0, 0.0, 0.0), planes(1, 0, 0), planes(1, 1, 1)
    assert dice(logits, truth, mask).item() == pytest.approx(1 - 2 * 0.5 / 2.5, abs=1e-5)
    expected = math.log(2) * (2 / 3 + 1 / 3 + 1 / 3) / 3
    assert balanced_cross_entropy(logits, truth, mask).item() == pytest.approx(expected)


def test_db_weighs_its_three_terms_and_leaves_ignored_text_out():
    cfg = map_cfg("DB")
    keys = ("MODEL.DB.W_PROB", "10.0", "MODEL.DB.W_BINARY", "3.0", "MODEL.DB.W_THRESHOLD", "5.0")
    batch = [map_item(cfg, 3, seed=1)]
    with torch.no_grad():
        plain, other = (map_model("DB", *options).train()(batch) for options in ((), keys))
    for name, factor in (("loss_text", 2), ("loss_binary", 3), ("loss_threshold", 0.5)):
        assert other[name].item() == pytest.approx(factor * plain[name].item(), rel=1e-5)
    model = map_model("DB")
    targets = {name: each[None].float() for name, each in batch[0]["maps"].items()}
    maps = {name: torch.randn(1, 1, 128, 160) for name in ("text", "threshold")}
    hidden = {**targets, "mask": targets["mask"].clone(), "threshold_mask": 0 * targets["mask"]}
    hidden["mask"][..., :64, :] = 0
    before = model.losses(maps, hidden)
    maps["text"][..., :64, :] *= -1
    after = model.losses(maps, hidden)
    assert before["loss_threshold"] == 0
    torch.testing.assert_close(before, after)


@pytest.mark.parametrize("geometry", ["rbox", "quad"])
def test_east_perfect_maps_cost_nothing_and_norms_differ_by_the_share_of_text(geometry):
    size = (128, 160)
    lines = [rectangle(100, 30, 8, (80, 60))]
    model = map_model("EAST", "MODEL.EAST.GEOMETRY", geometry)
    from graphkd.modeling.maps.labels import EASTLabels

    labels = EASTLabels(geometry, 4.0)(lines, np.zeros(1, bool), *size, 0.0)
    targets = {name: torch.tensor(each[None]).float() for name, each in labels.items()}
    raw = {k: torch.tensor(v[None]).float() for k, v in perfect(lines, geometry, size).items()}
    losses = model.losses(raw, targets)
    assert losses["loss_geometry"] < 1e-3 and losses["loss_text"] < 1e-3
    wrong = {**raw, "geometry": raw["geometry"] + 0.5}
    shared = {"geometry": geometry, "text_loss": model.text_loss, "angle_weight": 10.0}
    every, own = (
        east_losses(wrong, targets, per_pixel=per_pixel, **shared)["loss_geometry"]
        for per_pixel in (True, False)
    )
    share = targets["text"][..., ::4, ::4].mean()
    assert every > 0 and (every / own).item() == pytest.approx(share.item(), rel=1e-4)


def test_east_overlap_ignores_the_angle():
    maps = {"text": torch.zeros(1, 1, 1, 1), "geometry": torch.zeros(1, 5, 1, 1)}
    geometry = torch.tensor([128.0, 256, 128, 256, 0.1]).reshape(1, 5, 1, 1)
    ones = torch.ones(1, 1, 4, 4)
    targets = {"text": ones, "mask": ones, "geometry": geometry}
    text = map_model("EAST").text_loss
    (loss,) = [
        east_losses(
            maps, targets, geometry="rbox", text_loss=text, angle_weight=10.0, per_pixel=True
        )["loss_geometry"].item()
    ]
    # Found: 256 on every side and angle 0; the true box has half its height.
    expected = math.log((512 * 512 + 1) / (256 * 512 + 1)) + 10 * (1 - math.cos(0.1))
    assert loss == pytest.approx(expected, rel=1e-5)
