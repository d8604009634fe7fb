"""Report content that contradicts itself is refused."""

import dataclasses

import numpy as np
import pytest

from graphkd.report.content import Boxes, Example
from tests.report import sample


def test_no_boxes_are_an_empty_array():
    boxes = Boxes(np.zeros(0), [], [])
    assert boxes.boxes.shape == (0, 4) and len(boxes) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros((2, 4)), ["text"]),
        (np.zeros((1, 4)), ["text"], [0.5, 0.6]),
        (np.full((1, 4), np.nan), ["text"]),
    ],
)
def test_boxes_that_do_not_fit_together(arguments):
    with pytest.raises(ValueError):
        Boxes(*arguments)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_a_page_must_be_rgb_bytes(image):
    with pytest.raises(ValueError, match="uint8 image"):
        Example(image, "a page", sample.truth())


def test_a_graph_whose_parts_disagree():
    view = sample.graph()
    wrong = view.assignment.copy()
    wrong[[0, 1]] = wrong[[1, 0]] + wrong[[0, 0]]
    for change in (
        {"groups": [0] * len(view.groups)},
        {"assignment": wrong},
        {"node_types": ["words", *view.node_types[1:]]},
        {"classes": view.classes[1:]},
        {"edges": view.edges[:-1, :-1]},
    ):
        with pytest.raises(ValueError):
            dataclasses.replace(view, **change)


def test_the_order_of_nodes_is_free():
    view = sample.graph()
    turned = dataclasses.replace(
        view, assignment=view.assignment[::-1], edges=view.edges[::-1, ::-1]
    )
    assert len(turned.assignment) == len(view.assignment)
