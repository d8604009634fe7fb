"""The demo page is one safe, complete file, also where there is little to show."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np

from graphkd.report.content import Boxes, PageView
from graphkd.report.demo import write_demo_report
from tests.report import sample

HOSTILE = "\"><script>alert('x')</script>&<b>"


class Reader(HTMLParser):
    """Collects tags, attributes and text; knows which tags were left open."""

    VOID = {"meta", "link", "br", "img", "hr", "input"}

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "title"):
            self.text += data + " "


def make(tmp_path, **changes) -> str:
    arguments = dict(
        rows=sample.rows(),
        curves=sample.curves(),
        pages=sample.pages(),
        graph=sample.graph(),
        about=sample.about(),
    )
    path = tmp_path / "new" / "demo.html"
    write_demo_report(path, **{**arguments, **changes})
    assert list(path.parent.iterdir()) == [path]
    return path.read_text(encoding="utf-8")


def test_nothing_is_fetched_or_run(tmp_path):
    text = make(tmp_path)
    page = Reader(text)
    assert page.open == []
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "link", "object", "embed", "base")
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "action", "data"):
                assert value.startswith(("#", "data:image/jpeg;base64,")), value[:80]
    assert "@import" not in text and "url(" not in text
    assert set(re.findall(r"https?://[^\"' <)]*", text)) <= {"http://www.w3.org/2000/svg"}


def test_every_link_inside_the_page_leads_somewhere(tmp_path):
    page = Reader(make(tmp_path))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")}
    assert links and links <= set(ids)


def test_all_rows_pages_boxes_and_facts_are_there(tmp_path):
    page = Reader(make(tmp_path))
    for value in ("41.3", "55.7", "31.2", "37.8", "251", "graphkd", "output/plain/model_final.pth"):
        assert value in page.text
    assert "6.6 AP more than the plain student" in page.text
    for value in ("graphkd demo --seed 7", "torch 2.11", "configs/demo.yaml", "2025-01-31"):
        assert value in page.text
    views = sample.pages()
    expected = sum(
        len(boxes) for view in views for boxes in [view.truth, *view.predictions.values()]
    )
    figures = [a for tag, a in page.tags if tag == "figure" and a.get("class") == "panel"]
    boxes = [
        a
        for tag, a in page.tags
        if tag == "rect" and "fill" in a and a["fill"] == a.get("stroke") and "rx" not in a
    ]
    assert len(figures) == 4 * len(views) and len(boxes) == expected
    for name in ("Ground truth", "Teacher", "Student", "Distilled", "generated page 2"):
        assert name in page.text
    images = [a for tag, a in page.tags if tag == "image"]
    assert len(images) == len(views) + 1  # each page once, and the graph's


def test_loss_ap_and_share_charts_are_there(tmp_path):
    page = Reader(make(tmp_path))
    for title in ("Training loss", "Validation AP", "Share of each distillation term: distilled"):
        assert title in page.text
    assert "distilled: own loss" in page.text and "graphkd_edge" in page.text
    assert "Share of each distillation term: student" not in page.text


def test_hostile_names_stay_text(tmp_path):
    view = sample.pages(1)[0]
    boxes = Boxes(np.array([[1, 1, 90, 90]]), [HOSTILE], [0.5])
    pages = [PageView(view.image, HOSTILE, boxes, {HOSTILE: boxes})]
    graph = sample.graph()
    text = make(
        tmp_path,
        pages=pages,
        graph=dataclasses.replace(graph, classes=[HOSTILE] * len(graph.boxes)),
        rows=[{**row, "method": HOSTILE, "weights": HOSTILE} for row in sample.rows()],
        curves={HOSTILE: sample.curves()["distilled"]},
        about={HOSTILE: HOSTILE},
        seconds_label=HOSTILE,
    )
    page = Reader(text)
    assert "script" not in {tag for tag, _ in page.tags} and "<b>" not in text
    assert page.text.count(HOSTILE) > 10


def test_unknown_numbers_are_dashes(tmp_path):
    rows = [{**sample.rows()[1], "AP": None, "AP50": float("nan"), "params": None}]
    text = make(tmp_path, rows=rows)
    row = re.search(r"<tbody>(.*?)</tbody>", text, re.S).group(1)
    assert row.count("–") == 3 and "nan" not in row.lower() and "None" not in row
    assert "no gain can be stated" in text


def test_a_loss_is_not_dressed_up(tmp_path):
    rows = sample.rows()
    rows[2]["AP"] = 20.0
    text = make(tmp_path, rows=rows)
    assert "did not help here" in text and "AP more than" not in text


def test_works_without_predictions_and_graph(tmp_path):
    empty = Boxes(np.zeros((0, 4)), [], [])
    pages = [
        dataclasses.replace(view, predictions=dict.fromkeys(view.predictions, empty))
        for view in sample.pages()
    ]
    text = make(tmp_path, pages=pages, graph=None)
    assert "0 boxes" in text and "document graph" not in text


def test_works_with_nothing_at_all(tmp_path):
    page = Reader(make(tmp_path, rows=[], curves={}, pages=[], graph=None, about={}))
    for sentence in ("No run has finished yet", "No training log", "No pages"):
        assert sentence in page.text
