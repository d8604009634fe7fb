"""Boxes end up where they belong, and odd boxes or names don't stop a picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from graphkd.report.colours import rgb
from graphkd.report.content import Boxes
from graphkd.report.pictures import data_uri, draw_predictions, side_by_side
from tests.report import sample

PAGE = np.full((200, 300, 3), 255, np.uint8)


def test_outline_and_fill_lie_on_the_box():
    box = Boxes(np.array([[50, 80, 150, 180]]), ["text"], [0.9])
    pixels = np.asarray(draw_predictions(PAGE, box, colours={"text": "#0072b2"}))
    assert pixels.shape == PAGE.shape
    assert tuple(pixels[180, 100]) == rgb("#0072b2")  # bottom edge
    inside, outside = pixels[150, 100], pixels[190, 100]
    assert (inside != 255).any() and inside.mean() > 200 and (outside == 255).all()


def test_overlapping_boxes_keep_both_outlines():
    boxes = Boxes(np.array([[20, 40, 280, 190], [60, 80, 200, 150]]), ["a", "b"], [0.9, 0.2])
    colours = {"a": "#0072b2", "b": "#d55e00"}
    pixels = np.asarray(draw_predictions(PAGE, boxes, colours=colours))
    assert tuple(pixels[190, 150]) == rgb("#0072b2")
    assert tuple(pixels[150, 150]) == rgb("#d55e00")


def test_no_boxes_give_the_page_and_leave_it_alone():
    page = sample.page_image(0)
    before = page.copy()
    assert np.array_equal(draw_predictions(page, Boxes(np.zeros((0, 4)), [])), page)
    draw_predictions(page, sample.truth())
    assert np.array_equal(page, before)


def test_boxes_outside_and_turned_round_and_odd_names():
    boxes = Boxes(
        np.array([[-50, -50, 400, 500], [90, 90, 10, 10], [299, 199, 299, 199.0]]),
        ["表\n題", "x" * 300, ""],
    )
    assert draw_predictions(PAGE, boxes).size == (300, 200)


def test_side_by_side_scales_to_one_height():
    small, big = Image.new("RGB", (50, 100), "red"), Image.new("RGB", (400, 400), "blue")
    sheet = side_by_side({"small": small, "a very long title " * 9: big}, height=200)
    pixels = np.asarray(sheet)
    reds = (pixels == (255, 0, 0)).all(-1)
    blues = (pixels == (0, 0, 255)).all(-1)
    assert reds.sum() == 100 * 200 and blues.sum() == 200 * 200
    with pytest.raises(ValueError, match="at least one"):
        side_by_side({})


def test_data_uri_holds_the_scaled_page():
    head, body = data_uri(np.full((400, 100, 3), 99, np.uint8), longest=200).split(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(body)))
    assert picture.size == (50, 200) and abs(int(np.asarray(picture).mean()) - 99) <= 1
