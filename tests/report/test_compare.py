"""The comparison's page is one safe file that says what the rows say, also where there are few."""

import re

from graphkd.compare.rows import PLAIN, PLAIN_LONGER, TEACHER, Run, compare_runs
from graphkd.report.compare import cost_chart, mean_curve, write_compare_report
from tests.report.reading import HOSTILE, Reader, check_safe
from tests.report.sample import METRICS

ABOUT = {"command": "graphkd compare a.yaml --seeds 3", "machine": "2 CPU cores", "date": "today"}


def make_run(name, seed, ap, *, seconds=10.0, label="text"):
    classes = {label: ap, "figure": None}
    scores = {"AP": ap, "AP50": ap + 20, "AP75": ap - 5}
    return Run(name, seed, scores, classes, 9_870_000, 20, seconds, "w.pth")


def some_rows(name="graphkd", label="text"):
    runs = [make_run(TEACHER, None, 55.7, seconds=None, label=label)]
    for seed in (1, 2, 3):
        runs.append(make_run(PLAIN, seed, 30.0 + seed, label=label))
        runs.append(make_run(PLAIN_LONGER, seed, 33.0 + seed, label=label))
        runs.append(make_run(name, seed, 34.0 + 1.5 * seed, seconds=13.0, label=label))
    return compare_runs(runs, METRICS)


def curve(*losses):
    return [{"iteration": 20 * i, "total_loss": loss} for i, loss in enumerate(losses)]


def page(tmp_path, **changes) -> str:
    arguments = {
        "rows": some_rows(),
        "metrics": METRICS,
        "chosen": (),
        "curves": {PLAIN: curve(3.0, 2.0), "graphkd": curve(3.0, 1.5)},
        "about": ABOUT,
        "notes": ["A note."],
    }
    path = tmp_path / "compare.html"
    write_compare_report(path, **{**arguments, **changes})
    return path.read_text(encoding="utf-8")


def test_the_page_fetches_and_runs_nothing(tmp_path):
    check_safe(page(tmp_path))


def test_costs_that_cannot_be_are_told(tmp_path):
    runs = [make_run(PLAIN, 1, 30.0, seconds=13.0), make_run("graphkd", 1, 34.0, seconds=10.0)]
    told = "A distilled step cannot be cheaper than a plain one"
    assert told in Reader(page(tmp_path, rows=compare_runs(runs, METRICS))).text
    assert told not in Reader(page(tmp_path)).text


def test_rows_charts_classes_and_facts_are_on_the_page(tmp_path):
    found = Reader(page(tmp_path))
    for value in ("37.0 ± 1.5", "57.0", "32.0", "9.87", "1.30", "55.7", *ABOUT.values(), "A note."):
        assert value in found.text
    assert re.search(r"\+5\.0 \[\+4\.5, \+5\.5\]", found.text)
    assert "3 seeds: an interval over so few is too narrow" in found.text
    for title in ("AP against the cost of a step", "Own loss", "AP by class"):
        assert title in found.text
    assert "AP on the validation set" not in found.text  # no log has AP


def test_hostile_names_stay_text(tmp_path):
    rows = some_rows(name=HOSTILE, label=HOSTILE)
    text = page(tmp_path, rows=rows, about={HOSTILE: HOSTILE}, notes=[HOSTILE], curves={})
    found = Reader(text)
    assert "script" not in {tag for tag, _ in found.tags} and "<b>" not in text
    assert found.text.count(HOSTILE) > 5


def test_a_page_of_nothing(tmp_path):
    found = Reader(page(tmp_path, rows=[], curves={}, about={}, notes=[]))
    for sentence in ("No method has finished", "No run has finished yet", "No training log"):
        assert sentence in found.text


def test_the_cost_chart_shows_all_students_with_a_cost():
    chart = cost_chart(some_rows(), METRICS[0])
    assert [(name, value) for name, _, _, value in chart.legend] == [
        (PLAIN, "32.0"),
        (PLAIN_LONGER, "35.0"),
        ("graphkd", "37.0"),
    ]
    assert cost_chart([], METRICS[0]) is None
    one = compare_runs([make_run(PLAIN, 1, 0.0 + 5)], METRICS)
    assert len(cost_chart(one, METRICS[0]).legend) == 1


def test_curves_are_means_of_the_own_loss_where_all_runs_logged():
    one = [
        {"iteration": 0, "total_loss": 3.0, "loss_kd_m": 1.0},
        {"iteration": 20, "total_loss": 2.0, "loss_kd_m": 0.5, "eval/AP": 8.0},
        {"iteration": 40, "total_loss": 1.0, "loss_kd_m": 0.5},
    ]
    two = [{"iteration": 0, "total_loss": 4.0}, {"iteration": 20, "total_loss": 2.5, "eval/AP": 4}]
    assert mean_curve([one, two], METRICS[0]) == [
        {"iteration": 0, "total_loss": 3.0},
        {"iteration": 20, "total_loss": 2.0, "eval/AP": 6.0},
    ]
    assert mean_curve([], METRICS[0]) == [] == mean_curve([one, []], METRICS[0])
