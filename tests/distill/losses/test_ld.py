"""The `ld` method against hand cases, its released formulas, and unlike numbers of bins."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from graphkd.distill.losses.build import build_losses
from graphkd.distill.losses.dense_cells import valuable_region
from graphkd.distill.losses.ld import edge_divergence, resample_bins
from graphkd.distill.outputs import Assignment, Dense, Outputs, Targets
from graphkd.errors import UserError
from graphkd.modeling.dense.atss import ATSS

ALONE = {"MAIN": 0.0, "VLR": 0.0, "CLASSES": 0.0, "VLR_CLASSES": 0.0}


def build(toy, *, bins=(5, 5), classes=3, **options):
    context = toy.context(two_stage=False, bins=bins, num_classes=classes)
    return build_losses({"ld": options}, context, source="run.yaml")["ld"].module


def only(**factors):
    return {**ALONE, **factors}


def grid(stride, cells, *, side=8):
    """Square anchors of `side` strides, centred on (i s, j s), as GFL places them."""
    places = torch.arange(cells, dtype=torch.float32) * stride
    y, x = torch.meshgrid(places, places, indexing="ij")
    half = side * stride / 2
    return torch.stack([x - half, y - half, x + half, y + half], -1).reshape(-1, 4)


def batch(*, pages=1, size=4, positives=((0, 5), (1, 9)), seed=0, bins=(5, 5), classes=2):
    """One level of `size` x `size` cells, a student and a teacher, and a box for every positive,
    which is a pair (object, anchor); `pages` times the same page.
    """
    draw = torch.Generator().manual_seed(seed)

    def maps(channels):
        one = torch.randn(1, channels, size, size, generator=draw)
        return (one.repeat(pages, 1, 1, 1),)

    pair = [
        Outputs(
            dense=Dense(maps(classes), maps(4), distributions=maps(4 * (last + 1)), levels=("p3",))
        )
        for last in bins
    ]
    anchors = grid(8, size)
    owners = torch.full((len(anchors),), -1)
    for number, place in positives:
        owners[place] = number
    boxes = torch.stack([anchors[place] + 3 for _, place in positives])
    valid = torch.ones(len(anchors), dtype=torch.bool)
    limits = torch.full((len(boxes),), 0.6)
    targets = Targets(
        boxes=(boxes,) * pages,
        image_sizes=((size * 8, size * 8),) * pages,
        anchors=(anchors,),
        num_classes=classes,
        assignment=Assignment((owners,) * pages, (valid,) * pages, (limits,) * pages),
    )
    return *pair, targets


def rows(item, part):
    found = getattr(item.dense, part)[0]
    return found.flatten(2).transpose(1, 2)


def test_divergence_is_that_of_torch_in_float64():
    draw = torch.Generator().manual_seed(0)
    seen, wanted = torch.randn(2, 7, 17, generator=draw, dtype=torch.float64).mul(4)
    expected = 100 * F.kl_div(
        F.log_softmax(seen / 10, -1), F.softmax(wanted / 10, -1), reduction="none"
    ).sum(-1)
    found = edge_divergence(seen, wanted, temperature=10.0)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


def test_nothing_to_learn_from_an_equal_teacher():
    logits = torch.randn(5, 17, requires_grad=True)
    found = edge_divergence(logits, logits.detach(), temperature=10.0).sum()
    found.backward()
    assert found.abs() < 1e-4
    assert logits.grad.abs().max() < 1e-5


@pytest.mark.parametrize("counts", [(6, 6), (4, 9), (9, 4)])
def test_gradient_is_the_slope(counts):
    draw = torch.Generator().manual_seed(1)
    seen = torch.randn(counts[0], generator=draw)
    wanted = torch.randn(counts[1], generator=draw)
    seen.requires_grad_()
    edge_divergence(seen, wanted, temperature=2.0).backward()
    for place in range(counts[0]):
        step = torch.zeros(counts[0])
        step[place] = 0.02
        ends = [
            edge_divergence(seen.detach() + sign * step, wanted, temperature=2.0)
            for sign in (1, -1)
        ]
        assert seen.grad[place] == pytest.approx(float(ends[0] - ends[1]) / 0.04, abs=1e-3)


@pytest.mark.parametrize("size", [50.0, 1e4])
def test_extreme_edges_and_a_student_far_off_stay_finite(size):
    seen = torch.full((2, 17), -size)
    seen[:, 0] = size
    wanted = -seen
    seen.requires_grad_()
    for teacher in (wanted, torch.cat([wanted, wanted], 1), wanted[:, :9]):
        found = edge_divergence(seen, teacher, temperature=10.0)
        (slope,) = torch.autograd.grad(found.sum(), seen)
        assert torch.isfinite(found).all() and torch.isfinite(slope).all()


def test_resampling_keeps_all_mass_and_equal_bins():
    chances = torch.rand(5, 17).softmax(-1).log()
    torch.testing.assert_close(resample_bins(chances, bins=16), chances, rtol=1e-5, atol=1e-5)
    for bins, ratio in ((7, 1.0), (8, 2.0), (40, 2.0), (16, 0.5)):
        total = resample_bins(chances, bins=bins, ratio=ratio).exp().sum(-1)
        torch.testing.assert_close(total, torch.ones(5))


def test_resampling_by_hand():
    three = torch.tensor([0.5, 0.3, 0.2])
    folded = resample_bins(three.log(), bins=1).exp()
    torch.testing.assert_close(folded, torch.tensor([0.5, 0.5]))
    # Bins of twice the width: [-1, 1], [1, 3], [3, 5] against [.., .5], [.5, 1.5], ...
    doubled = resample_bins(three.log(), bins=5, ratio=2.0).exp()
    wanted = torch.tensor([0.375, 0.125 + 0.075, 0.15, 0.075 + 0.05, 0.1, 0.05])
    torch.testing.assert_close(doubled, wanted)


def test_softening_comes_after_folding():
    """Softened first, a confident teacher of 17 bins would put most of its mass into bin 7."""
    wanted = torch.zeros(17)
    wanted[3] = 8.0
    chances = resample_bins(wanted.log_softmax(-1), bins=7)
    seen = chances.clone().requires_grad_()
    found = edge_divergence(seen, wanted, temperature=10.0)
    assert found.abs() < 1e-4
    softened_first = resample_bins((wanted / 10).log_softmax(-1), bins=7).exp()
    assert softened_first[-1] > 0.5 > (chances / 10).softmax(-1)[-1] * 2


def test_a_student_of_more_bins_is_compared_on_those_of_the_teacher():
    seen, wanted = torch.randn(3, 17), torch.randn(3, 9)
    found = edge_divergence(seen, wanted, temperature=4.0)
    torch.testing.assert_close(found, edge_divergence(seen[:, :9], wanted, temperature=4.0))


def test_main_term_is_divided_by_the_weights(toy):
    student, teacher, targets = batch()
    found = build(toy, classes=2, **only(MAIN=1.5))(student, teacher, targets)
    places = [5, 9]
    weights = rows(student, "logits")[0, places].sigmoid().amax(1)
    pair = [rows(each, "distributions")[0, places].reshape(2, 4, 6) for each in (student, teacher)]
    divergence = edge_divergence(*pair, temperature=10.0).mean(1)
    divisor = weights.sum().clamp(min=1)
    torch.testing.assert_close(found, {"main": 1.5 * (weights * divergence).sum() / divisor})


def test_legacy_is_the_released_formula_and_grows_with_the_batch(toy):
    options = {"NORM": "legacy", "VLR_CLASSES": 10.0}
    student, teacher, targets = batch()
    found = build(toy, classes=2, **options)(student, teacher, targets)

    def released(seen, wanted, temperature):
        soft = F.softmax(wanted / temperature, 1)
        log = F.log_softmax(seen / temperature, 1)
        return F.kl_div(log, soft, reduction="none").mean(1) * temperature**2

    places = [5, 9]
    scores = [rows(each, "logits")[0] for each in (student, teacher)]
    edges = [rows(each, "distributions")[0] for each in (student, teacher)]
    weights = scores[0][places].sigmoid().amax(1)
    bins = [each[places].reshape(-1, 6) for each in edges]
    main = 0.25 * (weights[:, None].expand(-1, 4).reshape(-1) * released(*bins, 10)).sum() / 4
    torch.testing.assert_close(found["main"], main)
    classes = 10 * released(*[each[places] for each in scores], 2).sum() / 2
    torch.testing.assert_close(found["classes"], classes)
    assert set(found) == {"main", "classes", "vlr", "vlr_classes"}
    twice = build(toy, classes=2, **options)(*batch(pages=2))
    torch.testing.assert_close(twice["main"], 2 * found["main"])
    torch.testing.assert_close(twice["vlr"], 2 * found["vlr"])
    torch.testing.assert_close(twice["classes"], found["classes"])
    for norm in ("weights", "positives"):
        ours = build(toy, classes=2, NORM=norm)
        torch.testing.assert_close(ours(*batch(pages=2)), ours(*batch()))


def test_published_strength_at_the_published_batch(toy):
    """With 17 bins and weights that sum to 102, 0.25 undivided is 1.5 divided."""
    positives = tuple((0, place) for place in range(204))
    student, teacher, targets = batch(size=15, positives=positives, bins=(16, 16), classes=1)
    even = replace(student.dense, logits=(torch.zeros_like(student.dense.logits[0]),))
    student = replace(student, dense=even)
    found = [
        build(toy, bins=(16, 16), classes=1, NORM=norm, CLASSES=0.0)(student, teacher, targets)
        for norm in ("legacy", "weights", "positives")
    ]
    for name in ("main", "vlr"):
        torch.testing.assert_close(found[0][name], found[1][name])
        torch.testing.assert_close(found[1][name], found[2][name])


def test_the_region_is_not_too_strong_for_a_new_student(toy):
    """Class scores of 0.01 divide the region's term by nearly nothing, the positives do not."""
    student, teacher, targets = batch(pages=60)
    terms = {}
    for bias in (0.0, -4.6):
        even = replace(student.dense, logits=(torch.full_like(student.dense.logits[0], bias),))
        for norm in ("weights", "positives"):
            loss = build(toy, classes=2, **only(VLR=1.0), NORM=norm)
            terms[norm, bias] = loss(replace(student, dense=even), teacher, targets)["vlr"]
    torch.testing.assert_close(terms["weights", 0.0], terms["positives", 0.0])
    torch.testing.assert_close(terms["positives", -4.6], terms["positives", 0.0])
    assert terms["weights", -4.6] > 40 * terms["weights", 0.0]


