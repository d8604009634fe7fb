"""Charts put points where their ticks say they are."""

import re

import pytest

from graphkd.report.chart import line_chart, stacked_chart
from graphkd.report.curves import Series


def numbers(path: str) -> list[tuple[float, float]]:
    flat = [float(n) for n in re.findall(r"-?[\d.]+", path)]
    return list(zip(flat[::2], flat[1::2], strict=True))


def test_a_point_on_a_tick_lies_on_that_tick():
    chart = line_chart("t", [Series("a", [(0, 0), (100, 10)], 0)], y_label="y", dots=True)
    x_of = {text: x for x, text in chart.x_ticks}
    y_of = {text: y for y, text in chart.y_ticks}
    first, last = numbers(chart.marks[0].path)
    assert first == pytest.approx((x_of["0"], y_of["0"]), abs=0.06)
    assert last == pytest.approx((x_of["100"], y_of["10"]), abs=0.06)
    assert "10 at iteration 100" in chart.marks[0].dots[1][2]


@pytest.mark.parametrize("points", [[(7, 3.0)], [(0, 0.0)], [(1, -2.0), (9, 5.0)], [(3, 1e9)]])
def test_odd_series_stay_inside_the_frame(points):
    chart = line_chart("t", [Series("a", points, 0)], y_label="y", dots=False)
    left, top, right, bottom = chart.frame
    for x, y in numbers(chart.marks[0].path):
        assert left <= x <= right and top - 0.1 <= y <= bottom + 0.1


def test_a_long_series_is_thinned_but_keeps_its_ends():
    points = [(i, float(i)) for i in range(10_007)]
    chart = line_chart("t", [Series("a", points, 0)], y_label="y", dots=True)
    places = numbers(chart.marks[0].path)
    whole = line_chart("t", [Series("a", [points[0], points[-1]], 0)], y_label="y", dots=True)
    assert len(places) <= 502 and chart.marks[0].dots == []
    assert [places[0], places[-1]] == numbers(whole.marks[0].path)


def test_nothing_to_show_is_none():
    assert line_chart("t", [], y_label="y", dots=True) is None
    assert stacked_chart("t", [Series("a", [], 0)], y_label="y") is None


def test_areas_lie_on_each_other():
    low = Series("low", [(0, 10.0), (1, 20.0)], 0)
    high = Series("high", [(0, 30.0), (1, 20.0)], 1)
    first, second = stacked_chart("t", [low, high], y_label="%").marks
    assert numbers(first.path)[:2] == numbers(second.path)[:1:-1]  # top of one, bottom of the next
    top = numbers(second.path)[:2]
    assert top[0][1] == top[1][1]  # 10 + 30 and 20 + 20
    with pytest.raises(ValueError, match="share their x"):
        stacked_chart("t", [low, Series("b", [(0, 1.0), (2, 1.0)], 1)], y_label="%")
