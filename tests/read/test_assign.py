"""Lines in regions: duplicates, lines across columns, lines outside of all regions."""

import numpy as np

from graphkd.document import Line, Region, box_polygon
from graphkd.read.assign import assign, ink_of, split_across, without_duplicates


def line(x1, y1, x2, y2, score=0.9):
    return Line(box_polygon((x1, y1, x2, y2)), score)


def region(x1, y1, x2, y2, label="text"):
    return Region(label, 0.9, box_polygon((x1, y1, x2, y2)))


def test_of_two_copies_the_better_one_stays():
    good, bad = line(0, 0, 100, 20, 0.9), line(2, 1, 101, 21, 0.6)
    other = line(0, 10, 100, 30, 0.5)  # IoU 1 / 3
    assert without_duplicates([bad, other, good]) == [other, good]
    assert without_duplicates([]) == []


def test_a_line_goes_to_the_region_that_covers_most_of_it():
    inside, half, outside = line(10, 10, 90, 30), line(60, 40, 140, 60), line(10, 300, 90, 320)
    first, second = assign([inside, half], [region(0, 0, 100, 100), region(100, 0, 200, 100)])
    assert first.lines == (inside, half) and second.lines == ()
    held = assign([outside], [region(0, 0, 100, 100)])
    assert held[0].lines == () and held[1].lines == (outside,)
    assert held[1].found_by == "lines" and held[1].label == "text"


def test_of_regions_in_each_other_the_smaller_one_gets_the_line():
    own = line(10, 10, 90, 30)
    outer, inner = assign([own], [region(0, 0, 500, 500), region(0, 0, 100, 100)])
    assert outer.lines == () and inner.lines == (own,)


def test_lines_without_a_layout_form_blocks():
    column = [line(0, y, 100, y + 20) for y in (0, 30, 60)]
    far, beside = line(0, 200, 100, 220), line(200, 0, 300, 20)
    blocks = assign([*column, far, beside], [])
    assert [block.lines for block in blocks] == [tuple(column), (far,), (beside,)]
    assert assign([], []) == []


def page_with_ink(*spans, size=(100, 400)):
    pixels = np.full((*size, 3), 255, np.uint8)
    for x1, x2 in spans:
        for x in (*range(x1, x2 - 4, 10), x2 - 4):
            pixels[42:58, x : x + 4] = 0
    return pixels


def test_a_line_across_two_columns_is_split_at_a_white_gap_on_the_border():
    columns = [region(0, 0, 190, 100), region(210, 0, 400, 100)]
    own = line(10, 40, 390, 60)
    gap = page_with_ink((10, 180), (215, 390))
    left, right = split_across([own], columns, gap)
    assert left.box == (10, 40, 197.5, 60) and right.box == (197.5, 40, 390, 60)
    # Without a gap, or with one elsewhere, the line stays whole.
    assert split_across([own], columns, page_with_ink((10, 390))) == [own]
    assert split_across([own], columns, page_with_ink((10, 60), (100, 390))) == [own]
    # A gap narrower than the line's height is a space between words.
    assert split_across([own], columns, page_with_ink((10, 194), (206, 390))) == [own]
    assert split_across([own], columns[:1], gap) == [own]
    assert split_across([], columns, gap) == []


def test_ink_is_the_rarer_side_and_nothing_on_blank_paper():
    page = page_with_ink((100, 200))
    assert ink_of(page).sum() == 10 * 64 + 64 and np.array_equal(ink_of(255 - page), ink_of(page))
    assert not ink_of(np.full((20, 20, 3), 250, np.uint8)).any()
    noise = np.random.default_rng(0).integers(240, 250, (20, 20, 3), dtype=np.uint8)
    assert not ink_of(noise).any()
