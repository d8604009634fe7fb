"""Report sections that compare predicted with annotated boxes: confusion matrices, worst pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from graphkd.data.mapper import read_for
from graphkd.errors import UserError
from graphkd.evaluation.matching import MIN_IOU, confusion, f1, inside, pair_boxes
from graphkd.report.content import Boxes, Example
from graphkd.report.page import Section, matrix_section, page_section


@dataclass(frozen=True)
class Judged:
    """One model's predictions on one page: the boxes, the pairs (object, prediction), and the
    confusion matrix.
    """

    boxes: Boxes
    pairs: np.ndarray
    counts: np.ndarray


def box_sections(
    predictions: Mapping[str, Sequence[dict[str, Any]]],
    dicts: Sequence[dict[str, Any]],
    classes: Sequence[str],
    *,
    score: float,
    count: int,
    worst: bool = True,
) -> tuple[list[Section], list[str]]:
    """Makes the confusion matrices of models, and shows the worst pages of the last model.

    Args:
        predictions: model name -> COCO results with class numbers 0..K-1, in the order to show.
        dicts: Detectron2 dicts of the predicted pages.
        classes: K class names.
        score: predictions with lower scores are ignored.
        count: number of pages to show.
        worst: show the pages with the lowest F1 of the last model (of equal ones, those with more
            errors); False shows pages evenly spread over the set.

    Returns:
        The sections, and a sentence if pages could not be read.

    Raises:
        UserError: a prediction is for a page or class that the data does not have.
    """
    judged = judge(predictions, dicts, classes, score=score)
    matrices = {name: total(pages, classes) for name, pages in judged.items()}
    sections = [matrix_section(matrices, classes, score=score)]
    examples, notes = examples_of(judged, dicts, classes, count=count, worst=worst)
    if examples:
        main, pages = list(judged.items())[-1]
        text = f"{len(examples)} of {len(pages)} pages, evenly spread over the set"
        if worst:
            scored = len(_scored(pages, dicts))
            text = f"The {len(examples)} of {scored} pages with the lowest F1 of {main}"
        text += f" (IoU {MIN_IOU}, score {score:g} or more)."
        sections.append(page_section(examples, classes, ranking=text, worst=worst))
    return sections, notes


def examples_of(
    judged: Mapping[str, Mapping[Any, Judged]],
    dicts: Sequence[dict],
    classes: Sequence[str],
    *,
    count: int,
    worst: bool,
) -> tuple[list[Example], list[str]]:
    """The pages to show, and a sentence if pages could not be read; see `box_sections`."""
    main = list(judged.values())[-1]
    ranked = _scored(main, dicts)
    if worst:
        ranked.sort(key=lambda page: _badness(main[page["image_id"]].counts))
    else:
        step = max(1, len(ranked) // max(count, 1))
        ranked = ranked[step // 2 :: step]
    examples, notes = [], []
    for page in ranked:
        if len(examples) >= count:
            break
        try:
            image = read_for(page, format="RGB")
        except UserError as error:
            if not notes:  # one example is enough: usually a whole folder is missing
                notes.append(f"A page cannot be shown: {error}.")
            continue
        found = {name: pages[page["image_id"]] for name, pages in judged.items()}
        examples.append(_example(page, image, found, classes))
    return examples, notes


def _scored(pages: Mapping[Any, Judged], dicts: Sequence[dict]) -> list[dict]:
    """The pages with an F1, which are those with an object or a prediction."""
    return [page for page in dicts if f1(pages[page["image_id"]].counts) is not None]


def total(pages: Mapping[Any, Judged], classes: Sequence[str]) -> np.ndarray:
    """The sum of the confusion matrices of all pages."""
    nothing = np.zeros((len(classes) + 1,) * 2, dtype=np.int64)
    return sum((page.counts for page in pages.values()), nothing)


def judge(
    predictions: Mapping[str, Sequence[dict[str, Any]]],
    dicts: Sequence[dict[str, Any]],
    classes: Sequence[str],
    *,
    score: float,
) -> dict[str, dict[Any, Judged]]:
    """Model name -> image id -> the model's predictions there; see `box_sections`."""
    return {
        name: _judge(name, rows, dicts, classes, score=score) for name, rows in predictions.items()
    }


def _judge(
    name: str,
    rows: Sequence[dict],
    dicts: Sequence[dict],
    classes: Sequence[str],
    *,
    score: float,
) -> dict[Any, Judged]:
    by_page: dict[Any, list[dict]] = {page["image_id"]: [] for page in dicts}
    for row in rows:
        if row["image_id"] not in by_page or not 0 <= row["category_id"] < len(classes):
            raise UserError(
                f"the predictions of {name} are not for the {len(dicts)} pages and "
                f"{len(classes)} classes that are on this machine"
            )
        if row["score"] >= score:
            by_page[row["image_id"]].append(row)
    return {
        page["image_id"]: _judge_page(page, by_page[page["image_id"]], classes) for page in dicts
    }


def _judge_page(page: dict, rows: list[dict], classes: Sequence[str]) -> Judged:
    boxes = np.array([row["bbox"] for row in rows], dtype=float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    numbers = np.array([row["category_id"] for row in rows], dtype=int)
    truth, labels, crowd = objects_of(page)
    pairs = pair_boxes(truth, labels, boxes, numbers)
    # A prediction in a crowd region is no error, even without an object: remove it.
    free = ~np.isin(np.arange(len(rows)), pairs[:, 1]) & inside(boxes, crowd)
    if free.any():
        rows = [row for row, out in zip(rows, free, strict=True) if not out]
        boxes, numbers = boxes[~free], numbers[~free]
        pairs = pair_boxes(truth, labels, boxes, numbers)
    paired = np.isin(np.arange(len(boxes)), pairs[:, 1]).tolist()
    names, scores = [classes[k] for k in numbers], [row["score"] for row in rows]
    counts = confusion(labels, numbers, pairs, num_classes=len(classes))
    return Judged(Boxes(boxes, names, scores, paired), pairs, counts)


def objects_of(page: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The objects of a page: boxes (m, 4) x1 y1 x2 y2, class numbers (m,), crowd regions (c, 4)."""
    boxes, labels, crowd = [], [], []
    for item in page.get("annotations", ()):
        box = BoxMode.convert(list(item["bbox"]), item["bbox_mode"], BoxMode.XYXY_ABS)
        if item.get("iscrowd"):
            crowd.append(box)
        else:
            boxes.append(box)
            labels.append(item["category_id"])
    return (
        np.array(boxes, dtype=float).reshape(-1, 4),
        np.array(labels, dtype=int),
        np.array(crowd, dtype=float).reshape(-1, 4),
    )


def _badness(counts: np.ndarray) -> tuple[float, int]:
    return f1(counts), int(np.trace(counts) - counts.sum())


def _example(
    page: dict, image: np.ndarray, found: Mapping[str, Judged], classes: Sequence[str]
) -> Example:
    truth, labels, _ = objects_of(page)
    hit = np.isin(np.arange(len(truth)), list(found.values())[-1].pairs[:, 0])
    scores = {name: f1(judged.counts) for name, judged in found.items()}
    texts = {name: "–" if value is None else f"{value:.2f}" for name, value in scores.items()}
    parts = [text if len(texts) == 1 else f"{name} {text}" for name, text in texts.items()]
    return Example(
        image=image,
        title=f"{Path(page['file_name']).name} · F1 {', '.join(parts)}",
        truth=Boxes(truth, [classes[k] for k in labels], None, hit.tolist()),
        predictions={name: judged.boxes for name, judged in found.items()},
    )
