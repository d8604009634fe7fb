"""The report of runs is one safe, complete file, also where nearly everything is missing."""

from pathlib import Path

from graphkd.report.runs import run_charts, write_run_report
from graphkd.report.stored import StoredRun
from graphkd.tasks.base import task_named
from tests.report import sample
from tests.report.reading import HOSTILE, Reader, check_safe

AP = task_named("layout").primary_metric


def make(tmp_path, **changes) -> str:
    arguments = {
        "title": "R18-MNv4s",
        "runs": [sample.stored_run()],
        "sections": sample.sections(),
        "notes": ["Something is missing."],
        "about": {"command": "graphkd train a.yaml"},
    }
    path = tmp_path / "new" / "report.html"
    write_run_report(path, **{**arguments, **changes})
    assert list(path.parent.iterdir()) == [path]
    return path.read_text(encoding="utf-8")


def three_runs(**scores):
    names = ("teacher", "student", "distilled")
    values = {"teacher": 55.72, "student": 31.24, "distilled": 37.81, **scores}
    return [sample.stored_run(name, scores={"AP": values[name]}) for name in names]


def test_a_run_is_told_whole(tmp_path):
    text = make(tmp_path)
    page = check_safe(text)
    assert "37.8 AP on 134 pages; best on text (62.3), worst on caption (9.1)." in page.text
    for value in ("9.9", "3000", "251", "60.0", "30.0", "Something is missing.", "graphkd train"):
        assert value in page.text
    titles = (
        *("Training loss", "AP on the validation set", "Own loss, term by term"),
        *("Distillation terms", "Share of each distillation term", "AP by class"),
        *("Confusion matrix", "The worst pages", "Document graph of a page", "score 0.4 or more"),
    )
    for title in titles:
        assert title in page.text
    cells = [a.get("title") for tag, a in page.tags if tag == "td" and a.get("title")]
    assert "7 of 48 text were predicted as table" in cells
    assert "13 of 13 table were not found" in cells
    alone = [a for tag, a in page.tags if tag == "rect" and a.get("class") == "alone"]
    assert len(alone) == 2  # the missed title on each of two pages
    assert len(text) < 700_000


def test_every_link_inside_the_page_leads_somewhere(tmp_path):
    page = Reader(make(tmp_path))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    links = {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")}
    assert links and links <= set(ids)


def test_several_runs_state_the_gain(tmp_path):
    page = check_safe(make(tmp_path, runs=three_runs()))
    assert "6.6 AP more than the plain student (31.2)" in page.text
    assert "68 % of the teacher's 55.7 AP" in page.text and "one run each." in page.text
    assert "Distillation terms: distilled" in page.text and "Own loss, term" not in page.text
    assert "distilled: own loss" in page.text and "graphkd_edge" in page.text
    assert "Share of each distillation term: student" not in page.text
    rows = [a for tag, a in page.tags if tag == "tr" and a.get("class") == "strong"]
    assert len(rows) == 1
    bars = [a["style"] for tag, a in page.tags if tag == "td" and "--share" in a.get("style", "")]
    assert bars[:3] == ["--share:100.0%", "--share:56.1%", "--share:67.9%"]


def test_a_loss_is_not_dressed_up(tmp_path):
    text = make(tmp_path, runs=three_runs(distilled=20.0))
    assert "did not help here" in text and "AP more than" not in text


def test_unknown_numbers_are_dashes(tmp_path):
    scores = {"AP": None, "AP50": float("nan"), "per_class": {}}
    text = make(tmp_path, runs=[sample.stored_run("student", scores=scores)], sections=[])
    row = text[text.index("<tbody>") : text.index("</tbody>")]
    assert row.count("–") == 2 and "nan" not in row.lower() and "None" not in row
    assert "by class" not in text


def test_a_run_of_nothing_is_still_a_page(tmp_path):
    bare = StoredRun("student", Path("output"))
    text = make(tmp_path, runs=[bare], sections=[], notes=[], about={})
    page = check_safe(text)
    assert "No training log was found" in page.text
    for title in ("Confusion", "The worst pages", "Document graph", "by class"):
        assert title not in page.text
    assert run_charts([bare], AP) == []
    text = make(tmp_path, runs=[bare, bare], sections=[], notes=[], about={})
    assert "no gain can be stated" in text


def test_hostile_names_stay_text(tmp_path):
    classes = (HOSTILE, *(f"{HOSTILE}{i}" for i in range(4)))
    run = sample.stored_run(
        scores={"per_class": {HOSTILE: 3.0, "text": 4.0}},
        curves=[{"iteration": i, "total_loss": 1.0, f"loss_{HOSTILE}": 1.0} for i in (0, 20)],
    )
    run.cfg["DISTILL"]["LOSSES"] = {HOSTILE: {}}
    text = make(
        tmp_path,
        title=HOSTILE,
        runs=[run],
        sections=sample.sections(classes, HOSTILE),
        notes=[HOSTILE],
        about={HOSTILE: HOSTILE},
    )
    page = check_safe(text)
    assert "<b>" not in text and "<script" not in text and page.text.count(HOSTILE) > 10
