import sys

import pytest

from graphkd.document import Page, Region, box_polygon
from graphkd.errors import UserError

PAGE = Page("a.pdf", 3, 200, 400, (Region("title", 0.912345, box_polygon((10.004, 20, 110, 60))),))


def test_json_has_pixels_and_parts_of_the_page():
    assert PAGE.to_dict() == {
        "source": "a.pdf",
        "page": 3,
        "width": 200,
        "height": 400,
        "regions": [
            {
                "class": "title",
                "score": 0.9123,
                "box": [10.0, 20, 110, 60],
                "box_fraction": [0.05002, 0.05, 0.55, 0.15],
            }
        ],
    }


def test_layoutparser_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "layoutparser", None)
    with pytest.raises(UserError, match="pip install layoutparser"):
        PAGE.to_layoutparser()


def test_layoutparser_blocks():
    layoutparser = pytest.importorskip("layoutparser")
    layout = PAGE.to_layoutparser()
    assert isinstance(layout, layoutparser.Layout)
    (block,) = layout
    assert (block.type, block.score) == ("title", 0.912345)
    assert block.coordinates == (10.004, 20, 110, 60)
