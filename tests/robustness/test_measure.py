import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage

from graphkd.cli import main
from graphkd.data.mapper import PageMapper
from graphkd.engine.run import evaluate_weights
from graphkd.errors import COMMAND, UserError
from graphkd.modelfile import inference_config, read_model
from graphkd.robustness.corruptions import corrupt
from graphkd.robustness.measure import (
    PageSet,
    load_contenders,
    load_pages,
    measure,
    moved_page,
    outline_of,
    settings_of,
)
from graphkd.robustness.results import Record
from graphkd.tasks.layout import TASK
from tests.own_data import CLASSES, write_coco
from tests.small import small_cfg, small_model

NAME = "graphkd_robust_pages"
SMALL = (
    *("MODEL.ROI_HEADS.NUM_CLASSES", "2", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", "0.0"),
    *("INPUT.MIN_SIZE_TRAIN", "(96,)", "INPUT.MAX_SIZE_TRAIN", "128", "INPUT.RANDOM_FLIP", "none"),
    *("INPUT.MIN_SIZE_TEST", "96", "INPUT.MAX_SIZE_TEST", "128"),
    *("DATASETS.TRAIN", f"('{NAME}',)", "DATASETS.TEST", f"('{NAME}',)"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four drawn pages under a registered name; gives the folder."""
    folder = tmp_path_factory.mktemp("robust")
    path = write_coco(folder, 4, 0)
    register_coco_instances(NAME, {}, str(path), str(folder / "images"))
    yield folder
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def save(path, model, *overrides, classes=CLASSES):
    cfg = small_cfg("rcnn_tiny_MNv4s", *SMALL, *overrides)
    content = {
        "model": model.state_dict(),
        "classes": list(classes),
        "config": inference_config(cfg),
    }
    torch.save(content, path)
    return cfg


@pytest.fixture(scope="module")
def weights(data):
    """Two detectors after a few steps on the pages, the second of which reads BGR: file to cfg."""
    model = small_model("rcnn_tiny_MNv4s", *SMALL).train()
    mapper = PageMapper(small_cfg("rcnn_tiny_MNv4s", *SMALL), is_train=True)
    batch = [mapper(page) for page in DatasetCatalog.get(NAME) if page["annotations"]]
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    cfgs = {}
    with EventStorage(0):
        for step in range(1, 26):
            loss = sum(model(batch).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step in (20, 25):
                name, form = {20: ("one", "RGB"), 25: ("two", "BGR")}[step]
                path = data / f"{name}.pth"
                cfgs[path] = save(path, model, "INPUT.FORMAT", form)
    return cfgs


def numbers(weights, kinds, severities, path=None, limit=None, seed=0):
    pages = load_pages(NAME).thinned(limit)
    found = load_contenders([str(w) for w in weights], classes=pages.classes, data=NAME)
    names = {contender.name: contender.checksum for contender in found}
    metric = TASK.primary_metric
    record = Record(path, settings_of(pages, seed=seed), names, metric=metric)
    measure(found, pages, kinds=kinds, severities=severities, seed=seed, record=record)
    return record.cells


def test_the_clean_ap_is_that_of_eval(weights, tmp_path):
    cells = numbers(weights, [], [])
    for path, cfg in weights.items():
        cfg = cfg.clone()
        cfg.defrost()
        cfg.OUTPUT_DIR = str(tmp_path)
        cfg.freeze()
        expected = evaluate_weights(cfg, path, source=path)["AP"]
        assert expected > 0
        assert cells[path.stem]["clean"] == expected


def test_corruptions_are_shown_to_all_and_numbers_repeat(weights):
    once = numbers(weights, ["rotation", "illumination"], [3])
    assert list(once["one"]) == ["clean", "rotation 3", "illumination 3"]
    # A detector's numbers do not depend on who else is measured.
    alone = numbers(list(weights)[1:], ["rotation", "illumination"], [3])
    assert alone["two"] == once["two"]
    assert once["two"]["rotation 3"] != once["two"]["clean"] != once["two"]["illumination 3"]
    assert numbers(list(weights)[1:], ["rotation"], [3], seed=5)["two"] != once["two"]


def test_a_stopped_run_goes_on(weights, tmp_path, monkeypatch):
    path = tmp_path / "robust.json"
    whole = numbers(weights, ["ink-holdout"], [1, 2], limit=2)
    numbers(list(weights)[:1], ["ink-holdout"], [1], path, limit=2)
    shown = []

    def watched(image, **options):
        shown.append(options["severity"])
        return corrupt(image, **options)

    monkeypatch.setattr("graphkd.robustness.measure.corrupt", watched)
    again = numbers(list(weights)[:1], ["ink-holdout"], [1, 2], path, limit=2)
    assert again["one"] == whole["one"]
    assert set(shown) == {2}, "finished cells are not measured again"
    assert numbers(weights, ["ink-holdout"], [1, 2], path, limit=2) == whole


def test_moved_pages_keep_their_objects():
    page = {
        "image_id": 1,
        "file_name": "a.png",
        "height": 200,
        "width": 100,
        "annotations": [
            {
                "bbox": [20.0, 30.0, 40.0, 60.0],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 1,
                "iscrowd": 0,
                "area": 5.0,
            }
        ],
    }
    image = np.full((200, 100, 3), 255, np.uint8)
    still = moved_page(page, corrupt(image, kind="defocus", severity=1))
    assert still == page
    turned = corrupt(image, kind="rotation", severity=3)
    moved = moved_page(page, turned)
    assert (moved["height"], moved["width"]) == turned.image.shape[:2]
    box = moved["annotations"][0]
    assert box["category_id"] == 1 and "area" not in box
    assert box["bbox"][2] - box["bbox"][0] > 40 and box["bbox"][3] - box["bbox"][1] > 60
    assert page["annotations"][0]["bbox"] == [20.0, 30.0, 40.0, 60.0]


def test_the_outline_is_the_polygon_if_it_fills_the_box():
    annotation = {"bbox": [0.0, 0.0, 40.0, 60.0], "bbox_mode": BoxMode.XYWH_ABS}
    box = [[0, 0], [40, 0], [40, 60], [0, 60]]
    assert outline_of(annotation).tolist() == box
    slanted = [10, 0, 40, 5, 30, 60, 0, 50]
    assert outline_of({**annotation, "segmentation": [slanted]}).shape == (4, 2)
    assert outline_of({**annotation, "segmentation": [slanted]})[0].tolist() == [10, 0]
    part = [10, 10, 20, 10, 20, 20]
    for other in ([part], [slanted, part], {"counts": b"", "size": [1, 1]}):
        assert outline_of({**annotation, "segmentation": other}).tolist() == box


def test_every_kth_page():
    pages = PageSet("p", ("a",), [{"image_id": i} for i in range(10)])
    assert [p["image_id"] for p in pages.thinned(4).dicts] == [0, 2, 5, 7]
    assert pages.thinned(None) is pages and pages.thinned(99) is pages


def test_wrong_classes_names_and_data(data, weights):
    path = data / "other.pth"
    save(path, small_model("rcnn_tiny_MNv4s", *SMALL), classes=("figure", "text"))
    with pytest.raises(UserError, match=r"finds figure, text, but the classes of .* text, figure"):
        load_contenders([str(path)], classes=CLASSES, data=NAME)
    one = str(next(iter(weights)))
    with pytest.raises(UserError, match="two models are named a"):
        load_contenders([f"a={one}", f"a={one}"], classes=CLASSES, data=NAME)
    with pytest.raises(UserError, match="no such weights file"):
        load_contenders(["a=none.pth"], classes=CLASSES, data=NAME)
    with pytest.raises(UserError, match="--images"):
        load_pages(str(data / "0.json"))
    assert load_pages(str(data / "0.json"), data / "images").classes == CLASSES


def test_models_of_another_task_are_refused(weights, monkeypatch):
    def read_other(path):
        stored = read_model(path)
        return replace(stored, header=replace(stored.header, task="text_recognition"))

    monkeypatch.setattr("graphkd.robustness.measure.read_model", read_other)
    with pytest.raises(
        UserError, match="its task is text_recognition, but robust measures only layout"
    ):
        load_contenders([str(next(iter(weights)))], classes=CLASSES, data=NAME)


def test_the_command(data, weights, tmp_path, capsys):
    one = str(next(iter(weights)))
    words = ["robust", f"mine={one}", "--data", str(data / "0.json")]
    words += ["--images", str(data / "images"), "--kinds", "speckle,rotation", "--strengths", "2"]
    words += ["--limit", "3", "--json", str(tmp_path / "r.json"), "-o", str(tmp_path / "r.md")]
    assert main([*words, "--pictures", str(tmp_path / "p.png")]) == 0
    out = capsys.readouterr().out
    assert "0.json, 3 pages, seed 0" in out and "mean loss (%)" in out
    cells = json.loads((tmp_path / "r.json").read_text())["models"]["mine"]["ap"]
    assert list(cells) == ["clean", "rotation 2", "speckle 2"]
    assert f"{cells['clean']:.1f}" in (tmp_path / "r.md").read_text()
    assert (tmp_path / "p.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "name trained models to measure"),
        (["w.pth", "--kinds", "fire"], "--kinds: fire; choose from rotation, "),
        (["w.pth", "--strengths", "1,4"], "--strengths: 4; choose from 1, 2, 3"),
        (["w.pth", "--limit", "0"], "--limit must be at least 1"),
        (["--pictures", "p.gif"], "must end in .png or .jpg"),
    ],
)
def test_wrong_options_are_one_line(data, options, message, capsys):
    assert main(["robust", *options, "--data", NAME]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"{COMMAND} robust: ") and error.count("\n") == 1
    assert message in error
