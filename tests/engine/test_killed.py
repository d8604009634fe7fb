"""Runs that are stopped, killed or run out of disk, then resumed: the end is the same, bit for
bit.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml

from graphkd.data.catalog import add_own
from graphkd.engine.hooks import drop_later_lines
from graphkd.engine.jobs import load_run, train_teacher
from graphkd.errors import GO_ON
from tests.engine.killed import at_step, command, killed_while_saving, send, small_files_only
from tests.own_data import write_coco
from tests.small_disk import small_disk_at

SHORT = ("SOLVER.MAX_ITER", "8", "TEST.EVAL_PERIOD", "4", "SOLVER.CHECKPOINT_PERIOD", "2")


@pytest.fixture(scope="module")
def teacher(pair):
    cfg, source = load_run(str(pair), [])
    train_teacher(cfg, source=source)


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def differences(one, other, at=""):
    """Places where two nested states differ in a single bit."""
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{at}: {one.keys() ^ other.keys()}"]
        return [d for key in one for d in differences(one[key], other[key], f"{at}.{key}")]
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [f"{at}: length"]
        pairs = enumerate(zip(one, other, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, f"{at}.{i}")]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [at]


def losses_of(folder):
    """Iteration -> every logged number that does not measure time; each iteration once."""
    rows = {}
    for line in metrics(folder):
        numbers = {key: value for key, value in line.items() if "time" not in key}
        assert line["iteration"] not in rows, "a step is logged twice"
        rows[line["iteration"]] = numbers
    return rows


@pytest.mark.parametrize("kind", ["plain", "distilled"])
def test_three_kills_and_a_full_disk_change_nothing(teacher, pair, tmp_path, kind):
    plain = ["--plain"] if kind == "plain" else []

    def train(folder, *options, trouble=None):
        overrides = [*SHORT, "OUTPUT_DIR", str(tmp_path / folder)]
        arguments = ["train", str(pair), *plain, *options, *overrides]
        return command(arguments, tmp_path / "errors", trouble=trouble)

    assert train("whole") == (0, [])
    kill = at_step(3, "_log", lambda: send(signal.SIGKILL))
    assert train("killed", trouble=kill)[0] == -signal.SIGKILL
    code, said = train("killed", "--resume", trouble=at_step(2, "_log", small_files_only))
    assert code == 2 and len(said) == 1
    assert re.search(r"model_0000003.pth: the checkpoint was not written \(File too large\)", *said)
    kill = at_step(3, "_forward", lambda: send(signal.SIGTERM))
    code, said = train("killed", "--resume", trouble=kill)
    assert code == 143 and len(said) == 1
    assert "stopped by SIGTERM after step 3" in said[0]
    assert train("killed", "--resume", trouble=killed_while_saving(5))[0] == -signal.SIGKILL
    assert train("killed", "--resume") == (0, [])

    name = "-plain" if plain else ""
    whole, killed = (tmp_path / f"{folder}{name}" for folder in ("whole", "killed"))
    one, other = (load(folder / "model_final.pth") for folder in (whole, killed))
    for state in (one, other):
        del state["trainer"]["hooks"]["TrainingClock"]
    assert differences(one, other) == []
    assert ("distill" in one) == (kind == "distilled") and one["trainer"]["optimizer"]["state"]
    assert losses_of(whole) == losses_of(killed)
    assert sorted(losses_of(whole)) == list(range(8)) and "eval/AP" in losses_of(whole)[3]
    assert sorted(p.name for p in killed.glob("*.pth*")) == sorted(
        p.name for p in whole.glob("*.pth*")
    )


def test_ctrl_c_stops_after_the_step_and_a_second_one_at_once(pair, tmp_path):
    arguments = ["train", str(pair), "--plain", *SHORT, "OUTPUT_DIR", str(tmp_path / "run")]
    trouble = at_step(2, "_forward", lambda: send(signal.SIGINT))
    code, said = command(arguments, tmp_path / "errors", trouble=trouble)
    assert code == 130 and len(said) == 1 and "stopped by SIGINT after step 2" in said[0]
    assert said[0].endswith(GO_ON)
    assert (tmp_path / "run-plain" / "model_0000002.pth").is_file()

    def twice():
        send(signal.SIGINT)
        send(signal.SIGINT)

    arguments[-1] = str(tmp_path / "other")
    trouble = at_step(2, "_forward", twice)
    assert command(arguments, tmp_path / "errors", trouble=trouble)[0] == 130
    assert not (tmp_path / "other-plain" / "model_0000002.pth").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB: a few checkpoints of the tiny run fit, three do not."""
    with small_disk_at(tmp_path / "disk", size="24m") as folder:
        yield folder


