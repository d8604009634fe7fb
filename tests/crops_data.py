"""A tiny data set of drawn single lines, and runs of tiny readers on it."""

import json
from pathlib import Path

import pytest

from tests.reader import READERS, TEXTS, write_crops


@pytest.fixture(scope="session")
def crops_files(tmp_path_factory):
    """The label files of a set of lines: train (32 lines) and test (8)."""
    folder = tmp_path_factory.mktemp("crops")
    return {
        split: write_crops(folder / split, TEXTS * times, name=split)
        for split, times in {"train": 4, "test": 1}.items()
    }


@pytest.fixture(scope="module")  # tests of other files empty the catalogs
def crops_data(crops_files):
    """The names under which `crops_files` are registered."""
    from graphkd.data import catalog
    from graphkd.data.crops import register_crops

    catalog.ensure_registered()
    names = {split: f"graphkd_crops_{split}" for split in crops_files}
    for split, name in names.items():
        register_crops(name, crops_files[split])
    yield names
    for name in names.values():
        catalog.forget(name)


def write_reader_pair(folder: Path, names: dict, *, kind: str = "crnn", losses: str = "{}") -> Path:
    """A run yaml: two tiny readers on `crops_data`, 6 steps of about 4 lines; its teacher beside
    it. `kind` is crnn, rare or star.
    """
    common = f"""
DATASETS:
  TRAIN: ["{names["train"]}"]
  VAL: ["{names["test"]}"]
  TEST: ["{names["test"]}"]
INPUT: {{CROPS: {{BATCH_WIDTH: 128}}}}
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{OPTIMIZER: "Adam", MAX_ITER: 6, IMS_PER_BATCH: 4, BASE_LR: 0.002, CHECKPOINT_PERIOD: 2}}
LOG_PERIOD: 1
TEST: {{EVAL_PERIOD: 3}}
SEED: 1
"""
    architecture = kind.upper()
    for name, width in (("teacher", 0.75), ("student", 0.5)):
        (folder / f"_{name}.yaml").write_text(
            f'_BASE_: "{READERS}/students/_reader.yaml"\n{common}MODEL:\n'
            f'  DEVICE: "cpu"\n  META_ARCHITECTURE: "{architecture}"\n'
            f'  READER: {{WIDTH: {width}, HIDDEN: 16, NECK: "C"}}\n'
        )
    (folder / "teacher.yaml").write_text(
        f'_BASE_: "{folder}/_teacher.yaml"\nOUTPUT_DIR: "{folder}/teacher"\n'
    )
    distill = {"TEACHER": {"CONFIG": f"{folder}/teacher.yaml"}, "LOSSES": "LOSSES"}
    node = json.dumps(distill).replace('"LOSSES"}', f"{losses}}}")
    (folder / "run.yaml").write_text(
        f'_BASE_: "{folder}/_student.yaml"\nDISTILL: {node}\nOUTPUT_DIR: "{folder}/run"\n'
    )
    return folder / "run.yaml"
