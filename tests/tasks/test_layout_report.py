"""Reports of a real, very short comparison, of its single runs and of a demo-like folder, whole and
with pieces missing.
"""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from detectron2.data import DatasetCatalog

from graphkd.cli import main
from graphkd.compare.plan import contest_of
from graphkd.compare.run import compare
from graphkd.report.runs import make_report
from graphkd.report.stored import Options
from tests.report.reading import check_safe

SHORT = ["SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "0"]


@pytest.fixture(scope="module")
def compared(pair, own_data, tmp_path_factory, root) -> Path:
    """One seed of plain and graphkd; the predictions of both are replaced by known ones."""
    out = tmp_path_factory.mktemp("report") / "compare"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        compare(contest_of([str(pair)], SHORT, methods=["graphkd"], out=out), seeds=1)
    pages = DatasetCatalog.get(own_data["test"])
    for name, shift in (("plain", 60.0), ("graphkd", 0.0)):
        results = [
            {
                "image_id": page["image_id"],
                "category_id": item["category_id"] + 1,  # as in the json
                # The first page is found whole; graphkd misses the others' figures.
                "bbox": [item["bbox"][0] + shift, *item["bbox"][1:]],
                "score": 0.9 if number == 0 or item["category_id"] == 0 else 0.4,
            }
            for number, page in enumerate(pages)
            for item in page["annotations"]
        ]
        path = out / "seed1" / name / "eval" / own_data["test"] / "coco_results.json"
        path.write_text(json.dumps(results))
    return out


@pytest.fixture
def single(compared, tmp_path) -> Path:
    return Path(shutil.copytree(compared / "seed1" / "graphkd", tmp_path / "single"))


def report(folder, tmp_path, **options):
    path = tmp_path / "out.html"
    said = []
    notes = make_report(folder, path, Options(**options), say=said.append)
    page = check_safe(path.read_text(encoding="utf-8"))
    return page, notes, said


def test_a_run_has_matrix_worst_pages_and_the_teachers_graph(single, tmp_path):
    page, notes, said = report(single, tmp_path, pages=2)
    assert notes == [] and len(said) == 2
    assert "as the teacher sees it" in page.text
    # Three pages with a text and a figure each: one figure found, two below the threshold.
    cells = [a["title"] for tag, a in page.tags if tag == "td" and a.get("title")]
    assert cells == ["3 of 3 text were found", "1 of 3 figure were found", "2 of 3 figure were "
                     "not found"]  # fmt: skip
    assert "The 2 of 3 pages with the lowest F1 of single" in page.text
    assert page.text.count("F1 0.67") == 2 and "F1 1.00" not in page.text


def test_a_lower_threshold_finds_all(single, tmp_path):
    page, _, _ = report(single, tmp_path, score=0.3, graph=False)
    assert page.text.count("F1 1.00") == 3 and "document graph" not in page.text


def test_a_comparison_shows_the_best_method_beside_the_plain_student(compared, tmp_path):
    page, notes, _ = report(compared, tmp_path)
    for text in ("AP against the cost of a step", "Confusion matrix", "F1 teacher"):
        assert text in page.text
    assert any("seed 1; graphkd is the method with the best mean AP" in note for note in notes)
    captions = [a["aria-label"] for tag, a in page.tags if tag == "a" and "aria-label" in a]
    for name in ("Ground truth", "teacher", "plain", "graphkd"):
        assert sum(f"enlarge {name}," in caption for caption in captions) == 3


def test_a_demo_folder_is_one_report(compared, tmp_path):
    demo = tmp_path / "demo"
    for name, source in (("student", "plain"), ("distilled", "graphkd")):
        shutil.copytree(compared / "seed1" / source, demo / name)
    page, notes, _ = report(demo, tmp_path, graph=False)
    assert notes == [] and "Distillation terms: distilled" in page.text


def change_config(folder: Path, change) -> None:
    path = folder / "config.yaml"
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values))


