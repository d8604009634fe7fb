import numpy as np

from graphkd.robustness.sheet import contact_sheet
from tests.robustness.pages import corners, drawn_page, picture_box

RED = (230, 25, 75)


def test_a_sheet_shows_every_corruption_and_the_boxes():
    page = drawn_page(120, 90)
    sheet = contact_sheet(page, [corners(picture_box(120, 90))], cell=60)
    # 36 corruptions and the uncorrupted page, six a row.
    rows = 7
    assert sheet.height > rows * 60 and sheet.width > 6 * 45
    red = (np.asarray(sheet) == RED).all(axis=2)
    tall = (sheet.height - 8) // rows
    assert all(red[8 + row * tall : 8 + (row + 1) * tall].any() for row in range(6))
    assert not red[8 + 6 * tall :].any(), "the uncorrupted page is shown as it is"


def test_a_sheet_of_a_choice():
    small = contact_sheet(drawn_page(60, 45), [], kinds=["speckle"], severities=[2], cell=60)
    assert small.width < 130 and small.height < 120
