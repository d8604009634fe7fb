"""COCO AP agrees with pycocotools, and a Detectron2 evaluation run gives the numbers it should."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from detectron2.data import DatasetCatalog, build_detection_test_loader
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes, BoxMode, Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn

from graphkd.data.catalog import add_own, dataset_classes, training_dicts
from graphkd.errors import UserError
from graphkd.evaluation.coco import (
    Found,
    coco_ap,
    document_of,
    evaluate,
    find_boxes,
    ground_truth,
    page_counts,
)
from tests.data.sets import document, write_set

STATS = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
CLASSES = ["text", "title", "figure", "table"]


def score(model, loader, name, *, classes, output_dir=None, progress=False):
    """The COCO numbers of a model on a data set; {} on all processes but the main one."""
    found = find_boxes(model, loader, name, classes=classes, progress=progress)
    return {} if found is None else evaluate(found, output_dir=output_dir)


def reference(truth: dict, results: list[dict]) -> dict:
    """Give the same numbers from pycocotools, -1 turned into None."""
    with contextlib.redirect_stdout(io.StringIO()):
        api = COCO()
        api.dataset = json.loads(json.dumps(truth))
        api.createIndex()
        evaluator = COCOeval(api, api.loadRes(json.loads(json.dumps(results))), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    numbers = {
        key: None if value == -1 else 100 * value
        for key, value in zip(STATS, evaluator.stats, strict=True)
    }
    precision = evaluator.eval["precision"]
    numbers["per_class"] = {}
    for i, category in enumerate(sorted(truth["categories"], key=lambda item: item["id"])):
        cells = precision[:, :, i, 0, -1]
        cells = cells[cells > -1]
        numbers["per_class"][category["name"]] = 100 * cells.mean() if cells.size else None
    return numbers


def random_pages(seed: int, *, classes: int = 4, pages: int = 12, crowded: bool = False):
    """Pages with 0-12 objects (some crowds) and up to 150 guesses each, from jittered truth."""
    draw = np.random.default_rng(seed)
    dicts, results = [], []
    for page in range(pages):
        objects = 0 if page % 4 == 0 else int(draw.integers(1, 13))
        corners = draw.uniform(0, 400, (objects, 2))
        sizes = np.exp(draw.uniform(np.log(8), np.log(250), (objects, 2)))
        boxes = np.hstack([corners, sizes])
        labels = draw.integers(0, classes, objects)
        dicts.append(
            {
                "image_id": 3 * page + 1,
                "height": 700,
                "width": 700,
                "annotations": [
                    {
                        "bbox": box.tolist(),
                        "bbox_mode": BoxMode.XYWH_ABS,
                        "category_id": int(label),
                        "iscrowd": int(draw.random() < 0.2),
                    }
                    for box, label in zip(boxes, labels, strict=True)
                ],
            }
        )
        guesses = 150 if crowded and page % 3 == 1 else int(draw.integers(0, 30))
        for _ in range(guesses):
            if objects and draw.random() < 0.7:
                pick = int(draw.integers(objects))
                box = boxes[pick] * draw.normal(1, 0.06, 4)
                label = labels[pick] if draw.random() < 0.85 else draw.integers(classes)
            else:
                box = np.hstack([draw.uniform(0, 400, 2), draw.uniform(5, 250, 2)])
                label = draw.integers(classes)
            results.append(
                {
                    "image_id": 3 * page + 1,
                    "category_id": 0 if crowded and page % 3 == 1 else int(label),
                    "bbox": box.tolist(),
                    "score": float(np.round(draw.random(), 2)),  # two decimals: ties occur
                }
            )
    return dicts, results


def assert_same(ours: dict, theirs: dict) -> None:
    for key in STATS:
        assert (ours[key] is None) == (theirs[key] is None), key
        assert ours[key] == pytest.approx(theirs[key], abs=1e-6), key
    assert ours["per_class"].keys() == theirs["per_class"].keys()
    for name, value in theirs["per_class"].items():
        assert ours["per_class"][name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("seed", range(12))
def test_equals_pycocotools(seed):
    dicts, results = random_pages(seed)
    truth = ground_truth(dicts, CLASSES)
    assert any(a["iscrowd"] for a in truth["annotations"])
    ours = coco_ap(truth, results)
    assert_same(ours, reference(truth, results))
    assert 0 < ours["AP"] < 100


@pytest.mark.parametrize("seed", range(100, 104))
def test_equals_pycocotools_beyond_100_detections_of_one_class(seed):
    dicts, results = random_pages(seed, crowded=True)
    truth = ground_truth(dicts, CLASSES)
    counts = [sum(r["image_id"] == p["image_id"] for r in results) for p in dicts]
    assert max(counts) > 100
    assert_same(coco_ap(truth, results), reference(truth, results))


def test_equals_pycocotools_where_a_class_and_a_size_are_missing():
    dicts, results = random_pages(7, classes=3)
    for page in dicts:
        page["annotations"] = [
            a for a in page["annotations"] if a["bbox"][2] * a["bbox"][3] > 32**2
        ]
    truth = ground_truth(dicts, CLASSES)
    ours = coco_ap(truth, results)
    assert_same(ours, reference(truth, results))
    assert ours["APs"] is None and ours["per_class"]["table"] is None


def test_input_is_left_alone():
    dicts, results = random_pages(1)
    truth = ground_truth(dicts, CLASSES)
    before = json.dumps([truth, results])
    coco_ap(truth, results)
    assert json.dumps([truth, results]) == before


def test_no_predictions_is_zero_not_a_crash():
    dicts, _ = random_pages(2)
    metrics = coco_ap(ground_truth(dicts, CLASSES), [])
    assert [metrics[key] for key in ("AP", "AP50", "AP75", "AR100")] == [0.0] * 4
    assert set(metrics["per_class"].values()) == {0.0}


def test_no_objects_or_no_pages_is_none():
    page = {"image_id": 1, "height": 10, "width": 10, "annotations": []}
    guess = {"image_id": 1, "category_id": 0, "bbox": [0, 0, 5, 5], "score": 0.5}
    for dicts, results in (([page], []), ([page], [guess]), ([], [])):
        metrics = coco_ap(ground_truth(dicts, CLASSES), results)
        assert metrics["AP"] is None and metrics["AR100"] is None
        assert metrics["per_class"] == dict.fromkeys(CLASSES)


def test_perfect_detector_scores_100_whatever_the_image_ids_are():
    dicts, _ = random_pages(3)
    for page in dicts:
        page["image_id"] = f"volume/{page['image_id']}"
        for annotation in page["annotations"]:
            annotation["iscrowd"] = 0
    truth = ground_truth(dicts, CLASSES)
    results = [
        {**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for a in truth["annotations"]
    ]
    metrics = coco_ap(truth, results)
    assert metrics["AP"] == pytest.approx(100) and metrics["AR100"] == pytest.approx(100)


def test_ground_truth_converts_boxes_and_keeps_stated_areas():
    annotations = [
        {"bbox": [10, 20, 30, 60], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1},
        {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "area": 7.5},
    ]
    page = {"image_id": 5, "height": 99, "width": 88, "annotations": annotations}
    first, second = ground_truth([page], CLASSES)["annotations"]
    assert first["bbox"] == [10, 20, 20, 40] and first["area"] == 800 and first["id"] == 1
    assert second["bbox"] == [1, 2, 3, 4] and second["area"] == 7.5 and second["id"] == 2


def test_ground_truth_refuses_what_would_be_scored_wrong():
    page = {"image_id": 5, "height": 9, "width": 9, "annotations": []}
    with pytest.raises(UserError, match="occurs twice"):
        ground_truth([page, page], CLASSES)
    box = {"bbox": [0, 0, 1, 1], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 4}
    with pytest.raises(UserError, match="category_id 4"):
        ground_truth([{**page, "annotations": [box]}], CLASSES)


@pytest.mark.parametrize("change", [{"image_id": 99}, {"category_id": 9}, {"score": float("nan")}])
def test_broken_results_are_refused(change):
    dicts, results = random_pages(4)
    results[0] = {**results[0], **change}
    with pytest.raises(ValueError):
        coco_ap(ground_truth(dicts, CLASSES), results)


class Oracle(nn.Module):
    """Answers each page with the boxes that a table holds for it."""

    def __init__(self, answers: dict):
        super().__init__()
        self.answers = answers
        self.modes: list[bool] = []

    def forward(self, batch):
        self.modes.append(self.training)
        outputs = []
        for page in batch:
            rows = self.answers.get(page["image_id"], [])
            instances = Instances((page["height"], page["width"]))
            boxes = torch.tensor([r["bbox"] for r in rows], dtype=torch.float64).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            instances.pred_boxes = Boxes(boxes)
            instances.scores = torch.tensor([r["score"] for r in rows], dtype=torch.float64)
            instances.pred_classes = torch.tensor(
                [r["category_id"] for r in rows], dtype=torch.int64
            )
            outputs.append({"instances": instances})
        return outputs


@pytest.fixture
def registered():
    dicts, results = random_pages(5)
    DatasetCatalog.register("evaluation_test", lambda: dicts)
    yield dicts, results
    DatasetCatalog.remove("evaluation_test")


def batches(dicts):
    pages = [{**page, "image": torch.zeros(3, 8, 8)} for page in dicts]
    return [pages[i : i + 5] for i in range(0, len(pages), 5)]


def answers(results):
    table: dict = {}
    for result in results:
        table.setdefault(result["image_id"], []).append(result)
    return table


def test_evaluate_runs_the_model_and_writes_its_files(registered, tmp_path):
    dicts, results = registered
    model = Oracle(answers(results)).train()
    metrics = score(
        model,
        batches(dicts),
        "evaluation_test",
        classes=CLASSES,
        output_dir=tmp_path / "new",
        progress=False,
    )
    assert_same(metrics, reference(ground_truth(dicts, CLASSES), results))
    assert metrics["items"] == len(dicts) and metrics["seconds"] > 0
    assert not any(model.modes) and model.training
    written = json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert written.pop("category_ids") == {name: k for k, name in enumerate(CLASSES)}
    assert written == metrics
    assert len(json.loads((tmp_path / "new" / "coco_results.json").read_text())) == len(results)
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "coco_results.json",
        "items.json",
        "metrics.json",
    ]


def test_evaluate_without_predictions_is_zero(registered):
    dicts, _ = registered
    metrics = score(Oracle({}), batches(dicts), "evaluation_test", classes=CLASSES, progress=False)
    assert metrics["AP"] == 0.0


def test_evaluate_refuses_missing_and_repeated_pages(registered):
    dicts, _ = registered
    for part in (dicts[:-1], [*dicts[:-1], dicts[0]], [*dicts, dicts[0]]):
        with pytest.raises(ValueError, match="AP would be wrong"):
            score(Oracle({}), batches(part), "evaluation_test", classes=CLASSES, progress=False)


def test_evaluate_refuses_a_model_of_another_class_list(registered):
    dicts, results = registered
    with pytest.raises(UserError, match="has 2 classes|only 2 classes"):
        score(
            Oracle(answers(results)),
            batches(dicts),
            "evaluation_test",
            classes=CLASSES[:2],
            progress=False,
        )


def test_evaluate_takes_detectron2s_own_loader(registered, capsys):
    dicts, results = registered
    loader = build_detection_test_loader(
        dicts,
        mapper=lambda page: {**page, "image": torch.zeros(3, 8, 8)},
        num_workers=0,
    )
    metrics = score(
        Oracle(answers(results)), loader, "evaluation_test", classes=CLASSES, progress=True
    )
    assert_same(metrics, reference(ground_truth(dicts, CLASSES), results))
    bar = capsys.readouterr().err
    assert f"{len(dicts)}/{len(dicts)}" in bar and "pages/s" in bar


def published_set(folder, *, image_ids=(31, 8), category_ids=(9, 4), odd_for_detectron2=True):
    """Two pages with everything that cleaning for training changes, and finds of a detector.

    Detectron2's own loader refuses a category that is not listed and the field "ignore".

    Returns:
        json, image folder, and results by image id with class numbers 0 and 1.
    """
    content = document()
    text, figure = category_ids
    content["categories"] = [{"id": text, "name": "text"}, {"id": figure, "name": "figure"}]
    first, second = image_ids
    rows = [
        (first, text, [48, 6, 15, 30]),  # 20 % over the page's edge
        (first, figure, [5, 40, 30, 20]),
        (first, figure, [5, 40, 30, 20]),  # a duplicate
        (first, text, [20, 20, 1, 1]),  # of one pixel
        (first, text, [30, 60, 20, 0]),  # without area
        (first, 777, [5, 5, 20, 20]),  # an odd category
        (second, text, [0, 0, 60, 40]),
        (second, figure, [70, 90, 10, 10]),  # off the page
        (second, figure, [0, 40, 60, 40]),
    ]
    content["annotations"] = [
        {"id": i, "image_id": image, "category_id": c, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, (image, c, b) in enumerate(rows, start=10)
    ]
    content["annotations"][-1]["iscrowd"] = 1
    if odd_for_detectron2:
        content["annotations"][1]["ignore"] = 1
    else:
        del content["annotations"][5]
    for image, number in zip(content["images"], image_ids, strict=True):
        image["id"] = number
    found = {
        first: [(1, [48, 6, 12, 30], 0.9), (0, [5, 40, 28, 20], 0.8), (1, [20, 20, 1, 1], 0.7),
                (0, [5, 5, 20, 20], 0.6), (1, [48, 6, 15, 30], 0.5), (0, [6, 41, 30, 20], 0.5)],
        second: [(1, [0, 0, 60, 40], 0.9), (0, [10, 45, 20, 20], 0.9), (0, [0, 0, 60, 40], 0.3)],
    }  # fmt: skip
    by_id = sorted(zip(category_ids, (0, 1), strict=True))
    order = [name for _, name in by_id]  # class numbers follow the sorted ids
    table = {
        image: [{"category_id": order.index(1 - c), "bbox": b, "score": s} for c, b, s in boxes]
        for image, boxes in found.items()
    }
    return (*write_set(folder, content), table)


def assert_as_published(json_file, table, name, classes, folder):
    """AP of `evaluate` and of its result file are pycocotools' on the json, and not trivial."""
    metrics = score(
        Oracle(table),
        build_detection_test_loader(
            DatasetCatalog.get(name), mapper=lambda page: {**page, "image": None}, num_workers=0
        ),
        name,
        classes=classes,
        output_dir=folder,
        progress=False,
    )
    results = json.loads((folder / "coco_results.json").read_text())
    expected = reference(json.loads(json_file.read_text()), results)
    assert_same(metrics, expected)
    assert 5 < metrics["AP"] < 95
    return results


