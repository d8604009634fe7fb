"""The demo end to end on the tiny pair: its table, its files, its pictures, and doing nothing
twice. Its plan: made once, kept, and followed by all three trainings.
"""

import json
from functools import partial

import pytest

from graphkd import demo
from graphkd.demo import demo_parts, measure_pace, run_demo
from graphkd.demo_plan import LEVELS, Pace, StepTimes
from graphkd.errors import UserError

KEYS = {"role", "method", "task", "params", "AP", "AP50", "AP75", "seconds", "weights"}


@pytest.fixture(scope="module")
def out(pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "demo"
    run_demo(str(pair), out=out, overrides=[])
    return out


def test_results_have_the_three_roles(out):
    rows = json.loads((out / "results.json").read_text())
    assert [row["role"] for row in rows] == ["teacher", "student", "distilled"]
    assert [row["method"] for row in rows] == ["none", "none", "graphkd"]
    assert all(set(row) == KEYS for row in rows)
    assert rows[1]["params"] == rows[2]["params"] < rows[0]["params"]


def test_the_report_is_self_contained_and_shows_pages_and_graph(out):
    page = (out / "report.html").read_text()
    assert page.count("data:image/") >= 4
    assert 'src="http' not in page and 'href="http' not in page
    assert "<svg" in page and (out / "graph.png").stat().st_size > 1000


def test_a_second_demo_trains_nothing(out, pair):
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/model_final.pth")}
    rows = run_demo(str(pair), out=out, overrides=[])
    assert len(before) == 3 and rows == json.loads((out / "results.json").read_text())
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_config_without_losses_is_refused(pair, tmp_path):
    with pytest.raises(UserError, match="nothing to compare"):
        run_demo(str(pair.parent / "teacher.yaml"), out=tmp_path, overrides=[])


PACE = Pace(StepTimes(0.4, 0.2, 0.3), StepTimes(1.7, 0.6, 1.1), 0.06)


@pytest.fixture
def planned(root, tmp_path, monkeypatch):
    """A demo whose trainings and measurements are left out: gives its parts and the paces taken."""
    monkeypatch.chdir(root)
    monkeypatch.setattr(demo, "measure_pace", lambda overrides: measured.append(1) or PACE)
    monkeypatch.setattr(demo, "_run_parts", lambda parts, *rest, **options: parts)
    measured = []

    def call(*overrides, **options):
        return run_demo(out=tmp_path / "demo", overrides=list(overrides), **options)

    return call, measured


def test_all_three_trainings_follow_the_plan(planned, tmp_path, capsys):
    call, _ = planned
    teacher, plain, distilled = call(minutes=12)
    level = json.loads((tmp_path / "demo" / "plan.json").read_text())["level"]
    for part in (teacher, plain, distilled):
        assert part.cfg.INPUT.MAX_SIZE_TEST == level["size"] < 320
        assert part.cfg.DATASETS.TEST == (f"{level['pages']}_test",)
    assert teacher.cfg.SOLVER.MAX_ITER == level["teacher_steps"]
    assert plain.cfg.SOLVER.MAX_ITER == distilled.cfg.SOLVER.MAX_ITER == level["student_steps"]
    assert distilled.cfg.DISTILL.TEACHER.CONFIG == str(tmp_path / "demo" / "teacher.yaml")
    said = capsys.readouterr().out
    assert "chosen for 12 minutes" in said and "--minutes" in said


def test_an_interrupted_demo_keeps_its_plan(planned, capsys):
    call, measured = planned
    first = call(minutes=12)
    again = call()
    assert [part.cfg.dump() for part in again] == [part.cfg.dump() for part in first]
    assert len(measured) == 1 and "going on with the plan" in capsys.readouterr().out
    other = call(minutes=40)
    assert len(measured) == 2 and other[0].cfg.dump() != first[0].cfg.dump()
    call(fresh=True, minutes=40)
    assert len(measured) == 3


def test_own_keys_are_stronger_than_the_plan(planned):
    _, plain, distilled = planned[0]("SOLVER.MAX_ITER", "7", minutes=12)
    assert plain.cfg.SOLVER.MAX_ITER == distilled.cfg.SOLVER.MAX_ITER == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minutes": 1}, "give 2 or more"),
        ({"minutes": 3}, "the smallest one needs about"),
        ({"minutes": 20, "config": "configs/tiny/R18-MNv4s.yaml"}, "trains as it says"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused_in_one_line(planned, options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        planned[0](**options)
    assert not (tmp_path / "demo" / "plan.json").exists()


def test_a_damaged_plan_says_what_to_do(planned, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "plan.json").write_text('{"level": 3}')
    with pytest.raises(UserError, match="damaged.*--fresh"):
        planned[0]()


def test_the_pace_is_measured_on_this_machine(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(demo, "SMALL", (64, 1))
    monkeypatch.setattr(demo, "FULL", (96, 2))
    monkeypatch.setattr(demo, "StepTimes", lambda **times: times)
    once = partial(demo.alternate, rounds=1, warm_ups=0)
    monkeypatch.setattr(demo, "alternate", lambda steps, **_: once(steps))
    pace = measure_pace(["MODEL.DEVICE", "cpu"])
    assert set(pace.small) == {"teacher", "plain", "distilled"}
    assert all(0 < seconds < 60 for seconds in (*pace.small.values(), pace.page))


def test_a_level_reaches_the_teachers_yaml(root, monkeypatch, tmp_path):
    monkeypatch.chdir(root)
    parts = demo_parts(demo.PAIR, out=tmp_path, overrides=[], level=LEVELS[0])
    assert (tmp_path / "teacher.yaml").read_text() == parts[0].cfg.dump()
