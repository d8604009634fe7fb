"""A tiny data set of drawn pages, registered in Detectron2's own way."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

CLASSES = ("text", "figure")


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
    # Not before conftest.py has said where data sets lie.
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.data.datasets import register_coco_instances

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


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """An empty data folder and empty catalogs, as far as graphkd fills them."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from graphkd.data import catalog

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    before = set(DatasetCatalog) | set(MetadataCatalog)
    catalog.unregister_all()
    yield tmp_path / "datasets"
    catalog.unregister_all()
    for name in (set(DatasetCatalog) | set(MetadataCatalog)) - before:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)