@pytest.mark.parametrize("image_ids", [(31, 8), ("b", "a")], ids=["numbers", "strings"])
@pytest.mark.parametrize("category_ids", [(1, 2), (9, 4), (0, 7)])
def test_scores_are_those_of_the_published_json(data_root, tmp_path, image_ids, category_ids):
    json_file, images, table = published_set(
        data_root / "set", image_ids=image_ids, category_ids=category_ids
    )
    before = json_file.read_bytes()
    add_own("published", json_file, images)
    classes = dataset_classes(["published"])
    results = assert_as_published(json_file, table, "published", classes, tmp_path / "eval")
    assert {row["category_id"] for row in results} == set(category_ids)
    assert {row["image_id"] for row in results} == set(image_ids)
    written = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert written["category_ids"] == dict(zip(("text", "figure"), category_ids, strict=True))
    # Training the same set does not change what it is scored against.
    if image_ids == (31, 8):
        cleaned = training_dicts(["published"], filter_empty=False)
        assert sum(len(page["annotations"]) for page in cleaned) == 6
    assert_as_published(json_file, table, "published", classes, tmp_path / "again")
    assert json_file.read_bytes() == before


def test_scores_of_a_users_own_registration_are_those_of_its_json(data_root, tmp_path):
    json_file, images, table = published_set(data_root / "set", odd_for_detectron2=False)
    register_coco_instances("his_own", {}, str(json_file), str(images))
    classes = dataset_classes(["his_own"])
    results = assert_as_published(json_file, table, "his_own", classes, tmp_path / "eval")
    assert {row["category_id"] for row in results} == {9, 4}


