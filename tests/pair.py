"""Configs of real, very short runs on the tiny data set `own_data`."""

import json
from pathlib import Path

import pytest

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@pytest.fixture(scope="session")
def pair(own_data, tmp_path_factory) -> Path:
    """A run yaml: two tiny real detectors on the tiny data, 6 steps of 2 pages; its teacher beside
    it.
    """
    return write_pair(tmp_path_factory.mktemp("pair"), **own_data)


def write_pair(folder: Path, *, train: str, test: str) -> Path:
    """Such a yaml in `folder`, for two data sets by name."""
    common = f"""
DATASETS:
  TRAIN: ["{train}"]
  VAL: ["{test}"]
  TEST: ["{test}"]
MODEL:
  DEVICE: "cpu"
  FPN: {{OUT_CHANNELS: 16}}
  ROI_HEADS: {{NUM_CLASSES: 2, BATCH_SIZE_PER_IMAGE: 16}}
  ROI_BOX_HEAD: {{FC_DIM: 16}}
INPUT: {{MIN_SIZE_TRAIN: [96], MAX_SIZE_TRAIN: 128, MIN_SIZE_TEST: 96, MAX_SIZE_TEST: 128}}
DATALOADER: {{FILTER_EMPTY_ANNOTATIONS: False, NUM_WORKERS: 0}}
SOLVER: {{MAX_ITER: 6, IMS_PER_BATCH: 2, BASE_LR: 0.001, CHECKPOINT_PERIOD: 2, WARMUP_ITERS: 2}}
LOG_PERIOD: 1
TEST: {{EVAL_PERIOD: 3}}
SEED: 1
"""
    (folder / "teacher.yaml").write_text(
        f'_BASE_: "{CONFIGS}/students/rcnn_tiny_R18.yaml"\n{common}OUTPUT_DIR: "{folder}/teacher"\n'
    )
    bases = [f"{CONFIGS}/students/rcnn_tiny_MNv4s.yaml", f"{CONFIGS}/methods/graphkd.yaml"]
    (folder / "run.yaml").write_text(
        f"_BASE_: {json.dumps(bases)}\n{common}"
        f'DISTILL: {{TEACHER: {{CONFIG: "{folder}/teacher.yaml"}}}}\nOUTPUT_DIR: "{folder}/run"\n'
    )
    return folder / "run.yaml"