def test_valuable_region_of_a_box_in_the_middle(toy):
    """A box of 64 px on a page of 256 px, as ATSS assigns it: 9 positives, 81 anchors around."""
    strides, cells = (8, 16, 32, 64, 128), (32, 16, 8, 4, 2)
    anchors = tuple(grid(s, n) for s, n in zip(strides, cells, strict=True))
    count = sum(map(len, anchors))
    boxes = torch.tensor([[96.0, 96.0, 160.0, 160.0]])
    assigned = ATSS()(anchors, [boxes], [(256, 256)])
    positive = assigned.owners[0] >= 0
    targets = Targets(boxes=(boxes,), anchors=anchors, assignment=assigned)
    values = valuable_region(targets, gamma=0.25)[0]
    assert [int((each > 0).sum()) for each in values.split([n * n for n in cells])] == [
        56,
        25,
        0,
        0,
        0,
    ]
    assert 0 < values[values > 0].min() and values.max() < 1
    assert positive.sum() == 9 and not (positive & (values > 0)).any()
    beyond = replace(
        targets, assignment=replace(assigned, valid=(torch.zeros(count, dtype=torch.bool),))
    )
    assert not valuable_region(beyond, gamma=0.25).any()


def test_positives_in_the_region_can_be_left_out(toy):
    student, teacher, targets = batch()
    limits = (torch.ones(2),)
    targets = replace(targets, assignment=replace(targets.assignment, thresholds=limits))
    counts = []
    for excluded in (False, True):
        loss = build(toy, classes=2, **only(VLR=1.0), VLR_EXCLUDES_POSITIVES=excluded)
        loss(student, teacher, targets)
        counts.append(int(loss.log["vlr_anchors"]))
    assert counts[0] > counts[1] > 0