def test_boxes_of_lossless_dicts_score_as_the_json(data_root):
    """What robustness and export measure on: data set dicts in the place of the json."""
    json_file, images, table = published_set(data_root / "set")
    add_own("published", json_file, images)
    classes = dataset_classes(["published"])
    results = [{"image_id": i, **row} for i, rows in table.items() for row in rows]
    dicts = DatasetCatalog.get("published")
    ids = [4, 9]
    theirs = [{**row, "category_id": ids[row["category_id"]]} for row in results]
    expected = reference(json.loads(json_file.read_text()), theirs)
    ours = coco_ap(ground_truth(dicts, classes), results)
    assert [ours[key] for key in STATS] == pytest.approx([expected[key] for key in STATS])


@pytest.mark.parametrize("change", ["zero", "twice", "negative", "ignored", "orphans", "minus"])
def test_odd_annotations_score_as_in_pycocotools(change):
    dicts, results = random_pages(8)
    truth = ground_truth(dicts, CLASSES)
    rows = truth["annotations"]
    for i, row in enumerate(rows[:12]):
        match change:
            case "zero":
                row["id"] = 0 if i == 0 else row["id"]
            case "twice":
                row["id"] = rows[i // 2]["id"]
            case "negative":
                row["id"] = -row["id"]
            case "ignored":
                row["ignore"] = 1
            case "orphans":
                row["image_id"] = 99
            case "minus":
                row["bbox"][2] *= -1
    truth["images"].reverse()  # equal scores are taken in the order of the ids
    assert_same(coco_ap(truth, results), reference(truth, results))


def test_fields_that_a_json_may_leave_out_have_their_usual_values():
    dicts, results = random_pages(9)
    for page in dicts:
        for annotation in page["annotations"]:
            annotation["iscrowd"] = 0
    truth = ground_truth(dicts, CLASSES)
    expected = reference(truth, results)
    for row in truth["annotations"]:
        del row["id"], row["area"], row["iscrowd"]
    assert_same(coco_ap(truth, results), expected)


def test_a_set_that_cannot_be_scored_stops_before_the_first_page(data_root, tmp_path):
    json_file, images, table = published_set(data_root / "set")
    add_own("published", json_file, images)
    content = json.loads(json_file.read_text())
    content["annotations"][0]["bbox"][0] = float("nan")
    json_file.write_text(json.dumps(content))
    model = Oracle(table)
    with pytest.raises(UserError, match="annotation 10: .*data check published --fix OUT"):
        score(model, [], "published", classes=("text", "figure"), progress=False)
    assert model.modes == []


def _rank(rank: int, folder: str, place: str) -> None:
    """One of two processes: scores random pages, or a json in `folder`; writes what it got."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
    if folder:
        json_file, images, table = published_set(
            Path(folder) / f"r{rank}", odd_for_detectron2=False
        )
        register_coco_instances("ranks", {}, str(json_file), str(images))
        dicts, classes = DatasetCatalog.get("ranks"), dataset_classes(["ranks"])
    else:
        dicts, results = random_pages(5)
        DatasetCatalog.register("ranks", lambda: dicts)
        table, classes = answers(results), CLASSES
    loader = build_detection_test_loader(dicts, mapper=lambda page: page, num_workers=0)
    out = Path(folder) / "out" if folder else None
    metrics = score(Oracle(table), loader, "ranks", classes=classes, output_dir=out)
    (Path(place) / f"{rank}.json").write_text(json.dumps(metrics))
    dist.barrier()
    dist.destroy_process_group()


def two_ranks(place: Path, folder: str = "") -> tuple[dict, dict]:
    """What `evaluate` returns on both of two processes, for random pages or a json in `folder`."""
    torch.multiprocessing.start_processes(
        _rank, args=(folder, str(place)), nprocs=2, start_method="fork"
    )
    return tuple(json.loads((place / f"{rank}.json").read_text()) for rank in range(2))


def test_two_ranks_measure_what_one_rank_measures(registered, tmp_path):
    dicts, results = registered
    main, other = two_ranks(tmp_path)
    assert other == {} and main["items"] == len(dicts)
    assert_same(main, reference(ground_truth(dicts, CLASSES), results))


def test_two_ranks_score_against_the_published_json(tmp_path):
    plain = published_set(tmp_path / "plain", odd_for_detectron2=False)
    main, other = two_ranks(tmp_path, str(tmp_path))
    results = json.loads((tmp_path / "out" / "coco_results.json").read_text())
    assert other == {} and main["items"] == 2
    assert {row["category_id"] for row in results} == {9, 4}
    assert_same(main, reference(json.loads(plain[0].read_text()), results))


def test_counts_of_a_page_are_those_at_the_thresholds(tmp_path):
    truth = {
        "images": [{"id": 1, "file_name": "book_001.png"}, {"id": 2, "file_name": "book_002.png"}],
        "annotations": [
            {"image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 10]},
            {"image_id": 1, "category_id": 7, "bbox": [50, 50, 10, 10]},
            {"image_id": 1, "category_id": 9, "bbox": [80, 0, 20, 20], "iscrowd": 1},
            {"image_id": 1, "category_id": 5, "bbox": [0, 80, 9, 9]},  # a class that is not listed
        ],
        "categories": [{"id": 7, "name": "text"}, {"id": 9, "name": "figure"}],
    }
    results = [
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 9], "score": 0.9},  # right
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 10, 8], "score": 0.8},  # a second one
        {"image_id": 1, "category_id": 7, "bbox": [50, 50, 10, 10], "score": 0.6},  # not shown
        {"image_id": 1, "category_id": 9, "bbox": [82, 2, 10, 10], "score": 0.9},  # in the crowd
    ]
    found = Found(truth, results, {"text": 7, "figure": 9}, 2, 0.0)
    first, second = page_counts(found, {"text": 0.7})
    assert first == {
        "id": 1,
        "document": "book",
        "objects": 2,
        "found": 2,
        "right": 1,
        "F1": 0.5,
    }
    assert second["objects"] == second["found"] == 0 and second["F1"] is None
    assert page_counts(found, {})[0]["right"] == 2  # 0.5 by default
    evaluate(found, thresholds={"text": 0.7}, output_dir=tmp_path)
    assert json.loads((tmp_path / "items.json").read_text())[0] == first


@pytest.mark.parametrize(
    "page, document",
    [
        ({"id": 1, "file_name": "argus-1910_001.jpg"}, "argus-1910"),
        ({"id": 1, "file_name": "a/b/book p 12.png"}, "a/b/book"),
        ({"id": 1, "file_name": "0007.png"}, "0007"),
        ({"id": 1, "file_name": "x_1.png", "document": "of its own"}, "of its own"),
        ({"id": "page-3"}, "page-3"),
    ],
)
def test_pages_belong_to_documents(page, document):
    assert document_of(page) == document
