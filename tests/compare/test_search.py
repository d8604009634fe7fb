"""The cost of a step is measured beside the plain student's, once, and kept; every method's weights
are chosen on validation pages in the same way, and a chosen run is not trained twice.
"""

import json
import multiprocessing
import shutil
from pathlib import Path

import pytest

from graphkd.cli import main
from graphkd.compare import parts
from graphkd.compare import search as module
from graphkd.compare.plan import contest_of
from graphkd.compare.run import compare
from graphkd.compare.search import Search
from graphkd.engine import run
from graphkd.engine.jobs import train_teacher
from graphkd.engine.trainer import Trainer
from graphkd.errors import UserError
from graphkd.evaluation import timing
from graphkd.tasks.base import Metric
from tests.compare import toy

FACTORS = [0.5, 1.0, 2.0]
# No run of it gets anywhere.
TOO_MUCH = 1e39


class Killed(BaseException):
    pass


@pytest.fixture
def measured(pair, root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(module, "PROBE_STEPS", 3)
    contest = contest_of([str(pair)], [], methods=["fitnets"], out=tmp_path)
    train_teacher(contest.cfg, source=contest.source)
    return contest


def test_a_cost_is_measured_once_and_leaves_no_run(measured, tmp_path, monkeypatch):
    cost = module.relative_cost(measured, "fitnets")
    assert cost > 0
    assert not list(tmp_path.rglob("*.pth"))
    kept = json.loads((tmp_path / "probe/fitnets/cost.json").read_text())
    assert kept["cost"] == cost and set(kept["seconds"]) == {"plain", "fitnets"}
    monkeypatch.setattr(module.run, "build_trainer", None)
    assert module.relative_cost(measured, "fitnets") == cost


def test_a_machine_that_slows_down_does_not_change_the_cost(measured, monkeypatch):
    """Each turn of the two is three times as slow as the one before."""
    warm_up = [0.0] * 4
    turns = [second for turn in range(3) for second in _turn(slow=3**turn)]
    clock = iter([*warm_up, *turns])
    monkeypatch.setitem(timing.CLOCKS, "wall", lambda: next(clock))
    assert module.relative_cost(measured, "fitnets") == pytest.approx(1.5)


def _turn(*, slow: float) -> tuple[float, ...]:
    """Readings of the clock before and after a plain step, before and after the method's."""
    plain, method = 0.2 * slow, 0.3 * slow
    return 0.0, plain, plain, plain + method


@pytest.fixture
def steps(monkeypatch):
    """The training steps taken, as folders' names."""
    taken, step = [], Trainer.run_step

    def count(self):
        taken.append(Path(self.output_dir).name)
        step(self)

    monkeypatch.setattr(Trainer, "run_step", count)
    return taken


@pytest.fixture(scope="module")
def pair_of_toys(tmp_path_factory):
    return toy.write_pair(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def tuned(pair_of_toys, tmp_path_factory):
    """Folder and ledger of 2 seeds x (plain, fitnets, pkd), weights tuned; the steps it took."""
    folder = tmp_path_factory.mktemp("tuned")
    with pytest.MonkeyPatch.context() as patch:
        counted = steps.__wrapped__(patch)
        ledger = compare(toy.contest(pair_of_toys, folder), seeds=2, tune=FACTORS)
    return folder, ledger, counted


def numbers(folder):
    return json.loads((folder / "compare.json").read_text())


def test_every_method_gets_the_same_search_and_its_best_factor(tuned):
    folder, ledger, _ = tuned
    found = numbers(folder)["tuning"]
    assert (found["factors"], found["data"], found["seed"]) == (FACTORS, "toy_val", 1)
    assert set(found["scores"]) == {"fitnets", "pkd"}
    for name, scores in found["scores"].items():
        assert list(scores) == ["0.5", "1", "2"]
        assert found["chosen"][name] == float(min(scores, key=scores.get))  # an error: the lowest
    rows = {row.name: row for row in ledger.rows}
    assert rows["fitnets"].score.n == rows["pkd"].score.n == rows["plain"].score.n == 2
    runs = {(each["name"], each["seed"]): each for each in numbers(folder)["runs"]}
    weight = runs["pkd", 2]["config"]["DISTILL.LOSSES.pkd.WEIGHT"]
    base = ledger.contest.methods["pkd"].DISTILL.LOSSES.pkd.WEIGHT
    assert weight == found["chosen"]["pkd"] * base and runs["pkd", 2]["factor"] == weight / base


def test_a_run_of_the_search_is_the_row_of_its_seed(tuned):
    folder, ledger, taken = tuned
    chosen = ledger.search.chosen
    assert len(taken) == 6 * (1 + 2 * len(FACTORS) + 2 + 2)  # teacher, search, plain, second seed
    run_ = next(each for each in ledger.runs if (each.name, each.seed) == ("pkd", 1))
    assert Path(run_.weights).parent == folder / run_.folder
    log = (folder / run_.folder / "metrics.json").read_text().splitlines()
    assert [json.loads(line)["iteration"] for line in log] == list(range(6))
    assert run_.folder.endswith("pkd" if chosen["pkd"] == 1 else f"pkd@{chosen['pkd']:g}")


def test_losing_factors_are_never_scored_on_test_pages(tuned):
    folder, ledger, _ = tuned
    for name, best in ledger.search.chosen.items():
        for factor in FACTORS:
            place = folder / "seed1" / (name if factor == 1 else f"{name}@{factor:g}")
            assert (place / "validation.json").is_file()
            assert (place / "result.json").is_file() == (factor == best)
            assert (place / "eval" / "toy_test").is_dir() == (factor == best)
    assert len(list(folder.glob("seed2/*"))) == 3


def test_all_reports_show_the_search(tuned):
    folder, ledger, _ = tuned
    chosen = ledger.task.columns[0].text(min(ledger.search.scores["pkd"].values()))
    text = (folder / "compare.md").read_text()
    section = text[text.index("## Search for the loss weights") :]
    assert f"{chosen} (chosen)" in next(
        line for line in section.splitlines() if line.startswith("| pkd")
    )
    assert "error on the validation set toy_val at the end of a training at seed 1" in section
    assert main(["report", str(folder), "--out", str(folder / "again.html")]) == 0
    for name in ("compare.html", "again.html"):
        page = (folder / name).read_text()
        assert "Search for the loss weights" in page and f"{chosen} (chosen)" in page


def test_a_second_call_searches_nothing(tuned, pair_of_toys, monkeypatch):
    folder, ledger, _ = tuned
    monkeypatch.setattr(run, "build_trainer", None)
    again = compare(toy.contest(pair_of_toys, folder), seeds=2, tune=FACTORS)
    assert again.search == ledger.search and again.rows == ledger.rows


def test_a_killed_search_goes_on(tuned, pair_of_toys, tmp_path, monkeypatch, steps):
    folder, ledger, _ = tuned
    train, calls = run.train, []

    def die_third(cfg, **options):
        calls.append(cfg.OUTPUT_DIR)
        if len(calls) == 3:
            raise Killed
        return train(cfg, **options)

    contest = toy.contest(pair_of_toys, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run, "train", die_third)
        compare(contest, seeds=1, tune=FACTORS)
    assert list(numbers(tmp_path)["tuning"]["scores"]) == ["fitnets"]
    found = compare(contest, seeds=1, tune=FACTORS)
    assert found.search == ledger.search
    assert len(steps) == 6 * (2 * len(FACTORS) + 1)


def test_a_run_without_tuning_is_the_one_of_factor_1(tuned, pair_of_toys, tmp_path, steps):
    contest = toy.contest(pair_of_toys, tmp_path, methods=["pkd"])
    compare(contest, seeds=1)
    found = compare(contest, seeds=1, tune=[1.0, 2.0])
    assert steps.count("pkd") == 6 == steps.count("pkd@2")
    assert found.search.scores["pkd"]["1"] == tuned[1].search.scores["pkd"]["1"]


def test_the_last_evaluation_while_training_is_the_score(
    tuned, pair_of_toys, tmp_path, monkeypatch
):
    scored, score = [], run._score
    monkeypatch.setattr(
        run,
        "_score",
        lambda cfg, model, name, **o: scored.append(name) or score(cfg, model, name, **o),
    )
    evaluated = ("TEST.EVAL_PERIOD", "6")
    contest = toy.contest(pair_of_toys, tmp_path, *evaluated, methods=["pkd"])
    found = compare(contest, seeds=1, tune=[0.5, 2.0]).search.scores["pkd"]
    scores = tuned[1].search.scores["pkd"]
    assert found == pytest.approx({key: scores[key] for key in ("0.5", "2")})
    assert scored.count("toy_val") == 2 + 1  # the search, and the plain student's curve


def test_a_factor_that_diverges_has_no_score(pair_of_toys, tmp_path, monkeypatch):
    contest = toy.contest(pair_of_toys, tmp_path, methods=["pkd"])
    ledger = compare(contest, seeds=1, tune=[1.0, TOO_MUCH])
    assert ledger.search.scores["pkd"]["1e+39"] is None
    assert "is not finite" in ledger.search.stopped["pkd"]["1e+39"]
    assert ledger.search.chosen == {"pkd": 1.0} and not ledger.failed
    monkeypatch.setattr(run, "build_trainer", None)  # nor is it trained again
    assert compare(contest, seeds=1, tune=[1.0, TOO_MUCH]).search == ledger.search


def test_a_method_fails_where_every_factor_diverges(pair_of_toys, tmp_path):
    contest = toy.contest(pair_of_toys, tmp_path)
    contest.methods["pkd"].defrost()
    contest.methods["pkd"].DISTILL.LOSSES.pkd.WEIGHT = TOO_MUCH
    ledger = compare(contest, seeds=1, tune=[1.0, 2.0])
    rows = {row.name: row for row in ledger.rows}
    assert rows["pkd"].state == "failed" and rows["fitnets"].score.n == 1
    assert "no factor gives a score: step 0" in ledger.failed["pkd, search for its weights"]
    assert list(ledger.search.chosen) == ["fitnets"]


def test_a_search_that_broke_off_chooses_nothing(pair_of_toys, tmp_path):
    (tmp_path / "seed1" / "pkd@2" / "metrics.json").mkdir(parents=True)
    ledger = compare(toy.contest(pair_of_toys, tmp_path), seeds=1, tune=[1.0, 2.0])
    assert "IsADirectoryError" in ledger.failed["pkd (weights x 2), seed 1"]
    assert list(ledger.search.chosen) == ["fitnets"]
    assert {row.name: row.state for row in ledger.rows}["pkd"] == "failed"


def test_two_processes_and_a_shorter_schedule_find_the_same(
    tuned, pair_of_toys, tmp_path, monkeypatch
):
    contest = toy.contest(pair_of_toys, tmp_path, methods=["pkd"])
    monkeypatch.setattr(parts, "get_context", lambda _: multiprocessing.get_context("fork"))
    together = compare(contest, seeds=1, tune=FACTORS, processes=2)
    assert together.search.scores["pkd"] == tuned[1].search.scores["pkd"]
    monkeypatch.setattr("graphkd.compare.run.relative_cost", lambda *_: 2.0)
    shorter = compare(contest, seeds=1, tune=FACTORS, budget="time")
    assert {r.name: r.iterations for r in shorter.runs if r.seed} == {"plain": 6, "pkd": 3}
    assert set(shorter.search.scores["pkd"]) == {"0.5", "1", "2"}


def test_another_validation_set_is_scored_anew(tuned, tmp_path, pair_of_toys, monkeypatch, steps):
    folder = Path(shutil.copytree(tuned[0], tmp_path / "copy"))
    monkeypatch.setattr(parts, "validation_digest", lambda _: "of other annotations")
    monkeypatch.setattr(run, "_validation_scores", lambda *_: {"error": 1})
    ledger = compare(toy.contest(pair_of_toys, folder), seeds=1, tune=FACTORS)
    assert ledger.search.scores["pkd"] == {"0.5": 1, "1": 1, "2": 1}
    assert ledger.search.chosen == {"fitnets": 1.0, "pkd": 1.0} and not steps


@pytest.mark.parametrize(
    ("scores", "higher", "best"),
    [
        ({"0.5": 3.0, "1": 2.0, "2": 3.0, "4": 3.0}, True, 0.5),
        ({"0.5": 3.0, "1": 2.0, "2": 4.0, "4": 4.0}, True, 2.0),
        ({"0.5": 3.0, "1": 3.0, "2": 3.0, "4": 3.0}, False, 1.0),
        ({"0.5": None, "1": None, "2": 0.0, "4": None}, True, 2.0),
        ({"0.5": None, "1": None, "2": None, "4": None}, True, None),
    ],
)
def test_of_equal_factors_the_nearest_to_1_is_taken(scores, higher, best):
    search = Search([0.5, 1.0, 2.0, 4.0], "val", None, 1, {"m": scores})
    assert search.choose("m", Metric("x", higher_is_better=higher)) == best
    assert search.chosen == ({} if best is None else {"m": best})


def test_wrong_searches_are_refused(pair_of_toys, tmp_path):
    for wrong, told in (([1, 0], "0 is no factor"), ([-1], "-1 is"), ([1, 1], "is repeated")):
        with pytest.raises(UserError, match=f"--tune: .*{told}"):
            compare(toy.contest(pair_of_toys, tmp_path), seeds=1, tune=wrong)
    without = toy.contest(pair_of_toys, tmp_path, "DATASETS.VAL", "()")
    with pytest.raises(UserError, match="DATASETS.VAL is empty"):
        compare(without, seeds=1, tune=[1.0])
    assert not list(tmp_path.iterdir())
