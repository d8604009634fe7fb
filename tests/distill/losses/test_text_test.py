"""Tests of graphkd/distill/losses/text_test.py."""

import logging

import pytest
import torch

from graphkd.distill.graph.nodes import BACKGROUND, NONTEXT, TEXT
from graphkd.distill.losses.teacher_graph import sample_nodes, take
from graphkd.distill.losses.text_test import RunningScores, TextTest
from tests.distill.losses.graph_pages import batch, context, make_page


def build(facts=None, **options):
    choices = dict(
        node_type="covariance",
        threshold="calibrated",
        fixed_threshold=0.0,
        text_is_high=True,
        decay=0.99,
    )
    return TextTest(facts or context(), **{**choices, **options})


def types(test, pages, *, update=True):
    _, teacher, targets = batch(pages)
    nodes = sample_nodes(teacher.regions, targets, max_background=64, background_ce=0.6)
    features = take(teacher.regions.features, nodes.rows)
    return test(features, nodes, teacher.regions.logits[nodes.rows], update=update)


def truth(*, texts, figures, background):
    return [TEXT] * texts + [NONTEXT] * figures + [BACKGROUND] * background


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": "otsu"},
        {"threshold": "fixed"},
        {"node_type": "gt_class"},
    ],
    ids=str,
)
def test_text_that_varies_more_is_found(options):
    page = make_page(0, texts=12, figures=12, background=3)
    expected = truth(texts=12, figures=12, background=3)
    assert types(build(**options), [page]).tolist() == expected


def test_calibration_learns_that_text_varies_less():
    page = make_page(0, texts=12, figures=12)
    facts = context(text_classes=(2, 3))
    test = build(facts)
    found = types(test, [page])
    assert found[:24].tolist() == [NONTEXT] * 12 + [TEXT] * 12
    assert test.log["text_sign"] == -1 and test.log["text_auc"] > 0.9
    other_way = types(build(facts, threshold="fixed", text_is_high=False), [page])
    assert torch.equal(found, other_way)


def alike(seed):
    """A page whose texts and figures are drawn alike, so that covariance tells nothing."""
    page = make_page(seed, texts=40, figures=40)
    draw = torch.Generator().manual_seed(seed)
    return page.change(teacher=torch.randn(page.teacher.shape, generator=draw) + 1)


def test_labels_decide_with_a_warning_where_covariance_tells_nothing(caplog):
    test = build()
    for seed in range(4):
        found = types(test, [alike(seed)])
    assert test.log["text_auc"] < 0.6
    assert found.tolist() == truth(texts=40, figures=40, background=3)
    with caplog.at_level(logging.WARNING):
        test.warn()
        test.warn()
    assert caplog.text.count("class labels decide") == 1


def test_pages_of_text_alone_are_named_as_the_reason(caplog):
    test = build()
    types(test, [make_page(0, texts=9, figures=0)])
    with caplog.at_level(logging.WARNING):
        test.warn()
        test.warn()
    assert caplog.text.count("only text or only non-text classes were seen") == 1
    assert "AUC" not in caplog.text


def test_no_warning_where_it_works(caplog):
    test = build()
    types(test, [make_page(0)])
    with caplog.at_level(logging.WARNING):
        test.warn()
        build(node_type="gt_class").warn()
    assert not caplog.records


def test_otsu_gives_way_to_the_fixed_threshold():
    test = build(threshold="otsu", fixed_threshold=-50.0)
    assert (types(test, [alike(0)])[:80] == TEXT).all()
    assert test.log["otsu_accepted"] == 0
    few = make_page(0, texts=7, figures=7)
    assert (types(test, [few])[:14] == TEXT).all()
    many = make_page(0, texts=20, figures=20)
    assert types(build(threshold="otsu", fixed_threshold=-50.0), [many])[39] == NONTEXT


def test_class_of_the_teacher():
    page = make_page(0, texts=2, figures=2, background=1)
    logits = torch.zeros_like(page.logits)
    # the teacher takes the first two for figures, and background for the likeliest of all
    logits[torch.arange(4), torch.tensor([2, 3, 0, 1])] = 5.0
    logits[:, -1] = -1.0
    logits[:4, -1] = 9.0
    found = types(build(node_type="teacher_class"), [page.change(logits=logits)])
    assert found[:4].tolist() == [NONTEXT, NONTEXT, TEXT, TEXT]


