"""Rows of a comparison against numbers worked out by hand."""

import pytest

from graphkd.compare.rows import PLAIN, TEACHER, Run, compare_runs, share_of_teacher
from graphkd.errors import UserError
from graphkd.tasks.base import Metric
from tests.report.sample import METRICS


def run(name, seed, ap, *, seconds=10.0, iterations=20, per_class=None):
    classes = {"text": ap, "figure": None} if per_class is None else per_class
    scores = dict.fromkeys(("AP", "AP50", "AP75"), ap)
    return Run(name, seed, scores, classes, 1000, iterations, seconds, f"{name}/{seed}.pth")


def rows(*runs, **options):
    return {row.name: row for row in compare_runs(runs, METRICS, **options)}


def three_seeds():
    plain = [run(PLAIN, seed, ap) for seed, ap in ((1, 10.0), (2, 20.0), (3, 30.0))]
    method = [run("m", seed, ap, seconds=15.0) for seed, ap in ((3, 33.0), (1, 11.0), (2, 22.0))]
    return [run(TEACHER, None, 50.0, seconds=None), *plain, *method]


def test_mean_spread_difference_share_and_cost():
    found = rows(*three_seeds())
    assert list(found) == [TEACHER, PLAIN, "m"]
    method = found["m"]
    assert (method.score.mean, method.score.std, method.score.n) == (22.0, 11.0, 3)
    assert method.difference.mean == pytest.approx(2.0)
    assert 1.0 <= method.difference.low <= 2.0 <= method.difference.high <= 3.0
    assert (method.pairs, method.seeds) == (3, [3, 1, 2])
    assert method.share == pytest.approx(44.0)
    assert method.seconds_per_step == pytest.approx(0.75)
    assert method.step_cost == pytest.approx(1.5)
    assert found[PLAIN].step_cost == 1.0 and found[PLAIN].difference is None
    assert found[TEACHER].share == 100.0 and found[TEACHER].step_cost is None


def test_only_seeds_of_both_are_paired():
    found = rows(run(PLAIN, 1, 10.0), run("m", 1, 12.0), run("m", 2, 40.0, seconds=90.0))
    method = found["m"]
    assert (method.score.n, method.pairs, method.difference.mean) == (2, 1, 2.0)
    assert method.difference.low is None
    assert method.step_cost == 1.0


def test_unmeasured_runs_count_nowhere():
    found = rows(run(PLAIN, 1, 10.0), run("m", 1, None, iterations=None), run("n", 1, 7.0))
    assert found["m"].score is None and found["m"].difference is None and found["m"].seeds == []
    assert found["m"].step_cost is None and found["m"].per_class == {"text": None, "figure": None}
    assert found["n"].share is None


@pytest.mark.parametrize(
    ("ap", "teacher_ap", "share"),
    [
        (22.0, 50.0, 44.0),
        (2.0, 1.0, 200.0),
        (0.0, 50.0, 0.0),
        (2.0, 0.99, None),
        (2.0, 0.0, None),
        (2.0, None, None),
        (None, 50.0, None),
    ],
)
def test_no_share_of_a_teacher_below_1_ap(ap, teacher_ap, share):
    assert share_of_teacher(ap, teacher_ap, metric=METRICS[0]) == share
    found = rows(run(TEACHER, None, teacher_ap), run("m", 1, ap))
    assert found["m"].share == share


def test_another_base_and_no_runs():
    found = rows(*three_seeds(), against="m")
    assert found[PLAIN].difference.mean == pytest.approx(-2.0)
    assert found["m"].difference is None
    assert compare_runs([], METRICS) == []


def test_chosen_classes_are_averaged():
    classes = {"text": 10.0, "figure": 30.0, "table": None}
    one = run(PLAIN, 1, 20.0, per_class=classes)
    two = run(PLAIN, 2, 20.0, per_class={**classes, "figure": 50.0})
    row = rows(one, two, chosen=("text", "figure"))[PLAIN]
    assert row.chosen == 25.0
    assert row.per_class == {"text": 10.0, "figure": 40.0, "table": None}
    with pytest.raises(UserError, match="caption"):
        rows(one, chosen=("caption",))


def test_lower_is_better_gains_are_positive_and_have_no_share_of_the_teacher():
    error, iou = Metric("error", higher_is_better=False, digits=2), Metric("IoU", digits=3)

    def one(name, seed, value):
        scores = {"error": value, "IoU": 1 - value}
        return Run(name, seed, scores, {}, 10, 20, 10.0, "w.pth")

    runs = [one(TEACHER, None, 0.1)]
    runs += [one(PLAIN, seed, 0.5) for seed in (1, 2, 3)]
    runs += [one("m", seed, 0.5 - 0.1 * seed) for seed in (1, 2, 3)]
    method = compare_runs(runs, (error, iou))[-1]
    assert method.score.mean == method.values["error"].mean == pytest.approx(0.3)
    assert method.values["IoU"].mean == pytest.approx(0.7)
    assert method.difference.mean == pytest.approx(0.2)
    assert 0.1 - 1e-9 <= method.difference.low <= 0.2 <= method.difference.high <= 0.3 + 1e-9
    assert method.share is None
    # With three decimals, a tenth of a percent is what a share can be taken of.
    assert share_of_teacher(0.02, 0.04, metric=iou) == pytest.approx(50.0)
    assert share_of_teacher(0.02, 0.009, metric=iou) is None


def test_runs_of_older_files_are_read():
    values = {"AP": 30.0, "AP50": None, "AP75": 20.0, "per_class": {"text": 30.0}}
    values |= {"name": "m", "seed": 1, "parameters": 5, "iterations": 2, "seconds": 1.0}
    old = Run.from_json({**values, "weights": "w.pth", "seconds_per_step": 0.5})
    assert old.scores == {"AP": 30.0, "AP50": None, "AP75": 20.0}
    assert Run.from_json(vars(old)) == old
    with pytest.raises(KeyError):
        Run.from_json({"name": "m"})