def test_negatives_as_the_region(toy):
    student, teacher, targets = batch()
    loss = build(toy, classes=2, **only(VLR=1.0), REGION="negatives")
    loss(student, teacher, replace(targets, boxes=(), anchors=()))
    assert int(loss.log["vlr_anchors"]) == 14


def test_class_terms_teach_one_class(toy):
    student, teacher, targets = batch(classes=1)
    logits = student.dense.logits[0].clone().requires_grad_()
    student = replace(student, dense=replace(student.dense, logits=(logits,)))
    build(toy, classes=1, **only(CLASSES=1.0))(student, teacher, targets)["classes"].backward()
    assert logits.grad.abs().sum() > 0


def test_weights_are_the_joint_scores_of_a_head_with_quality(toy):
    student, teacher, targets = batch()
    quality = torch.full_like(student.dense.logits[0][:, :1], 0.25)
    loss = build(toy, classes=2, **only(MAIN=1.0))
    loss(student, teacher, targets)
    plain = loss.log["weight_sum"]
    joint = replace(student, dense=replace(student.dense, quality=(quality,)))
    loss(joint, teacher, targets)
    torch.testing.assert_close(loss.log["weight_sum"], plain / 4)


@pytest.mark.parametrize("bins", [(5, 9), (9, 5)])
def test_unlike_bins(toy, bins):
    terms = build(toy, bins=bins, classes=2)(*batch(bins=bins))
    assert all(torch.isfinite(each) and each > 0 for each in terms.values())


