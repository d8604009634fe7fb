"""Logs are read whole and turned into the right series."""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from graphkd.errors import UserError
from graphkd.report.curves import (
    Series,
    line_chart,
    loss_series,
    own_series,
    rate_series,
    read_curves,
    score_series,
    share_series,
    stacked_chart,
    term_series,
)
from tests.report.sample import METRICS


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_resumed_log_gives_one_row_an_iteration(tmp_path):
    rows = [
        {"iteration": 19, "total_loss": 3.0},
        {"iteration": 39, "total_loss": 9.0},
        {"iteration": 39, "total_loss": 2.0, "eval/AP": 4.5},
        {"iteration": 59, "total_loss": 1.0},
        {"iteration": 39, "lr": 0.1},
    ]
    read = read_curves(write(tmp_path / "metrics.json", rows))
    assert [row["iteration"] for row in read] == [19, 39, 59]
    assert read[1] == {"iteration": 39, "total_loss": 2.0, "eval/AP": 4.5, "lr": 0.1}


@pytest.mark.parametrize("line", ['{"iteration": 3, "tot', '{"total_loss": 1}', "[1]", "3"])
def test_a_damaged_log_names_its_line(tmp_path, line):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 1}\n\n' + line)
    with pytest.raises(UserError, match="line 3"):
        read_curves(path)


def test_a_missing_log_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere.json"):
        read_curves(tmp_path / "nowhere.json")


def test_a_distilled_run_shows_its_detection_loss_too():
    curves = {
        "student": [{"iteration": 0, "total_loss": 2.0}],
        "distilled": [
            {"iteration": 0, "total_loss": 3.0, "loss_kd_a": 0.75, "loss_kd_b": 0.25},
            {"iteration": 1, "eval/AP": 5.0},
            {"iteration": 2, "total_loss": float("nan"), "loss_kd_a": 1.0},
        ],
    }
    plain, whole, own = loss_series(curves)
    assert (plain.points, plain.dashed, plain.colour) == ([(0, 2.0)], False, 0)
    assert (whole.points, whole.dashed, whole.colour) == ([(0, 3.0)], False, 1)
    assert (own.points, own.dashed, own.colour) == ([(0, 2.0)], True, 1)


def test_ap_under_each_of_its_names_and_runs_without_ap():
    curves = {
        "a": [{"iteration": 5, "AP": 1.0}],
        "b": [{"iteration": 5, "total_loss": 1.0}],
        "c": [{"iteration": 5, "eval/AP": 3.0}, {"iteration": 9, "eval/AP": None}],
    }
    assert [(s.name, s.points, s.colour) for s in score_series(curves, METRICS[0])] == [
        ("a", [(5, 1.0)], 0),
        ("c", [(5, 3.0)], 2),
    ]


def test_shares_are_percent_largest_first_and_aligned():
    rows = [
        {"iteration": 0, "kd_share/small": 0.05, "kd_share/big": 0.25},
        {"iteration": 1, "total_loss": 4.0},
        {"iteration": 2, "kd_share/big": 0.5},
        {"iteration": 3, "kd_share/big": float("nan")},
    ]
    big, small = share_series(rows)
    assert (big.name, big.points) == ("big", [(0, 25.0), (2, 50.0)])
    assert (small.name, small.points) == ("small", [(0, 5.0), (2, 0.0)])
    assert share_series([{"iteration": 0, "total_loss": 1.0}]) == []


def test_terms_have_the_colours_of_their_shares():
    rows = [
        {"iteration": i, "loss_kd_a": 1.0, "loss_kd_b": 2.0, "kd_share/a": 0.1, "kd_share/b": 0.4}
        | {"loss_cls": 0.5, "loss_box_reg": 0.25, "total_loss": 3.75}
        for i in (0, 20)
    ]
    terms, shares = term_series(rows), share_series(rows)
    assert [(line.name, line.colour) for line in terms] == [("b", 3), ("a", 4)]
    assert [(line.name, line.colour) for line in shares] == [("b", 3), ("a", 4)]
    assert terms[0].points == [(0, 2.0), (20, 2.0)]
    own = own_series(rows)
    assert [(line.name, line.points[0][1]) for line in own] == [("box_reg", 0.25), ("cls", 0.5)]
    assert term_series([]) == own_series([]) == []


def test_runs_of_one_learning_rate_share_a_line():
    rate = [{"iteration": 0, "lr": 0.002}, {"iteration": 20, "lr": 0.001}]
    other = [{"iteration": 0, "lr": 0.02}]
    series = rate_series({"teacher": other, "student": rate, "distilled": rate, "old": []})
    assert [line.name for line in series] == ["teacher", "student, distilled"]
    assert series[1].points == [(0, 2.0), (20, 1.0)]


def drawn(chart) -> list[str]:
    """The paths of a chart's picture."""
    head, body = chart.picture.split(",")
    assert head == "data:image/svg+xml;base64"
    root = ElementTree.fromstring(base64.b64decode(body))
    assert root.tag.endswith("svg") and "metadata" not in {each.tag for each in root}
    return [e.get("d") for e in root.iter("{http://www.w3.org/2000/svg}path")]


def test_a_chart_is_a_picture_with_a_legend_in_its_page():
    lines = [Series("a", [(0, 0), (100, 10)], 0), Series("$b$ <b>", [(0, 5.0)], 9, dashed=True)]
    chart = line_chart("t", lines, y_label="y", dots=True)
    assert chart.legend == [
        ("a", "#6a6f78", False, "10"),
        ("$b$ <b>", "#0072b2", True, "5"),
    ]
    assert len(drawn(chart)) > 4
    assert chart == line_chart("t", lines, y_label="y", dots=True)  # the same bytes every time


@pytest.mark.parametrize("points", [[(7, 3.0)], [(0, 0.0)], [(1, -2.0), (9, 5.0)], [(3, 1e9)]])
def test_odd_series_are_drawn(points):
    assert drawn(line_chart("t", [Series("a", points, 0)], y_label="y", dots=False))


def test_a_long_series_is_thinned():
    points = [(i, float(i % 5)) for i in range(10_007)]
    chart = line_chart("t", [Series("a", points, 0)], y_label="y", dots=True)
    assert 100 < max(len(re.findall("[ML]", path)) for path in drawn(chart)) <= 502
    assert len(chart.picture) < 60_000 and chart.legend[0][3] == "1"


def test_nothing_to_show_is_none():
    assert line_chart("t", [], y_label="y", dots=True) is None
    assert stacked_chart("t", [Series("a", [], 0)], y_label="y") is None


def test_areas_lie_on_each_other():
    low = Series("low", [(0, 10.0), (1, 20.0)], 0)
    high = Series("high", [(0, 30.0), (1, 20.0)], 1)
    chart = stacked_chart("t", [low, high], y_label="%")
    assert chart.filled and [name for name, *_ in chart.legend] == ["low", "high"]
    # In the definitions of shapes, y is negative.
    areas = [re.findall(r"[ML] ([\d.]+) (-[\d.]+)", path) for path in drawn(chart)]
    first, second = (area for area in areas if len(area) >= 4)
    # The top of the first area is the bottom of the second.
    assert set(first) & set(second) and len({y for _, y in second}) == 3
    with pytest.raises(ValueError, match="share their x"):
        stacked_chart("t", [low, Series("b", [(0, 1.0), (2, 1.0)], 1)], y_label="%")