@pytest.mark.parametrize("filled", [False, True])
def test_a_full_disk_is_one_line_and_the_older_checkpoint_is_whole(
    pair, tmp_path, small_disk, filled
):
    """Either the second checkpoint does not fit, or not even a log line does."""

    def fill():
        if filled:
            with open(small_disk / "filler", "wb", buffering=0) as file, pytest.raises(OSError):
                while True:
                    file.write(bytes(4096))

    folder = small_disk / "run-plain"
    arguments = ["train", str(pair), "--plain", *SHORT, "OUTPUT_DIR", str(small_disk / "run")]
    trouble = at_step(2, "_log", fill)
    code, said = command(arguments, tmp_path / "errors", trouble=trouble)
    assert code == 2 and len(said) == 1, said
    assert "No space left on device" in said[0] and said[0].endswith(GO_ON)
    kept = sorted(folder.glob("model_*"))
    assert kept and [f"model_{load(path)['iteration']:07d}.pth" for path in kept] == [
        path.name for path in kept
    ]
    if filled:
        (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert command([*arguments, "--resume"], tmp_path / "errors") == (0, [])


def test_a_batch_system_that_signals_every_process_gets_a_clean_end(pair, tmp_path):
    """A real `graphkd train` with loader processes; SIGTERM goes to all of them."""
    for name, pages, first in (("stopped_train", 12, 0), ("stopped_test", 4, 100)):
        json_file = write_coco(tmp_path / "own", pages, first)
        add_own(name, json_file, tmp_path / "own" / "images", root=tmp_path)
    cfg = yaml.safe_load((pair.parent / "teacher.yaml").read_text())
    cfg["DATASETS"] = {"TRAIN": ["stopped_train"], "TEST": ["stopped_test"]}
    cfg["SOLVER"]["MAX_ITER"], cfg["SOLVER"]["CHECKPOINT_PERIOD"] = 5000, 5000
    cfg["OUTPUT_DIR"], cfg["DATALOADER"]["NUM_WORKERS"] = str(tmp_path / "run"), 2
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(cfg))
    process = subprocess.Popen(
        [sys.executable, "-m", "graphkd", "train", str(tmp_path / "run.yaml")],
        env={**os.environ, "DETECTRON2_DATASETS": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = tmp_path / "run" / "metrics.json"
    for _ in range(1200):
        if process.poll() is not None or (log.is_file() and log.read_text().count("\n") > 2):
            break
        time.sleep(0.1)
    assert process.poll() is None, process.stderr.read()
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    loaders = [int(number) for number in open(children).read().split()]
    assert len(loaders) >= 2
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    step = int(re.search(r"stopped by SIGTERM after step (\d+)", said)[1])
    assert "Traceback" not in said
    assert load(tmp_path / "run" / f"model_{step:07d}.pth")["trainer"]["iteration"] == step
    assert metrics(tmp_path / "run")[-1]["iteration"] == step
    for number in loaders:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_lines_of_steps_that_come_again_are_dropped(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 3, "a": 1}\n{"iteration": 4}\n{"iteration": 2}\n{"itera')
    drop_later_lines(path, step=4)
    assert path.read_text() == '{"iteration": 3, "a": 1}\n{"iteration": 2}\n'
    drop_later_lines(path, step=0)
    assert path.read_text() == ""
    drop_later_lines(tmp_path / "none.json", step=0)
    assert not (tmp_path / "none.json").exists()