def test_a_level_of_the_teacher_alone_is_left_out(toy):
    student, teacher, targets = batch()
    extra = Dense(
        *(
            (*getattr(teacher.dense, part), getattr(teacher.dense, part)[0] + 9)
            for part in ("logits", "deltas", "distributions")
        ),
        levels=("p3", "p4"),
    )
    loss = build(toy, classes=2)
    torch.testing.assert_close(
        loss(student, replace(teacher, dense=extra), targets), loss(student, teacher, targets)
    )


def test_a_teacher_whose_maps_are_smaller(toy):
    """Only the cells that both networks have are compared."""
    student, teacher, targets = batch(positives=((0, 5), (1, 15)))
    cut = {
        part: (getattr(teacher.dense, part)[0][..., :3, :3],)
        for part in ("logits", "deltas", "distributions")
    }
    loss = build(toy, classes=2, **only(MAIN=1.0))
    found = loss(student, replace(teacher, dense=replace(teacher.dense, **cut)), targets)
    assert loss.log["main_anchors"] == 1  # anchor 15 is the last of 4 x 4
    alone = replace(targets.assignment, owners=(targets.assignment.owners[0].clone(),))
    alone.owners[0][15] = -1
    torch.testing.assert_close(found, loss(student, teacher, replace(targets, assignment=alone)))


def test_one_positive_and_none(toy):
    assert all(value > 0 for value in build(toy, classes=2)(*batch(positives=((0, 5),))).values())
    student, teacher, targets = batch()
    nobody = torch.full_like(targets.assignment.owners[0], -1)
    empty = replace(
        targets,
        boxes=(torch.zeros(0, 4),),
        assignment=replace(targets.assignment, owners=(nobody,), thresholds=(torch.zeros(0),)),
    )
    terms = build(toy, classes=2, VLR_CLASSES=1.0)(student, teacher, empty)
    assert set(terms) == {"main", "vlr", "classes", "vlr_classes"} and not any(terms.values())


def test_a_diverged_student_is_for_the_run_to_notice(toy):
    student, teacher, targets = batch()
    broken = toy_nan(student)
    terms = build(toy, classes=2)(broken, teacher, targets)
    assert any(torch.isnan(each) for each in terms.values())


def toy_nan(item):
    maps = tuple(torch.full_like(each, torch.nan) for each in item.dense.distributions)
    return replace(item, dense=replace(item.dense, distributions=maps))


def test_a_teacher_without_distributions_is_refused_in_one_line(toy):
    context = toy.context(two_stage=False, bins=None, teacher="retinanet.yaml")
    with pytest.raises(UserError) as caught:
        build_losses({"ld": {}}, context, source="run.yaml")
    message = str(caught.value)
    assert "\n" not in message
    words = "run.yaml", "retinanet.yaml", "distributions", "bckd", "logits", "features"
    assert all(word in message for word in words)


def test_unlike_classes_are_refused_only_by_class_terms(toy):
    context = toy.context(two_stage=False, same_classes=False)
    with pytest.raises(UserError, match="set CLASSES and VLR_CLASSES to 0"):
        build_losses({"ld": {}}, context, source="run.yaml")
    assert build_losses({"ld": {"CLASSES": 0.0}}, context, source="run.yaml")


def test_all_factors_zero_are_refused(toy):
    with pytest.raises(UserError, match="must not all be 0"):
        build(toy, **ALONE)
