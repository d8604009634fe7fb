"""tools/gpu_check.sh: its parts, time limits and summary with a stand-in for Python, and two of its
parts in earnest.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from graphkd import cli
from graphkd.config import load_cfg

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "gpu_check.sh"
# Stands for Python: notes every graphkd command, writes its --json file, and does as FAKE says.
FAKE = """#!{python}
import json, os, sys, time
words = sys.argv[1:]
if words[:2] != ["-m", "graphkd"]:
    os.execv({python!r}, [{python!r}, *words])
words = words[2:]
with open(os.environ["FAKE_LOG"], "a") as log:
    log.write(json.dumps(words) + "\\n")
if "debugtrain" in words:
    scale = 1.01 if "bfloat16" in words else 1.0
    print(f"step 0\\n  loss_cls        {{2.0 * scale}}\\n  total_loss      4")
if "--json" in words:
    path = words[words.index("--json") + 1]
    kind = "step" if "step" in words else words[0]
    rows = [{{"name": "graphkd_full", "AP": {{"mean": 33.3}}}}]
    numbers = {{
        "step": {{"plain_s": 0.1, "teacher_s": 0.05, "distilled_s": 0.16, "overhead": 1.07}},
        "compare": {{"rows": rows}},
        "train": {{"role": "plain", "AP": 12.5}},
    }}
    json.dump(numbers[kind], open(path, "w"))
if "--plain" in words:
    print("CUDA is \\"out\\" of memory")
    sys.exit(1)
if words[0] == "train" and "configs/teachers" in words[1]:
    time.sleep(30)
"""


@pytest.fixture
def check(tmp_path):
    """Runs the script with the stand-in; gives its exit status, its folder and the commands."""
    python = tmp_path / "python"
    python.write_text(FAKE.format(python=sys.executable))
    python.chmod(0o755)

    def call(*options, gpus=1, seconds=500, **variables):
        lines = "".join(f"echo GPU {index}\n" for index in range(gpus))
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{lines}")
        (tmp_path / "nvidia-smi").chmod(0o755)
        env = {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            **{"PYTHON": str(python), "FAKE_LOG": str(tmp_path / "log")},
            **{"GPU_CHECK_SECONDS": str(seconds), **variables},
        }
        out = tmp_path / "out"
        done = subprocess.run(
            [str(SCRIPT), "--out", str(out), *options], env=env, capture_output=True, text=True
        )
        log = tmp_path / "log"
        lines = log.read_text().splitlines() if log.is_file() else []
        return done, out, [json.loads(line) for line in lines]

    return call


def test_a_part_that_takes_too_long_stops_no_other(check):
    done, out, _ = check("--parts", "step_full,compare,teacher,plain", seconds=6)
    parts = json.loads((out / "summary.json").read_text())
    states = {name: part["status"] for name, part in parts.items()}
    # All the time that was left went to the teacher.
    assert states == {
        "step_full": "ok",
        "compare": "ok",
        "teacher": "timed out",
        "plain": "skipped",
    }
    assert done.returncode == 1 and "| teacher | timed out |" in done.stdout
    assert "no time left" in done.stdout


def test_the_summary_has_the_numbers_of_all_parts(check):
    names = "plain,compare,step_graphkd,format_float32,format_bfloat16"
    done, out, _ = check("--parts", names)
    table = (out / "summary.md").read_text()
    assert done.stdout.endswith(table)
    assert "overhead 1.070" in table and '{"mean": 33.3}' in table
    assert "median off by 1.0%, most loss_cls by 1.0%" in table
    assert "| plain | failed |" in table and "AP 12.5" in table
    parts = json.loads((out / "summary.json").read_text())
    assert parts["plain"]["reason"] == "CUDA is out of memory"
    assert set(parts) == set(names.split(","))


def test_two_processes_are_tried_where_there_are_two_gpus(check):
    _, out, commands = check("--parts", "nccl", gpus=2)
    assert ["--num-gpus", "2"] == commands[0][3:5]
    assert (out / "nccl.status").is_file()


def test_every_command_and_every_key_exists(check, root, monkeypatch):
    """They are parsed here, and their configs are built."""
    monkeypatch.chdir(root)
    parts = "pages,step_full,step_graphkd,step_dsig,compare,distilled,nccl"
    formats = "format_float32,format_bfloat16,format_float16"
    check("--parts", f"{parts},{formats}", gpus=2)
    _, _, commands = check("--tiny", "--parts", "step_full,compare,distilled")
    assert len(commands) == 10 + 3
    for words in commands:
        args = cli.parse(words)
        config = getattr(args, "config", None) or getattr(args, "configs", None)
        if config:
            config = config if isinstance(config, str) else config[0]
            load_cfg(root / config, args.overrides)


def test_a_part_in_earnest(tmp_path):
    env = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(SCRIPT.parents[1])
    words = [str(SCRIPT), "--tiny", "--out", str(tmp_path / "out"), "--parts", "step_graphkd"]
    done = subprocess.run(words, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert parts["step_graphkd"]["numbers"]["plain_s"] > 0
    assert "| step_graphkd | ok |" in done.stdout
