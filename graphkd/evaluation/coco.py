"""COCO average precision of a Detectron2 model on a registered data set, as published.

The numbers are computed by faster-coco-eval, which follows the rules of pycocotools. Every AP and
AR is in 0..100, or `None` if the ground truth has no object of that kind.
"""

import math
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import inference_context
from detectron2.structures import BoxMode
from detectron2.utils import comm
from faster_coco_eval import COCO, COCOeval_faster
from torch import nn
from tqdm.auto import tqdm

from graphkd.data.catalog import published
from graphkd.errors import UserError
from graphkd.evaluation.matching import DEFAULT_THRESHOLD, count_pairs
from graphkd.evaluation.timing import waiter
from graphkd.evaluation.voc import voc_ap
from graphkd.io import write_json

# The twelve COCO numbers. Precisions: (IoU threshold, None for the mean over all; area range).
# Recalls: (area range, largest number of detections per page).
_PRECISIONS = {
    "AP": (None, "all"),
    "AP50": (0.5, "all"),
    "AP75": (0.75, "all"),
    "APs": (None, "small"),
    "APm": (None, "medium"),
    "APl": (None, "large"),
}
_RECALLS = {
    "AR1": ("all", 1),
    "AR10": ("all", 10),
    "AR100": ("all", 100),
    "ARs": ("small", 100),
    "ARm": ("medium", 100),
    "ARl": ("large", 100),
}


