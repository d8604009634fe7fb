"""A tiny data set of drawn text lines in the hub format."""

import json
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "projects" / "TextDetection" / "configs"


def write_lines(folder: Path, name: str, *, pages: int, first: int) -> Path:
    """Writes `name`.jsonl with pages of 128 x 160; the last page of four has no line."""
    from tests.maps import drawn_lines

    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(first, first + pages):
        image, polygons = drawn_lines(
            0 if index % 4 == 3 else 4, seed=index, size=(128, 160), turn=2.0
        )
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        lines = [{"polygon": p.tolist(), "text": "line", "ignore": False} for p in polygons]
        row = {"path": f"images/{index}.png", "width": 160, "height": 128, "lines": lines}
        rows.append(json.dumps(row))
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="session")
def lines_data(tmp_path_factory):
    """Names of two registered sets of lines: train (12 pages) and test (4)."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from graphkd.data import catalog
    from graphkd.data.lines import register_lines

    folder = tmp_path_factory.mktemp("lines")
    catalog.ensure_registered()
    names = {}
    for split, (pages, first) in {"train": (12, 0), "test": (4, 100)}.items():
        names[split] = f"graphkd_{folder.name}_{split}"  # two test files have two sets
        register_lines(names[split], write_lines(folder, split, pages=pages, first=first))
    yield names
    for name in names.values():
        catalog.forget(name)
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)


def write_text_pair(folder: Path, names: dict, *, kind: str = "db", method: str = "st") -> Path:
    """A run yaml: two tiny text detectors on `lines_data`, 6 steps of 2 crops; its teacher beside
    it. `kind` is db, east or csp.
    """
    small, large = ("n", "m") if kind == "csp" else ("MV3", "R18")
    common = f"""
DATASETS:
  TRAIN: ["{names["train"]}"]
  VAL: ["{names["test"]}"]
  TEST: ["{names["test"]}"]
MODEL:
  DEVICE: "cpu"
  DB: {{CHANNELS: 16}}
  EAST: {{CHANNELS: [16, 16, 16]}}
INPUT: {{LINES: {{SIZE: 160, CROP: 64}}}}
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{MAX_ITER: 6, IMS_PER_BATCH: 2, BASE_LR: 0.001, CHECKPOINT_PERIOD: 2, WARMUP_ITERS: 2}}
LOG_PERIOD: 1
TEST: {{EVAL_PERIOD: 3}}
SEED: 1
"""
    (folder / "teacher.yaml").write_text(
        f'_BASE_: "{CONFIGS}/students/{kind}_tiny_{large}.yaml"\n{common}'
        f'OUTPUT_DIR: "{folder}/teacher"\n'
    )
    bases = [f"{CONFIGS}/students/{kind}_tiny_{small}.yaml", f"{CONFIGS}/methods/{method}.yaml"]
    (folder / "run.yaml").write_text(
        f"_BASE_: {json.dumps(bases)}\n{common}"
        f'DISTILL: {{TEACHER: {{CONFIG: "{folder}/teacher.yaml"}}}}\nOUTPUT_DIR: "{folder}/run"\n'
    )
    return folder / "run.yaml"
