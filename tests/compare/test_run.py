"""A real, very short comparison: what it leaves, resuming, failures, and the same training time."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from graphkd.cli import main
from graphkd.commands.compare import split
from graphkd.compare.plan import contest_of
from graphkd.compare.run import compare
from graphkd.engine import run
from graphkd.engine.trainer import DivergedError
from graphkd.errors import UserError
from graphkd.io import held
from tests.report.reading import Reader

SHORT = ["SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "0"]
METHODS = "fitnets,graphkd"
COSTS = {"fitnets": 2.0}


@pytest.fixture(autouse=True)
def at_the_root(root, monkeypatch):
    monkeypatch.chdir(root)


def contest(pair, out, *overrides, methods=METHODS):
    return contest_of([str(pair)], [*SHORT, *overrides], methods=methods.split(","), out=out)


def numbers(folder):
    return json.loads((folder / "compare.json").read_text())


@pytest.fixture(scope="module")
def compared(pair, tmp_path_factory, root):
    """The folder of 2 seeds x (plain, fitnets, graphkd) x 2 steps, made by the command."""
    folder = tmp_path_factory.mktemp("compare")
    words = [str(pair), "--methods", METHODS, "--seeds", "2", "--out", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        copy = ["--json", str(folder / "copy.json"), "--classes", "text"]
        assert main(["compare", *words, *copy, *SHORT]) == 0
    return folder


@pytest.fixture
def copied(compared, tmp_path):
    """A copy of it to go on with, at another place."""
    return Path(shutil.copytree(compared, tmp_path / "copy"))


def test_every_model_has_its_row_with_all_seeds(compared):
    found = numbers(compared)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == ["teacher", "plain", "fitnets", "graphkd"]
    assert [row["values"]["AP"]["n"] for row in rows.values()] == [1, 2, 2, 2]
    runs = {(run["name"], run["seed"]): run for run in found["runs"]}
    assert len(runs) == 7
    for name in ("fitnets", "graphkd"):
        gains = [
            runs[name, seed]["scores"]["AP"] - runs["plain", seed]["scores"]["AP"]
            for seed in (1, 2)
        ]
        assert rows[name]["difference"]["mean"] == pytest.approx(sum(gains) / 2)
        assert rows[name]["pairs"] == 2 and rows[name]["difference"]["low"] is None
        assert rows[name]["step_cost"] > 0 and rows[name]["iterations"] == 2
        assert rows[name]["parameters"] == rows["plain"]["parameters"]
        assert rows[name]["chosen"] == pytest.approx(rows[name]["per_class"]["text"])
    assert rows["teacher"]["parameters"] > rows["plain"]["parameters"]
    assert json.loads((compared / "copy.json").read_text()) == found


def test_numbers_carry_command_seeds_machine_and_date(compared):
    found = numbers(compared)
    assert found["about"]["seeds"] == "1, 2" and "CPU cores" in found["about"]["machine"]
    command = found["about"]["command"]
    assert command.startswith("graphkd compare") and "--methods fitnets,graphkd" in command
    assert "SOLVER.MAX_ITER 2" in command
    assert all(run["machine"] and run["date"] and run["weights"] for run in found["runs"])


def test_markdown_and_page_show_the_same_rows(compared):
    text = (compared / "compare.md").read_text()
    page = (compared / "compare.html").read_text()
    reader = Reader(page)
    for name in ("teacher", "plain", "fitnets", "graphkd"):
        assert f"| {name} " in text and name in reader.text
    assert "AP of text" in text and "2 seeds" in text and "- command: graphkd compare" in text
    assert "Own loss" in reader.text and "<script" not in page and "http" not in page


def test_runs_of_a_seed_begin_alike_and_seeds_differ(compared):
    def first(seed, name):
        log = (compared / f"seed{seed}" / name / "metrics.json").read_text().splitlines()
        row = json.loads(log[0])
        return [row[term] for term in ("loss_cls", "loss_box_reg", "loss_rpn_cls", "loss_rpn_loc")]

    assert first(1, "plain") == first(1, "fitnets") == first(1, "graphkd")
    assert first(1, "plain") != first(2, "plain") == first(2, "graphkd")


def test_a_second_call_repeats_nothing(copied, pair, monkeypatch):
    weights = sorted(copied.glob("seed*/*/model_final.pth"))
    before = [path.stat().st_mtime_ns for path in weights]
    assert len(before) == 6
    monkeypatch.setattr(run, "build_trainer", None)
    lines = []
    ledger = compare(contest(pair, copied), seeds=2, say=lines.append)
    assert [path.stat().st_mtime_ns for path in weights] == before
    assert len(ledger.runs) == 7 and sum("finished before" in line for line in lines) == 6


def test_a_killed_comparison_keeps_and_continues_what_it_has(compared, pair, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    train, calls = run.train, []

    def die_third(cfg, **options):
        calls.append(cfg.OUTPUT_DIR)
        if len(calls) == 3:
            raise Killed
        return train(cfg, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(run, "train", die_third)
        compare(contest(pair, tmp_path, methods="fitnets"), seeds=2)
    rows = {row["name"]: row for row in numbers(tmp_path)["rows"]}
    assert {name: row["values"]["AP"]["n"] for name, row in rows.items()} == {
        "teacher": 1,
        "plain": 1,
        "fitnets": 1,
    }
    assert "| plain " in (tmp_path / "compare.md").read_text()

    stopped = DivergedError("step 1: loss_cls is not finite")

    def diverge(cfg, **options):
        if cfg.SEED == 2 and cfg.DISTILL.LOSSES:
            raise stopped
        return train(cfg, **options)

    with monkeypatch.context() as patch:
        patch.setattr(run, "train", diverge)
        ledger = compare(contest(pair, tmp_path, methods="fitnets"), seeds=2)
    rows = {row.name: row for row in ledger.rows}
    assert (rows["plain"].score.n, rows["fitnets"].score.n) == (2, 1)
    assert ledger.failed == {"fitnets, seed 2": str(stopped)}
    assert "Failed: fitnets, seed 2" in (tmp_path / "compare.md").read_text()
    for name in ("plain", "fitnets"):
        path = f"seed1/{name}/model_final.pth"
        first, second = (
            torch.load(folder / path, map_location="cpu", weights_only=True)["model"]
            for folder in (compared, tmp_path)
        )
        assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_plain_student_gets_the_first_methods_time(copied, pair, monkeypatch):
    monkeypatch.setattr("graphkd.compare.run.relative_cost", lambda _, name: COSTS[name])
    ledger = compare(contest(pair, copied), seeds=1, time_matched=True)
    rows = {row.name: row for row in ledger.rows}
    assert rows["plain-same-time"].iterations == 4
    (note,) = [note for note in ledger.all_notes if "a plain student trained as long" in note]
    assert " s against " in note


def test_a_budget_of_time_shortens_the_methods(pair, tmp_path, monkeypatch):
    monkeypatch.setattr("graphkd.compare.run.relative_cost", lambda _, name: COSTS[name])
    ledger = compare(contest(pair, tmp_path, methods="fitnets"), seeds=1, budget="time")
    assert {found.name: found.iterations for found in ledger.runs if found.seed} == {
        "plain": 2,
        "fitnets": 1,
    }


def test_a_method_that_diverges_while_it_is_measured_is_noted(compared, pair, tmp_path):
    # `compared` has trained the teacher.
    big = ("DISTILL.LOSSES.fitnets.WEIGHT", "1.0e+39", "DISTILL.RAMP", "0")
    broken = contest(pair, tmp_path, *big)
    ledger = compare(broken, seeds=1, budget="time")
    assert [found.name for found in ledger.runs] == ["teacher", "plain", "graphkd"]
    assert list(ledger.failed) == ["fitnets"] and "is not finite" in ledger.failed["fitnets"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 0}, "--seeds is 0"),
        ({"seeds": 1, "budget": "time", "time_matched": True}, "leave one of them out"),
        ({"seeds": 1, "chosen": ["txet"]}, "no class txet; the data has text, figure"),
    ],
)
def test_wrong_wishes_are_refused_before_training(pair, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        compare(contest(pair, tmp_path), **options)
    assert not list(tmp_path.iterdir())


def test_a_wrong_option_shows_before_any_student_trains(compared, pair, tmp_path):
    # `compared` has trained the teacher.
    wrong = contest(pair, tmp_path, "DISTILL.LOSSES.fitnets.KERNEL", "-1")
    with pytest.raises(UserError, match="DISTILL.LOSSES.fitnets"):
        compare(wrong, seeds=1)
    assert not list(tmp_path.glob("seed*/*/model_final.pth"))


def test_several_processes_do_not_train_the_same_runs(pair, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["compare", str(pair), "--out", str(tmp_path / "out")]) == 2
    assert "without torchrun" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_the_teacher_is_scored_from_any_file_that_may_teach(compared, pair, tmp_path, monkeypatch):
    stored = torch.load(pair.parent / "teacher" / "model_final.pth", weights_only=True)
    weights = tmp_path / "teacher.pth"
    torch.save({**stored, "note": tmp_path}, weights)  # a path is no plain value
    monkeypatch.setattr("graphkd.compare.run.train_parts", lambda *_, **__: iter(()))
    own = ("DISTILL.TEACHER.WEIGHTS", str(weights), "TRUST_PICKLES", "True")
    ledger = compare(contest(pair, tmp_path / "out", *own), seeds=1)
    assert [found.name for found in ledger.runs] == ["teacher"]


def test_two_comparisons_do_not_work_in_one_folder(pair, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("graphkd.io._PATIENCE", 0.2)
    with held(tmp_path):
        assert main(["compare", str(pair), "--out", str(tmp_path)]) == 2
    assert "another process works there" in capsys.readouterr().err
    with held(tmp_path):
        pass


def test_configs_come_before_overrides():
    assert split(["a.yaml", "b.yml", "K", "c.yaml"]) == (["a.yaml", "b.yml"], ["K", "c.yaml"])
    assert split(["a.yaml"]) == (["a.yaml"], [])
