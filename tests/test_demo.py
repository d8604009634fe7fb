"""The demo end to end on the tiny pair: its table, its files, its pictures, and doing nothing
twice.
"""

import json

import pytest

from graphkd.demo import run_demo
from graphkd.errors import UserError

KEYS = {"role", "method", "params", "AP", "AP50", "AP75", "seconds", "weights"}


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