def test_without_its_teacher_the_run_shows_its_own_graph_or_says_why_not(single, tmp_path):
    gone = str(tmp_path / "gone.pth")
    change_config(single, lambda cfg: cfg["DISTILL"]["TEACHER"].update(WEIGHTS=gone))
    page, notes, _ = report(single, tmp_path)
    told = "The teacher's graph cannot be drawn: its weights are not there any more"
    assert told in page.text and "finds nothing on its page" in page.text
    assert any(told in note for note in notes)


def test_another_teacher_is_not_taken_for_the_runs_own(single, tmp_path):
    record = json.loads((single / "about.json").read_text())
    (single / "about.json").write_text(json.dumps({**record, "teacher": "0" * 64}))
    page, _, _ = report(single, tmp_path)
    assert "is not the teacher that this run had" in page.text


def test_a_data_set_that_is_not_here_is_told(single, tmp_path):
    change_config(single, lambda cfg: cfg["DATASETS"].update(TEST=["nowhere_test"]))
    page, notes, _ = report(single, tmp_path)
    assert any("the data set nowhere_test is not known on this machine" in n for n in notes)
    assert "The worst pages" not in page.text and "AP by class" in page.text


def test_without_its_data_the_worst_pages_are_a_table(single, own_data, tmp_path):
    change_config(single, lambda cfg: cfg["DATASETS"].update(TEST=["nowhere_test"]))
    (single / "eval" / own_data["test"]).rename(single / "eval" / "nowhere_test")
    page, _, _ = report(single, tmp_path)
    assert "pages with the worst F1 of single" in page.text
    assert {"id", "document", "objects", "found", "right"} <= set(page.text.split())


def test_predictions_for_other_pages_are_told(single, own_data, tmp_path):
    path = single / "eval" / own_data["test"] / "coco_results.json"
    row = {"image_id": 7777, "category_id": 0, "bbox": [0, 0, 1, 1], "score": 1.0}
    path.write_text(json.dumps([row]))
    _, notes, _ = report(single, tmp_path, graph=False)
    assert any("the predictions of single are not for the 4 pages" in note for note in notes)


def test_predictions_of_earlier_versions_hold_class_numbers(single, own_data, tmp_path):
    folder = single / "eval" / own_data["test"]
    rows = json.loads((folder / "coco_results.json").read_text())
    for row in rows:
        row["category_id"] -= 1
    (folder / "coco_results.json").write_text(json.dumps(rows))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics.pop("category_ids") == {"text": 1, "figure": 2}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page, _, _ = report(single, tmp_path, score=0.3, graph=False)
    assert page.text.count("F1 1.00") == 3


def test_what_is_missing_is_told_piece_by_piece(single, tmp_path):
    for path in ("result.json", "model_final.pth"):
        (single / path).unlink()
    shutil.rmtree(single / "eval")
    page, notes, _ = report(single, tmp_path)
    for words in ("has not finished", "no stored predictions", "the weights"):
        assert any(words in note for note in notes) and words in page.text
    assert "Training loss" in page.text and "AP by class" not in page.text


def run_command(*words) -> int:
    return main(["report", *map(str, words)])


def test_mistakes_are_one_line(tmp_path, single, capsys):
    (tmp_path / "empty").mkdir()
    (single / "result.json").write_text("{")
    mistakes = {
        "no such folder": [tmp_path / "nowhere"],
        "no run, demo or comparison": [tmp_path / "empty"],
        "damaged JSON": [single],
        "--score is 2": [single, "--score", "2"],
        "an .html file": [single, "-o", tmp_path / "a.pdf"],
    }
    for words, arguments in mistakes.items():
        assert run_command(*arguments) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1
    (tmp_path / "empty" / "compare.json").write_text('{"runs": [{"wrong": 1}]}')
    assert run_command(tmp_path / "empty") == 2
    assert "not the results of a comparison" in capsys.readouterr().err


def test_the_command_writes_into_the_folder(single, capsys):
    assert run_command(single, "--no-graph", "--pages", "0") == 0
    assert f"report: {single / 'report.html'}" in capsys.readouterr().out
    assert "The worst pages" not in (single / "report.html").read_text()