def ground_truth(dicts: Iterable[dict], classes: Sequence[str]) -> dict:
    """Converts Detectron2 data set dicts to a COCO json dict.

    Args:
        dicts: one per page, with image_id, height, width and `annotations` (bbox, bbox_mode,
            category_id in 0..K-1, optional iscrowd, area and id). No pages: an empty COCO dict.
        classes: K class names; category ids in the result are 0..K-1, as in `dicts`.

    Returns:
        {"images", "annotations", "categories"}; boxes are (x, y, width, height) in pixels. The
        area of an annotation is its own if given, else the area of its box.

    Raises:
        UserError: two pages have the same image_id, or a category_id is outside 0..K-1.
    """
    images: list[dict] = []
    annotations: list[dict] = []
    seen: set = set()
    for page in dicts:
        image_id = page["image_id"]
        if image_id in seen:
            raise UserError(f"image_id {image_id!r} occurs twice; give every page its own image_id")
        seen.add(image_id)
        images.append({"id": image_id, "height": page["height"], "width": page["width"]})
        for annotation in page.get("annotations", ()):
            category = annotation["category_id"]
            if not 0 <= category < len(classes):
                raise UserError(
                    f"page {image_id!r} holds category_id {category}, but there are only "
                    f"{len(classes)} classes (0..{len(classes) - 1}); check the class list"
                )
            box = BoxMode.convert(
                list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYWH_ABS
            )
            annotations.append(
                {
                    # COCO evaluation reads 0 as "unmatched", so the count starts at 1.
                    "id": annotation.get("id", len(annotations) + 1),
                    "image_id": image_id,
                    "category_id": int(category),
                    "bbox": [float(number) for number in box],
                    "area": float(annotation.get("area", box[2] * box[3])),
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                    **({"difficult": annotation["difficult"]} if "difficult" in annotation else {}),
                }
            )
    categories = [{"id": index, "name": name} for index, name in enumerate(classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def result_rows(
    image_id: Any, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray
) -> list[dict]:
    """COCO result dicts of boxes (n, 4) x1 y1 x2 y2, scores (n,) and class numbers (n,)."""
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    rows = zip(sides.tolist(), scores.tolist(), classes.tolist(), strict=True)
    return [
        {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
        for box, score, category in rows
    ]


def coco_ap(ground_truth: dict, results: Sequence[dict], *, most: int = 100) -> dict:
    """Computes COCO box AP and AR of results against a ground truth; both stay unchanged.

    Args:
        ground_truth: a COCO json dict; ids may be numbers or strings. Annotations of images or
            categories that are not listed are ignored, as in pycocotools. A missing `area` is
            that of the box, a missing `iscrowd` is 0, and a missing `id` is a new one.
        results: dicts with image_id, category_id, bbox (x, y, w, h), score. Without results, AP is
            0.0.
        most: best detections of an image that count for AP and AR100, 100 in COCO.

    Returns:
        AP, AP50, AP75, APs, APm, APl (COCO's small, medium, large), AR1, AR10, AR100, ARs, ARm,
        ARl and `per_class` {name: AP}; all in 0..100, None where the ground truth has no
        (non-crowd) object to find.

    Raises:
        ValueError: a result names an unknown image or class, or holds a number that isn't finite.
    """
    # faster-coco-eval accepts only integer ids and changes its input, so it gets numbered copies.
    # The order of ids decides between equal scores. It is sorted, as in pycocotools.
    images = _numbers(image["id"] for image in ground_truth["images"])
    categories = _numbers(category["id"] for category in ground_truth["categories"])
    names = {categories[c["id"]]: c["name"] for c in ground_truth["categories"]}
    _check_results(results, images, categories)
    if not images or not names:
        empty = dict.fromkeys([*_PRECISIONS, *_RECALLS])
        return {**empty, "per_class": dict.fromkeys(names.values())}
    truth_api = COCO(
        {
            "images": [{**image, "id": images[image["id"]]} for image in ground_truth["images"]],
            "annotations": _countable(ground_truth["annotations"], images, categories),
            "categories": [{"id": number, "name": name} for number, name in names.items()],
        }
    )
    guesses = [
        {
            **result,
            "image_id": images[result["image_id"]],
            "category_id": categories[result["category_id"]],
        }
        for result in results
    ]
    evaluator = COCOeval_faster(truth_api, truth_api.loadRes(guesses), iouType="bbox")
    evaluator.params.maxDets = [1, 10, most]
    evaluator.evaluate()
    evaluator.accumulate()
    return _twelve_numbers(evaluator, names)


def _numbers(ids: Iterable) -> dict:
    """Id -> 1, 2, ... in sorted order."""
    return {value: number for number, value in enumerate(sorted(set(ids)), start=1)}


def _countable(annotations: Sequence[dict], images: dict, categories: dict) -> list[dict]:
    """Numbered copies of the annotations of known images and categories, with the fields that COCO
    evaluation reads.
    """
    # COCO evaluation never matches an object with id 0, so 0 stays 0. Equal ids stay equal.
    numbers = {}
    for annotation in annotations:
        if annotation.get("id", 0) != 0:
            numbers.setdefault(annotation["id"], len(numbers) + 1)
    numbers[0], free = 0, len(numbers) + 1
    rows = []
    for annotation in annotations:
        image, category = annotation["image_id"], annotation["category_id"]
        if image in images and category in categories:
            box = annotation["bbox"]
            number = numbers[annotation["id"]] if "id" in annotation else free + len(rows)
            rows.append(
                {
                    "id": number,
                    "image_id": images[image],
                    "category_id": categories[category],
                    "bbox": box,
                    "area": annotation.get("area", box[2] * box[3]),
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                }
            )
    return rows


@dataclass(frozen=True)
class Found:
    """The detections of a detector on a data set.

    Attributes:
        truth: the ground truth as a COCO json dict.
        results: COCO results with the category ids of `truth`.
        ids: class name -> category id, in the order of the classes.
        pages: number of pages.
        seconds: time inside the model, without data loading, of the slowest process.
    """

    truth: dict
    results: list[dict]
    ids: dict[str, Any]
    pages: int
    seconds: float


def find_boxes(
    model: nn.Module,
    loader: Iterable[list[dict]],
    dataset_name: str,
    *,
    classes: Sequence[str],
    progress: bool = True,
) -> Found | None:
    """Runs a Detectron2 detector over a test loader.

    The ground truth is the data set's json as published, or the output of its loader if it has no
    json.

    Args:
        model: returns a list of {"instances": Instances} in eval mode; its mode is restored.
        loader: batches of dicts with image, image_id, height, width. It covers the data set once;
            in a distributed run, each process covers its own part.
        dataset_name: a registered name.
        classes: the K class names in the order of the contiguous category ids.
        progress: show a bar with pages per second on the main process.

    Returns:
        The detections; None on processes other than the main one.

    Raises:
        UserError: the data set cannot be scored as published, or the model predicts a class that is
            not in the class list.
        ValueError: the loader skipped or repeated pages of the data set.
    """
    truth = published_truth(dataset_name, classes)  # on all processes: an error stops them all
    results, seen, seconds = _predict(model, loader, progress=progress)
    gathered = comm.gather((results, seen, seconds))
    if not comm.is_main_process():
        return None
    results = [result for part, _, _ in gathered for result in part]
    seen = [image_id for _, part, _ in gathered for image_id in part]
    _check_coverage(seen, truth, dataset_name)
    ids = category_ids(truth, classes)
    highest = max((result["category_id"] for result in results), default=-1)
    if highest >= len(ids):
        raise UserError(
            f"the model predicts class {highest}, but {dataset_name} has {len(ids)} classes; "
            f"use a model trained for this class list"
        )
    results = [{**result, "category_id": ids[result["category_id"]]} for result in results]
    slowest = max(part for _, _, part in gathered)
    return Found(truth, results, dict(zip(classes, ids, strict=True)), len(seen), slowest)


def evaluate(
    found: Found,
    *,
    thresholds: Mapping[str, float] | None = None,
    voc: Mapping[str, Any] | None = None,
    output_dir: Path | None = None,
) -> dict:
    """Computes the COCO numbers of a detector's detections, and those of VOC if they are wanted.

    Args:
        found: from `find_boxes`.
        thresholds: class name -> lowest shown score, for the counts of single pages; 0.5 for
            classes that are missing.
        voc: options of `voc_ap`; None leaves its numbers out.
        output_dir: receives `coco_results.json` (with the category ids of the json), `metrics.json`
            (which also has `category_ids` {class name: id}) and `items.json` (the counts of every
            page); None writes nothing.

    Returns:
        The numbers of `coco_ap`, those of `voc_ap` if asked for, and also `items` (number of pages)
        and `seconds`.
    """
    metrics = coco_ap(found.truth, found.results)
    if voc is not None:
        metrics.update(voc_ap(found.truth, found.results, **voc))
    metrics.update(items=found.pages, seconds=found.seconds)
    if output_dir is not None:
        folder = Path(output_dir)
        write_json(folder / "coco_results.json", found.results)
        write_json(folder / "metrics.json", {**metrics, "category_ids": found.ids})
        write_json(folder / "items.json", page_counts(found, thresholds or {}))
    return metrics


def page_counts(found: Found, thresholds: Mapping[str, float]) -> list[dict]:
    """Counts objects, predictions and correct predictions on every page.

    Args:
        found: from `find_boxes`.
        thresholds: class name -> lowest shown score; 0.5 for a class that is missing.

    Returns:
        One dict per page with `id`, `document` (the file name without its page number), `objects`,
        `found` (predictions at or above the thresholds), `right` (pairs of one class with an IoU of
        0.5 or more) and `F1` in 0..1, None if there is neither an object nor a prediction. Crowd
        regions and predictions in them are not counted.
    """
    limits = {ids: thresholds.get(name, DEFAULT_THRESHOLD) for name, ids in found.ids.items()}
    objects: dict = defaultdict(list)
    shown: dict = defaultdict(list)
    for annotation in found.truth["annotations"]:
        if annotation["category_id"] in limits:  # others do not count in COCO evaluation either
            objects[annotation["image_id"]].append(annotation)
    for result in found.results:
        if result["score"] >= limits[result["category_id"]]:
            shown[result["image_id"]].append(result)
    return [
        {
            "id": page["id"],
            "document": document_of(page),
            **count_pairs(objects[page["id"]], shown[page["id"]]),
        }
        for page in found.truth["images"]
    ]


def document_of(page: Mapping) -> str:
    """The document that a page belongs to: its key `document` if it has one, else its file name
    without the page number at the end.
    """
    if "document" in page:
        return str(page["document"])
    stem = Path(page.get("file_name", str(page["id"]))).with_suffix("").as_posix()
    return re.sub(r"[-_ .]*(p|page|f)?[-_ ]*\d+$", "", stem) or stem


def published_truth(dataset_name: str, classes: Sequence[str]) -> dict:
    """The ground truth of a registered data set as a COCO json dict.

    Returns:
        Its json as published. For a set without a json it is made from the output of the set's
        loader, with category ids 0..K-1.

    Raises:
        UserError: the data set cannot be scored as published.
    """
    truth = published(dataset_name)
    return ground_truth(DatasetCatalog.get(dataset_name), classes) if truth is None else truth


def category_ids(truth: dict, classes: Sequence[str]) -> list:
    """The category ids of the classes in a COCO json dict, in the order of `classes`.

    Raises:
        UserError: its categories are different classes.
    """
    ids = {category["name"]: category["id"] for category in truth["categories"]}
    if set(ids) != set(classes):
        raise UserError(
            f"the data has the classes {', '.join(ids)}, the model {', '.join(classes)}; they "
            "have to be the same"
        )
    return [ids[name] for name in classes]


def _predict(
    model: nn.Module, loader: Iterable[list[dict]], *, progress: bool
) -> tuple[list[dict], list, float]:
    """Returns COCO results, image ids and seconds inside the model for this process's pages."""
    results: list[dict] = []
    seen: list = []
    seconds = 0.0
    wait = waiter(model)
    sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
    total = len(sampler) if hasattr(sampler, "__len__") else None  # this rank's pages
    hidden = not (progress and comm.is_main_process())
    bar = tqdm(total=total, desc="evaluating", unit=" pages", disable=hidden)
    with inference_context(model), torch.no_grad(), bar:
        for batch in loader:
            wait()
            start = time.perf_counter()
            outputs = model(batch)
            wait()
            seconds += time.perf_counter() - start
            for page, output in zip(batch, outputs, strict=True):
                seen.append(page["image_id"])
                found = output["instances"].to("cpu")
                parts = found.pred_boxes.tensor, found.scores, found.pred_classes
                results += result_rows(page["image_id"], *(part.numpy() for part in parts))
            bar.update(len(batch))
    return results, seen, seconds


def _check_coverage(seen: list, truth: dict, dataset_name: str) -> None:
    expected = {image["id"] for image in truth["images"]}
    if set(seen) != expected or len(seen) != len(expected):
        raise ValueError(
            f"the loader showed {len(seen)} pages ({len(set(seen))} different ones), but "
            f"{dataset_name} has {len(expected)}: AP would be wrong"
        )


def _check_results(results: Sequence[dict], images: dict, categories: dict) -> None:
    for result in results:
        if result["image_id"] not in images:
            raise ValueError(f"a result names the unknown image {result['image_id']!r}")
        if result["category_id"] not in categories:
            raise ValueError(f"a result names the unknown category {result['category_id']!r}")
        if not all(map(math.isfinite, [*result["bbox"], result["score"]])):
            raise ValueError(f"a result on image {result['image_id']!r} holds NaN or infinity")


def _twelve_numbers(evaluator: COCOeval_faster, names: dict) -> dict:
    """Averages an accumulated evaluation like COCO: over all cells but -1 (no ground truth)."""
    parameters = evaluator.params
    precision = np.asarray(evaluator.eval["precision"])  # threshold, recall, class, area, count
    recall = np.asarray(evaluator.eval["recall"])  # threshold, class, area, count
    area = {label: i for i, label in enumerate(parameters.areaRngLbl)}
    count = {limit: i for i, limit in enumerate((1, 10, 100))}
    numbers: dict[str, Any] = {}
    for key, (threshold, area_name) in _PRECISIONS.items():
        cells = precision[..., area[area_name], count[100]]
        if threshold is not None:
            cells = cells[np.isclose(parameters.iouThrs, threshold)]
        numbers[key] = _percent(cells)
    for key, (area_name, limit) in _RECALLS.items():
        numbers[key] = _percent(recall[..., area[area_name], count[limit]])
    numbers["per_class"] = {
        names[category]: _percent(precision[:, :, i, area["all"], count[100]])
        for i, category in enumerate(parameters.catIds)
    }
    return numbers


def _percent(cells: np.ndarray) -> float | None:
    measured = cells[cells > -1]
    return 100.0 * float(measured.mean()) if measured.size else None
