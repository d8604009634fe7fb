"""Runs trained in several processes: the same weights as in one, and each can be lost alone.

One test spawns them in earnest; in the others they are forked, which spares them loading torch and
Detectron2 again.
"""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from graphkd.compare import parts as crew
from graphkd.compare.plan import contest_of
from graphkd.compare.rows import PLAIN
from graphkd.compare.run import compare
from graphkd.data.catalog import add_own, unregister_all
from graphkd.engine.jobs import load_run, train_teacher
from graphkd.errors import UserError
from tests.engine.killed import ended, start
from tests.own_data import write_coco
from tests.pair import write_pair

SHORT = ["SOLVER.MAX_ITER", "2", "TEST.EVAL_PERIOD", "0"]
LONG = ["SOLVER.MAX_ITER", "5000", "SOLVER.CHECKPOINT_PERIOD", "5000", "TEST.EVAL_PERIOD", "0"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """As everywhere, but with data sets that a new process finds, too."""
    folder = tmp_path_factory.mktemp("crew")
    for name, pages, first in (("crew_train", 12, 0), ("crew_test", 4, 100)):
        json_file = write_coco(folder / "own", pages, first)
        add_own(name, json_file, folder / "own" / "images", root=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(folder))
        unregister_all()
        yield write_pair(folder, train="crew_train", test="crew_test")
        unregister_all()


@pytest.fixture(autouse=True)
def at_the_root(root, monkeypatch):
    monkeypatch.chdir(root)


@pytest.fixture
def forked(monkeypatch):
    monkeypatch.setattr(crew, "get_context", lambda _: multiprocessing.get_context("fork"))


def contest(pair, out, *overrides):
    return contest_of([str(pair)], [*SHORT, *overrides], methods=["fitnets"], out=out)


def weights(folder, name):
    path = folder / "seed1" / name / "model_final.pth"
    return torch.load(path, map_location="cpu", weights_only=True)["model"]


def test_two_at_a_time_learn_what_one_after_the_other_does(pair, tmp_path):
    lines = []
    alone = compare(contest(pair, tmp_path / "alone"), seeds=1)
    together = compare(contest(pair, tmp_path / "two"), seeds=1, processes=2, say=lines.append)
    assert {run.name: run.scores for run in together.runs} == {
        run.name: run.scores for run in alone.runs
    }
    for name in (PLAIN, "fitnets"):
        one, other = weights(tmp_path / "alone", name), weights(tmp_path / "two", name)
        assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert any(line.startswith("[2/2] ") for line in lines)
    assert any("2 runs were trained at a time" in note for note in together.all_notes)


def test_a_killed_process_costs_its_own_run_alone(pair, tmp_path, monkeypatch, forked):
    start = crew._start

    def die_at_once(context, part, *rest):
        worker = start(context, part, *rest)
        if part.name == "fitnets":
            worker.process.kill()
        return worker

    with monkeypatch.context() as patch:
        patch.setattr(crew, "_start", die_at_once)
        ledger = compare(contest(pair, tmp_path), seeds=1, processes=2)
    assert "ended with SIGKILL" in ledger.failed["fitnets, seed 1"]
    assert {run.name for run in ledger.runs} == {"teacher", PLAIN}
    ledger = compare(contest(pair, tmp_path), seeds=1)
    assert not ledger.failed and len(ledger.runs) == 3


@pytest.mark.parametrize("processes", [1, 2])
def test_a_method_that_breaks_off_fails_alone_with_its_reason(pair, tmp_path, processes, forked):
    # A folder in the place of its log stops one method.
    (tmp_path / "seed1" / "fitnets" / "metrics.json").mkdir(parents=True)
    ledger = compare(contest(pair, tmp_path), seeds=1, processes=processes)
    assert "IsADirectoryError" in ledger.failed["fitnets, seed 1"]
    assert {found.name for found in ledger.runs} == {"teacher", PLAIN}
    assert "IsADirectoryError" in (tmp_path / "compare.md").read_text()
    log = (tmp_path / "seed1" / "fitnets" / "log.txt").read_text()
    assert "Traceback" in log and "broke off" in log


def test_what_a_process_refuses_is_the_users_mistake_here(pair, tmp_path, forked):
    contest_ = contest(pair, tmp_path)
    compare(contest_, seeds=1)
    part = contest_.part("fitnets", 1)
    part.teacher.rename(part.teacher.with_suffix(".away"))
    try:
        with pytest.raises(UserError, match="are gone"):
            list(crew.train_parts([part, contest_.part(PLAIN, 1)], processes=2))
    finally:
        part.teacher.with_suffix(".away").rename(part.teacher)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_first_process_ends_all_with_a_checkpoint(pair, tmp_path, number, forked):
    cfg, source = load_run(str(pair), [])
    train_teacher(cfg, source=source)
    words = ["compare", str(pair), "--methods", "fitnets", "--seeds", "1", "--processes", "2"]
    words += ["--out", str(tmp_path / "out"), *LONG]
    process = start(words, tmp_path / "errors")
    folders = [tmp_path / "out" / "seed1" / name for name in (PLAIN, "fitnets")]
    logs = [folder / "metrics.json" for folder in folders]

    def begun(log):
        return log.is_file() and log.read_text().count("\n") > 2

    until(lambda: all(map(begun, logs)))
    os.kill(process, number)
    code, said = ended(process, tmp_path / "errors")
    assert code == (143 if number == signal.SIGTERM else -number), said
    assert "Traceback" not in "".join(said)
    until(lambda: all(list(folder.glob("model_*.pth")) for folder in folders))
    for folder in folders:
        (saved,) = folder.glob("model_*.pth")
        stored = torch.load(saved, map_location="cpu", weights_only=True)
        assert stored["trainer"]["iteration"] == int(saved.stem.split("_")[1])


def test_places_share_cores_and_gpus(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert [(p.row, p.threads, p.gpu) for p in crew.places(2)] == [(0, 2, None), (1, 2, None)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert [place.gpu for place in crew.places(3)] == ["4", "7", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [place.gpu for place in crew.places(3)] == ["0", "1", "0"]


def until(happened):
    for _ in range(3000):
        if happened():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen within five minutes")
