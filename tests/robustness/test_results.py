import json

import pytest

from graphkd.errors import UserError
from graphkd.robustness.results import Record, RobustSummary, cell_name, summarise, table
from graphkd.tasks.base import Metric

AP, CER = Metric("AP"), Metric("CER", higher_is_better=False, digits=2, unit="%")
SETTINGS = {"data": "pages", "seed": 0, "pages": 4}


def test_a_record_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "new" / "robust.json"
    first = Record(path, SETTINGS, {"a": "11", "b": "22"}, metric=AP)
    first.add("clean", {"a": 40.0, "b": None})
    first.add("rotation 1", {"a": 30.0})
    again = Record(path, SETTINGS, {"a": "11", "b": "22"}, metric=AP)
    assert again.cells == {"a": {"clean": 40.0, "rotation 1": 30.0}, "b": {"clean": None}}
    assert again.missing("clean") == []
    assert again.missing("rotation 1") == ["b"]
    assert again.missing("rotation 2") == ["a", "b"]


def test_other_models_are_kept_and_new_ones_start_empty(tmp_path):
    path = tmp_path / "robust.json"
    Record(path, SETTINGS, {"a": "11"}, metric=AP).add("clean", {"a": 40.0})
    second = Record(path, SETTINGS, {"b": "22"}, metric=AP)
    assert second.cells == {"b": {}}
    second.add("clean", {"b": 20.0})
    models = json.loads(path.read_text())["models"]
    assert models["a"]["ap"] == {"clean": 40.0} and models["b"]["ap"] == {"clean": 20.0}
    assert models["b"]["summary"] == {"clean": 20.0, "mean_ap": None, "mean_loss": None}


def test_only_what_was_asked_for_counts():
    record = Record(None, SETTINGS, {"a": "11"}, metric=AP)
    for cell in ("clean", "rotation 1", "rotation 2", "speckle 1"):
        record.add(cell, {"a": 1.0})
    assert list(record.chosen(["rotation"], [1])["a"]) == ["clean", "rotation 1"]


@pytest.mark.parametrize(
    ("settings", "weights", "message"),
    [
        ({**SETTINGS, "seed": 1}, {"a": "11"}, "another seed"),
        ({**SETTINGS, "seed": 1, "pages": 9}, {"a": "11"}, "another seed and pages"),
        (SETTINGS, {"a": "99"}, "numbers of a are those of other weights"),
    ],
)
def test_numbers_of_other_settings_are_refused(tmp_path, settings, weights, message):
    path = tmp_path / "robust.json"
    Record(path, SETTINGS, {"a": "11"}, metric=AP).add("clean", {"a": 40.0})
    before = path.read_text()
    with pytest.raises(UserError, match=message):
        Record(path, settings, weights, metric=AP)
    assert path.read_text() == before


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}', "nonsense"])
def test_another_file_is_not_overwritten(tmp_path, text):
    path = tmp_path / "notes.json"
    path.write_text(text)
    with pytest.raises(UserError, match="name another --json"):
        Record(path, SETTINGS, {"a": "11"}, metric=AP)
    assert path.read_text() == text


CELLS = {
    "clean": 40.0,
    "rotation 1": 30.0,
    "rotation 3": 10.0,
    "speckle 1": 44.0,
    "speckle 3": 20.0,
}


def test_a_hand_worked_summary():
    # 1 - 30/40, 1 - 10/40, 1 - 44/40, 1 - 20/40 = 0.25, 0.75, -0.1, 0.5; their mean is 0.35.
    found = summarise(CELLS, metric=AP)
    assert (found.clean, found.mean_ap) == (40.0, 26.0)
    assert found.mean_loss == pytest.approx(35.0)


def test_what_could_not_be_measured_is_left_out():
    assert summarise({**CELLS, "warping 1": None}, metric=AP) == summarise(CELLS, metric=AP)
    assert summarise({"clean": 40.0}, metric=AP) == RobustSummary(40.0, None, None)
    assert summarise({}, metric=AP) == RobustSummary(None, None, None)
    # Without a clean AP there is nothing to lose.
    assert summarise({"clean": 0.0, "rotation 1": 1.0}, metric=AP) == RobustSummary(0.0, 1.0, None)


def test_the_table():
    other = {"clean": None, "rotation 1": 2.04}
    text = table(
        {"big": CELLS, "small": other},
        kinds=["rotation", "speckle"],
        severities=[1, 3],
        metric=AP,
        form="github",
    )
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[0] == ["AP, corruption at severity 1 / 3", "big", "small"]
    assert rows[2] == ["none (clean)", "40.0", "–"]
    assert rows[3] == ["rotation", "30.0 / 10.0", "2.0 / –"]
    assert rows[4] == ["speckle", "44.0 / 20.0", "– / –"]
    assert rows[5] == ["mean AP over corruptions", "26.0", "2.0"]
    assert rows[6] == ["mean loss (%)", "35.0", "–"]


def test_cell_names():
    assert cell_name("ink-holdout", 2) == "ink-holdout 2"


def test_an_error_gets_worse_by_growing():
    cells = {"clean": 4.0, "rotation 1": 5.0, "rotation 2": 9.0}
    # 100 (5 - 4) / 4 and 100 (9 - 4) / 4 are 25 and 125.
    assert summarise(cells, metric=CER) == RobustSummary(4.0, 7.0, 75.0)
    text = table({"m": cells}, kinds=["rotation"], severities=[1, 2], metric=CER)
    assert "CER (%), corruption" in text and "5.00 / 9.00" in text and "mean CER over" in text
