"""Boxes end up where they belong, and odd boxes or names don't stop a picture."""

import base64
import io

import numpy as np
from PIL import Image

from graphkd.document import Line, Page, Region, box_polygon
from graphkd.report.content import Boxes
from graphkd.report.graph import MIXED_EDGE, NODE_COLOURS, edge_colour
from graphkd.report.pictures import class_colours, data_uri, draw_predictions, draw_reading, rgb
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


def test_data_uri_holds_the_scaled_page():
    head, body = data_uri(np.full((400, 100, 3), 99, np.uint8), longest=200).split(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(body)))
    assert picture.size == (50, 200) and abs(int(np.asarray(picture).mean()) - 99) <= 1


def luminance(colour: str) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (part / 255 for part in rgb(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_thirty_classes_get_thirty_colours_in_order_of_appearance():
    names = [f"class {i}" for i in range(30)]
    colours = class_colours([*names, *names[::-1]])
    assert list(colours) == names and len(set(colours.values())) == 30
    assert class_colours(names[:3]) == {name: colours[name] for name in names[:3]}


def test_picked_colours_stand_out_on_white():
    for colour in [*class_colours(map(str, range(12))).values(), *NODE_COLOURS.values()]:
        assert 1.05 / (luminance(colour) + 0.05) >= 3.0, colour  # WCAG's bound for graphics


def test_edges_tell_their_kinds_apart():
    assert edge_colour("text", "text") == NODE_COLOURS["text"]
    assert edge_colour("nontext", "text") == edge_colour("text", "nontext") == MIXED_EDGE
    assert edge_colour("text", "background") == NODE_COLOURS["background"]


def test_a_read_page_shows_order_lines_and_baselines():
    image = np.full((400, 300, 3), 255, np.uint8)
    box = box_polygon((20, 100, 280, 140))
    line = Line(box, text="x", baseline=((20, 130), (280, 130)))
    regions = (
        Region("text", 0.9, box_polygon((10, 90, 290, 150)), (line,)),
        Region("figure", 0.5, box_polygon((10, 200, 290, 390))),
    )
    page = Page("a", 1, 300, 400, regions)
    picture = draw_reading(image, page, classes=("figure", "text"))
    assert picture.size == (300, 400) and image.min() == 255
    assert picture.getpixel((150, 130)) == rgb("#e0245e")
    colours = class_colours(["figure", "text"])
    assert picture.getpixel((10, 380)) == rgb(colours["figure"])
    assert picture.getpixel((290, 145)) == rgb(colours["text"])
    turned = Page("a", 1, 300, 400, regions[::-1])
    other = draw_reading(image, turned, classes=("figure", "text"))
    assert np.any(np.array(other) != np.array(picture))  # the numbers are others
    empty = draw_reading(image, Page("a", 1, 300, 400, ()))
    assert (np.array(empty) == image).all()
