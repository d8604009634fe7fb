"""Tests of graphkd/distill/losses/region_features.py."""

from dataclasses import replace

import pytest
import torch

from graphkd.distill.losses.functional import box_mask
from graphkd.distill.losses.region_features import RegionFeatures, page_trust
from graphkd.distill.outputs import Outputs


def test_a_box_fills_its_rows_and_columns_of_a_map_that_is_no_square():
    """A wide box at the top right of a map of 4 x 6 cells."""
    mask = box_mask([torch.tensor([[20.0, 8, 41, 16]])], 8, (4, 6))
    expected = torch.zeros(1, 4, 6, dtype=torch.bool)
    expected[0, 1, 2:6] = True
    assert torch.equal(mask, expected)
    assert not box_mask([torch.zeros(0, 4)], 8, (4, 6)).any()


def test_hand_worked_number(toy):
    """Two images; the mask of p3 has 4 cells, with errors of 9 and 1 in two of them."""
    context = toy.context(student_channels=1, teacher_channels=1)
    loss = RegionFeatures(context, taps=["p3"])
    zeros = torch.zeros(2, 1, 4, 6)
    student = zeros.clone()
    student[0, 0, 1, 2], student[1, 0, 1, 5], student[0, 0, 3, 0] = 3.0, 1.0, 100.0
    boxes = (torch.tensor([[20.0, 8, 32, 16]]), torch.tensor([[32.0, 8, 48, 16]]))
    targets = replace(toy.targets(), boxes=boxes)
    pair = [Outputs(features={"p3": each}) for each in (student, zeros)]
    assert loss(*pair, targets)["features"].item() == pytest.approx((9 + 1) / 4)


def test_taps_add_up(toy):
    pair, targets = (toy.outputs(1), toy.outputs(2)), toy.targets()

    def term(*taps):
        return RegionFeatures(toy.context(), taps=taps)(*pair, targets)["features"]

    single = [term(tap) for tap in ("c3", "c4", "c5", "p3")]
    assert all(each > 0 for each in single)
    torch.testing.assert_close(sum(single), term("c3", "c4", "c5", "p3"))
    torch.testing.assert_close(
        sum(single), RegionFeatures(toy.context())(*pair, targets)["features"]
    )


def test_only_cells_of_objects_count(toy):
    student, teacher, targets = toy.outputs(1), toy.outputs(2), toy.targets()
    loss = RegionFeatures(toy.context())
    expected = loss(student, teacher, targets)

    def changed(inside):
        def change(maps, name):
            mask = box_mask(targets.boxes, targets.strides[name], maps.shape[-2:])[:, None]
            return torch.where(mask == inside, maps + 5, maps)

        parts = {
            part: {name: change(maps, name) for name, maps in getattr(student, part).items()}
            for part in ("features", "stages")
        }
        return loss(replace(student, **parts), teacher, targets)

    torch.testing.assert_close(changed(inside=False), expected)
    assert changed(inside=True)["features"] > expected["features"] + 1


def test_zero_where_student_equals_teacher(toy):
    same = toy.outputs(0)
    assert RegionFeatures(toy.context())(same, same, toy.targets())["features"] == 0


def test_trust_of_a_teacher_by_hand():
    """Page 1: all found; page 2: half; page 3: nothing; page 4 has no object."""
    truth = torch.zeros(4, 2, 4, dtype=torch.bool)
    truth[:3, 0] = True
    found = torch.zeros_like(truth)
    found[0], found[1, :, :2] = True, True
    expected = torch.tensor([1, 1 / 1.5**2, 1 / 4, 1])
    torch.testing.assert_close(page_trust(truth, found), expected)


def test_pages_on_which_the_teacher_misses_objects_weigh_less(toy):
    context = toy.context(two_stage=False)
    student, teacher = (toy.outputs(seed, two_stage=False) for seed in (1, 2))
    targets = toy.targets()

    def say(logit):
        """The teacher's boxes are the anchors, with this score everywhere."""
        dense = teacher.dense
        logits = tuple(torch.full_like(each, logit) for each in dense.logits)
        deltas = tuple(torch.zeros_like(each) for each in dense.deltas)
        return replace(teacher, dense=replace(dense, logits=logits, deltas=deltas))

    trusting = RegionFeatures(context, teacher_trust=True)
    assert trusting.needs == {"features", "stages", "dense"}
    plain = RegionFeatures(context)(student, teacher, targets)["features"]
    sure = trusting(student, say(4.0), targets)["features"]
    assert trusting.log["trust"] > 0.9
    torch.testing.assert_close(sure, plain * trusting.log["trust"], rtol=0.05, atol=0)
    blind = trusting(student, say(-4.0), targets)["features"]
    torch.testing.assert_close(blind, plain / 4)
    assert trusting.log["trust"] == 0.25


def test_it_reads_only_the_kinds_of_maps_it_compares(toy):
    assert RegionFeatures(toy.context(), taps=["p3", "p4"]).needs == {"features"}
    assert RegionFeatures(toy.context(), taps=["c5"]).needs == {"stages"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": ["c2"]}, "needs the map c2"),
        ({"taps": []}, "TAPS must be different names"),
        ({"taps": "c3"}, "TAPS must be different names"),
        ({"taps": ["c3", "c3"]}, "TAPS must be different names"),
        ({"teacher_trust": 1}, "TEACHER_TRUST"),
        ({"teacher_trust": True}, "one-stage"),
        ({"teacher_score": 2}, "TEACHER_SCORE"),
    ],
    ids=str,
)
def test_wrong_options_are_refused(toy, options, message):
    with pytest.raises(ValueError, match=message):
        RegionFeatures(toy.context(), **options)
