"""Matrices and pages are shown whole and escaped."""

import dataclasses

import numpy as np

from graphkd.report.content import Boxes
from graphkd.report.page import bars, breakable, class_table, matrix_table, page_section
from graphkd.tasks.base import Metric
from tests.report import sample
from tests.report.reading import HOSTILE, Reader

# 3 texts: 2 found, 1 predicted as table; 4 tables: 1 found, 3 missed; one text invented.
COUNTS = np.array([[2, 1, 0], [0, 1, 3], [1, 0, 0]])


def test_a_matrix_by_hand():
    table = matrix_table("plain", COUNTS, ["text", "table"])
    assert table["columns"] == ["text", "table", "background"]
    rows = {row["name"]: row for row in table["rows"]}
    texts = {name: [cell["text"] for cell in row["cells"]] for name, row in rows.items()}
    assert texts == {
        "text": ["2", "1", ""],
        "table": ["", "1", "3"],
        "background": ["1", "", ""],
    }
    assert [row["found"] for row in table["rows"]] == ["67 %", "25 %", ""]
    assert [row["objects"] for row in table["rows"]] == ["3", "4", ""]
    assert table["right"] == ["67 %", "50 %", ""]
    taken, missed = rows["text"]["cells"][1], rows["table"]["cells"][2]
    invented = rows["background"]["cells"][0]
    assert taken["title"] == "1 of 3 text were predicted as table" and not taken["right"]
    assert missed["title"] == "3 of 4 table were not found" and missed["shade"] == 0.45
    assert invented["title"] == "1 of 1 predictions without an object are text"


def test_a_matrix_of_nothing_has_no_numbers():
    table = matrix_table("plain", np.zeros((2, 2), int), ["text"])
    assert table["right"] == ["–", ""] and table["rows"][0]["found"] == "–"
    assert {cell["text"] for row in table["rows"] for cell in row["cells"]} == {""}


def test_long_class_names_can_be_broken():
    assert breakable("RunningTitleZone").split("\u200b") == ["Running", "Title", "Zone"]
    assert breakable("Section-header").split("\u200b") == ["Section-", "header"]
    assert breakable("text") == "text"


def test_each_page_is_stored_once_with_all_its_boxes():
    views = sample.pages(2)
    page = Reader(str(page_section(views, sample.CLASSES, ranking="Two pages.").body))
    expected = sum(len(b) for v in views for b in (v.truth, *v.predictions.values()))
    figures = [a for tag, a in page.tags if tag == "figure" and a.get("class") == "panel"]
    assert len(figures) == 8 and len([1 for tag, _ in page.tags if tag == "image"]) == 2
    assert len([1 for tag, _ in page.tags if tag == "rect"]) == expected
    for name in ("Ground truth", "Teacher", "Student", "Distilled", "generated page 2"):
        assert name in page.text


def test_odd_pages_are_shown():
    view = sample.pages(1)[0]
    hostile = Boxes(np.array([[1, 1, 90, 90]]), [HOSTILE], [0.5])
    empty = Boxes(np.zeros((0, 4)), [], [])
    odd = dataclasses.replace(view, title=HOSTILE, truth=hostile, predictions={HOSTILE: empty})
    text = str(page_section([odd], [HOSTILE], ranking=HOSTILE).body)
    page = Reader(text)
    assert "script" not in {tag for tag, _ in page.tags} and page.text.count(HOSTILE) > 4
    assert "0 boxes" in page.text


def test_bars_are_parts_of_the_largest_value():
    metric = Metric("x", digits=0)
    assert bars([2.0, None, 4.0, -1.0], metric) == [
        ("2", 50.0),
        ("–", 0.0),
        ("4", 100.0),
        ("-1", 0.0),
    ]
    assert bars([None, 0.0], metric) == [("–", 0.0), ("0", 0.0)]


def test_classes_of_all_models_have_a_row():
    table = class_table(
        {"a": {"text": 2.0}, "b": {}, "c": {"text": 1.0, "figure": None}}, Metric("x")
    )
    assert table.headings == ["Class", "a", "c"]
    assert table.rows[1] == [("figure", None), ("–", 0.0), ("–", 0.0)]
    assert class_table({"a": {}}, Metric("x")) is None
