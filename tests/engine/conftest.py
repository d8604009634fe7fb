"""A tiny registered data set and configs of real, very short runs on it."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from PIL import Image, ImageDraw

CLASSES = ("text", "figure")
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def draw_page(path: Path, index: int) -> list[tuple[int, list[float]]]:
    """A 96 x 128 page with lines of text and a picture; the last page of four is empty."""
    random = np.random.default_rng(index)
    image = Image.new("RGB", (96, 128), "white")
    pen = ImageDraw.Draw(image)
    found = []
    if index % 4 != 3:
        top = int(random.integers(8, 30))
        for line in range(5):
            pen.line([(10, top + 5 * line), (80, top + 5 * line)], fill="black", width=2)
        found.append((1, [10.0, top - 1.0, 70.0, 23.0]))
        left = int(random.integers(10, 40))
        pen.rectangle([left, 75, left + 40, 115], fill=(90, 120, 160))
        found.append((2, [float(left), 75.0, 40.0, 40.0]))
    image.save(path)
    return found


def write_coco(folder: Path, pages: int, first: int) -> Path:
    images, annotations = [], []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for index in range(first, first + pages):
        name = f"{index}.png"
        images.append({"id": index, "file_name": name, "width": 96, "height": 128})
        for category, box in draw_page(folder / "images" / name, index):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": category,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    path = folder / f"{first}.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path


@pytest.fixture(scope="session")
def own_data(tmp_path_factory):
    """Names of two data sets registered in Detectron2's own way: train (12 pages) and test (4)."""
    folder = tmp_path_factory.mktemp("own")
    names = {}
    for split, (pages, first) in {"train": (12, 0), "test": (4, 100)}.items():
        names[split] = f"graphkd_test_{split}"
        json_file = write_coco(folder, pages, first)
        about = {"text_classes": ["text"]}
        register_coco_instances(names[split], about, str(json_file), str(folder / "images"))
    yield names
    for name in names.values():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture(scope="session")
def pair(own_data, tmp_path_factory) -> Path:
    """A run yaml: two tiny real detectors on the tiny data, 6 steps of 2 pages; its teacher beside
    it.
    """
    folder = tmp_path_factory.mktemp("pair")
    common = f"""
DATASETS:
  TRAIN: ["{own_data["train"]}"]
  VAL: ["{own_data["test"]}"]
  TEST: ["{own_data["test"]}"]
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