def test_without_types_all_foreground_is_alike():
    page = make_page(0, texts=3, figures=2, background=1)
    assert types(build(node_type="none"), [page]).tolist() == [NONTEXT] * 5 + [BACKGROUND]


def test_statistics_only_learn_when_asked_and_unknown_levels_are_fine():
    test = build()
    types(test, [make_page(0)], update=False)
    assert not test.running.moments.any() and not test.running.histogram.any()
    _, teacher, targets = batch([make_page(0)])
    far = targets.region_levels + 100
    nodes = sample_nodes(
        teacher.regions,
        type(targets)(**{**vars(targets), "region_levels": far}),
        max_background=0,
        background_ce=0.6,
    )
    test(take(teacher.regions.features, nodes.rows), nodes, None, update=True)
    assert test.running.moments[0, -1] == len(nodes.rows)


@pytest.mark.parametrize("options", [{}, {"node_type": "gt_class"}, {"node_type": "teacher_class"}])
def test_unknown_text_classes_are_refused_only_where_needed(options):
    with pytest.raises(ValueError, match="which classes are text"):
        build(context(text_classes=None), **options)


def test_unknown_text_classes_are_fine_for_otsu_and_none():
    build(context(text_classes=None), threshold="otsu")
    build(context(text_classes=None), node_type="none")


def test_z_scores_within_a_level():
    running = RunningScores(levels=3, decay=0.9)
    scores = torch.tensor([1.0, 3.0, 10.0, 30.0, 999.0])
    levels = torch.tensor([0, 0, 1, 1, 0])
    counted = torch.tensor([True, True, True, True, False])
    running.update_moments(scores, levels, counted)
    z = running.standardise(scores, levels)
    assert torch.allclose(z[:4], torch.tensor([-1.0, 1.0, -1.0, 1.0]))
    assert z[4].item() == pytest.approx(997.0, rel=1e-5)


def test_levels_never_seen_or_without_spread_score_zero():
    running = RunningScores(levels=2, decay=0.9)
    scores, levels = torch.full((3,), 5.0), torch.tensor([0, 0, 1])
    assert not running.standardise(scores, levels).any()
    running.update_moments(scores, levels, torch.tensor([1.0, 1.0, 0.0]))
    assert not running.standardise(scores, levels).any()


def test_close_scores_far_from_zero_keep_their_variance():
    running = RunningScores(levels=1, decay=1.0)
    level = torch.zeros(2, dtype=torch.long)
    for _ in range(200):
        running.update_moments(torch.tensor([-80.01, -80.03]), level, torch.ones(2))
    z = running.standardise(torch.tensor([-80.01, -80.03]), level)
    assert torch.allclose(z, torch.tensor([1.0, -1.0]), atol=2e-3)


def test_old_batches_fade():
    running = RunningScores(levels=1, decay=0.5)
    level = torch.zeros(2, dtype=torch.long)
    for low, high in ((0.0, 2.0), (4.0, 6.0)):
        running.update_moments(torch.tensor([low, high]), level, torch.ones(2))
    # weights 1 and 2: mean (0.5 * 2 + 10) / 3, second moment (0.5 * 4 + 52) / 3
    mean, second = 11 / 3, 54 / 3
    z = running.standardise(torch.tensor([mean + (second - mean**2) ** 0.5]), level[:1])
    assert z.item() == pytest.approx(1.0, rel=1e-4)


def test_histogram_remembers_classes_of_earlier_batches():
    running = RunningScores(levels=1, decay=0.99)
    ones = torch.ones(5)
    running.update_histogram(torch.full((5,), -1.0), torch.zeros(5).bool(), ones)
    assert running.threshold().auc == 0.5
    running.update_histogram(torch.full((5,), 1.0), torch.ones(5).bool(), ones)
    fit = running.threshold()
    assert fit.auc == 1 and fit.sign == 1 and -1 < fit.value < 1.1
