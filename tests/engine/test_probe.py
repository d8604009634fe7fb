"""The cost of a step is measured once and kept."""

import pytest

from graphkd.engine import probe as module
from graphkd.engine.contest import contest_of
from graphkd.engine.jobs import train_teacher


def test_a_probe_is_measured_once_and_leaves_no_run(pair, root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(module, "PROBE_STEPS", 3)
    contest = contest_of([str(pair)], [], methods=["fitnets"], out=tmp_path)
    train_teacher(contest.cfg, source=contest.source)
    costs = {name: module.probe(contest, name) for name in ("plain", "fitnets")}
    assert min(costs.values()) > 0
    assert not list(tmp_path.rglob("*.pth"))
    monkeypatch.setattr(module.run, "build_trainer", None)
    assert {name: module.probe(contest, name) for name in costs} == pytest.approx(costs)
