"""Reading order of hand-made pages: columns, titles across them, side notes, other directions."""

import itertools
import random

import pytest

from graphkd.document import Line, Region, box_polygon
from graphkd.read.order import line_height, line_order, region_order

SIZE = (1000, 800)  # height, width


def region(name, x1, y1, x2, y2, *, label="text", height=20):
    """A region filled with lines of one height; its score is no part of the order."""
    lines = tuple(
        Line(box_polygon((x1, y, x2, y + height * 0.8))) for y in range(y1, y2 - height + 1, height)
    )
    return Region(label, 0.9, box_polygon((x1, y1, x2, y2)), lines, id=name)


def names(regions, **options):
    order = region_order(regions, size=SIZE, **options)
    assert sorted(order) == list(range(len(regions)))
    return "".join(regions[i].id for i in order)


COLUMNS = [
    region("A", 50, 100, 380, 300),
    region("B", 50, 310, 380, 700),
    region("C", 420, 100, 750, 500),
    region("D", 420, 510, 750, 700),
]


def test_columns_are_read_one_after_the_other():
    assert names(COLUMNS) == "ABCD"


def test_a_title_across_the_columns_comes_first_and_one_between_them_in_between():
    title = region("T", 50, 20, 750, 60, label="title")
    assert names([*COLUMNS, title]) == "TABCD"
    middle = region("M", 50, 720, 750, 760)
    below = [region("E", 50, 800, 380, 900), region("F", 420, 800, 750, 900)]
    assert names([*below, middle, *COLUMNS, title]) == "TABCDMEF"


def test_a_short_centred_title_comes_first():
    assert names([*COLUMNS, region("T", 300, 20, 500, 60)]) == "TABCD"


def test_the_order_of_the_input_does_not_matter():
    page = [
        *COLUMNS,
        region("T", 50, 20, 750, 60, label="title"),
        region("H", 50, 0, 200, 15, label="header", height=15),
        region("G", 380, 970, 420, 990, label="page_number"),
        region("N", 760, 300, 800, 340, label="marginalia"),
        region("K", 50, 700, 380, 740, label="footnote"),
    ]
    wanted = names(page)
    shuffle = random.Random(0).sample
    for _ in range(20):
        assert names(shuffle(page, len(page))) == wanted
    assert wanted == "HTABKCNDG"


def test_a_contents_page_is_read_row_by_row():
    # Numbers at the right stand far from the titles, in single regions of one line.
    rows = [
        (region("ABC"[i], 50, y, 400, y + 20), region("abc"[i], 700, y, 740, y + 20))
        for i, y in enumerate((100, 200, 300))
    ]
    page = list(itertools.chain(*rows))
    # A gutter of 15 lines wins over gaps of 4: XY-cut reads the numbers as a column.
    assert names(page) == "ABCabc"
    # With rows further apart than columns, rows win.
    wide = [region("A", 50, 100, 400, 140), region("a", 500, 100, 740, 140)]
    wide += [region("B", 50, 400, 400, 440), region("b", 500, 400, 740, 440)]
    assert names(wide) == "AaBb"


def test_steps_side_by_side():
    steps = [
        *(region("1", 50, 100, 200, 180), region("2", 300, 100, 450, 180)),
        region("3", 550, 100, 700, 180),
        *(region("4", 50, 400, 200, 480), region("5", 300, 400, 450, 480)),
    ]
    assert names(steps) == "12345"


def test_a_gap_narrower_than_a_line_is_no_gutter():
    close = [region("A", 50, 100, 390, 200), region("B", 400, 105, 750, 205)]
    close += [region("C", 50, 250, 390, 300), region("D", 400, 255, 750, 305)]
    assert names(close) == "ABCD"


def test_one_line_beside_a_column_is_no_column():
    assert names([region("A", 50, 100, 380, 300), region("B", 420, 80, 750, 99)]) == "BA"


def test_captions_stand_beside_their_figures():
    page = [
        region("A", 50, 100, 380, 300),
        Region("figure", 0.9, box_polygon((420, 100, 750, 300)), id="F"),
        region("C", 420, 310, 750, 330, label="caption"),
        region("B", 420, 360, 750, 700),
    ]
    assert names(page) == "AFCB"
    above = [*page[:2], region("C", 420, 70, 750, 90, label="caption"), page[3]]
    assert names(above) == "ACFB"


def test_right_to_left_and_top_to_bottom():
    assert names(COLUMNS, direction="rtl") == "CDAB"
    vertical = [region("A", 600, 100, 700, 900), region("B", 450, 100, 550, 900)]
    vertical = [vertical[1], vertical[0], region("C", 100, 100, 400, 400)]
    assert names(vertical, direction="ttb") == "ABC"


def test_an_empty_page_and_a_single_region():
    assert names([]) == "" and names(COLUMNS[:1]) == "A"


def line(x1, y1, x2, y2):
    return Line(box_polygon((x1, y1, x2, y2)))


def test_lines_of_a_region_by_row_and_along_it():
    lines = [line(200, 12, 300, 32), line(10, 40, 300, 60), line(10, 10, 190, 30)]
    assert line_order(lines) == [2, 0, 1]
    assert line_order(lines, direction="rtl") == [0, 2, 1]
    assert line_order([]) == []


def test_lines_of_a_skewed_region():
    # Two rows of two halves, sloping by 0.1: the right half of row 1 lies as low as row 2's left.
    def tilted(x1, x2, y):
        corners = ((x1, y + 0.1 * x1), (x2, y + 0.1 * x2))
        polygon = (*corners, (x2, y + 0.1 * x2 + 20), (x1, y + 0.1 * x1 + 20))
        return Line(polygon, baseline=((x1, y + 0.1 * x1 + 16), (x2, y + 0.1 * x2 + 16)))

    lines = [tilted(0, 290, 30), tilted(310, 600, 0), tilted(310, 600, 30), tilted(0, 290, 0)]
    assert line_order(lines) == [3, 1, 0, 2]


def test_vertical_lines_from_the_right():
    lines = [line(10, 10, 30, 300), line(40, 10, 60, 300)]
    assert line_order(lines, direction="ttb") == [1, 0]


def test_line_height_does_not_grow_with_skew():
    flat = line(0, 0, 400, 20)
    skewed = Line(((0, 0), (400, 40), (398, 60), (-2, 20)))
    assert line_height([flat]) == pytest.approx(20, rel=0.01)
    assert line_height([skewed]) == pytest.approx(20, rel=0.05)
    assert line_height([]) is None
