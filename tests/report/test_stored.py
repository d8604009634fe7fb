"""Folders of runs are read whole or with a sentence for each missing piece; items are ranked."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from graphkd.errors import UserError
from graphkd.report.stored import StoredRun, is_run, item_sections, read_run
from graphkd.tasks.base import Metric
from tests.report.reading import Reader

ITEMS = [
    {"id": "a1", "document": "a", "error": 0.5, "text": "Haus"},
    {"id": "a2", "document": "a", "error": 0.25, "text": None},
    {"id": "b1", "document": "b", "error": None, "text": "Hof"},
    {"id": "b2", "document": "b", "error": 0.75, "text": "<Hut>"},
    {"id": "c1", "document": "c", "error": 0.0, "text": "Hund"},
]


def write_run(folder: Path, *, items=None, task="layout") -> Path:
    folder.mkdir()
    cfg = {"TASK": task, "DATASETS": {"TRAIN": ["x"], "TEST": ["y"]}, "SOLVER": {"MAX_ITER": 30}}
    (folder / "config.yaml").write_text(yaml.safe_dump(cfg))
    result = {
        "scores": {"AP": 3.0, "seconds": 0.1},
        "parameters": 5,
        "seconds": 1.5,
        "weights": "w.pth",
    }
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.json").write_text('{"iteration": 9, "total_loss": 1.0}\n')
    if items is not None:
        place = folder / "eval" / "y" / "items.json"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(items))
    return folder


def test_a_whole_run(tmp_path):
    run = read_run(write_run(tmp_path / "run"), name="mine")
    assert run.notes == [] and is_run(run.folder)
    assert (run.steps, run.method, run.test_set, run.task.name) == (30, "none", "y", "layout")
    assert run.row("student") == {
        **{"role": "student", "method": "none", "params": 5, "seconds": 1.5},
        "AP": 3.0,
    }
    assert run.setting("SOLVER.MAX_ITER") == 30 and run.setting("SOLVER.STEPS.X", 1) == 1


def test_missing_pieces_are_told_and_damaged_ones_refused(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "result.json").unlink()
    run = read_run(folder, name="mine")
    assert ["has not finished" in note for note in run.notes] == [True]
    assert run.steps == 10 and run.scores == {}
    (folder / "metrics.json").unlink()
    assert not is_run(folder) and len(read_run(folder, name="mine").notes) == 2
    for file, text in (("result.json", "[1]"), ("result.json", "{}"), ("config.yaml", "a: [")):
        (folder / file).write_text(text)
        with pytest.raises(UserError, match=file):
            read_run(folder, name="mine")


@pytest.fixture
def reader(monkeypatch) -> str:
    """A task whose items have an error, where lower is better."""
    from graphkd.tasks.layout import LayoutTask

    class Reading(LayoutTask):
        name = "reading"
        item = "line"
        metrics = (Metric("CER"), Metric("error", higher_is_better=False, digits=2))
        primary = "error"

    monkeypatch.setitem(sys.modules, "some_task", SimpleNamespace(TASK=Reading()))
    return "some_task:TASK"


def test_the_worst_items_come_first_with_an_interval_by_document(tmp_path, reader):
    better = [{**item, "error": 0.1} for item in ITEMS]
    runs = [
        read_run(write_run(tmp_path / name, items=items, task=reader), name=name)
        for name, items in (("plain", better), ("mine", ITEMS))
    ]
    (section,), notes = item_sections(runs, count=2)
    page = Reader(str(section.body))
    assert notes == [] and section.title == "The worst lines"
    assert "The 2 of 4 lines with the worst error of mine. The mean over lines is 0.38" in page.text
    assert "over 3 documents" in page.text and "<Hut>" in page.text
    worst = ["b2", "b", "0.75", "<Hut>", "0.10", "a1", "a", "0.50", "Haus", "0.10"]
    assert page.text.split()[-10:] == worst
    assert item_sections(runs, count=0) == ([], [])


def test_items_are_ranked_by_errors_where_they_have_no_metric(tmp_path):
    items = [{"id": i, "document": i, "errors": i} for i in range(3)]
    run = read_run(write_run(tmp_path / "run", items=items), name="mine")
    (section,), _ = item_sections([run], count=1)
    assert "The 1 of 3 pages with the worst errors" in str(section.body)
    items = [{"id": i, "F1": 0.5 if i else None, "objects": 0} for i in range(3)]
    run = read_run(write_run(tmp_path / "f1", items=items), name="mine")
    (section,), _ = item_sections([run], count=5)
    assert "The 2 of 2 pages with the worst F1" in str(section.body)
    run = read_run(write_run(tmp_path / "none"), name="mine")
    assert "no scores of single pages (items.json)" in item_sections([run], count=1)[1][0]
    run = read_run(write_run(tmp_path / "odd", items=[{"id": 1}]), name="mine")
    assert item_sections([run], count=1) == ([], [])


def test_a_task_that_is_gone_is_named():
    run = StoredRun("mine", Path("x"), {"TASK": "nowhere_at_all:TASK"})
    with pytest.raises(UserError, match="nowhere_at_all"):
        run.task  # noqa: B018
