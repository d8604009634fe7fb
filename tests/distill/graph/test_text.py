"""Tests of graphkd/distill/graph/text.py."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from graphkd.distill.graph.text import (
    BINS,
    covariance_spread,
    fit_threshold,
    otsu_threshold,
    score_histogram,
)


def histogram(nontext, text):
    scores = torch.cat([nontext, text])
    is_text = torch.arange(len(scores)) >= len(nontext)
    return score_histogram(scores, is_text, torch.ones_like(scores))


def normal(seed, count):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def test_spread_of_two_cells_by_hand():
    features = torch.tensor([1.0, 3.0]).view(1, 1, 1, 2)
    # centred cells -1 and 1: eigenvalues 2 and 0, their mean 1, so det = 2.1 * 0.1
    assert covariance_spread(features).item() == pytest.approx(math.log(0.21), abs=1e-5)


@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_spread_is_that_of_the_covariance_and_has_no_unit(seed, scale, shift):
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 15, 4, 3, generator=draw, dtype=torch.float64)
    direct = []
    for region in features:
        values = torch.linalg.eigvalsh(torch.cov(region.flatten(1)))
        # 15 channels for 12 cells: three eigenvalues more, all 0
        mean = values.sum() / 12
        direct.append((values / mean + 0.1).log().sum() - 3 * math.log(0.1))
    expected = torch.stack(direct)
    assert torch.allclose(covariance_spread(features), expected)
    assert torch.allclose(covariance_spread(features * scale + shift), expected)


def test_spread_grows_with_the_number_of_directions():
    draw = torch.Generator().manual_seed(0)
    lines = torch.randn(1, 8, 7, 1, generator=draw).expand(1, 8, 7, 7)
    everywhere = torch.randn(1, 8, 7, 7, generator=draw)
    assert covariance_spread(lines) < covariance_spread(everywhere) - 1


def test_spread_is_finite_for_constant_and_zero_features():
    for value in (0.0, 3.0):
        lowest = covariance_spread(torch.full((2, 4, 3, 3), value))
        assert torch.allclose(lowest, torch.full((2,), 9 * math.log(0.1)), atol=1e-4)
    assert covariance_spread(torch.zeros(0, 4, 3, 3)).shape == (0,)


def test_separated_scores_give_a_threshold_in_the_gap_and_the_sign():
    low, high = torch.linspace(-2, -1, 20), torch.linspace(1, 2, 30)
    fit = fit_threshold(histogram(low, high))
    assert fit.auc == 1 and fit.sign == 1 and -1 < fit.value < 1
    fit = fit_threshold(histogram(high, low))
    assert fit.auc == 1 and fit.sign == -1 and -1 < fit.value < 1


@pytest.mark.parametrize("shift", [-1.0, 0.3, 1.5])
def test_auc_is_the_mann_whitney_statistic(shift):
    nontext, text = normal(0, 400), normal(1, 300) + shift
    exact = mannwhitneyu(text.numpy(), nontext.numpy()).statistic / (400 * 300)
    fit = fit_threshold(histogram(nontext, text))
    assert fit.auc.item() == pytest.approx(max(exact, 1 - exact), abs=0.01)
    assert fit.sign == (1 if exact >= 0.5 else -1)


def test_threshold_balances_classes_of_very_different_size():
    # equal normals one apart: the best balanced threshold is halfway, however many texts there are
    fit = fit_threshold(histogram(normal(2, 500) - 1, normal(3, 50_000) + 1))
    assert abs(fit.value) < 0.25


def test_two_equally_good_thresholds_are_not_averaged():
    # Between -1 and 2 the scores alternate: any cut there is worse than either end of it.
    nontext = torch.tensor([-2.0, -1.8, 0.5, 0.6])
    text = torch.tensor([-0.5, -0.4, 2.0, 2.2])
    fit = fit_threshold(histogram(nontext, text))
    found = ((nontext < fit.value).float().mean() - (text < fit.value).float().mean()).item()
    cuts = torch.linspace(-3, 3, 601)
    best = max(float((nontext < c).float().mean() - (text < c).float().mean()) for c in cuts)
    assert found == pytest.approx(best)


def test_a_class_never_seen_gives_no_evidence():
    for pair in ((normal(0, 9), normal(0, 0)), (normal(0, 0), normal(0, 9)), (normal(0, 0),) * 2):
        fit = fit_threshold(histogram(*pair))
        assert fit.auc == 0.5 and fit.value.isfinite()


def test_histogram_counts_by_weight_and_keeps_outliers():
    scores = torch.tensor([-100.0, 100.0, 0.01, 0.01])
    is_text = torch.tensor([False, True, True, True])
    counts = score_histogram(scores, is_text, torch.tensor([1.0, 1.0, 1.0, 0.0]))
    assert counts.sum() == 3
    assert counts[0, 0] == 1 and counts[1, -1] == 1 and counts[1, BINS // 2] == 1


def test_otsu_by_hand_and_without_the_scores_that_do_not_count():
    scores = torch.tensor([5.0, 1.0, 99.0, 0.0, 6.0])
    counted = torch.tensor([True, True, False, True, True])
    value, share = otsu_threshold(scores, counted)
    # sides {0, 1} and {5, 6}: between 6.25, total 6.5
    assert value.item() == pytest.approx(3.0)
    assert share.item() == pytest.approx(6.25 / 6.5)


@pytest.mark.parametrize(("kind", "expected"), [("normal", 0.637), ("uniform", 0.75)])
def test_one_mode_looks_split_to_otsu_which_is_why_there_is_a_guard(kind, expected):
    draw = torch.Generator().manual_seed(0)
    scores = (torch.randn if kind == "normal" else torch.rand)(20_000, generator=draw)
    _, share = otsu_threshold(scores, torch.ones(20_000, dtype=torch.bool))
    assert share.item() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_otsu_of_nothing_and_of_equal_scores(size):
    for counted in (torch.ones(size).bool(), torch.zeros(size).bool()):
        value, share = otsu_threshold(torch.full((size,), 0.5), counted)
        assert value.isfinite() and 0 <= share <= 1e-3
