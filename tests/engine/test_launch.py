"""Two gloo processes train one run: forked with torchrun's environment, and started by torchrun."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml

from graphkd.data.catalog import add_own
from graphkd.engine import run
from graphkd.engine.jobs import load_run
from graphkd.engine.launch import launch
from graphkd.errors import UserError
from tests.engine.killed import two_processes
from tests.own_data import write_coco


@pytest.fixture(scope="module")
def shared_pair(pair, tmp_path_factory):
    """The pair's configs on data sets that other processes find too, and their environment."""
    root = tmp_path_factory.mktemp("datasets")
    for name, pages, first in (("two_train", 12, 0), ("two_test", 4, 100)):
        json_file = write_coco(root / "own", pages, first)
        add_own(name, json_file, root / "own" / "images", text_classes=["text"], root=root)
    texts = {}
    for name in ("teacher", "run"):
        cfg = yaml.safe_load((pair.parent / f"{name}.yaml").read_text())
        cfg["DATASETS"] = {"TRAIN": ["two_train"], "VAL": ["two_test"], "TEST": ["two_test"]}
        cfg["OUTPUT_DIR"] = str(root / name)
        texts[name] = cfg
    texts["run"]["DISTILL"] = {"TEACHER": {"CONFIG": str(root / "teacher.yaml")}}
    for name, cfg in texts.items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump(cfg))
    env = {**os.environ, "DETECTRON2_DATASETS": str(root), "OMP_NUM_THREADS": "1"}
    return root, env


def torchrun(root, env, *arguments):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
    ]
    done = subprocess.run(
        [*command, "-m", "graphkd", "train", str(root / "run.yaml"), *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def detections_of(folder):
    found = json.loads((folder / "eval" / "two_test" / "coco_results.json").read_text())
    return sorted(found, key=lambda each: (each["image_id"], -each["score"]))


def detections_of_one_process(root):
    """What the run's final weights find; its processes saw different pages while training."""
    overrides = ["OUTPUT_DIR", str(root / "alone")]
    cfg, source = load_run(str(root / "run" / "config.yaml"), overrides)
    run.evaluate_weights(cfg, root / "run" / "model_final.pth", source=source)
    return detections_of(root / "alone")


def test_two_processes_train_resume_and_log(shared_pair):
    root, env = shared_pair
    first = ["train", str(root / "run.yaml"), "--with-teacher"]
    assert [code for code, _ in two_processes(first, root)] == [0, 0]
    lines = [json.loads(line) for line in (root / "run" / "metrics.json").read_text().splitlines()]
    assert lines[-1]["iteration"] == 5 and "loss_kd_graphkd_nontext" in lines[-1]
    whole = load(root / "run" / "model_final.pth")
    assert len(whole["trainer"]["rng"]) == 2
    assert detections_of(root / "run") == detections_of_one_process(root)
    states = [state["cpu"] for state in whole["trainer"]["rng"]]
    assert not torch.equal(*states)
    for name in ("model_final.pth", "model_0000005.pth", "result.json"):
        (root / "run" / name).unlink()
    torchrun(root, env, "--resume")
    again = load(root / "run" / "model_final.pth")
    assert all(torch.equal(value, again["model"][key]) for key, value in whole["model"].items())


def test_more_gpus_than_there_are_is_one_line():
    with pytest.raises(UserError, match="--num-gpus 64, but this machine has"):
        launch(print, num_gpus=64)
