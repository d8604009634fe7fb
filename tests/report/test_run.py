"""The report of runs is one safe, complete file, also where nearly everything is missing."""

import numpy as np

from graphkd.report.content import Boxes, Details, PageView, RunView
from graphkd.report.graph_page import write_graph_page
from graphkd.report.run import run_charts, write_run_report
from tests.report import sample
from tests.report.test_demo import HOSTILE, Reader

CLASSES = tuple(sample.CLASSES)
SCORES = {
    **{"AP": 37.81, "AP50": 60.0, "AP75": 30.0, "APs": None, "APm": 11.5, "APl": 41.0},
    **{"AR100": 47.0, "images": 134},
    "per_class": {"text": 62.3, "title": 32.7, "figure": None, "table": 45.4, "caption": 9.1},
}


def run_view(name: str = "distilled", **changes) -> RunView:
    values = {"method": "graphkd", "scores": SCORES, "parameters": 9_870_000, "steps": 3000}
    curves = sample.curves()[name]
    return RunView(name=name, **{**values, "seconds": 251.2, "curves": curves, **changes})


def some_details(classes=CLASSES, name: str = "distilled") -> Details:
    counts = np.zeros((6, 6), int)
    counts[0, 0], counts[0, 3], counts[3, 5], counts[5, 0] = 41, 7, 13, 19
    truth = Boxes([[60, 50, 540, 90], [60, 110, 290, 300]], list(classes[:2]), None, [True, False])
    found = Boxes([[61, 52, 538, 91]], [classes[0]], [0.87], [True])
    page = PageView(sample.page_image(0), f"{name}.jpg · F1 0.67", truth, {name: found})
    return Details(classes, 0.4, {name: counts}, [page, page], "The 2 of 30 worst pages.")


def make(tmp_path, **changes) -> str:
    arguments = {
        "title": "R18-MNv4s",
        "runs": [run_view()],
        "details": some_details(),
        "graph": sample.graph(),
        "graph_text": "page.jpg as the teacher sees it.",
        "notes": ["Something is missing."],
        "about": {"command": "graphkd train a.yaml"},
    }
    path = tmp_path / "new" / "report.html"
    write_run_report(path, **{**arguments, **changes})
    return path.read_text(encoding="utf-8")


def check_safe(text: str) -> Reader:
    page = Reader(text)
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "link", "object", "embed", "base", "img")
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value.startswith("data:image/jpeg;base64,") or value[1:] in ids, value[:80]
    assert "@import" not in text and "url(" not in text
    return page


def test_a_run_is_told_whole(tmp_path):
    page = check_safe(make(tmp_path))
    assert "37.8 AP on 134 pages; best on text (62.3), worst on caption (9.1)." in page.text
    for value in ("9.9", "3000", "251", "41.0", "47.0", "Something is missing.", "graphkd train"):
        assert value in page.text
    titles = (
        *("Training loss", "Validation AP", "Detection terms", "Distillation terms"),
        *("Share of each distillation term", "AP by class", "What is taken for what"),
        *("The worst pages", "The document graph of a page", "score 0.4 or more"),
    )
    for title in titles:
        assert title in page.text
    cells = [a.get("title") for tag, a in page.tags if tag == "td" and a.get("title")]
    assert "7 of 48 text were taken for table" in cells and "13 of 13 table were not found" in cells
    alone = [a for tag, a in page.tags if tag == "rect" and a.get("class") == "alone"]
    assert len(alone) == 2  # the missed title on each of two pages


def test_several_runs_state_the_gain(tmp_path):
    names = ("teacher", "student", "distilled")
    runs = [
        run_view(name, method="graphkd" if name == "distilled" else "none", scores={**SCORES, **ap})
        for name, ap in zip(names, ({"AP": 55.7}, {"AP": 31.2}, {}), strict=True)
    ]
    page = check_safe(make(tmp_path, runs=runs))
    assert "6.6 AP more than the plain student (31.2)" in page.text
    assert "Distillation terms: distilled" in page.text and "Detection terms" not in page.text
    rows = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "strong"]
    assert len(rows) == 1


def test_a_run_of_nothing_is_still_a_page(tmp_path):
    bare = RunView("student", "none", {})
    text = make(tmp_path, runs=[bare], details=None, graph=None, notes=[], about={})
    page = check_safe(text)
    for sentence in ("No training log was found", "No model was scored"):
        assert sentence in page.text
    for title in ("What is taken", "The worst pages", "document graph"):
        assert title not in page.text
    assert run_charts([bare]) == []


def test_hostile_names_stay_text(tmp_path):
    classes = (HOSTILE, *(f"{HOSTILE}{i}" for i in range(4)))
    text = make(
        tmp_path,
        title=HOSTILE,
        runs=[run_view(method=HOSTILE, scores={**SCORES, "per_class": {HOSTILE: 3.0}})],
        details=some_details(classes, HOSTILE),
        graph_text=HOSTILE,
        notes=[HOSTILE],
        about={HOSTILE: HOSTILE},
    )
    page = check_safe(text)
    assert "<b>" not in text and page.text.count(HOSTILE) > 10


def test_a_graph_has_a_page_of_its_own(tmp_path):
    path = tmp_path / "graph.html"
    write_graph_page(path, sample.graph(), title=HOSTILE, about={"a": HOSTILE}, strongest=1)
    page = check_safe(path.read_text(encoding="utf-8"))
    assert "its 1 strongest edge," in page.text and HOSTILE in page.text
    assert "12 nodes of 17 regions." in page.text or "nodes of" in page.text
