"""The cost of a step is measured beside the plain student's, once, and kept."""

import json

import pytest

from graphkd.compare import cost as module
from graphkd.compare.plan import contest_of
from graphkd.engine.jobs import train_teacher
from graphkd.evaluation import timing


@pytest.fixture
def contest(pair, root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(module, "PROBE_STEPS", 3)
    contest = contest_of([str(pair)], [], methods=["fitnets"], out=tmp_path)
    train_teacher(contest.cfg, source=contest.source)
    return contest


def test_a_cost_is_measured_once_and_leaves_no_run(contest, tmp_path, monkeypatch):
    cost = module.relative_cost(contest, "fitnets")
    assert cost > 0
    assert not list(tmp_path.rglob("*.pth"))
    kept = json.loads((tmp_path / "probe/fitnets/cost.json").read_text())
    assert kept["cost"] == cost and set(kept["seconds"]) == {"plain", "fitnets"}
    monkeypatch.setattr(module.run, "build_trainer", None)
    assert module.relative_cost(contest, "fitnets") == cost


def test_a_machine_that_slows_down_does_not_change_the_cost(contest, monkeypatch):
    """Each turn of the two is three times as slow as the one before."""
    warm_up = [0.0] * 4
    turns = [second for turn in range(3) for second in _turn(slow=3**turn)]
    clock = iter([*warm_up, *turns])
    monkeypatch.setitem(timing.CLOCKS, "wall", lambda: next(clock))
    assert module.relative_cost(contest, "fitnets") == pytest.approx(1.5)


def _turn(*, slow: float) -> tuple[float, ...]:
    """Readings of the clock before and after a plain step, before and after the method's."""
    plain, method = 0.2 * slow, 0.3 * slow
    return 0.0, plain, plain, plain + method
