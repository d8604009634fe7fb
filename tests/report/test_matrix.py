"""The table says what the matrix holds, by hand."""

import numpy as np

from graphkd.report.matrix import breakable, matrix_table, percent

# 3 texts: 2 found, 1 taken for a table; 4 tables: 1 found, 3 missed; one text invented.
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
    assert table["right"] == ["67 %", "50 %", ""]
    taken, missed = rows["text"]["cells"][1], rows["table"]["cells"][2]
    invented = rows["background"]["cells"][0]
    assert taken["title"] == "1 of 3 text were taken for table" and not taken["right"]
    assert missed["title"] == "3 of 4 table were not found" and missed["shade"] == 0.45
    assert invented["title"] == "1 of 1 predictions without an object are text"


def test_a_matrix_of_nothing_has_no_numbers():
    table = matrix_table("plain", np.zeros((2, 2), int), ["text"])
    assert table["right"] == ["–", ""] and table["rows"][0]["found"] == "–"
    assert {cell["text"] for row in table["rows"] for cell in row["cells"]} == {""}


def test_small_things():
    assert (percent(None), percent(0.666)) == ("–", "67 %")
    assert breakable("RunningTitleZone").split("\u200b") == ["Running", "Title", "Zone"]
    assert breakable("Section-header").split("\u200b") == ["Section-", "header"]
    assert breakable("text") == "text"
