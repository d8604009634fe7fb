"""Scores of whole pages on cases that can be counted by hand."""

import pytest

from graphkd.document import Line, Page, Region, box_polygon
from graphkd.evaluation.page_text import by_document, scaled, score_page, table, totals


def line(y, text, x=0.0):
    return Line(box_polygon((x, y, x + 100, y + 20)), 0.9, text=text)


def page(*regions, expected=None):
    held = tuple(
        Region(label, 1.0, box_polygon(box), tuple(lines)) for label, box, lines in regions
    )
    return Page("a.png", 1, 400, 300, held, expected_cer=expected)


TRUTH = page(
    ("title", (0, 0, 100, 20), [line(0, "abcd")]),
    ("text", (0, 40, 100, 120), [line(40, "ef gh"), line(70, "ij"), line(100, "kl")]),
)


def score(found, truth=TRUTH, **options):
    return totals([score_page(truth, found, document="d", **options)])


def test_a_perfect_page():
    said = score(TRUTH, true_lines=list(TRUTH.lines))
    for name in ("line_recall", "line_precision", "NID", "successor", "kendall", "region_F1"):
        assert said[name] == 100, name
    for name in ("CER", "CER_lines", "WER_lines", "CER_true_lines", "splits", "merges"):
        assert said[name] == 0, name


def test_missed_and_invented_lines_count_end_to_end():
    found = page(("text", (0, 0, 100, 300), [line(0, "abxd"), line(40, "ef gh"), line(200, "zz")]))
    said = score(found)
    assert said["line_recall"] == 50 and said["line_precision"] == pytest.approx(200 / 3)
    assert said["CER_lines"] == pytest.approx(100 / 9)  # one of 4 + 5 characters
    # One edit, 2 + 2 characters that were missed, 2 that were invented, of 13.
    assert said["CER"] == pytest.approx(700 / 13)
    assert said["CER_no_spaces"] == pytest.approx(700 / 12)
    assert said["CER_true_lines"] is None


def test_the_wrong_order_lowers_order_and_likeness_alone():
    found = page(
        ("text", (0, 40, 100, 120), [line(40, "ef gh"), line(70, "ij"), line(100, "kl")]),
        ("title", (0, 0, 100, 20), [line(0, "abcd")]),
    )
    said = score(found)
    assert said["CER"] == 0 and said["successor"] == pytest.approx(200 / 3)
    assert said["kendall"] == pytest.approx(0)
    assert said["NID"] < 80 and said["NID_true_order"] == 100


def test_regions_count_where_classes_agree():
    found = page(("text", (0, 40, 100, 120), []), ("figure", (200, 0, 300, 100), []))
    assert score(found)["region_F1"] == 100
    assert score(page())["region_F1"] is None


def test_the_error_of_expected_cer():
    found = page(("text", (0, 0, 100, 20), [line(0, "abxx")]), expected=0.1)
    truth = page(("text", (0, 0, 100, 20), [line(0, "abcd")]))
    assert score(found, truth)["CER_error"] == pytest.approx(40)
    assert score(TRUTH)["CER_error"] is None


def test_an_empty_page():
    said = score(page(), page())
    assert said["CER"] is None and said["line_recall"] is None and said["NID"] == 100
    assert "CER" in table(said)


def test_counts_are_summed_by_document_with_intervals():
    good = score_page(TRUTH, TRUTH, document="good")
    bad = score_page(TRUTH, page(), document="bad")
    said = by_document([good, bad])
    assert said["good"]["CER"] == 0 and said["bad"]["CER"] == 100
    both = totals([good, bad, {**good, "document": "third"}])
    assert both["CER"] == pytest.approx(100 / 3)
    low, high = both["intervals"]["CER"]
    assert 0 <= low < both["CER"] < high <= 100 and "to" in table(both)


def test_truth_in_other_pixels():
    double = scaled(TRUTH, (800, 600))
    assert double.regions[1].lines[0].box == (0, 80, 200, 120)
    assert scaled(double, (400, 300)) == TRUTH
